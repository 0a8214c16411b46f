# Does the supernet rank subnets as they rank when each is trained alone? And what decides how well it learns? Both by
# config/learning_<fidelity.size>.yaml, in which a network learns within a minute.
import json
import re

from edgeflownas.studies.rows import read_rows, trains
from edgeflownas.gates.workflow.plan import yaml_text

FIDELITY = f"{OUT}/fidelity.json"
ABLATION = f"{OUT}/ablation.json"
CANDIDATES, CHOSEN = f"{OUT}/fidelity/candidates.json", f"{OUT}/fidelity/subnets.json"
RANKED_STUDY = study_plan(f"learning_{STUDIES.fidelity_size}.yaml")
RANKED = RANKED_STUDY.config_flags()
RANKED_SCENES = RANKED_STUDY.config
RANKED_SCENES_MADE = scenes_made("fidelity_scenes", RANKED_SCENES)
RANKED_GPU = TRAINING | {"gpu": int(RANKED_SCENES["train.require_gpu"])}
# Without a GPU networks this small are trained side by side, each on one core: two threads would wait for one another.
ALONE_THREADS = TRAINING["threads"] if RANKED_GPU["gpu"] else 1
ON_THEIR_CORES = "export TF_NUM_INTRAOP_THREADS={threads}; "
# Not the supernet's seed, 42: training alone shares nothing with it.
ALONE_SEEDS = range(1, STUDIES.fidelity_seeds + 1)
ABLATION_SEEDS = range(42, 42 + STUDIES.ablation_seeds)
ABLATED = {"train.num_epochs": 1, "train.steps_per_epoch": STUDIES.ablation_steps}


try:
    FIDELITY_ROWS, ABLATION_ROWS = (read_rows(Path(study_file(name))) for name in ("fidelity.yaml", "ablation.yaml"))
except UserError as error:
    refuse(error)


def are_configs(name, rows):
    """An input function that names no file: a table is refused before its first row is trained if a row is no config.

    Only where the table is asked for: the gates' own overrides may contradict a study's config.
    """

    def nothing(wildcards):
        for row, changes in rows.items():
            try:
                resolve_config(RANKED_STUDY.config_path, {**RANKED_STUDY.overrides, **changes})
            except UserError as error:
                refuse(f"config/{name}, row {row}: {str(error).removeprefix('command line: ')}")
        return []

    return nothing


def settings(changes):
    """Config changes as flags of a command."""
    return [word for key, value in changes.items() for word in ("--set", f"{key}={yaml_text(value)}")]


def done_file_at(rule, *names):
    """The pattern of done files of which a rule makes one for each set of wildcards."""
    return f"{OUT}/done/{rule}/" + "/".join(f"{{{name}}}" for name in names) + "/{done}"


# The supernets that are compared, and their rankings. The first one proposes the subnets.
FIRST = next(iter(FIDELITY_ROWS))


def supernet_run(row):
    """Where a row's supernet is trained: a row of evaluation alone uses the first one's."""
    return run_dir(f"fidelity/{row if trains(FIDELITY_ROWS[row]) else FIRST}")


def supernet_command(row):
    """What trains a row's supernet."""
    return study_run(supernet_run(row), *RANKED, *settings(FIDELITY_ROWS[row]))


def supernet_trained(row):
    """The done file of a row's supernet."""
    row = row if trains(FIDELITY_ROWS[row]) else FIRST
    return trained(f"fidelity_train/{row}", RANKED_STUDY, supernet_run(row), supernet_command(row), RANKED_SCENES_MADE)


def judge_subnets(run, changes, out, *subnets):
    """The command that evaluates subnets of a supernet."""
    command = ["-m", "edgeflownas.nas.supernet_eval", *RANKED, *settings(changes), "--quiet"]
    return [*command, "--output_dir", run, "--out", out, *subnets]


