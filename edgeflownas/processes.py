"""Owners of attempts, as host and process (or Slurm job), and whether they are still running."""

import os
import shutil
import socket
from pathlib import Path
from typing import Any

from edgeflownas.slurm import ENDED, SlurmSilent, slurm_job_state


def this_process(pid: int | None = None) -> dict[str, Any]:
    """A process of this host, identified even if its number is reused, with the Slurm job it runs in."""
    pid = os.getpid() if pid is None else pid
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "pid_started": _start_ticks(pid),
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
    }


def living(owner: dict[str, Any] | None) -> dict[str, Any] | None:
    """The owner, unless it has certainly ended.

    If that cannot be determined (Slurm does not answer, or it is a process of another host), `doubt` is added with the
    reason: it may still be running, so nothing else may be started.
    """
    if owner is None:
        return None
    if owner["slurm_job_id"] is not None and shutil.which("scontrol"):
        try:
            state = slurm_job_state(owner["slurm_job_id"])
        except SlurmSilent as silence:
            return owner | {"doubt": str(silence)}
        return None if state is None or state in ENDED else owner
    if owner["host"] != socket.gethostname():
        return owner | {"doubt": "it is on another host, where only that host can check it"}
    return owner if _process_runs(owner) else None


def is_alive(owner: dict[str, Any] | None) -> bool:
    """Whether the owner still runs, or may still run (see `living`)."""
    return living(owner) is not None


def describe(owner: dict[str, Any]) -> str:
    """Where to look for it, and any doubt about it: `Slurm job 17 on host tuna`, `process 4711 on host tuna`."""
    what = f"process {owner['pid']}" if owner["slurm_job_id"] is None else f"Slurm job {owner['slurm_job_id']}"
    doubt = f"; whether it still runs is not known: {owner['doubt']}" if "doubt" in owner else ""
    return f"{what} on host {owner['host']}{doubt}"


def _start_ticks(pid: int) -> int | None:
    """Start time of a living process in clock ticks since boot; None if it is gone, a zombie, or /proc is not there."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _process_runs(owner: dict[str, Any]) -> bool:
    if owner["pid_started"] is not None:
        return _start_ticks(owner["pid"]) == owner["pid_started"]
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
