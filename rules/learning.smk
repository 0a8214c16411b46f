# It learns: six pairs are memorised, and generated scenes are learned with held-out ones to be judged on.
from edgeflownas.studies.settings import study_settings

try:
    STUDIES = study_settings(PLAN.study_overrides)
except UserError as error:
    refuse(error)

LEARNING = f"{OUT}/learning/passed.json"
OVERFIT_SET = f"{OUT}/learning/data"
MEMORISE_RUN = run_dir("learning_memorise")
GENERALISE_RUN = run_dir("learning_generalise")
MEMORISE_STUDY = study_plan("learning_memorise.yaml")
MEMORISE = MEMORISE_STUDY.config_flags()
SIZE = STUDIES.size
GENERALISE_STUDY = study_plan(f"learning_{SIZE}.yaml")
GENERALISE = GENERALISE_STUDY.config_flags()
SCENES = GENERALISE_STUDY.config


rule overfit_set:
    input:
        f"{data_root()}/synthetic.json" if SYNTHETIC else [],
    output:
        directory(OVERFIT_SET),
    params:
        command=["-m", "edgeflownas.studies.overfit_set", "--source", data_root(), "--out", OVERFIT_SET],
        folder=[] if SYNTHETIC else folder_state,
    log:
        f"{OUT}/logs/overfit_set.log",
    threads: 1
    resources:
        **asked(LIGHT),
    shell:
        RUN


rule learning_memorise:
    input:
        OVERFIT_SET,
    output:
        f"{MEMORISE_RUN}/train_manifest.json",
    params:
        code=decides(MEMORISE_STUDY),
        command=[*TRAIN, *MEMORISE, "--data_root", OVERFIT_SET, "--output_dir", MEMORISE_RUN],
    log:
        f"{OUT}/logs/learning_memorise.log",
    benchmark:
        f"{OUT}/benchmarks/learning_memorise.tsv"
    threads: TRAINING["threads"]
    resources:
        **asked(TRAINING),
    shell:
        RUN


rule learning_swapped:
    input:
        f"{MEMORISE_RUN}/train_manifest.json",
    output:
        f"{OUT}/learning/swapped.json",
    params:
        command=lambda wildcards, output: [
            *("-m", "edgeflownas.nas.supernet_eval", *MEMORISE, "--set", "eval.split=val"),
            *("--data_root", OVERFIT_SET, "--output_dir", MEMORISE_RUN, "--out", output[0]),
        ],
    log:
        f"{OUT}/logs/learning_swapped.log",
    threads: TRAINING["threads"]
    resources:
        **asked(TRAINING),
    shell:
        "exec {PYTHON:q} {params.command:q} > {log:q} 2>&1"


rule learning_scenes:
    output:
        update(f"{SCENES['data.root']}/synthetic.json"),
    params:
        command=synthetic_command(SCENES),
    log:
        f"{OUT}/logs/learning_scenes.log",
    threads: 2
    resources:
        **asked(LIGHT),
    shell:
        RUN


rule learning_generalise:
    input:
        f"{SCENES['data.root']}/synthetic.json",
    output:
        f"{GENERALISE_RUN}/train_manifest.json",
    params:
        code=decides(GENERALISE_STUDY),
        command=[*TRAIN, *GENERALISE, "--output_dir", GENERALISE_RUN],
    log:
        f"{OUT}/logs/learning_generalise.log",
    benchmark:
        f"{OUT}/benchmarks/learning_generalise.tsv"
    threads: TRAINING["threads"]
    resources:
        **asked(TRAINING | {"gpu": int(SCENES["train.require_gpu"])}),
    shell:
        RUN


# The report itself is not declared: it stays when a criterion is not met.
rule learning_judge:
    input:
        f"{MEMORISE_RUN}/train_manifest.json",
        f"{GENERALISE_RUN}/train_manifest.json",
        swapped=f"{OUT}/learning/swapped.json",
    output:
        LEARNING,
    params:
        command=lambda wildcards, input, output: [
            *("-m", "edgeflownas.studies.learning", "--memorise", MEMORISE_RUN, "--swapped", input.swapped),
            *("--generalise", GENERALISE_RUN, "--out", f"{OUT}/learning.json", "--ticket", output[0]),
            *(["--claim"] if SIZE == "full" else []),
        ],
    log:
        f"{OUT}/logs/learning.log",
    threads: LIGHT["threads"]
    resources:
        **asked(LIGHT),
    shell:
        RUN
