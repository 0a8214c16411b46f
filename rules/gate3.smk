# Gate 3, training loop: 30 traced steps twice, five epochs with a resume after the third, and an evaluation.
from edgeflownas.gates.requirements import (
    EPOCHS_AFTER_RESUME,
    EPOCHS_BEFORE_RESUME,
    RECALIBRATION_BATCHES,
    TRACED_STEPS,
)

STEPS = [*TRAIN, *WITH_DATA, "--max_epochs", 1, "--max_steps", TRACED_STEPS, "--debug_trace"]
EPOCHS_RUN = run_dir("gate3_epochs")
EPOCHS = [*TRAIN, *WITH_DATA, "--debug_trace", "--output_dir", EPOCHS_RUN]
EVALUATE = ["-m", "edgeflownas.nas.supernet_eval", *WITH_DATA, "--eval_only"]
EVALUATE += ["--bn_recal_batches", RECALIBRATION_BATCHES]

COMMANDS["gate3"] = {
    "trace": recorded("gate3", "trace", *STEPS, "--output_dir", run_dir("gate3_trace")),
    "trace_repeat": recorded("gate3", "trace_repeat", *STEPS, "--output_dir", run_dir("gate3_trace_repeat")),
    "epochs": recorded("gate3", "epochs", *EPOCHS, "--max_epochs", EPOCHS_BEFORE_RESUME),
    "resume": recorded("gate3", "resume", *EPOCHS, "--resume", "--max_epochs", EPOCHS_AFTER_RESUME),
    "evaluate": recorded("gate3", "evaluate", *EVALUATE, "--checkpoint", "last", "--output_dir", EPOCHS_RUN),
}
INPUTS["gate3"] = [DATA_INDEX]
RESOURCES["gate3"] = TRAINING
