"""A folder to run the workflow in, as a user does, with one of the profiles."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import PROJECT_ROOT

# The smallest config that passes the gates: gate 3 wants 30 steps in an epoch. The long run has enough epochs to meet
# a time limit of one minute on a fast machine too (Slurm looks twice a minute), and learns its few scenes by heart: one
# that learns nothing ends as failed.
CONFIG = """
target: arm_high_end
network: {height: 45, width: 60, init_neurons: 4}
train: {batch_size: 2, steps_per_epoch: 30, num_epochs: EPOCHS, early_stop_patience: 1000, lr: 3e-3}
eval: {batch_size: 8, split: train}
fast_mode: {steps_per_epoch: 3, max_samples: 3}
"""
EPOCHS = 72
# Snakemake's executor, installed apart: in the environment itself it would slow every start of Snakemake.
PLUGIN_FOLDER = os.environ.get("EDGEFLOWNAS_SLURM_PLUGIN")


class Workplace:
    """Snakemake in `root`; `slurm` holds the variables that lead Slurm's clients to the test's cluster."""

    def __init__(self, root: Path, profile: str, data_root: Path, slurm: dict[str, str]) -> None:
        self.root = root
        self.profile = profile
        self.data_root = data_root
        self.environment = os.environ | slurm | {"PYTHONDONTWRITEBYTECODE": "1"}
        if PLUGIN_FOLDER:
            self.environment["PYTHONPATH"] = PLUGIN_FOLDER
        self.cancelled: tuple[int, str] | None = None
        self.gate_jobs: list[str] = []
        (root / profile).symlink_to(PROJECT_ROOT / "profiles" / profile)
        (root / "tiny.yaml").write_text(CONFIG.replace("EPOCHS", str(EPOCHS)))

    def begin(self, target: str, *arguments: str, config: str = "") -> subprocess.Popen[bytes]:
        """Start Snakemake and return at once."""
        command = [sys.executable, "-m", "snakemake", target, "--profile", self.profile]
        command += ["--snakefile", str(PROJECT_ROOT / "Snakefile"), "--configfile", "tiny.yaml", *arguments]
        command += ["--config", f"data_root={self.data_root}", *([config] if config else [])]
        with open(self.root / "snakemake.log", "wb") as log:
            return subprocess.Popen(
                command, cwd=self.root, env=self.environment, stdout=log, stderr=subprocess.STDOUT, process_group=0
            )

    def output(self) -> str:
        """What the last Snakemake wrote."""
        return (self.root / "snakemake.log").read_text()

    def finish(self, process: subprocess.Popen[bytes], minutes: float = 15) -> tuple[int, str]:
        """Wait for a Snakemake: its exit code and output."""
        try:
            process.wait(timeout=60 * minutes)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(timeout=60)
        return process.returncode, self.output()

    def run(self, target: str, *arguments: str, config: str = "") -> tuple[int, str]:
        """Run Snakemake: exit code and output."""
        return self.finish(self.begin(target, *arguments, config=config))

    def slurm(self, *command: str) -> str:
        """Ask one of Slurm's clients."""
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=True
        ).stdout

    def wait_for_job(self, stage: str) -> str:
        """The number of a gate's job, once a command is being recorded in it."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if jobs := self.jobs_of(stage):
                return jobs.pop()
            time.sleep(0.2)
        raise AssertionError(f"no job recorded a command:\n{self.output()}")

    def jobs_of(self, gate: str) -> set[str]:
        """The Slurm jobs in which a gate's commands were recorded."""
        records = self.outputs.glob(f"gates/{gate}/attempts/*/commands/*.json")
        return {json.loads(path.read_text())["process"]["slurm_job_id"] for path in records}

    def cancel(self, job: str) -> None:
        """`scancel`, as a person does."""
        self.slurm("scancel", job)

    def wait_until_ended(self, job: str, minutes: float = 10) -> str:
        """Wait for a job, and return the word in which Slurm says how it ended."""
        deadline = time.monotonic() + 60 * minutes
        while time.monotonic() < deadline:
            state = self.state(job)
            if state not in ("PENDING", "RUNNING", "COMPLETING"):
                return state
            time.sleep(0.5)
        raise AssertionError(f"job {job} is still {state}")

    def state(self, job: str) -> str:
        """A job's state."""
        found = re.search(r"JobState=(\w+)", self.slurm("scontrol", "show", "job", job))
        assert found
        return found.group(1)

    def submitted(self) -> list[str]:
        """The jobs that the last Snakemake submitted."""
        return re.findall(r"submitted with SLURM jobid (\d+)", self.output())

    @property
    def outputs(self) -> Path:
        """Where gates publish."""
        return self.root / "outputs/supernet"

    def run_directory(self, name: str) -> Path:
        """A run directory."""
        return self.outputs / "runs" / name

    def read(self, path: str) -> Any:
        """A JSON file below the output folder."""
        return json.loads((self.outputs / path).read_text())

    def attempts(self, stage: str) -> list[dict[str, Any]]:
        """The reports of all attempts at a gate, or at the long run."""
        return [
            json.loads(path.read_text()) for path in sorted(self.outputs.glob(f"gates/{stage}/attempts/*/report.json"))
        ]


def processes_of(jobs: list[str]) -> list[int]:
    """Processes that still live and were started by one of these Slurm jobs."""
    marks = {f"SLURM_JOB_ID={job}".encode() for job in jobs}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if marks & set(environment):
            found.append(int(folder.name))
    return found
