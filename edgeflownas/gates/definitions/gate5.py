"""Gate 5, selection: every subnet of the search space evaluated with the long run's weights, and the front of them.

Where the configuration names a target, subnets are compiled for it, and the front is of milliseconds there.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.artifacts import read_json
from edgeflownas.config import Config
from edgeflownas.deploy.converter import require_converter
from edgeflownas.deploy.targets import Target, load_target
from edgeflownas.deploy.vela import vela_version
from edgeflownas.errors import UserError
from edgeflownas.gates.criteria import Criterion, Finding, none_of
from edgeflownas.gates.gate import SELECTION_KEYS, TRAINING_KEYS, Command, Context, Gate, has_target
from edgeflownas.gates.lifecycle.evidence import Evidence
from edgeflownas.gates.lifecycle.publishing import Artifact, copy_of
from edgeflownas.gates.published_pages import page_of
from edgeflownas.gates.settings import GateSettings
from edgeflownas.nas.arch_codec import code_text, format_code, parse_code
from edgeflownas.nas.eval_pool import eval_pool
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import ArchCode, SearchSpace, load_search_space
from edgeflownas.network.cost import option_cost, space_costs, subnet_cost
from edgeflownas.network.stages import network_stages
from edgeflownas.provenance import CHIP_PACKAGES, COMPUTING_PACKAGES
from edgeflownas.selection import chip_checks, chip_tables
from edgeflownas.selection.front import NAMED, REFERENCE
from edgeflownas.selection.parts import PARTS
from edgeflownas.selection.tables import COLUMNS, TABLE, Evaluated, all_codes, read_evaluated
from edgeflownas.selection.tree import Tree

LONG_RUN, CHECKPOINT = "supernet", "best"
RUN, REPEAT_RUN = "gate5", "gate5_repeat"
SPACE_EVAL, SUPERNET_EVAL = "edgeflownas.nas.space_eval", "edgeflownas.nas.supernet_eval"
EVALUATION = "supernet_eval.json"
FRONT, SELECTION, PAGE = "pareto_front.json", "selection.json", "selection.html"
# Codes that are drawn besides those of the eval pool, by this seed, to be evaluated one by one; and how far their EPE
# may be from that of the evaluation of the whole space, pixels.
DRAWN, SEED = 24, 42
TOLERANCE_PX = 1e-5
# So many parts the space is cut into for the one that is evaluated again.
REPEATED_OF = 27
MILLION, TERA = 1e6, 1e12
# Below the output directory: results of compilations.
CACHE = "chip_costs"
MEMORIES = ("sram_kib", "flash_kib")


def drawn_codes(space: SearchSpace) -> list[ArchCode]:
    """Codes drawn in fair cycles, so that every option is among them."""
    cycles = -(-DRAWN // space.cycle_length)
    codes = np.concatenate([fair_cycle(space, SEED, step) for step in range(cycles)])
    return list(dict.fromkeys(tuple(map(int, code)) for code in codes))


def compared_codes(space: SearchSpace) -> list[ArchCode]:
    """The codes of the eval pool, and those that are drawn."""
    pool = eval_pool(space).reshape(-1, len(space.blocks))
    return list(dict.fromkeys([*(tuple(map(int, code)) for code in pool), *drawn_codes(space)]))


def _evaluated(evidence: Evidence) -> Evaluated:
    return read_evaluated(evidence.run(RUN))


def _chip(evidence: Evidence) -> chip_tables.ChipTable | None:
    settings = evidence.config.view(chip_tables.ChipSettings)
    return chip_tables.chip_of(settings, evidence.run(RUN), _evaluated(evidence))


def _of_the_long_run(evidence: Evidence) -> Finding:
    facts = _evaluated(evidence).facts
    manifest = evidence.json(LONG_RUN, "train_manifest.json", "train_manifest.schema.json")
    index = read_json(evidence.output_dir / "data_index.json", schema="data_index.schema.json")
    checkpoint = facts["checkpoint"]
    alike = {
        f"the {CHECKPOINT} checkpoint": (
            checkpoint["sha256"],
            manifest["files"][f"checkpoint_{CHECKPOINT}"]["sha256"],
        ),
        "the config of its training": (checkpoint["config_hash"], manifest["config_hash"]),
        "the data": (facts["data"]["digest"], manifest["data"]["digest"]),
        "the data index": (facts["data"]["digest"], index["digest"]),
    }
    faults = [f"{name} is {own[:12]}…, not {other[:12]}…" for name, (own, other) in alike.items() if own != other]
    return none_of(faults, f"epoch {checkpoint['epoch']}, step {checkpoint['global_step']}")


def _every_code_once(evidence: Evidence) -> Finding:
    space = evidence.space
    counts = Counter(_evaluated(evidence).table["code"])
    expected = {code_text(code) for code in all_codes(space)}
    faults = [f"{code} occurs {count} times" for code, count in counts.items() if count > 1]
    faults += [f"{code} is missing" for code in sorted(expected - counts.keys())]
    faults += [f"{code} is no code of {space.name}" for code in sorted(counts.keys() - expected)]
    return none_of(faults, f"{space.size} subnets")


def _all_finite(evidence: Evidence) -> Finding:
    found = _evaluated(evidence)
    numbers = found.table[[column for column in COLUMNS if column not in ("code", "on_front")]]
    faults = [
        f"{column} of {found.table['code'][row]} is {numbers[column][row]}"
        for column in numbers
        for row in np.flatnonzero(~np.isfinite(numbers[column]))[:1]
    ]
    subnets = np.flatnonzero(~np.isfinite(found.sample_epes).all(axis=1))
    faults += [f"a sample's EPE of {found.table['code'][row]} is not finite" for row in subnets[:1]]
    return none_of(faults, f"{len(numbers)} subnets, {numbers.shape[1]} numbers each, {found.facts['samples']} samples")


def _equal_to_one_by_one(evidence: Evidence) -> Finding:
    found = _evaluated(evidence)
    report = evidence.json(RUN, EVALUATION, "supernet_eval.schema.json")
    alike = {
        "checkpoint": (report["checkpoint"]["sha256"], found.facts["checkpoint"]["sha256"]),
        "samples": (report["samples"], found.facts["samples"]),
        "bn_recal_batches": (report["bn_recal_batches"], found.facts["bn_recal_batches"]),
    }
    faults = [f"{name}: {one} one by one, {all_} together" for name, (one, all_) in alike.items() if one != all_]
    judged = {parse_code(subnet["code"], evidence.space): subnet["epe"] for subnet in report["subnets"]}
    expected = compared_codes(evidence.space)
    faults += [f"{format_code(code)} was not evaluated one by one" for code in expected if code not in judged]
    epes = dict(zip(found.table["code"], found.table["epe"], strict=True))
    distances = {code: abs(epe - epes[code_text(code)]) for code, epe in judged.items()}
    # Written so that a distance that is no number is too far.
    faults += [f"{format_code(code)}: {far:.3g} px" for code, far in distances.items() if not far <= TOLERANCE_PX]
    if faults:
        return none_of(faults, f"{len(expected)} subnets, at most {TOLERANCE_PX:g} px")
    largest = max(distances.values())
    return Finding(f"{len(judged)} subnets, at most {largest:.2g} px", f"at most {TOLERANCE_PX:g} px", True)


def _part_repeats(evidence: Evidence) -> Finding:
    first, again = (evidence.run(run) / PARTS for run in (RUN, REPEAT_RUN))
    names = sorted(path.relative_to(again) for path in again.glob("*/*.npz"))
    subnets, faults = 0, []
    for name in names:
        if not (first / name).is_file():
            faults.append(f"{name} is no part of the evaluation: checkpoint, data or settings are others")
        elif (first / name).read_bytes() != (again / name).read_bytes():
            faults.append(f"{name}: other bytes")
        with np.load(again / name, allow_pickle=False) as arrays:
            subnets += len(arrays["sample_epes"])
    if not names:
        faults.append(f"nothing was evaluated again in {again}")
    return none_of(faults, f"{subnets} subnets")


def _front_not_dominated(evidence: Evidence) -> Finding:
    """By comparing every subnet with every subnet of the front, not by the way in which the front was found."""
    chip = _chip(evidence)
    name, table = (TABLE, _evaluated(evidence).table) if chip is None else (chip_tables.TABLE, chip.table)
    cost, epe, on_front = (table[column].to_numpy() for column in ("macs" if chip is None else "ms", "epe", "on_front"))
    faults, dominated = [], np.zeros(len(table), bool)
    for row in np.flatnonzero(on_front):
        better = (cost <= cost[row]) & (epe <= epe[row]) & ((cost < cost[row]) | (epe < epe[row]))
        faults += [
            f"{table['code'][other]} is better than {table['code'][row]}" for other in np.flatnonzero(better)[:1]
        ]
        dominated |= (cost >= cost[row]) & (epe >= epe[row])
    left_out = np.flatnonzero(~on_front & ~dominated)
    faults += [f"no subnet of the front is as good as {table['code'][row]}" for row in left_out[:3]]
    listed = [parse_code(subnet["code"], evidence.space) for subnet in _front(evidence)["subnets"]]
    expected = set(table["code"][on_front])
    if {code_text(code) for code in listed} != expected or len(listed) != len(expected):
        faults.append(f"{FRONT} lists {len(listed)} subnets, {name} {len(expected)}, or others")
    return none_of(faults, f"{int(on_front.sum())} of {len(table)} subnets")


def _front(evidence: Evidence) -> dict[str, Any]:
    front: dict[str, Any] = evidence.json(RUN, FRONT, "pareto_front.schema.json")
    return front


def _selection(evidence: Evidence) -> dict[str, Any]:
    selection: dict[str, Any] = evidence.json(RUN, SELECTION, "selection.schema.json")
    return selection


def _costs_right(evidence: Evidence) -> Finding:
    settings, table = evidence.settings, _evaluated(evidence).table
    rows = {code: row for row, code in enumerate(table["code"])}
    faults, codes = [], drawn_codes(evidence.space)
    for code in codes:
        cost = subnet_cost(evidence.space, code, settings.height, settings.width, settings.init_neurons)
        found = {name: int(table[name].iloc[rows[code_text(code)]]) for name in cost}
        faults += [f"{format_code(code)}: {found}, by nas.cost {cost}"] if found != cost else []
    return none_of(faults, f"{len(codes)} subnets")


def _picks_on_front(evidence: Evidence) -> Finding:
    front = {subnet["code"] for subnet in _front(evidence)["subnets"]}
    picks = _selection(evidence)["picks"]
    faults = [
        f"{pick['role']}: {pick['code']} is not on the front"
        for pick in picks
        if pick["role"] not in (REFERENCE, NAMED) and pick["code"] not in front
    ]
    faults += [f"{pick['code']}: on_front is wrong" for pick in picks if pick["on_front"] != (pick["code"] in front)]
    return none_of(faults, f"{len(picks)} picks")


def _spread_told_apart(evidence: Evidence) -> Finding:
    noise = _selection(evidence)["noise"]
    expected = "stated; a warning where it is no more than noise"
    if noise is None:
        words = "one validation sample cannot tell how far noise reaches"
        return Finding("not known", expected, True, f"{words}: raise selection.samples")
    spread = noise["spread"]
    observed = f"{spread['epe']:.4f} ± {spread['error']:.4f} px from the lightest to the most accurate of the front"
    if noise["front_told_apart"]:
        return Finding(observed, expected, True)
    return Finding(
        observed,
        expected,
        True,
        f"the front's spread of {spread['epe']:.4f} px is no more than the noise of the validation samples: its order "
        "may be chance. It may be too little training (train.num_epochs) or too few samples (selection.samples)",
    )


def _page_names_picks(evidence: Evidence) -> Finding:
    text = evidence.bytes(RUN, PAGE).decode()
    picks = _selection(evidence)["picks"]
    missing = [f"{pick['code']} is not in {PAGE}" for pick in picks if pick["code"] not in text]
    return none_of(missing, f"{len(picks)} picks")


def _on_target(evidence: Evidence) -> bool:
    return has_target(evidence.config)


def _on_chip(evidence: Evidence) -> chip_tables.ChipTable:
    chip = _chip(evidence)
    assert chip is not None
    return chip


def _wholly_on_the_npu(evidence: Evidence) -> Finding:
    chip = _on_chip(evidence)
    return none_of(chip_checks.off_the_npu(chip), f"{len(chip.facts['compiled'])} compiled subnets")


def _fits_the_chip(evidence: Evidence) -> Finding:
    chip = _on_chip(evidence)
    if faults := chip_checks.too_large(chip):
        return none_of(faults, f"{len(chip.facts['compiled'])} compiled subnets")
    most = " and ".join(f"{chip.facts[key]:,.0f} KiB of {key[:-4].replace('sram', 'SRAM')}" for key in MEMORIES)
    room = " and ".join(f"{chip.facts['chip'][key]:,.0f}" for key in MEMORIES)
    return Finding(f"at most {most}", f"at most {room} on {chip.facts['target']}", True)


def _prediction_right(evidence: Evidence) -> Finding:
    chip = _on_chip(evidence)
    error, allowed = chip_checks.largest_error(chip, evidence.space)
    observed = f"off by at most {error:.2%} on {len(chip.facts['held_out'])} held-out subnets"
    # Written so that an error that is no number is too large.
    return Finding(observed, f"at most {allowed:.1%}", bool(error <= allowed))


def _milliseconds_right(evidence: Evidence) -> Finding:
    chip = _on_chip(evidence)
    compiled = len(chip.facts["compiled"])
    return none_of(chip_checks.unlike_cycles(chip, evidence.space), f"{compiled} compiled of {len(chip.table)} subnets")


CRITERIA = (
    Criterion(
        "what was evaluated are the weights, and on the data, of the long run's best checkpoint",
        _of_the_long_run,
        ("evaluate", "merge"),
    ),
    Criterion("every arch code of the search space was evaluated exactly once", _every_code_once, ("merge",)),
    Criterion("all metrics of all subnets are finite", _all_finite, ("evaluate", "merge")),
    Criterion(
        f"the eval pool and {DRAWN} subnets drawn by seed have the EPE that they have one by one",
        _equal_to_one_by_one,
        ("merge", "one_by_one"),
    ),
    Criterion("a part of the space, evaluated again, gives the same bytes", _part_repeats, ("merge", "repeat")),
    Criterion(
        "no subnet is better than one of the front, and every other one no better than one of it",
        _front_not_dominated,
        ("select",),
    ),
    Criterion(f"parameters and MACs of {DRAWN} subnets are those that nas.cost gives", _costs_right, ("merge",)),
    Criterion(
        "every compiled subnet runs wholly on the target's NPU: no operator on the CPU, cycles above 0",
        _wholly_on_the_npu,
        ("chip_costs",),
        when=_on_target,
    ),
    Criterion(
        "every compiled subnet fits the target's SRAM and flash", _fits_the_chip, ("chip_costs",), when=_on_target
    ),
    Criterion(
        "predicted cycles of held-out subnets are those of their compilation, to 0.1% where the arena holds the peak, "
        "to 3% where not",
        _prediction_right,
        ("chip_costs",),
        when=_on_target,
    ),
    Criterion(
        "all subnets of the front were compiled themselves, and every subnet's milliseconds are those of its cycles",
        _milliseconds_right,
        ("chip_costs",),
        when=_on_target,
    ),
    Criterion(
        "every pick is on the front, or the reference subnet, or named by the user", _picks_on_front, ("select",)
    ),
    Criterion("the front spreads further than the noise of the evaluation", _spread_told_apart, ("select",)),
    Criterion("the page names every pick", _page_names_picks, ("select",)),
)


def _long_run_comes_to_its_end(settings: GateSettings, steps: int | None) -> str | None:
    """Whether the long run, of which gate 5 takes only one that ended by itself, can do so: by all of its epochs, or by
    early stopping, for which the first epoch never counts."""
    limits = {
        "train.max_epochs": settings.max_epochs,
        "train.max_steps": None if settings.max_steps is None else settings.max_steps // (steps or 1),
    }
    needed = min(settings.num_epochs, settings.early_stop_patience + 1)
    for key, epochs in limits.items():
        if epochs is not None and epochs < needed:
            return (
                f"{key} ends the long run after {epochs} epochs, before its {settings.num_epochs} epochs or early "
                "stopping can: only a run that ended by itself is evaluated; raise it, or set it to null"
            )
    return None


def _picks_are_codes(settings: GateSettings, steps: int | None) -> str | None:
    space = load_search_space(settings.search_space)
    try:
        for word in (settings.picks or "").split():
            parse_code(word, space)
    except UserError as error:
        return f"selection.picks: {error}"
    return None


def _budget_is_kept_by_some(settings: GateSettings, steps: int | None) -> str | None:
    if settings.budget is None:
        return None
    if settings.target is not None:
        return _budget_is_possible(settings, load_target(settings.target))
    space, sizes = load_search_space(settings.search_space), (settings.height, settings.width, settings.init_neurons)
    lightest = min(space_costs(space, *sizes)["macs"]) / MILLION
    if settings.budget >= lightest:
        return None
    return (
        f"selection.budget is {settings.budget:g}, and the lightest subnet takes {lightest:.6g} million "
        "multiply-accumulates; raise it, or leave it out"
    )


def _budget_is_possible(settings: GateSettings, target: Target) -> str | None:
    """Whether a chip could keep to the budget if it did nothing but multiply; what it really takes is only known once
    subnets are compiled."""
    stages = network_stages(load_search_space(settings.search_space), settings.init_neurons)
    macs = sum(
        min(option_cost(stage, option, settings.height, settings.width)[1] for option in range(len(stage.options)))
        for stage in stages
        # Of the heads, the chip gets a part.
        if not stage.head
    )
    least = macs / target.macs_per_cycle / target.clock_mhz / 1e3
    if settings.budget is None or settings.budget >= least:
        return None
    return (
        f"selection.budget is {settings.budget:g}, and on target {target.name} the lightest subnet takes more than "
        f"{least:.3g} ms; raise it, or leave it out"
    )


def _chip_can_be_compiled_for(settings: GateSettings, steps: int | None) -> str | None:
    if settings.target is None:
        return None
    try:
        vela_version()
        require_converter()
    except UserError as error:
        return f"target is {settings.target}, for which gate 5 compiles subnets, and {error}; or set target to null"
    return None


def _space_is_small_enough(settings: GateSettings, steps: int | None) -> str | None:
    samples = settings.samples or (settings.fast_max_samples if settings.fast_mode else settings.eval_samples)
    if settings.data_source == "synthetic":
        samples = min(samples or settings.synthetic_val, settings.synthetic_val)
    space = load_search_space(settings.search_space)
    tree = Tree(space, settings.init_neurons, settings.height, settings.width)
    # Of a user's data it is known when they are indexed; the command then says the same.
    tmacs = tree.macs(settings.bn_recal_batches * settings.eval_batch_size, samples or 1) / TERA
    if tmacs <= settings.max_tmacs:
        return None
    return (
        f"selection.max_tmacs is {settings.max_tmacs:g}, and evaluating the {space.size} subnets of {space.name} takes "
        f"{tmacs:.4g} TMAC; raise it, or evaluate on fewer samples (selection.samples)"
    )


def _shards(config: Config) -> list[str]:
    return [str(number + 1) for number in range(config.view(GateSettings).shards)]


def _space_eval(context: Context, run: str, *flags: Any) -> list[Any]:
    settings = context.settings
    where = ["--run_dir", context.run(LONG_RUN), "--checkpoint", CHECKPOINT, "--out", f"{context.run(run)}/{TABLE}"]
    samples = [] if settings.samples is None else ["--samples", settings.samples]
    # The command takes them from nowhere else: a run is evaluated on other machines than the one that trained it.
    device = [] if settings.gpu_device is None else ["--gpu_device", settings.gpu_device]
    device += ["--set", "train.require_gpu=true"] if settings.require_gpu else []
    return [*where, *samples, *device, "--set", f"selection.max_tmacs={settings.max_tmacs:g}", *flags]


def _one_by_one(context: Context) -> list[Any]:
    samples = context.settings.samples
    keys = () if samples is None else ("eval.max_samples", "fast_mode.max_samples")
    flags = [word for key in keys for word in ("--set", f"{key}={samples}")]
    flags += ["--checkpoint", CHECKPOINT, "--output_dir", context.run(LONG_RUN)]
    codes = map(format_code, compared_codes(context.space))
    return [*context.data_flags, *flags, "--out", f"{context.run(RUN)}/{EVALUATION}", "--arch", *codes]


def _chip_costs(context: Context) -> list[Any]:
    # What was compiled stays there, whatever becomes of the attempt.
    cache = f"{context.output_dir}/{CACHE}"
    return [*context.config_flags, "--evaluated", context.run(RUN), "--cache", cache]


COMMANDS = (
    Command(
        "evaluate",
        SPACE_EVAL,
        lambda context: _space_eval(context, RUN, "--shard", f"{context.part}/{context.settings.shards}"),
        parts=_shards,
    ),
    Command("merge", SPACE_EVAL, lambda context: _space_eval(context, RUN, "--merge")),
    Command("chip_costs", "edgeflownas.selection.chip_costs", _chip_costs, when=has_target),
    Command("repeat", SPACE_EVAL, lambda context: _space_eval(context, REPEAT_RUN, "--shard", f"1/{REPEATED_OF}")),
    Command("one_by_one", SUPERNET_EVAL, _one_by_one),
    Command(
        "select",
        "edgeflownas.selection.select",
        lambda context: [*context.config_flags, "--evaluated", context.run(RUN)],
    ),
)


def _table(evidence: Evidence, target: Path) -> None:
    """The table of all subnets; with a target, the one that has their milliseconds."""
    copy_of(RUN, chip_tables.TABLE if has_target(evidence.config) else TABLE)(evidence, target)


GATE = Gate(
    number=5,
    title="selection",
    commands=COMMANDS,
    criteria=CRITERIA,
    artifacts=(
        Artifact(TABLE, None, _table),
        Artifact(FRONT, "pareto_front.schema.json", copy_of(RUN, FRONT)),
        Artifact(SELECTION, "selection.schema.json", copy_of(RUN, SELECTION)),
        Artifact(PAGE, None, page_of(RUN, PAGE)),
    ),
    config_keys=(*TRAINING_KEYS, "fast_mode.", "workflow."),
    requirements=(
        _long_run_comes_to_its_end,
        _picks_are_codes,
        _chip_can_be_compiled_for,
        _budget_is_kept_by_some,
        _space_is_small_enough,
    ),
    own_keys=SELECTION_KEYS,
    run_directories=(RUN, REPEAT_RUN),
    packages=COMPUTING_PACKAGES,
    chip_packages=CHIP_PACKAGES,
    uses_data=True,
    after_long_run=True,
)
