"""How benchmarks measure: alternating runs in one process, medians, and what the machine was."""

import ctypes
import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeflownas.provenance import git_state, host, package_versions


def alternate(ways: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Run every way once per round, so that a noisy neighbour meets all of them; seconds per run."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def median_ratio(seconds: Mapping[str, list[float]], way: str, against: str) -> float:
    """Median over rounds of one way's time over another's in the same round."""
    return statistics.median(a / b for a, b in zip(seconds[way], seconds[against], strict=True))


def working_memory_mb(run: Callable[[], Any]) -> float:
    """By how much the process's memory grows at most while `run` runs, MiB (Linux; NaN elsewhere)."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        before = _status_mb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    except (OSError, AttributeError):
        return float("nan")
    run()
    return round(_status_mb("VmHWM") - before, 1)


def _status_mb(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {key}")


def seconds_since_process_start() -> float:
    """Wall-clock seconds since the interpreter was started (Linux)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")


def circumstances() -> dict[str, Any]:
    """Machine, versions, commit, and how busy the machine was when this was asked."""
    versions = package_versions()
    names = ("python", "keras", "tensorflow", "jax", "numpy")
    return {
        "host": host(),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {name: versions[name] for name in names if name in versions},
        "git": git_state(),
    }
