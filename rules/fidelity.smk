# Does the supernet rank subnets as they rank when each is trained alone? And what decides how well it learns?
# Laptop: in the memorising regime, on the pairs of rules/learning.smk. Full: on its generated scenes.
import re

from edgeflownas.nas.search_space import load_search_space
from edgeflownas.studies.ablation import read_rows
from edgeflownas.studies.single_subnet import spread_over_cost

FIDELITY = f"{OUT}/fidelity.json"
ABLATION = f"{OUT}/ablation.json"
MEMORISE_DATA = ["--data_root", OVERFIT_SET]
if SIZE == "full":
    RANKED = {"study": GENERALISE_STUDY, "data": [], "input": LEARNING_SCENES_MADE}
    RANKED["supernet"] = GENERALISE_RUN
else:
    RANKED = {"study": MEMORISE_STUDY, "data": MEMORISE_DATA, "input": OVERFIT_SET_MADE, "supernet": MEMORISE_RUN}
RANKED_CONFIG = RANKED["study"].config
RANKED_SPACE = load_search_space(RANKED_CONFIG["network.search_space"])
try:
    SUBNETS = spread_over_cost(
        RANKED_SPACE,
        STUDIES.fidelity_subnets,
        *(RANKED_CONFIG[f"network.{key}"] for key in ("height", "width", "init_neurons")),
    )
    ROWS = read_rows(Path(study_file("ablation.yaml")))
except UserError as error:
    refuse(error)
DIGITS = ["".join(map(str, code)) for code in SUBNETS]
# Not the supernet's seed, 42: training alone shares nothing with it.
ALONE_SEEDS = range(1, STUDIES.fidelity_seeds + 1)
ABLATION_SEEDS = range(42, 42 + STUDIES.ablation_seeds)
SUPERNETS = {"strict_fairness": RANKED["supernet"], "expectation_fairness": run_dir("fidelity_expectation")}
EXPECTATION = {"train__supernet_mode": "expectation_fairness", "train__execution": "sequential"}
ABLATION_EPOCHS = 4


FIDELITY_COMMAND = [
    *("-m", "edgeflownas.studies.fidelity", "--space", RANKED_CONFIG["network.search_space"]),
    *("--alone", run_dir("fidelity_alone"), "--seeds", *map(str, ALONE_SEEDS), "--out", FIDELITY),
    *("--supernet", *(f"{name}={OUT}/fidelity/{name}.json" for name in SUPERNETS)),
]
ABLATION_COMMAND = [
    *("-m", "edgeflownas.studies.ablation", "--rows", study_file("ablation.yaml")),
    *("--runs", run_dir("ablation"), "--seeds", *map(str, ABLATION_SEEDS), "--out", ABLATION),
]
FIDELITY_REPORTED = DONE.of("fidelity_report", decides=FIDELITY_COMMAND, result=FIDELITY)
ABLATION_REPORTED = DONE.of("ablation_report", decides=ABLATION_COMMAND, result=ABLATION)


def changes_of(row):
    """A row's config changes; refused before the first row is trained if they are none."""
    try:
        resolve_config(MEMORISE_STUDY.config_path, {**MEMORISE_STUDY.overrides, **ROWS[row]})
    except UserError as error:
        refuse(f"config/ablation.yaml, row {row}: {str(error).removeprefix('command line: ')}")
    return ROWS[row]


wildcard_constraints:
    digits=r"\d+",
    seed=r"\d+",
    row="|".join(map(re.escape, ROWS)),
    fairness="|".join(SUPERNETS),


rule fidelity_space:
    output:
        f"{OUT}/fidelity/spaces/{{digits}}.yaml",
    params:
        command=lambda wildcards, output: [
            *("-m", "edgeflownas.studies.single_subnet", "--space", RANKED_CONFIG["network.search_space"]),
            *("--arch", wildcards.digits, "--out", output[0]),
        ],
    threads: 1
    resources:
        **asked(LIGHT),
    shell:
        "exec {PYTHON:q} {params.command:q}"


