# It learns: six pairs are memorised, and generated scenes are learned with held-out ones for the evaluation.
from edgeflownas.studies.settings import study_settings

try:
    STUDIES = study_settings(PLAN.study_overrides)
except UserError as error:
    refuse(error)

LEARNING = f"{OUT}/learning.json"
OVERFIT_SET = f"{OUT}/learning/data"
MEMORISE_RUN = run_dir("learning_memorise")
GENERALISE_RUN = run_dir("learning_generalise")
MEMORISE_STUDY = study_plan("learning_memorise.yaml")
MEMORISE = MEMORISE_STUDY.config_flags()
SIZE = STUDIES.size
GENERALISE_STUDY = study_plan(f"learning_{SIZE}.yaml")
GENERALISE = GENERALISE_STUDY.config_flags()
SCENES = GENERALISE_STUDY.config
OVERFIT_SET_COMMAND = ["-m", "edgeflownas.studies.overfit_set", "--source", str(DATA_ROOT), "--out", OVERFIT_SET, "--replace"]
OVERFIT_SET_MADE = DONE.of("overfit_set", decides=[OVERFIT_SET_COMMAND, data_state()], result=f"{OVERFIT_SET}/train")
LEARNING_SCENES_MADE = scenes_made("learning_scenes", SCENES)
LEARNED = DONE.of("learning_judge", decides=[MEMORISE_RUN, GENERALISE_RUN, SIZE], result=LEARNING)


rule overfit_set:
    input:
        SCENES_MADE,
    output:
        touch(OVERFIT_SET_MADE),
    params:
        command=lambda wildcards: OVERFIT_SET_COMMAND if data_root() else [],
    log:
        f"{OUT}/logs/overfit_set.log",
    threads: 1
    resources:
        **asked(LIGHT),
    shell:
        RUN


rule learning_memorise:
    input:
        OVERFIT_SET_MADE,
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
        touch(LEARNING_SCENES_MADE),
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
        LEARNING_SCENES_MADE,
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


rule learning_judge:
    input:
        f"{MEMORISE_RUN}/train_manifest.json",
        f"{GENERALISE_RUN}/train_manifest.json",
        swapped=f"{OUT}/learning/swapped.json",
    output:
        touch(LEARNED),
    params:
        command=lambda wildcards, input: [
            *("-m", "edgeflownas.studies.learning", "--memorise", MEMORISE_RUN, "--swapped", input.swapped),
            *("--generalise", GENERALISE_RUN, "--out", LEARNING),
            *(["--claim"] if SIZE == "full" else []),
        ],
    log:
        f"{OUT}/logs/learning.log",
    threads: LIGHT["threads"]
    resources:
        **asked(LIGHT),
    shell:
        RUN
