"""Gate 7, delivery to the chip: every retrained pick as files that the target runs, with accuracy and cost measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.artifacts import read_json, sha256_file
from edgeflownas.config import Config
from edgeflownas.deploy.bundle import read_golden
from edgeflownas.deploy.converter import require_converter
from edgeflownas.deploy.export import FACTS, SCHEMA, TOLERANCE_PX, TOLERANCE_SHARE, Named
from edgeflownas.deploy.targets import load_target
from edgeflownas.errors import UserError
from edgeflownas.gates.criteria import Criterion, Finding, none_of
from edgeflownas.gates.gate import RETRAIN_KEYS, TRAINING_KEYS, Command, Context, Gate
from edgeflownas.gates.lifecycle.evidence import Evidence
from edgeflownas.gates.lifecycle.publishing import Artifact, Folder
from edgeflownas.gates.published_pages import page_of
from edgeflownas.gates.settings import GateSettings
from edgeflownas.provenance import CHIP_PACKAGES, COMPUTING_PACKAGES, LITERT_PACKAGES
from edgeflownas.reporting.delivery_page import MODULE as PAGE_COMMAND
from edgeflownas.reporting.delivery_page import PUBLISHED
from edgeflownas.reporting.pages import DELIVERY
from edgeflownas.retraining.settings import RETRAINED, RETRAINED_SCHEMA
from edgeflownas.retraining.settings import RUN as RETRAINING

RUN, REPEAT_RUN = "gate7", "gate7_repeat"
# From which share of outputs at the end of their range a person should know of it.
SATURATED = 0.01


@dataclass(frozen=True)
class Delivered:
    """A pick as it was retrained, and the folder that it was exported to."""

    pick: dict[str, Any]
    folder: Path

    @property
    def code(self) -> str:
        """Its arch code in the supernet's search space."""
        return str(self.pick["code"])

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The content of its `export.json`."""
        facts: dict[str, Any] = read_json(self.folder / FACTS, schema=SCHEMA)
        return facts


def _retrained(evidence: Evidence) -> dict[str, Any]:
    retrained: dict[str, Any] = evidence.json(RETRAINING, RETRAINED, RETRAINED_SCHEMA)
    return retrained


def _delivered(evidence: Evidence, run: str = RUN) -> Iterator[Delivered]:
    """Every retrained pick, exported or not."""
    for pick in _retrained(evidence)["picks"]:
        yield Delivered(pick, evidence.run(run) / Named(pick["code"], evidence.space.name).folder)


def _digest(path: Path) -> str | None:
    """A file's SHA-256; None if it is missing."""
    return sha256_file(path) if path.is_file() else None


def _is_what_was_retrained(evidence: Evidence) -> Finding:
    faults, codes = [], []
    for made in _delivered(evidence):
        index = evidence.json(f"{RETRAINING}/{made.pick['run']}", "data_index.json", "data_index.schema.json")
        alike = {
            "code": (made.facts["code"], made.code),
            "search space": (made.facts["search_space"], evidence.space.name),
            "checkpoint": (made.facts["checkpoint"]["sha256"], made.pick["checkpoint"]["sha256"]),
            "data": (made.facts["data"], index["digest"]),
        }
        faults += [f"{made.code}: {name} is {own}, not {other}" for name, (own, other) in alike.items() if own != other]
        codes.append(made.code)
    return none_of(faults, f"{len(codes)} subnets: {' and '.join(codes)}")


def _files_are_whole(evidence: Evidence) -> Finding:
    faults, count = [], 0
    for made in _delivered(evidence):
        for name, digest in made.facts["files"].items():
            if (found := _digest(made.folder / name)) != digest:
                what = "is missing" if found is None else f"has other bytes than {FACTS} says"
                faults.append(f"{made.code}: {name} {what}")
            count += 1
    return none_of(faults, f"{count} files")


def _float_is_keras(evidence: Evidence) -> Finding:
    faults, words = [], []
    for made in _delivered(evidence):
        difference, flow = made.facts["float_difference"], made.facts["largest_flow"]
        bound = max(TOLERANCE_PX, TOLERANCE_SHARE * flow)
        words.append(f"{difference:.2g} px at flow to {flow:.3g} px")
        # Written so that a difference that is no number is too large.
        faults += [] if difference <= bound else [f"{made.code}: {words[-1]}, at most {bound:.2g}"]
    expected = f"at most {TOLERANCE_PX:g} px, or {TOLERANCE_SHARE:g} of the largest flow"
    return Finding("; ".join(faults or words), expected, not faults and bool(words))


def _little_is_lost(evidence: Evidence) -> Finding:
    most, words, lost = evidence.settings.max_epe_loss, [], []
    for made in _delivered(evidence):
        epe = made.facts["epe"]
        lost.append(epe["quantised"] - epe["float"])
        words.append(f"{made.code}: {epe['float']:.4f} to {epe['quantised']:.4f} px")
    passed = bool(lost) and all(loss <= most for loss in lost)
    return Finding("; ".join(words), f"at most {most:g} px more", passed)


