"""Gate 1, foundation: the command line, the configuration and the arch codec behave as documented."""

import re
from collections.abc import Callable
from pathlib import Path

from edgeflownas.artifacts import write_json
from edgeflownas.deploy.peak import FitSettings, fit_of
from edgeflownas.gates.criteria import Criterion, Finding, none_of, same
from edgeflownas.gates.gate import CHIP_KEYS, Command, Context, Gate, has_target
from edgeflownas.gates.lifecycle.evidence import Evidence
from edgeflownas.gates.lifecycle.publishing import Artifact
from edgeflownas.gates.settings import GateSettings
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.search_space import SearchSpace

HELP_FLAGS = ("gpu_device", "num_epochs", "batch_size", "lr", "config", "supernet_mode")
TRAINER, CODEC = "edgeflownas.train_supernet", "edgeflownas.nas.arch_codec"
GRAPH_PACKAGES = ("tensorflow", "keras", "jax", "torch")


def wrong_codes(space: SearchSpace) -> dict[str, str]:
    """The codes that gate 1 gives to the codec to be refused: one digit too few, and one option too many."""
    position = len(space.blocks) // 2
    too_large = [0] * len(space.blocks)
    too_large[position] = len(space.blocks[position].options)
    return {"wrong_length": format_code([0] * (len(space.blocks) - 1)), "wrong_digit": format_code(too_large)}


def _help_names_flags(evidence: Evidence) -> Finding:
    text = evidence.log("help")
    missing = [f"--{flag} is missing" for flag in HELP_FLAGS if not re.search(rf"--{flag}\b", text)]
    return none_of(missing, f"{len(HELP_FLAGS)} flags")


def _dry_run_prints_config(evidence: Evidence) -> Finding:
    text = evidence.log("dry_run")
    missing = [f"{key} is not printed" for key in evidence.config.values if key not in text]
    if evidence.config.hash not in text:
        missing.append(f"the hash {evidence.config.hash} is not printed")
    return none_of(missing, f"{len(evidence.config.values)} keys and the hash")


def _dry_run_builds_no_graph(evidence: Evidence) -> Finding:
    imported = re.findall(r"^import time:.*\|\s*(\S+)$", evidence.log("dry_run_imports"), flags=re.MULTILINE)
    packages = {module.partition(".")[0] for module in imported}
    if "edgeflownas.config" not in imported:
        return Finding("no listing of imports", "a listing of imports", False)
    graph = [f"{package} was imported" for package in GRAPH_PACKAGES if package in packages]
    return none_of(graph, f"{len(imported)} imported modules")


def _dry_run_says_it_fits(evidence: Evidence) -> Finding:
    said = [line for line in evidence.log("dry_run").splitlines() if line.startswith("target ")]
    return Finding("; ".join(said) or "nothing", "target …: fits", any(": fits, " in line for line in said))


def _codec_survives(evidence: Evidence) -> Finding:
    said = evidence.log("self_test").strip().splitlines()[-1]
    return Finding(said, f"{evidence.space.size} subnets … ok", f"{evidence.space.size} subnets" in said)


def _wrong_length_refused(evidence: Evidence) -> Finding:
    length = len(evidence.space.blocks)
    return _refused(evidence, "wrong_length", f"length={length} required, got {length - 1}")


def _wrong_digit_refused(evidence: Evidence) -> Finding:
    position = len(evidence.space.blocks) // 2
    block = evidence.space.blocks[position]
    allowed = ",".join(str(option) for option in range(len(block.options)))
    words = f"value must be in {{{allowed}}}, got {len(block.options)} at position {position} ({block.name})"
    return _refused(evidence, "wrong_digit", words)


def _refused(evidence: Evidence, command: str, words: str) -> Finding:
    said = evidence.log(command).strip()
    lines = said.splitlines()
    return Finding(said, f"one line with: {words}", len(lines) == 1 and words in said)


def _exit_codes_of_refusals(evidence: Evidence) -> Finding:
    codes = [evidence.attempt.command(name)["exit_code"] for name in ("wrong_length", "wrong_digit")]
    return same(codes, [2, 2])


CRITERIA = (
    Criterion(f"train_supernet --help names {', '.join(HELP_FLAGS)}", _help_names_flags, ("help",)),
    Criterion("the dry run prints the final config, every key, and its hash", _dry_run_prints_config, ("dry_run",)),
    Criterion(
        "the dry run builds no graph: it imports neither Keras nor a backend",
        _dry_run_builds_no_graph,
        ("dry_run_imports",),
    ),
    Criterion(
        "the subnets can fit the target: the dry run says with how much SRAM",
        _dry_run_says_it_fits,
        ("dry_run",),
        when=lambda evidence: has_target(evidence.config),
    ),
    Criterion("the arch codec survives its self-test on its search space", _codec_survives, ("self_test",)),
    Criterion(
        "an arch code of wrong length is refused, saying which length is required",
        _wrong_length_refused,
        ("wrong_length",),
    ),
    Criterion(
        "an arch code with a wrong digit is refused, saying value, position and block",
        _wrong_digit_refused,
        ("wrong_digit",),
    ),
    Criterion("both refusals end with exit code 2", _exit_codes_of_refusals, ("wrong_length", "wrong_digit")),
)


def _dry_run(context: Context) -> list[str]:
    return [*context.config_flags, "--dry_run"]


def _codec(context: Context, *flags: str) -> list[str]:
    return ["--space", context.settings.search_space, *flags]


def _describe_wrong(which: str) -> Callable[[Context], list[str]]:
    return lambda context: _codec(context, "--describe", wrong_codes(context.space)[which])


COMMANDS = (
    Command("help", TRAINER, lambda context: ["--help"], quiet=True),
    Command("dry_run", TRAINER, _dry_run, quiet=True),
    Command("dry_run_imports", TRAINER, _dry_run, options=("-X", "importtime"), quiet=True),
    Command("self_test", CODEC, lambda context: _codec(context, "--self_test")),
    Command("wrong_length", CODEC, _describe_wrong("wrong_length"), expect=2),
    Command("wrong_digit", CODEC, _describe_wrong("wrong_digit"), expect=2),
)


def _fits_target(settings: GateSettings, steps: int | None) -> str | None:
    network = (settings.search_space, settings.init_neurons, settings.height, settings.width)
    form = (settings.deploy_output, settings.deploy_resize, settings.deploy_precision)
    fit = fit_of(FitSettings(settings.target, *network, *form))
    return None if fit is None else fit.fault


def _resolved_config(evidence: Evidence, target: Path) -> None:
    config = evidence.config
    write_json(target, {"values": config.values, "origins": config.origins, "hash": config.hash})


GATE = Gate(
    number=1,
    title="foundation",
    commands=COMMANDS,
    criteria=CRITERIA,
    artifacts=(Artifact("config.json", "resolved_config.schema.json", _resolved_config),),
    config_keys=("",),
    requirements=(_fits_target,),
    own_keys=CHIP_KEYS,
    resources="light",
)
