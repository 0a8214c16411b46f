"""All that is asked of Slurm: what became of a job, and what its nodes can give.

The latter is asked before anything is submitted, so that an impossible job ends with one sentence and not in the queue.
Slurm refuses some at submission, in words of its own, and lets others wait for ever.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeflownas.errors import UserError

# How Slurm says that a job is over and will not run again. Any other word counts as life.
ENDED = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
    }
)
# Slurm's clients try for 18 s to reach a controller, and for a minute to read a configuration that is not there.
SLURM_PATIENCE_S = 30.0
# Partition (the default one with a star), time limit, cores, memory in MB, generic resources: of nodes that are alike.
SINFO = ("sinfo", "--noheader", "--exact", "--format", "%P|%l|%c|%m|%G")
# How jobs end that were doing well: the long run goes on after these, and after no others.
CUT_SHORT = frozenset({"TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL"})


class SlurmSilent(Exception):
    """Slurm does not say what became of a job; the message says why."""


def slurm_job_state(job_id: str) -> str | None:
    """What state a Slurm job is in, or how it ended, in Slurm's word; None once Slurm has forgotten the job.

    Raises:
        SlurmSilent: Slurm does not answer. That says nothing about the job.
    """
    command = ["scontrol", "show", "job", job_id, "--oneliner"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SLURM_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmSilent(str(error)) from None
    if found := re.search(r"\bJobState=(\w+)", answer.stdout):
        return found.group(1)
    # The only answer that means that there is no such job any more.
    if answer.returncode and "invalid job id" in answer.stderr.lower():
        return None
    words = (answer.stderr.strip() or answer.stdout.strip() or "no words").splitlines()[-1]
    raise SlurmSilent(f"scontrol ended with exit code {answer.returncode}: {words}")


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
class JobRequest:
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


def job_requests(jobs: Iterable[tuple[str, int, Mapping[str, Any]]]) -> list[JobRequest]:
    """One request per Slurm job, by name: of the gate or rule, the threads and resources of each step.

    The steps of a gate run one after another in one Slurm job: their times add up, of all else it has the largest.
    """
    merged: dict[str, JobRequest] = {}
    for name, threads, resources in jobs:
        before = merged.get(name, JobRequest(name, None, 0, 1, 0, 0))
        partition, model = resources.get("slurm_partition"), resources.get("gpu_model")
        merged[name] = JobRequest(
            name,
            before.partition if partition is None else str(partition),
            before.minutes + int(resources.get("runtime", 0)),
            max(before.cpus, threads, int(resources.get("cpus_per_task", 1))),
            max(before.mem_mb, int(resources.get("mem_mb", 0))),
            max(before.gpus, int(resources.get("gpu", 0))),
            before.gpu_model if model is None else str(model),
        )
    return [merged[name] for name in sorted(merged)]


def refusal(request: JobRequest, cluster: list[Nodes]) -> str | None:
    """Why no node of this cluster can ever run such a job, and what to do; None if one can."""
    names = sorted({nodes.partition for nodes in cluster})
    # A job may name several partitions; one that fits is enough.
    asked = (
        request.partition.split(",") if request.partition else [nodes.partition for nodes in cluster if nodes.default]
    )
    for name in asked:
        if name not in names:
            return (
                f"{request.name} asks for the partition {name!r}; this cluster has {', '.join(names)}: "
                "set slurm_partition in profiles/slurm/config.yaml"
            )
    if not asked:
        return (
            f"{request.name} names no partition and this cluster has no default one: set slurm_partition in "
            f"profiles/slurm/config.yaml to one of {', '.join(names)}"
        )
    here = [nodes for nodes in cluster if nodes.partition in asked]
    where = f"the partition {', '.join(sorted(set(asked)))}"
    if not any(_gpus(nodes, request) >= request.gpus for nodes in here):
        kind = f"GPUs of model {request.gpu_model}" if request.gpu_model else "GPUs"
        return (
            f"{request.name} asks for {request.gpus} {kind} on a node; {where} has "
            f"{max(_gpus(nodes, request) for nodes in here)}: name a partition with GPUs, or set "
            "train.require_gpu: false"
        )
    here = [nodes for nodes in here if _gpus(nodes, request) >= request.gpus]
    limits = [nodes.minutes for nodes in here]
    for amount, most, unit, resource in (
        (request.mem_mb, max(nodes.mem_mb for nodes in here), "MB of memory", "mem_mb"),
        (request.cpus, max(nodes.cpus for nodes in here), "cores", "threads"),
        (
            request.minutes,
            None if None in limits else max(limit for limit in limits if limit is not None),
            "min",
            "runtime",
        ),
    ):
        if most is not None and amount > most:
            option = "--set-threads RULE=N" if resource == "threads" else f"--set-resources RULE:{resource}=N"
            return (
                f"{request.name} asks for {amount} {unit}; {where} gives {most} at most: name another partition, or "
                f"ask for less with {option}"
            )
    if not any(_fits(nodes, request) for nodes in here):
        return (
            f"{request.name} asks for {request.cpus} cores, {request.mem_mb} MB, {request.gpus} GPUs and "
            f"{request.minutes} min; {where} has each of them, but no node all together: name another "
            "partition, or ask for less"
        )
    return None


def _gpus(nodes: Nodes, request: JobRequest) -> int:
    return nodes.gpus.get(request.gpu_model, 0) if request.gpu_model else sum(nodes.gpus.values())


def _fits(nodes: Nodes, request: JobRequest) -> bool:
    in_time = nodes.minutes is None or nodes.minutes >= request.minutes
    return (
        in_time
        and nodes.cpus >= request.cpus
        and nodes.mem_mb >= request.mem_mb
        and _gpus(nodes, request) >= request.gpus
    )


def check_feasible(jobs: Iterable[tuple[str, int, Mapping[str, Any]]]) -> None:
    """Refuse jobs that this cluster can never run.

    Raises:
        UserError: the first such job, what it asks for and what there is; or no Slurm answers here.
    """
    _require_configuration()
    try:
        answer = subprocess.run(SINFO, capture_output=True, text=True, check=False, timeout=SLURM_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _no_slurm(str(error)) from None
    if answer.returncode:
        raise _no_slurm((answer.stderr.strip().splitlines() or ["no reason given"])[-1])
    cluster = parse_sinfo(answer.stdout)
    for request in job_requests(jobs):
        reason = refusal(request, cluster)
        if reason:
            raise UserError(f"nothing was submitted: {reason}")


def _no_slurm(why: str, first: str = "") -> UserError:
    return UserError(f"no Slurm answers here ({why}): {first}run this where sbatch works, or with --profile local")


def _require_configuration() -> None:
    """Refuse at once where `SLURM_CONF` names a file that cannot be read: Slurm's clients try it for a minute each."""
    path = os.environ.get("SLURM_CONF")
    if path is None:
        return
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise _no_slurm(f"SLURM_CONF is {path}: {error.strerror}", "correct or unset SLURM_CONF, ") from None
