"""Who is still at work: owners of attempts as host and process (or Slurm job), and whether they live."""

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any


def this_process(pid: int | None = None) -> dict[str, Any]:
    """A process of this host in a form that survives reuse of its number, with the Slurm job it runs in."""
    pid = os.getpid() if pid is None else pid
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "pid_started": _start_ticks(pid),
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
    }


def is_alive(owner: dict[str, Any] | None) -> bool:
    """Whether the owner still runs. One on another host, outside Slurm, counts as alive: nobody here can tell."""
    if owner is None:
        return False
    if owner["slurm_job_id"] is not None and shutil.which("squeue"):
        return _slurm_job_runs(owner["slurm_job_id"])
    if owner["host"] != socket.gethostname():
        return True
    if owner["pid_started"] is not None:
        return _start_ticks(owner["pid"]) == owner["pid_started"]
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def describe(owner: dict[str, Any]) -> str:
    """Where to look for it: `Slurm job 17` or `process 4711 on host tuna`."""
    if owner["slurm_job_id"] is not None:
        return f"Slurm job {owner['slurm_job_id']} on host {owner['host']}"
    return f"process {owner['pid']} on host {owner['host']}"


def _start_ticks(pid: int) -> int | None:
    """Start time of a living process in clock ticks since boot; None if it is gone, a zombie, or /proc is not there."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _slurm_job_runs(job_id: str) -> bool:
    answer = subprocess.run(
        ["squeue", "--noheader", "--jobs", job_id, "--format", "%T"], capture_output=True, text=True, check=False
    )
    return bool(answer.stdout.strip())