CANDIDATES_COMMAND = judge_subnets(supernet_run(FIRST), {}, CANDIDATES, "--cycles", str(STUDIES.fidelity_cycles))
CANDIDATES_JUDGED = DONE.of("fidelity_candidates", decides=[CANDIDATES_COMMAND, supernet_trained(FIRST)], result=CANDIDATES)
CHOOSE_COMMAND = [
    *("-m", "edgeflownas.studies.single_subnet", "choose", "--evaluated", CANDIDATES),
    *("--space", RANKED_SCENES["network.search_space"], "--count", str(STUDIES.fidelity_subnets), "--out", CHOSEN),
]
SUBNETS_CHOSEN = DONE.of("fidelity_subnets", decides=[CHOOSE_COMMAND, CANDIDATES_JUDGED], result=CHOSEN)


def chosen(wildcards):
    """The digits of the subnets that are trained alone, once they are chosen."""
    checkpoints.fidelity_subnets.get()
    return json.loads(Path(CHOSEN).read_text())["subnets"]


def alone_space(digits):
    """The search space that holds one subnet alone."""
    return f"{OUT}/fidelity/spaces/{digits}.yaml"


def alone_command(digits, seed):
    """What trains a subnet alone."""
    flags = RANKED_STUDY.config_flags(network__search_space=alone_space(digits), train__num_epochs=STUDIES.fidelity_epochs)
    run = run_dir(f"fidelity_alone/{digits}_seed{seed}")
    # All held-out scenes, once at its end: what the supernets are compared with must not be the noise of a few.
    return study_run(run, *flags, *settings({"eval.max_samples": None}), "--seed", str(seed))


def alone_trained(digits, seed):
    """The done file of a subnet trained alone."""
    run, command = run_dir(f"fidelity_alone/{digits}_seed{seed}"), alone_command(digits, seed)
    return trained(f"fidelity_alone/{digits}/{seed}", RANKED_STUDY, run, command, RANKED_SCENES_MADE)


def ranking(row):
    """What a row's supernet says of the chosen subnets."""
    return f"{OUT}/fidelity/{row}.json"


def ranked(row, subnets):
    """The done file of a row's ranking."""
    decides = [row, FIDELITY_ROWS[row], supernet_trained(row), subnets]
    return DONE.of(f"fidelity_rank/{row}", decides=decides, result=ranking(row))


FIDELITY_COMMAND = [
    *("-m", "edgeflownas.studies.fidelity", "--space", RANKED_SCENES["network.search_space"]),
    *("--alone", run_dir("fidelity_alone"), "--seeds", *map(str, ALONE_SEEDS), "--out", FIDELITY),
    *("--supernet", *(f"{row}={ranking(row)}" for row in FIDELITY_ROWS)),
]
FIDELITY_REPORTED = DONE.of("fidelity_report", decides=[FIDELITY_COMMAND, FIDELITY_ROWS, SUBNETS_CHOSEN], result=FIDELITY)


wildcard_constraints:
    digits=r"\d+",
    seed=r"\d+",
    done=r"\d+-[0-9a-f]+",
    row="|".join(map(re.escape, {**FIDELITY_ROWS, **ABLATION_ROWS})),


rule fidelity_scenes:
    output:
        touch(RANKED_SCENES_MADE),
    params:
        command=synthetic_command(RANKED_SCENES),
    log:
        f"{OUT}/logs/fidelity_scenes.log",
    threads: 2
    resources:
        **asked(LIGHT),
    shell:
        RUN


rule fidelity_train:
    input:
        RANKED_SCENES_MADE,
    output:
        touch(done_file_at("fidelity_train", "row")),
    params:
        command=lambda wildcards: supernet_command(wildcards.row),
    log:
        f"{OUT}/logs/fidelity_train/{{row}}/{{done}}.log",
    threads: ALONE_THREADS
    resources:
        **asked(RANKED_GPU),
    shell:
        ON_THEIR_CORES + QUIETLY


rule fidelity_candidates:
    input:
        supernet_trained(FIRST),
    output:
        touch(CANDIDATES_JUDGED),
    params:
        command=CANDIDATES_COMMAND,
    log:
        f"{OUT}/logs/fidelity_candidates.log",
    threads: ALONE_THREADS
    resources:
        **asked(RANKED_GPU),
    shell:
        ON_THEIR_CORES + QUIETLY


checkpoint fidelity_subnets:
    input:
        CANDIDATES_JUDGED,
    output:
        touch(SUBNETS_CHOSEN),
    params:
        command=CHOOSE_COMMAND,
    log:
        f"{OUT}/logs/fidelity_subnets.log",
    threads: 1
    resources:
        **asked(LIGHT),
    shell:
        RUN


