"""How benchmarks measure: runs that take turns, medians, and what the machine was."""

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from edgeflownas.provenance import git_state, host, package_versions


def alternate(ways: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Run every way once per round, so that other load on the machine affects all of them; seconds per run."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def alternate_with_work(
    ways: Mapping[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """As `alternate`, and the seconds that processors worked for all threads of a run, which no neighbour adds to."""
    work: dict[str, list[float]] = {name: [] for name in ways}

    def counted(name: str) -> None:
        started = time.process_time()
        ways[name]()
        work[name].append(time.process_time() - started)

    return alternate({name: partial(counted, name) for name in ways}, rounds), work


def median_ratio(seconds: Mapping[str, list[float]], way: str, against: str) -> float:
    """Median over rounds of one way's time over another's in the same round."""
    return statistics.median(a / b for a, b in zip(seconds[way], seconds[against], strict=True))


class Apart:
    """One way in a process of its own, forked from this one: it takes its turns, and its peak memory is its own."""

    def __init__(self, prepare: Callable[[], Callable[[], Any]]) -> None:
        """Fork a process that calls `prepare` at its first turn, and what that returns at every turn."""
        # Forked, it starts with everything imported. TensorFlow tolerates that as long as it has computed nothing.
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=self._serve, args=(theirs, prepare), daemon=True)
        self._process.start()
        theirs.close()
        self.peak_mb: float | None = None

    @staticmethod
    def _serve(pipe: Connection, prepare: Callable[[], Callable[[], Any]]) -> None:
        run = None
        while pipe.recv():
            run = run or prepare()
            run()
            pipe.send(peak_memory_mb())

    def __call__(self) -> None:
        """Let it take a turn; `peak_mb` is its peak memory so far, MiB.

        Raises:
            EOFError: its process died; what it had to say is on stderr.
        """
        self._pipe.send(True)
        self.peak_mb = self._pipe.recv()


def seconds_since_process_start() -> float:
    """Wall-clock seconds since the interpreter was started (Linux)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")


def peak_memory_mb() -> float:
    """Largest memory of this process so far, MiB: on the GPU if it computes there, else resident."""
    if "jax" in sys.modules and (found := sys.modules["jax"].local_devices()[0].memory_stats()):
        return round(found["peak_bytes_in_use"] / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


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