def _saturation_is_stated(evidence: Evidence) -> Finding:
    shares = {made.code: made.facts["saturated"] for made in _delivered(evidence)}
    observed = "; ".join(f"{code}: {share:.2%}" for code, share in shares.items())
    clipped = [code for code, share in shares.items() if share > SATURATED]
    warning = (
        f"more than {SATURATED:.0%} of the outputs of {', '.join(clipped)} are at the end of their range: validation "
        "samples have larger flow than those of calibration; raise deploy.calibration_samples"
    )
    return Finding(observed, f"stated; a warning above {SATURATED:.0%}", bool(shares), warning if clipped else "")


def _nothing_on_the_cpu(evidence: Evidence) -> Finding:
    faults, words = [], []
    for made in _delivered(evidence):
        chip = made.facts["chip"]
        faults += [f"{made.code}: {operator}" for operator in chip["cpu_operators"]]
        faults += [] if chip["cycles"] > 0 else [f"{made.code}: no cycles"]
        words.append(f"{made.code}: {chip['cycles']:,} cycles")
    return Finding("; ".join(faults[:3] or words), "every operator on the NPU", not faults and bool(words))


def _fits_the_target(evidence: Evidence) -> Finding:
    target = load_target(str(evidence.settings.target))
    faults, words = [], []
    for made in _delivered(evidence):
        chip = made.facts["chip"]
        if chip["target"] != target.name:
            faults.append(f"{made.code}: compiled for {chip['target']}")
        faults += [f"{made.code}: {fault}" for fault in chip["why_not"]]
        if chip["ms"] is None or not chip["fits"] or chip["sram_kib"] > target.sram_kib:
            faults.append(f"{made.code}: does not fit")
        else:
            memory = f"{chip['sram_kib']:,.0f} KiB of SRAM, {chip['flash_kib']:,.0f} of flash"
            words.append(f"{made.code}: {chip['ms']:.1f} ms, {memory}")
    expected = f"{target.name}: a time, at most {target.sram_kib:,.0f} and {target.flash_kib:,.0f} KiB"
    return Finding("; ".join(faults[:3] or words), expected, not faults and bool(words))


def _made_twice_alike(evidence: Evidence) -> Finding:
    faults, count = [], 0
    for made, again in zip(_delivered(evidence), _delivered(evidence, REPEAT_RUN), strict=True):
        for name in (*made.facts["files"], FACTS):
            first, second = _digest(made.folder / name), _digest(again.folder / name)
            if None in (first, second):
                faults.append(f"{made.code}: {name} was not made twice")
            elif first != second:
                faults.append(f"{made.code}: {name} has other bytes")
            count += 1
    return none_of(faults, f"{count} files")


def _golden_vectors_reproduce(evidence: Evidence) -> Finding:
    from edgeflownas.deploy.litert import LiteModel

    faults, count = [], 0
    for made in _delivered(evidence):
        model = LiteModel(made.folder / f"{made.facts['precision']}.tflite")
        for sample in read_golden(made.folder, made.facts):
            outputs = model.run_raw(sample.frames)
            if any(not np.array_equal(*pair) for pair in zip(outputs, sample.outputs, strict=True)):
                faults.append(f"{made.code}: sample {sample.name} gives other outputs")
            if not np.array_equal(model.flow(outputs), sample.pixels):
                faults.append(f"{made.code}: sample {sample.name} gives another flow")
            count += 1
    return none_of(faults, f"{count} samples")


def _calibrated_elsewhere(evidence: Evidence) -> Finding:
    """By the frames' digests: samples of two splits may have the same name."""
    faults, counts = [], []
    for made in _delivered(evidence):
        index = evidence.json(f"{RETRAINING}/{made.pick['run']}", "data_index.json", "data_index.schema.json")
        frames = {
            split: {sample["name"]: tuple(sample["sha256"][:2]) for sample in found["samples"]}
            for split, found in index["splits"].items()
        }
        judged = frames[made.facts["split"]]
        seen = set(judged.values())
        for name in made.facts["calibration"]:
            if name not in frames["train"]:
                faults.append(f"{made.code}: {name} is no training sample")
            elif frames["train"][name] in seen:
                faults.append(f"{made.code}: training sample {name} is among those it is judged on")
        faults += [f"{made.code}: {name} is no sample of it" for name in made.facts["golden"] if name not in judged]
        counts.append(f"{len(made.facts['calibration'])} against {len(judged)}")
    return none_of(faults, f"{' and '.join(dict.fromkeys(counts))} samples")


def _page_shows_every_pick(evidence: Evidence) -> Finding:
    text = evidence.bytes(RUN, DELIVERY).decode()
    picks = list(_delivered(evidence))
    faults = [
        f"{words} of {made.code} is not in {DELIVERY}"
        for made in picks
        for words in (made.code, f"{made.facts['epe']['quantised']:.4f}")
        if words not in text
    ]
    return none_of(faults, f"{len(picks)} subnets")


