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
STUDY_GPU = TRAINING | {"gpu": int(SCENES["train.require_gpu"])}
OVERFIT_SET_COMMAND = ["-m", "edgeflownas.studies.overfit_set", "--source", str(DATA_ROOT), "--out", OVERFIT_SET, "--replace"]
if CONFIG["data.layout"] != "auto":
    OVERFIT_SET_COMMAND += ["--layout", CONFIG["data.layout"]]
OVERFIT_SET_MADE = DONE.of("overfit_set", decides=[OVERFIT_SET_COMMAND, data_state()], result=f"{OVERFIT_SET}/train")
LEARNING_SCENES_MADE = scenes_made("learning_scenes", SCENES)


def trained(rule, study, run, command, *data):
    """The done file of a rule that trains a run of a study. A killed one continues (`--resume same`)."""
    return DONE.of(rule, decides=[command, decides(study), *data], result=f"{run}/train_manifest.json")


def study_run(run, *flags):
    """The command that trains a run of a study."""
    return [*TRAIN, *flags, "--output_dir", run, "--resume", "same"]


MEMORISE_COMMAND = study_run(MEMORISE_RUN, *MEMORISE, "--data_root", OVERFIT_SET)
MEMORISED = trained("learning_memorise", MEMORISE_STUDY, MEMORISE_RUN, MEMORISE_COMMAND, OVERFIT_SET_MADE)
GENERALISE_COMMAND = study_run(GENERALISE_RUN, *GENERALISE)
GENERALISED = trained("learning_generalise", GENERALISE_STUDY, GENERALISE_RUN, GENERALISE_COMMAND)
SWAPPED_COMMAND = [
    *("-m", "edgeflownas.nas.supernet_eval", *MEMORISE, "--set", "eval.split=val", "--quiet"),
    *("--data_root", OVERFIT_SET, "--output_dir", MEMORISE_RUN, "--out", f"{OUT}/learning/swapped.json"),
]
SWAPPED = DONE.of("learning_swapped", decides=[SWAPPED_COMMAND, MEMORISED], result=f"{OUT}/learning/swapped.json")
# The generalising run on other data: those of the gates, of both splits, at its own size.
TRANSFERS = {split: f"{OUT}/learning/transfer_{split}.json" for split in SPLITS}


def transfer_command(split):
    """What evaluates the generalising run on a split of the gates' data."""
    return [
        *("-m", "edgeflownas.nas.supernet_eval", *GENERALISE, "--set", f"eval.split={split}", "--quiet"),
        *("--set", "data.source=folder", "--data_root", str(DATA_ROOT)),
        *("--output_dir", GENERALISE_RUN, "--out", TRANSFERS[split]),
    ]


TRANSFERRED = {
    split: DONE.of(f"learning_transfer/{split}", decides=[transfer_command(split), GENERALISED, data_state()], result=path)
    for split, path in TRANSFERS.items()
}
LEARNED_COMMAND = [
    *("-m", "edgeflownas.studies.learning", "--memorise", MEMORISE_RUN, "--swapped", f"{OUT}/learning/swapped.json"),
    *("--generalise", GENERALISE_RUN, "--transfer", *TRANSFERS.values(), "--out", LEARNING),
]
LEARNED = DONE.of("learning_judge", decides=[LEARNED_COMMAND, MEMORISED, GENERALISED, SWAPPED], result=LEARNING)


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
        touch(MEMORISED),
    params:
        command=MEMORISE_COMMAND,
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
        MEMORISED,
    output:
        touch(SWAPPED),
    params:
        command=SWAPPED_COMMAND,
    log:
        f"{OUT}/logs/learning_swapped.log",
    threads: TRAINING["threads"]
    resources:
        **asked(TRAINING),
    shell:
        QUIETLY


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
        touch(GENERALISED),
    params:
        command=GENERALISE_COMMAND,
    log:
        f"{OUT}/logs/learning_generalise.log",
    benchmark:
        f"{OUT}/benchmarks/learning_generalise.tsv"
    threads: TRAINING["threads"]
    resources:
        **asked(STUDY_GPU),
    shell:
        RUN


for split in SPLITS:

    rule:
        name:
            f"learning_transfer_{split}"
        input:
            GENERALISED,
            SCENES_MADE,
        output:
            touch(TRANSFERRED[split]),
        params:
            command=lambda wildcards, split=split: transfer_command(split) if data_root() else [],
        log:
            f"{OUT}/logs/learning_transfer_{split}.log",
        threads: TRAINING["threads"]
        resources:
            **asked(STUDY_GPU),
        shell:
            QUIETLY


rule learning_judge:
    input:
        MEMORISED,
        GENERALISED,
        SWAPPED,
        list(TRANSFERRED.values()),
    output:
        touch(LEARNED),
    params:
        command=LEARNED_COMMAND,
    log:
        f"{OUT}/logs/learning.log",
    threads: LIGHT["threads"]
    resources:
        **asked(LIGHT),
    shell:
        RUN
