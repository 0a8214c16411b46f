# Gate 4, delivery: a complete short run, its manifest and report, and the launch scripts of the long run.
from edgeflownas.gates.requirements import SHORT_RUN_EPOCHS

GATE4_RUN = run_dir("gate4")
SHORT_RUN = [*TRAIN, "--gpu_device", 0, "--num_epochs", SHORT_RUN_EPOCHS, "--batch_size", CONFIG["workflow.gate4_batch_size"]]
SHORT_RUN += ["--lr", "1e-4", *WITH_DATA, "--fast_mode", "--output_dir", GATE4_RUN]
CHECK_MANIFEST = ["-m", "edgeflownas.nas.check_manifest", "--path", f"{GATE4_RUN}/train_manifest.json"]
REPORT = ["-m", "edgeflownas.reporting.training_report", "--run_dir", GATE4_RUN]
# The long run, as `snakemake supernet` and both launch scripts run it.
SUPERNET = [*TRAIN, *WITH_DATA, "--output_dir", run_dir("supernet"), "--resume", "auto"]
LAUNCH = ["-m", "edgeflownas.reporting.launch_scripts", "--out", f"{GATE4_RUN}/launch", "--cpus", LONG["threads"]]
LAUNCH += ["--mem_mb", LONG["mem_mb"], "--minutes", LONG["runtime"], "--gpus", LONG["gpu"]]
# What the profile says of the site, by the names of Snakemake's Slurm plugin, stands in the cluster's script as well.
SITE = {"slurm_account": "--account", "slurm_partition": "--partition"}


def launch_scripts(resources):
    """The command that renders them."""
    site = [f"--sbatch={option}={resources.get(name)}" for name, option in SITE.items() if resources.get(name)]
    return recorded("gate4", "launch_scripts", *LAUNCH, *site, "--", "python", *SUPERNET)


COMMANDS["gate4"] = {
    "train": recorded("gate4", "train", *SHORT_RUN),
    "check_manifest": recorded("gate4", "check_manifest", *CHECK_MANIFEST),
    "launch_scripts": launch_scripts,
    "training_report": recorded("gate4", "training_report", *REPORT),
}
INPUTS["gate4"] = [DATA_INDEX]
RESOURCES["gate4"] = TRAINING
