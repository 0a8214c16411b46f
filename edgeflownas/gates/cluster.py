"""What Slurm can give, asked before anything is submitted: an impossible wish ends with one sentence, not in the queue.

Slurm refuses some wishes at submission, in words of its own, and lets others wait for ever.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeflownas.errors import UserError
from edgeflownas.processes import SLURM_PATIENCE_S

# Partition (the default one with a star), time limit, cores, memory in MB, generic resources: of nodes that are alike.
SINFO = ("sinfo", "--noheader", "--exact", "--format", "%P|%l|%c|%m|%G")
# How jobs end that were doing well: the long run goes on after these, and after no others.
CUT_SHORT = frozenset({"TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL"})


@dataclass(frozen=True)
class Nodes:
    """Nodes of one partition that are alike. `minutes` is the partition's time limit, None without one."""

    partition: str
    default: bool
    minutes: int | None
    cpus: int
    mem_mb: int
    gpus: Mapping[str, int]


@dataclass(frozen=True)
class Wish:
    """What one job asks for on one node. `partition` is None where the default one is meant."""

    name: str
    partition: str | None
    minutes: int
    cpus: int
    mem_mb: int
    gpus: int
    gpu_model: str | None = None


def parse_sinfo(text: str) -> list[Nodes]:
    """The lines that `SINFO` prints."""
    kinds = []
    for line in text.splitlines():
        partition, limit, cpus, memory, generic = line.split("|")
        gpus: dict[str, int] = {}
        for model, count in re.findall(r"(?:^|,)gpu:(?:([^:,(]+):)?(\d+)", generic):
            gpus[model] = gpus.get(model, 0) + int(count)
        kinds.append(
            Nodes(partition.rstrip("*"), partition.endswith("*"), minutes_of(limit), int(cpus), int(memory), gpus)
        )
    return kinds


def minutes_of(limit: str) -> int | None:
    """Slurm's `days-hours:minutes:seconds`, of which the front may be missing, in whole minutes; None for infinite."""
    if limit in ("infinite", "UNLIMITED", "n/a"):
        return None
    days, _, clock = limit.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return int(days or 0) * 24 * 60 + seconds // 60


def wishes(jobs: Iterable[tuple[str, int, Mapping[str, Any]]]) -> list[Wish]:
    """One wish per Slurm job, in the order of their names: of the gate or rule, the threads and resources of each step.

    The steps of a gate run one after another in one Slurm job: their times add up, of all else it has the largest.
    """
    merged: dict[str, Wish] = {}
    for name, threads, resources in jobs:
        before = merged.get(name, Wish(name, None, 0, 1, 0, 0))
        partition, model = resources.get("slurm_partition"), resources.get("gpu_model")
        merged[name] = Wish(
            name,
            before.partition if partition is None else str(partition),
            before.minutes + int(resources.get("runtime", 0)),
            max(before.cpus, threads, int(resources.get("cpus_per_task", 1))),
            max(before.mem_mb, int(resources.get("mem_mb", 0))),
            max(before.gpus, int(resources.get("gpu", 0))),
            before.gpu_model if model is None else str(model),
        )
    return [merged[name] for name in sorted(merged)]


def refusal(wish: Wish, cluster: list[Nodes]) -> str | None:
    """Why no node of this cluster can ever run such a job, and what to do; None if one can."""
    names = sorted({nodes.partition for nodes in cluster})
    # A job may name several partitions; one that fits is enough.
    asked = wish.partition.split(",") if wish.partition else [nodes.partition for nodes in cluster if nodes.default]
    for name in asked:
        if name not in names:
            return (
                f"{wish.name} asks for the partition {name!r}; this cluster has {', '.join(names)}: "
                "set slurm_partition in profiles/slurm/config.yaml"
            )
    if not asked:
        return (
            f"{wish.name} names no partition and this cluster has no default one: set slurm_partition in "
            f"profiles/slurm/config.yaml to one of {', '.join(names)}"
        )
    here = [nodes for nodes in cluster if nodes.partition in asked]
    where = f"the partition {', '.join(sorted(set(asked)))}"
    if not any(_gpus(nodes, wish) >= wish.gpus for nodes in here):
        kind = f"GPUs of model {wish.gpu_model}" if wish.gpu_model else "GPUs"
        return (
            f"{wish.name} asks for {wish.gpus} {kind} on a node; {where} has {max(_gpus(n, wish) for n in here)}: "
            "name a partition with GPUs, or set train.require_gpu: false"
        )
    here = [nodes for nodes in here if _gpus(nodes, wish) >= wish.gpus]
    limits = [nodes.minutes for nodes in here]
    for amount, most, unit, resource in (
        (wish.mem_mb, max(nodes.mem_mb for nodes in here), "MB of memory", "mem_mb"),
        (wish.cpus, max(nodes.cpus for nodes in here), "cores", "threads"),
        (
            wish.minutes,
            None if None in limits else max(limit for limit in limits if limit is not None),
            "min",
            "runtime",
        ),
    ):
        if most is not None and amount > most:
            option = "--set-threads RULE=N" if resource == "threads" else f"--set-resources RULE:{resource}=N"
            return (
                f"{wish.name} asks for {amount} {unit}; {where} gives {most} at most: name another partition, or ask "
                f"for less with {option}"
            )
    if not any(_fits(nodes, wish) for nodes in here):
        return (
            f"{wish.name} asks for {wish.cpus} cores, {wish.mem_mb} MB, {wish.gpus} GPUs and {wish.minutes} min; "
            f"{where} has each of them, but no node all together: name another partition, or ask for less"
        )
    return None


def _gpus(nodes: Nodes, wish: Wish) -> int:
    return nodes.gpus.get(wish.gpu_model, 0) if wish.gpu_model else sum(nodes.gpus.values())


def _fits(nodes: Nodes, wish: Wish) -> bool:
    in_time = nodes.minutes is None or nodes.minutes >= wish.minutes
    return in_time and nodes.cpus >= wish.cpus and nodes.mem_mb >= wish.mem_mb and _gpus(nodes, wish) >= wish.gpus


def require_possible(jobs: Iterable[tuple[str, int, Mapping[str, Any]]]) -> None:
    """Refuse jobs that this cluster can never run.

    Raises:
        UserError: the first such job, what it asks for and what there is; or no Slurm answers here.
    """
    _require_configuration()
    try:
        answer = subprocess.run(SINFO, capture_output=True, text=True, check=False, timeout=SLURM_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(
            f"no Slurm answers here ({error}): run this where sbatch works, or with --profile local"
        ) from None
    if answer.returncode:
        words = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"no Slurm answers here ({words}): run this where sbatch works, or with --profile local")
    cluster = parse_sinfo(answer.stdout)
    for wish in wishes(jobs):
        reason = refusal(wish, cluster)
        if reason:
            raise UserError(f"nothing was submitted: {reason}")


def _require_configuration() -> None:
    """Refuse at once where `SLURM_CONF` names a file that cannot be read: Slurm's clients try it for a minute each."""
    path = os.environ.get("SLURM_CONF")
    if path is None:
        return
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise UserError(
            f"no Slurm answers here (SLURM_CONF is {path}: {error.strerror}): correct or unset SLURM_CONF, run this "
            "where sbatch works, or with --profile local"
        ) from None