rule fidelity_space:
    output:
        alone_space("{digits}"),
    params:
        command=lambda wildcards, output: [
            *("-m", "edgeflownas.studies.single_subnet", "alone", "--space", RANKED_SCENES["network.search_space"]),
            *("--arch", wildcards.digits, "--out", output[0]),
        ],
    threads: 1
    resources:
        **asked(LIGHT),
    shell:
        "exec {PYTHON:q} {params.command:q}"


rule fidelity_alone:
    input:
        RANKED_SCENES_MADE,
        alone_space("{digits}"),
    output:
        touch(done_file_at("fidelity_alone", "digits", "seed")),
    params:
        command=lambda wildcards: alone_command(wildcards.digits, wildcards.seed),
    log:
        f"{OUT}/logs/fidelity_alone/{{digits}}_seed{{seed}}/{{done}}.log",
    threads: ALONE_THREADS
    resources:
        **asked(RANKED_GPU),
    shell:
        ON_THEIR_CORES + QUIETLY


rule fidelity_rank:
    input:
        lambda wildcards: supernet_trained(wildcards.row),
        SUBNETS_CHOSEN,
    output:
        touch(done_file_at("fidelity_rank", "row")),
    params:
        command=lambda wildcards: judge_subnets(
            supernet_run(wildcards.row),
            {key: value for key, value in FIDELITY_ROWS[wildcards.row].items() if key.startswith("eval.")},
            ranking(wildcards.row),
            "--arch",
            *chosen(wildcards),
        ),
    log:
        f"{OUT}/logs/fidelity_rank/{{row}}/{{done}}.log",
    threads: ALONE_THREADS
    resources:
        **asked(RANKED_GPU),
    shell:
        ON_THEIR_CORES + QUIETLY


rule fidelity_report:
    input:
        are_configs("fidelity.yaml", FIDELITY_ROWS),
        SUBNETS_CHOSEN,
        # Named here too, because the rankings are unknown, and a core idle, until the first supernet has chosen subnets.
        [supernet_trained(row) for row in FIDELITY_ROWS],
        lambda wildcards: [alone_trained(digits, seed) for digits in chosen(wildcards) for seed in ALONE_SEEDS],
        lambda wildcards: [ranked(row, chosen(wildcards)) for row in FIDELITY_ROWS],
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


# The ablation: many rows, each with a small budget.


def ablation_command(row, seed):
    """What trains a row of the ablation."""
    flags = [*RANKED, *settings({**ABLATED, **ABLATION_ROWS[row]}), "--debug_trace", "--seed", str(seed)]
    return study_run(run_dir(f"ablation/{row}_seed{seed}"), *flags)


def ablation_trained(row, seed):
    """The done file of a row of the ablation."""
    run, command = run_dir(f"ablation/{row}_seed{seed}"), ablation_command(row, seed)
    return trained(f"ablation_run/{row}/{seed}", RANKED_STUDY, run, command, RANKED_SCENES_MADE)


ABLATION_COMMAND = [
    *("-m", "edgeflownas.studies.ablation", "--rows", study_file("ablation.yaml")),
    *("--runs", run_dir("ablation"), "--seeds", *map(str, ABLATION_SEEDS), "--out", ABLATION),
]
ABLATION_REPORTED = DONE.of("ablation_report", decides=[ABLATION_COMMAND, ABLATION_ROWS, ABLATED], result=ABLATION)


rule ablation_run:
    input:
        RANKED_SCENES_MADE,
    output:
        touch(done_file_at("ablation_run", "row", "seed")),
    params:
        command=lambda wildcards: ablation_command(wildcards.row, wildcards.seed),
    log:
        f"{OUT}/logs/ablation/{{row}}_seed{{seed}}/{{done}}.log",
    threads: ALONE_THREADS
    resources:
        **asked(RANKED_GPU),
    shell:
        ON_THEIR_CORES + QUIETLY


rule ablation_report:
    input:
        are_configs("ablation.yaml", ABLATION_ROWS),
        [ablation_trained(row, seed) for row in ABLATION_ROWS for seed in ABLATION_SEEDS],
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