rule fidelity_alone:
    input:
        RANKED["input"],
        space=f"{OUT}/fidelity/spaces/{{digits}}.yaml",
    output:
        run_dir("fidelity_alone") + "/{digits}_seed{seed}/train_manifest.json",
    params:
        code=decides(RANKED["study"]),
        command=lambda wildcards, input, output: [
            *(*TRAIN, *RANKED["study"].config_flags(network__search_space=input.space), *RANKED["data"]),
            *("--seed", wildcards.seed, "--output_dir", str(Path(output[0]).parent)),
        ],
    log:
        f"{OUT}/logs/fidelity_alone/{{digits}}_seed{{seed}}.log",
    threads: TRAINING["threads"]
    resources:
        **asked(TRAINING | {"gpu": int(RANKED_CONFIG["train.require_gpu"])}),
    shell:
        "exec {PYTHON:q} {params.command:q} > {log:q} 2>&1"


rule fidelity_expectation:
    input:
        RANKED["input"],
    output:
        run_dir("fidelity_expectation") + "/train_manifest.json",
    params:
        code=decides(RANKED["study"]),
        command=[
            *(*TRAIN, *RANKED["study"].config_flags(**EXPECTATION), *RANKED["data"]),
            *("--output_dir", run_dir("fidelity_expectation")),
        ],
    log:
        f"{OUT}/logs/fidelity_expectation.log",
    threads: TRAINING["threads"]
    resources:
        **asked(TRAINING | {"gpu": int(RANKED_CONFIG["train.require_gpu"])}),
    shell:
        RUN


rule fidelity_supernet:
    input:
        lambda wildcards: f"{SUPERNETS[wildcards.fairness]}/train_manifest.json",
    output:
        f"{OUT}/fidelity/{{fairness}}.json",
    params:
        subnets=DIGITS,
        command=lambda wildcards, output: [
            *("-m", "edgeflownas.nas.supernet_eval", *RANKED["study"].config_flags(), *RANKED["data"]),
            *("--output_dir", SUPERNETS[wildcards.fairness], "--out", output[0], "--arch", *DIGITS),
        ],
    log:
        f"{OUT}/logs/fidelity_{{fairness}}.log",
    threads: TRAINING["threads"]
    resources:
        **asked(TRAINING),
    shell:
        "exec {PYTHON:q} {params.command:q} > {log:q} 2>&1"


rule fidelity_report:
    input:
        expand(run_dir("fidelity_alone") + "/{digits}_seed{seed}/train_manifest.json", digits=DIGITS, seed=ALONE_SEEDS),
        [f"{OUT}/fidelity/{name}.json" for name in SUPERNETS],
    output:
        touch(FIDELITY_REPORTED),
    params:
        command=FIDELITY_COMMAND,
    log:
        f"{OUT}/logs/fidelity.log",
    threads: LIGHT["threads"]
    resources:
        **asked(LIGHT),
    shell:
        RUN


rule ablation_run:
    input:
        OVERFIT_SET_MADE,
    output:
        run_dir("ablation") + "/{row}_seed{seed}/train_manifest.json",
    params:
        code=decides(MEMORISE_STUDY),
        changes=lambda wildcards: changes_of(wildcards.row),
        command=lambda wildcards, output: [
            *(*TRAIN, *MEMORISE_STUDY.config_flags(train__num_epochs=ABLATION_EPOCHS), "--debug_trace"),
            *(word for key, value in ROWS[wildcards.row].items() for word in ("--set", f"{key}={value}")),
            *(*MEMORISE_DATA, "--seed", wildcards.seed, "--output_dir", str(Path(output[0]).parent)),
        ],
    log:
        f"{OUT}/logs/ablation/{{row}}_seed{{seed}}.log",
    threads: TRAINING["threads"]
    resources:
        **asked(TRAINING),
    shell:
        "exec {PYTHON:q} {params.command:q} > {log:q} 2>&1"


rule ablation_report:
    input:
        expand(run_dir("ablation") + "/{row}_seed{seed}/train_manifest.json", row=ROWS, seed=ABLATION_SEEDS),
    output:
        touch(ABLATION_REPORTED),
    params:
        command=ABLATION_COMMAND,
    log:
        f"{OUT}/logs/ablation.log",
    threads: LIGHT["threads"]
    resources:
        **asked(LIGHT),
    shell:
        RUN
