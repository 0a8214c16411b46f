"""Evaluating the whole search space of a run: what it takes, the subtrees that are missing, the tables.

Imports no Keras until something is computed.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from edgeflownas.artifacts import PROJECT_ROOT, read_json, sha256_file
from edgeflownas.command_line import data_root_overrides
from edgeflownas.config import Config
from edgeflownas.console.durations import duration
from edgeflownas.data.index import indexed_samples
from edgeflownas.devices import backend_name
from edgeflownas.errors import UserError
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.runs.records import COMPLETED
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.selection.parts import Part, Parts
from edgeflownas.selection.tree import Options, Tree
from edgeflownas.source_code import reached_from
from edgeflownas.training.restored import Restorable, find_restorable, restored_network

# Samples that are computed at a time, in either pass: few, so that activations stay in a CPU's caches.
CHUNK_ON_CPU, CHUNK_ON_GPU = 8, 64
COMPUTES = "edgeflownas/selection/whole_space.py"

Tell = Callable[[str], None]
Progress = Callable[[Callable[[], dict[str, Any]]], None]
"""Called after every option that was computed, with a function that says where the evaluation is: `subtree`, `number`
and `subtrees` (counted from 1), `share` done of all, and `seconds_left`."""


@dataclass(frozen=True)
class SpaceSettings:
    """What decides an evaluation of a space, and whether it is begun."""

    init_neurons: Annotated[int, "network.init_neurons"]
    height: Annotated[int, "network.height"]
    width: Annotated[int, "network.width"]
    flow_scale: Annotated[float, "data.flow_scale"]
    split: Annotated[str, "eval.split"]
    batch_size: Annotated[int, "eval.batch_size"]
    bn_recal_batches: Annotated[int, "eval.bn_recal_batches"]
    max_samples: Annotated[int | None, "eval.max_samples"]
    fast_mode: Annotated[bool, "train.fast_mode"]
    fast_max_samples: Annotated[int, "fast_mode.max_samples"]
    max_tmacs: Annotated[float, "selection.max_tmacs"]


@dataclass(frozen=True)
class Plan:
    """Everything that is known before anything is computed."""

    config: Config
    settings: SpaceSettings
    found: Restorable
    tree: Tree
    parts: Parts


def run_config(
    run_dir: Path, changes: Mapping[str, Any], data_root: str | None = None, samples: int | None = None
) -> Config:
    """The configuration of a run, here: with its current folder, and `changes` by dotted key.

    Args:
        run_dir: the run directory.
        changes: what the command line sets.
        data_root: where the data set is now, as `--data_root`.
        samples: how many validation samples to evaluate on.

    Raises:
        UserError: no run directory, or a fault in a change.
    """
    here = {**changes, **data_root_overrides(data_root, changes)}
    if samples is not None:
        here |= {"eval.max_samples": samples, "fast_mode.max_samples": samples}
    return RunDirectory(run_dir).read_config(here)


def make_plan(config: Config, checkpoint_name: str, out: Path) -> Plan:
    """Find checkpoint and data, and estimate what evaluating the space takes. Imports no backend.

    Args:
        config: `train.output_dir` is the run directory.
        checkpoint_name: `best`, `last` or a file.
        out: the folder of the tables.

    Raises:
        UserError: the run never finished (`best` and `last` alone), there is no such checkpoint, it is damaged or of
            another network, or there are no data.
    """
    run = RunDirectory(config["train.output_dir"])
    if checkpoint_name in ("best", "last"):
        _check_finished(run)
    found = find_restorable(config, checkpoint_name)
    settings = config.view(SpaceSettings)
    tree = Tree(found.space, settings.init_neurons, settings.height, settings.width)
    limit = settings.fast_max_samples if settings.fast_mode else settings.max_samples
    samples = len(indexed_samples(found.index, settings.split)[:limit])
    recalibration = settings.bn_recal_batches * settings.batch_size
    pixels = settings.height * settings.width
    of_samples = 4 * pixels * (8 * recalibration + 12 * samples)
    header = found.checkpoint.header
    facts = {
        "checkpoint": {
            "path": os.path.relpath(found.path, run.path),
            "sha256": sha256_file(found.path),
            **{key: header[key] for key in ("epoch", "global_step", "config_hash")},
        },
        "config_hash": config.hash,
        "init_neurons": settings.init_neurons,
        "height": settings.height,
        "width": settings.width,
        "data": {"digest": found.index["digest"], "split": settings.split},
        "samples": samples,
        "bn_recal_batches": settings.bn_recal_batches,
        "batch_size": settings.batch_size,
        "backend": backend_name(),
        "estimate": {
            "subnets": found.space.size,
            "nodes": tree.nodes(),
            "macs": tree.macs(recalibration, samples),
            "bytes": tree.bytes_kept(CHUNK_ON_CPU) + of_samples,
        },
    }
    sources = {path: sha256_file(PROJECT_ROOT / path) for path in sorted(reached_from([COMPUTES]))}
    return Plan(config, settings, found, tree, Parts(out, tree, facts, {"source": sources}))


def _check_finished(run: RunDirectory) -> None:
    if not run.manifest.is_file():
        raise UserError(
            f"{run.path}: the run has not finished ({run.manifest.name} is missing): continue it with --resume, or "
            "name a checkpoint file"
        )
    # Without its schema: a run of an earlier version can be evaluated, too.
    reason = read_json(run.manifest).get("stopped_because")
    if reason not in COMPLETED:
        raise UserError(
            f"{run.path}: the run has not finished, it stopped because of {reason}: continue it with --resume, or name "
            "a checkpoint file"
        )


def evaluate_subtrees(plan: Plan, subtrees: Sequence[Options], tell: Tell, progress: Progress) -> None:
    """Evaluate those of some subtrees that are missing, and keep each as soon as it is done.

    Raises:
        UserError: the whole takes more than `selection.max_tmacs`, another process evaluates one of them, the backend
            does not start, or a result is not finite.
        CannotWrite: the system refuses; finished subtrees are whole.
    """
    _check_size(plan)
    with plan.parts.claimed(subtrees):
        missing = plan.parts.missing(subtrees)
        if kept := len(subtrees) - len(missing):
            tell(f"{kept} of {len(subtrees)} subtrees are there already")
        if missing:
            _evaluate(plan, missing, tell, progress)


def _check_size(plan: Plan) -> None:
    tmacs = plan.parts.facts["estimate"]["macs"] / 1e12
    if tmacs > plan.settings.max_tmacs:
        space, facts = plan.found.space, plan.parts.facts
        raise UserError(
            f"search space {space.name}: evaluating its {space.size} subnets takes {tmacs:.4g} TMAC "
            f"({facts['estimate']['nodes']} nodes, {facts['bn_recal_batches'] * facts['batch_size']} recalibration and "
            f"{facts['samples']} validation samples), more than selection.max_tmacs {plan.settings.max_tmacs:g}: raise "
            "it, or evaluate on fewer samples (--samples)"
        )


def _evaluate(plan: Plan, subtrees: Sequence[Options], tell: Tell, progress: Progress) -> None:
    network, data, device = restored_network(plan.config, plan.found)

    import numpy as np

    from edgeflownas.devices import gpu_visible
    from edgeflownas.selection.whole_space import Call, SpaceEvaluator, calls_within, samples_in_chunks

    chunk = CHUNK_ON_GPU if gpu_visible() else CHUNK_ON_CPU
    samples = samples_in_chunks(data.recalibration(), data.validation(), plan.settings.flow_scale, chunk)
    clock = _Clock(progress, len(subtrees))

    def watch(call: Call) -> None:
        clock.advance(seconds[call])

    evaluator = SpaceEvaluator(network, plan.tree, plan.settings.flow_scale, watch)
    seconds = evaluator.seconds_per_call(samples)
    calls: dict[Options, Counter[Call]] = {subtree: calls_within(plan.tree, subtree, samples) for subtree in subtrees}
    expected = {subtree: sum(seconds[call] * count for call, count in calls[subtree].items()) for subtree in subtrees}
    clock.expect(sum(expected.values()))
    tell(f"about {duration(clock.expected)} for {len(subtrees)} subtrees on {device['name']}")
    for subtree in subtrees:
        name = plan.tree.name_of(subtree)
        clock.begin(name)
        started = time.perf_counter()
        epes, others = evaluator.evaluate(subtree, samples)
        if not np.isfinite(epes).all():
            row = np.sort(plan.tree.rows(subtree), axis=None)[np.flatnonzero(~np.isfinite(epes).all(axis=1))[0]]
            raise UserError(
                f"{plan.found.path}: subnet {format_code(plan.tree.code_of(int(row)))} has an EPE that is not finite: "
                "its weights are damaged, or training diverged"
            )
        taken = time.perf_counter() - started
        part = Part(epes, others, samples.zero_flow_epe, device["name"], expected[subtree], taken)
        plan.parts.save(subtree, part)


class _Clock:
    """How far an evaluation is, in the seconds that its calls were expected to take."""

    def __init__(self, progress: Progress, subtrees: int) -> None:
        self.expected = self._done = 0.0
        self._progress = progress
        self._subtrees = subtrees
        self._number = 0
        self._name = ""
        self._started = time.perf_counter()

    def expect(self, seconds: float) -> None:
        self.expected = seconds
        self._started = time.perf_counter()

    def begin(self, name: str) -> None:
        self._name = name
        self._number += 1

    def advance(self, seconds: float) -> None:
        self._done += seconds
        self._progress(self._where)

    def _where(self) -> dict[str, Any]:
        share = min(self._done / self.expected, 1.0)
        left = (time.perf_counter() - self._started) * (1 - share) / share
        where = {"subtree": self._name, "number": self._number, "subtrees": self._subtrees}
        return {**where, "share": share, "seconds_left": left}