LOSS_REMEDY = (
    "Less is lost with deploy.output=heads (the host sums the heads), with more deploy.calibration_samples, and hardly "
    "anything with deploy.precision=int16x8; deploy.max_epe_loss is the bound"
)
CRITERIA = (
    Criterion("every retrained subnet is exported, by its checkpoint and data", _is_what_was_retrained, ("export",)),
    Criterion("every file is there, with the digest that export.json has of it", _files_are_whole, ("export",)),
    Criterion("the float file gives the flow of the Keras model, at every pixel", _float_is_keras, ("export",)),
    Criterion(
        "with LiteRT's reference kernels, the quantised file's EPE is hardly above the float file's",
        _little_is_lost,
        ("export",),
        LOSS_REMEDY,
    ),
    Criterion("how many outputs are at the end of their range", _saturation_is_stated, ("export",)),
    Criterion("no operator runs on the CPU", _nothing_on_the_cpu, ("export",)),
    Criterion(
        "the compiled files fit the target",
        _fits_the_target,
        ("export",),
        "A smaller size or width needs less: retrain.*, network.*; so does deploy.resize=subpixel",
    ),
    Criterion("everything made twice has the same bytes", _made_twice_alike, ("export", "repeat")),
    Criterion("the quantised file, run again, gives the golden vectors", _golden_vectors_reproduce, ("export",)),
    Criterion(
        "calibration samples are of the training split, and none is judged on",
        _calibrated_elsewhere,
        ("export",),
    ),
    Criterion("the page shows every subnet", _page_shows_every_pick, ("page",)),
)


def _there_is_a_target(settings: GateSettings, steps: int | None) -> str | None:
    if settings.target is not None:
        return None
    return (
        "target is null, and this gate certifies files for a chip; name one (a file in config/targets/, or your own "
        ".yaml). Files without a chip's: python -m edgeflownas.deploy.export"
    )


def _converter_is_here(settings: GateSettings, steps: int | None) -> str | None:
    try:
        require_converter()
    except UserError as error:
        return str(error)
    return None


def _judged_on_other_samples(settings: GateSettings, steps: int | None) -> str | None:
    if settings.retrain_changes.get("eval.split", settings.eval_split) != "train":
        return None
    return "eval.split is train, from which the samples of calibration are; expected val (in retrain.set, at least)"


def _parts(config: Config) -> list[str]:
    return [str(number + 1) for number in range(config.view(GateSettings).retrain_subnets)]


def _deliver(context: Context, run: str) -> list[Any]:
    retrained = f"{context.run(RETRAINING)}/{RETRAINED}"
    return [*context.config_flags, "--retrained", retrained, "--pick", context.part, "--out", context.run(run)]


def _draw(context: Context) -> list[Any]:
    flags = ["--retrained", f"{context.run(RETRAINING)}/{RETRAINED}", "--exported", context.run(RUN)]
    return [*flags, "--selected", context.output_dir, "--out", f"{context.run(RUN)}/{DELIVERY}"]


COMMANDS = (
    Command("export", "edgeflownas.deploy.deliver", lambda context: _deliver(context, RUN), parts=_parts),
    Command("repeat", "edgeflownas.deploy.deliver", lambda context: _deliver(context, REPEAT_RUN), parts=_parts),
    Command("page", PAGE_COMMAND, _draw),
)


def _retrained_checkpoints(output_dir: Path, config: Config) -> Any:
    """What gate 6 published: the digest of each pick's checkpoint by its code."""
    try:
        picks = read_json(output_dir / RETRAINED, schema=RETRAINED_SCHEMA)["picks"]
    except UserError as error:
        return str(error)
    return {pick["code"]: pick["checkpoint"]["sha256"] for pick in picks}


def _published_files(evidence: Evidence) -> dict[str, str | None]:
    files: dict[str, str | None] = {}
    for made in _delivered(evidence):
        files |= {f"{made.folder.name}/{name}": None for name in made.facts["files"]}
        files[f"{made.folder.name}/{FACTS}"] = SCHEMA
    return files


GATE = Gate(
    number=7,
    title="delivery to the chip",
    commands=COMMANDS,
    criteria=CRITERIA,
    artifacts=(Folder(PUBLISHED, RUN, _published_files), Artifact(DELIVERY, None, page_of(RUN, DELIVERY))),
    config_keys=(*TRAINING_KEYS, "fast_mode.", "workflow."),
    requirements=(_there_is_a_target, _converter_is_here, _judged_on_other_samples),
    own_keys=(
        *RETRAIN_KEYS,
        *("deploy.calibration_samples", "deploy.max_epe_loss"),
    ),
    run_directories=(RUN, REPEAT_RUN),
    packages=COMPUTING_PACKAGES,
    chip_packages=(*CHIP_PACKAGES, *LITERT_PACKAGES),
    uses_data=True,
    after_long_run=True,
    built_on=_retrained_checkpoints,
)
