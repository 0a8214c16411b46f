"""What a run directory says about its run: read once, for the report as Markdown, as a page and as figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import read_json
from edgeflownas.config_schema import COMMAND_LINE, DEFAULT
from edgeflownas.data.layouts.registry import layout_of
from edgeflownas.nas.arch_codec import format_code, parse_code
from edgeflownas.nas.ranking import kendall_tau
from edgeflownas.nas.search_space import SearchSpace, load_search_space
from edgeflownas.network.cost import subnet_cost
from edgeflownas.network.kinds import KINDS
from edgeflownas.runs.flow_samples import FlowSamples, load_flow_samples
from edgeflownas.runs.pool_names import PoolNames, mean_epe, names_in
from edgeflownas.runs.records import METRICS, read_further_history, read_history, read_trace, subnet_epes
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.runs.segments import commit_words, segment_cautions, segment_words
from edgeflownas.runs.timing import PHASES

FEW_STEPS = 1000
FEW_SAMPLES = 100
OFTEN_CLIPPED = 0.9
UNSTABLE_TAU = 0.5

FURTHER_HEAD = (
    "set",
    "samples",
    "mean EPE (px)",
    "std (px)",
    "zero-flow EPE (px)",
    "of that",
    "best subnet",
    "its EPE (px)",
    "its Fl-all",
)

# All that is known of a subnet but its EPE, which the history has.
SHARES = tuple(name for name in METRICS if name != "epe")


@dataclass(frozen=True)
class Subnet:
    """A subnet of the eval pool after the last epoch.

    epe: pixels. metrics: shares of pixels by the names of `SHARES`, None where the run has no `pool_results.json`.
    options: per choice block what the code picks, `EB0=1 … H1=5x5`. params, macs: its own cost at the input's size.
    """

    rank: int
    code: str
    options: str
    epe: float
    metrics: Mapping[str, float | None]
    params: int
    macs: int


@dataclass(frozen=True)
class RunFacts:
    """The records of a run, valid by their schemas. `trace`, `history` and `samples` are empty where there are none.

    further: by further validation set, the rows of its history.
    """

    run: RunDirectory
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    counts: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    further: Mapping[str, Sequence[Mapping[str, float]]]
    trace: Sequence[Mapping[str, Any]]
    pool_results: Mapping[str, Any] | None
    samples: FlowSamples | None

    @classmethod
    def read(cls, path: Path) -> "RunFacts":
        """Read a run directory.

        Raises:
            UserError: a file that every run leaves is missing, or one does not fit its schema.
        """
        run = RunDirectory(path)
        return cls(
            run=run,
            manifest=read_json(run.manifest, schema="train_manifest.schema.json"),
            config=read_json(run.config, schema="resolved_config.schema.json"),
            counts=read_json(run.fairness_counts, schema="fairness_counts.schema.json"),
            history=read_history(run.history) if run.history.is_file() else [],
            further={name: read_further_history(path) for name, path in run.further_histories.items()},
            trace=read_trace(run.trace) if run.trace.is_file() else [],
            pool_results=read_json(run.pool_results, "pool_results.schema.json")
            if run.pool_results.is_file()
            else None,
            samples=load_flow_samples(run.flow_samples) if run.flow_samples.is_file() else None,
        )

    @property
    def name(self) -> str:
        """The run directory's."""
        return self.run.path.resolve().name

    @cached_property
    def space(self) -> SearchSpace:
        """The search space of the run."""
        return load_search_space(self.manifest["search_space"])

    @property
    def pool_names(self) -> PoolNames:
        """What the history's columns of the eval pool are called; where there is a history."""
        return names_in(self.history[0])

    @cached_property
    def subnets(self) -> list[Subnet]:
        """The eval pool after the last epoch, best first."""
        if not self.history:
            return []
        found = {subnet["code"]: subnet for subnet in (self.pool_results or {}).get("subnets", ())}
        height, width, _ = self.manifest["input_shape"]
        subnets = []
        ranked = sorted(subnet_epes(self.history[-1]).items(), key=lambda item: item[1])
        for rank, (digits, epe) in enumerate(ranked, start=1):
            arch = parse_code(digits, self.space)
            code = format_code(arch)
            options = " ".join(
                f"{block.name}={KINDS[block.kind].short(block.options[digit])}"
                for block, digit in zip(self.space.blocks, arch, strict=True)
            )
            metrics = {name: found.get(code, {}).get(name) for name in SHARES}
            cost = subnet_cost(self.space, arch, height, width, self.manifest["init_neurons"])
            subnets.append(Subnet(rank, code, options, epe, metrics, cost["params"], cost["macs"]))
        return subnets

    @cached_property
    def rank_correlations(self) -> tuple[list[float], list[float]]:
        """Kendall's tau-b of the pool's EPE at each epoch: with the epoch before (NaN first), and with the last."""
        epes = [list(subnet_epes(row).values()) for row in self.history]
        before = [_tau(now, then) for then, now in pairwise(epes)]
        return [math.nan, *before], [_tau(now, epes[-1]) for now in epes]

    def summary(self) -> str:
        """What was trained on what, in a paragraph."""
        manifest = self.manifest
        data, device = manifest["data"], manifest["device"]
        words = "generated scenes" if data["generated"] else str(layout_of(data))
        ended = {
            "num_epochs": "It ran to the end of its schedule.",
            "early_stop": "It stopped because its error no longer fell.",
        }
        return (
            f"A supernet of the space {manifest['search_space']} ({self.space.size:,} subnets), base width "
            f"{manifest['init_neurons']}, was trained for {manifest['epochs_done']} of {manifest['num_epochs']} epochs "
            f"({manifest['global_step']} fair cycles of batch {manifest['batch_size']}) on {words} with "
            f"{data['train_samples']} training and {data['val_samples']} validation pairs, on {device['name']} "
            f"({device['kind']}, {manifest['backend']}). "
            + ended.get(manifest["stopped_because"], f"It stopped because of: {manifest['stopped_because']}.")
        )

    def result(self) -> list[tuple[str, str]]:
        """The result as rows of name and value; empty before the first evaluation."""
        if not self.history:
            return []
        last, best = self.history[-1], self.manifest["best"]
        first, worst = self.subnets[0], self.subnets[-1]
        mean, zero, names = mean_epe(last), last["zero_flow_epe"], self.pool_names
        rows = [
            ("mean EPE of the eval pool", f"{mean:.4f} px after epoch {last['epoch']}"),
            ("standard deviation between subnets", f"{last[names.std_epe]:.4f} px"),
            ("noise of that from the choice of samples", f"{last[names.noise_epe]:.4f} px"),
            ("EPE of predicting no motion", f"{zero:.4f} px"),
            (
                "the supernet's error, of that",
                f"{mean / zero:.1%}" if zero else "no motion in the data",
            ),
            ("best subnet", f"{first.epe:.4f} px, {first.code}"),
            ("worst subnet", f"{worst.epe:.4f} px, {worst.code}"),
        ]
        if best:
            rows.append(("best epoch", f"{best['epoch']}, with a mean EPE of {mean_epe(best):.4f} px"))
        rows += [
            ("fairness gap", f"{self.counts['fairness_gap']} after {self.counts['cycles']} cycles"),
            ("time", self._time()),
        ]
        return rows

    def further_results(self) -> list[tuple[str, ...]]:
        """How the eval pool did on each further validation set after the last epoch: rows under `FURTHER_HEAD`."""
        rows: list[tuple[str, ...]] = []
        for name, found in (self.pool_results or {}).get("further", {}).items():
            last = self.further[name][-1]
            mean, zero, best = mean_epe(last), last["zero_flow_epe"], min(found["subnets"], key=lambda one: one["epe"])
            rows.append(
                (
                    *(name, str(found["samples"]), f"{mean:.4f}", f"{last[self.pool_names.std_epe]:.4f}"),
                    *(f"{zero:.4f}", f"{mean / zero:.1%}" if zero else "no motion"),
                    *(best["code"], f"{best['epe']:.4f}", f"{best['fl_all']:.1%}"),
                )
            )
        return rows

    def further_words(self) -> str:
        """What `further_results` says, in a sentence."""
        return (
            f"The eval pool after epoch {self.history[-1]['epoch']} on the further validation sets, centre crops as on "
            "the first, which alone decides about early stopping and the best epoch."
        )

    @property
    def further_sources(self) -> list[str]:
        """The files of the run directory that `further_results` is from."""
        return [*(path.name for path in self.run.further_histories.values()), self.run.pool_results.name]

    def _time(self) -> str:
        total = sum(row["seconds"] for row in self.history)
        parts = {phase: sum(row[f"seconds_{phase}"] for row in self.history) for phase in PHASES}
        shares = [f"{phase} {seconds / total:.0%}" for phase, seconds in parts.items() if total]
        return f"{total:.0f} s: {', '.join(shares)}"

    def cautions(self) -> list[str]:
        """Cautions for the reader."""
        manifest, data = self.manifest, self.manifest["data"]
        cautions = []
        if manifest["global_step"] < FEW_STEPS:
            cautions.append(
                f"{manifest['global_step']} steps are a smoke run: it shows that things work, not how well."
            )
        if min(data["train_samples"], data["val_samples"]) < FEW_SAMPLES:
            cautions.append(
                f"{data['train_samples']} training and {data['val_samples']} validation pairs are few: the EPE says "
                "little about other data."
            )
        if data["generated"]:
            cautions.append("The data are generated: the EPE cannot be compared with published ones.")
        if data["rejected"]:
            cautions.append(f"{len(data['rejected'])} samples were left out of the data; they are listed below.")
        cautions += [f"Data: {remark}." for remark in data["remarks"]]
        cautions += self._unseen()
        if manifest["skipped_steps"]:
            cautions.append(
                f"{manifest['skipped_steps']} steps made no update, because loss or gradient was not finite; "
                "nonfinite.json says which."
            )
        if manifest["epochs_done"] < manifest["num_epochs"] and manifest["stopped_because"] != "early_stop":
            cautions.append("The run ended before its schedule: the learning rate had not decayed to its end.")
        if manifest["device"]["requested"] is not None and manifest["device"]["kind"] == "cpu":
            cautions.append(f"GPU {manifest['device']['requested']} was asked for; the CPU did the work.")
        cautions += segment_cautions(manifest["segments"])
        return cautions + (
            self._cautions_of_the_result() if self.history else ["No epoch was completed, so nothing was evaluated."]
        )

    def _unseen(self) -> list[str]:
        """Samples of the index that the run did not look at."""
        manifest, values = self.manifest, self.config["values"]
        data, fast = manifest["data"], values["train.fast_mode"]
        seen = manifest["global_step"] * manifest["batch_size"]
        limit = values["fast_mode.max_samples" if fast else "eval.max_samples"]
        listed = data[f"{values['eval.split']}_samples"]
        cautions = []
        if seen < data["train_samples"]:
            cautions.append(f"Only {seen} of the {data['train_samples']} training pairs were seen.")
        if limit is not None and limit < listed:
            cautions.append(f"Only the first {limit} of {listed} {values['eval.split']} pairs were evaluated.")
        return cautions

    def _cautions_of_the_result(self) -> list[str]:
        last = self.history[-1]
        names = self.pool_names
        cautions = []
        if last["clip_rate"] >= OFTEN_CLIPPED:
            cautions.append(
                f"{last['clip_rate']:.0%} of the last epoch's steps were clipped: the clip sets the step size."
            )
        if last[names.mean_epe] >= last["zero_flow_epe"]:
            cautions.append("The supernet is not better than predicting no motion.")
        if last["fairness_gap"]:
            cautions.append(f"The options were not trained equally often: the fairness gap is {last['fairness_gap']}.")
        if last[names.std_epe] <= last[names.noise_epe]:
            cautions.append(
                f"The subnets differ by {last[names.std_epe]:.4f} px, which is no more than the validation samples' "
                f"noise of {last[names.noise_epe]:.4f} px: their ranking says nothing."
            )
        tau = self.rank_correlations[0][-1]
        if tau < UNSTABLE_TAU:
            cautions.append(
                f"The ranking of the subnets still changes from epoch to epoch (Kendall's tau {tau:.2f} between the "
                "last two): do not choose a subnet by it."
            )
        return cautions

    def left_out(self) -> list[tuple[str, str]]:
        """The samples that are no part of the data, as rows of name and reason."""
        return [
            (f"{sample['split']} {sample['name']}", sample["reason"]) for sample in self.manifest["data"]["rejected"]
        ]

    def settings(self) -> list[tuple[str, str]]:
        """The settings that matter, as rows of name and value."""
        manifest, values = self.manifest, self.config["values"]
        height, width, channels = manifest["input_shape"]
        schedule = manifest["lr_schedule"]
        name, start = manifest["optimizer"]["name"], schedule["initial"]
        clipped = _shares(manifest["data"]["clipped_share"])
        unknown = manifest["data"].get("unknown_share")
        return [
            ("input", f"{height}×{width}×{channels}"),
            ("sampling", f"{manifest['supernet_mode']}, {manifest['execution']} execution"),
            ("optimizer", f"{name}, learning rate {start:g}, {schedule['name']}"),
            (
                "schedule",
                f"{schedule['steps']} steps, {manifest['steps_per_epoch']} per epoch, "
                f"{schedule['warmup_steps']} of them to warm up",
            ),
            ("weight decay", f"{manifest['wd']:g}"),
            ("gradient clip", f"{manifest['grad_clip']:g}"),
            ("batch-norm recalibration", f"{values['eval.bn_recal_batches']} fixed training batches"),
            ("evaluation", f"centre crops of the input's size ({values['eval.split']})"),
            ("flow clipped to", f"±{values['data.max_flow']:g} px: {clipped}"),
            *([("flow not known", f"{_shares(unknown)}: no part in loss and metrics")] if unknown else []),
            ("seed", str(manifest["seed"])),
        ]

    def reproduction(self) -> list[tuple[str, str]]:
        """What repeats the run, as rows of name and value."""
        manifest, origins = self.manifest, self.config["origins"]
        segments = manifest["segments"] if len(manifest["segments"]) > 1 else []
        files = {origin for origin in origins.values() if origin not in (DEFAULT, COMMAND_LINE)}
        given = [f"{key} = {self.config['values'][key]}" for key, origin in origins.items() if origin == COMMAND_LINE]
        return [
            ("commit", commit_words(manifest)),
            ("config file", f"{', '.join(sorted(files)) or '(defaults)'}, config hash {manifest['config_hash']}"),
            *([("on the command line", "; ".join(given))] if given else []),
            ("data digest", manifest["data"]["digest"]),
            ("versions", ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())),
            *((f"from step {segment['from_step']} on", segment_words(segment)) for segment in segments),
        ]

    @property
    def best_sampled(self) -> int:
        """Which of the subnets with flow samples has the smallest error on them."""
        assert self.samples is not None
        return int(self.samples.mean_errors.mean(axis=1).argmin())

    def flow_words(self) -> str:
        """How to read the flow pictures."""
        assert self.samples is not None
        origin = self.samples.origin
        untrained = " Its uncertainty was not trained and says nothing (train.uncertainty_loss)."
        trained = self.config["values"].get("train.uncertainty_loss", True)
        return (
            "Hue is the direction, saturation the length (the colour wheel of Baker et al., IJCV 2011). A sample has "
            "one scale for true flow, predicted flow and error. The subnets were recalibrated on "
            f"{origin['bn_recal_batches']} batches, with the weights of {origin['checkpoint']} after epoch "
            f"{origin['epoch']}, step {origin['global_step']}."
            f"{'' if trained else untrained}"
        )


def _shares(by_split: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.2%} of {split}" for split, share in by_split.items())


def _tau(first: Sequence[float], second: Sequence[float]) -> float:
    """NaN where it is not defined, so that curves have a gap there."""
    tau = kendall_tau(first, second)
    return math.nan if tau is None else tau
