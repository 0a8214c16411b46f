"""What a gate is made of: each module in `definitions/` declares one, `registry.py` lists them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeflownas.config import VARIANT, Config
from edgeflownas.gates.criteria import Criterion
from edgeflownas.gates.lifecycle.evidence import Evidence
from edgeflownas.gates.lifecycle.publishing import Artifact, Folder
from edgeflownas.gates.requirements import Requirement
from edgeflownas.gates.settings import GateSettings
from edgeflownas.nas.search_space import SearchSpace
from edgeflownas.runs.pool_names import pool_names


@dataclass(frozen=True)
class Context:
    """What the argument vectors of a gate's commands are made of.

    `config_flags` hand the configuration to a command, `data_flags` the data index besides. `long_run` is the command
    that trains the supernet, `long_run_resources` what its job requests, and `job` what the command's own job is given.
    `part` is which part of a split command it is.
    """

    config: Config
    space: SearchSpace
    output_dir: str
    config_flags: Sequence[str]
    data_flags: Sequence[str]
    long_run: Sequence[str]
    long_run_resources: Mapping[str, int]
    job: Mapping[str, Any] = field(default_factory=dict)
    part: str | None = None

    @cached_property
    def settings(self) -> GateSettings:
        """What gates read of the configuration."""
        return self.config.view(GateSettings)

    def run(self, name: str) -> str:
        """A run directory."""
        return f"{self.output_dir}/runs/{name}"


@dataclass(frozen=True)
class Command:
    """A command of a gate: the name under which it is recorded, the module that Python runs, and its arguments.

    `options` are Python's own, `expect` is the exit code that it should have, `quiet` keeps it off the terminal.
    `when` says of a configuration whether the command is run at all.
    `parts` splits it: of a configuration it makes the parts, which run side by side, as `name_part`, on a cluster each
    in a job of its own. The next command waits for all of them. `resources` is the class of its own job where it is
    another than the gate's.
    """

    name: str
    module: str
    arguments: Callable[[Context], Sequence[Any]]
    options: tuple[str, ...] = ()
    expect: int = 0
    quiet: bool = False
    when: Callable[[Config], bool] = lambda config: True
    parts: Callable[[Config], Sequence[str]] | None = None
    part: str | None = None
    resources: str | None = None

    def split(self, config: Config) -> list["Command"]:
        """Its parts under a configuration; a command that is not split is its only one."""
        if self.parts is None:
            return [self]
        return [replace(self, name=f"{self.name}_{part}", parts=None, part=part) for part in self.parts(config)]

    def words(self, context: Context) -> list[str]:
        """What follows the interpreter on the command line."""
        arguments = self.arguments(replace(context, part=self.part))
        return [*self.options, "-m", self.module, *map(str, arguments)]


@dataclass(frozen=True)
class Gate:
    """One gate.

    `commands` run in order. `run_directories` lie below `<output_dir>/runs/` and are emptied when an attempt starts.
    `config_keys` are the dotted prefixes of the configuration that its verdict depends on ("" is everything),
    `packages` those whose versions it depends on, `chip_packages` those besides where the configuration has a target,
    and `uses_data` says whether it depends on the data index.
    `resources` is the class of its jobs: `light`, `training`, or `long` as the long run's. `artifacts` stand below
    `<output_dir>/` once it passed.
    `sources` are patterns of source files that it depends on besides those that `lifecycle/sources.py` finds.
    `after_long_run` says that it examines what the long run left, which must have passed. `own_keys` are keys of the
    configuration that change nothing that is trained, but its verdict; with `target` also the content of its file.
    `built_on` says, of the output directory and a configuration, what it takes of the gates before it that also come
    after the long run, as a JSON value: with another one it is stale, and it runs again when they do.
    """

    number: int
    title: str
    commands: tuple[Command, ...]
    criteria: tuple[Criterion[Evidence], ...]
    artifacts: tuple[Artifact | Folder, ...]
    config_keys: tuple[str, ...]
    requirements: tuple[Requirement, ...] = ()
    run_directories: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    chip_packages: tuple[str, ...] = ()
    uses_data: bool = False
    resources: str = "training"
    sources: tuple[str, ...] = ()
    after_long_run: bool = False
    own_keys: tuple[str, ...] = ()
    built_on: Callable[[Path, Config], Any] | None = None

    @property
    def name(self) -> str:
        """`gate1`, `gate2`, …"""
        return f"gate{self.number}"

    @property
    def is_split(self) -> bool:
        """Whether a command of it is, so that on a cluster it has several jobs."""
        return any(command.parts for command in self.commands)

    def steps(self, config: Config) -> list[list[Command]]:
        """Its commands under a configuration: steps one after another, and the commands of each step, side by side."""
        return [command.split(config) for command in self.commands if command.when(config)]

    def command_names(self, config: Config, of: Collection[str] | None = None) -> list[str]:
        """The names under which its commands are recorded, in order.

        `of` are the names of some of its commands before they are split; by default all.
        """
        chosen = [command for command in self.commands if of is None or command.name in of]
        return [part.name for command in chosen if command.when(config) for part in command.split(config)]

    @property
    def publishes(self) -> tuple[str, ...]:
        """The paths of its artifacts below `<output_dir>/`, as they are in the 9-block space; folders end in `/`."""
        return tuple(f"{made.path}/" if isinstance(made, Folder) else made.path for made in self.artifacts)

    def in_short(self, paths: Sequence[str]) -> list[str]:
        """Published paths, with all those of a folder as that folder."""
        folders = [path for path in self.publishes if path.endswith("/")]
        return list(dict.fromkeys(next((f for f in folders if path.startswith(f)), path) for path in paths))

    def publishes_in(self, space: SearchSpace) -> tuple[str, ...]:
        """The paths of its artifacts below `<output_dir>/` in a search space."""
        return tuple(map(pool_names(space).renamed, self.publishes))


# What gates that build networks depend on, and those that train them.
MODEL_KEYS = ("seed", "network.", "search_space.", "train.supernet_mode", "train.precision")
TRAINING_KEYS = (*MODEL_KEYS, "data.", "train.", "eval.")
# Their own keys, where they say what a subnet takes on the chip.
CHIP_KEYS = ("target", "deploy.output", "deploy.resize", "deploy.precision")
# What decides which subnets a selection picks, besides what is trained: gates from the fifth on depend on it.
SELECTION_KEYS = (*CHIP_KEYS, "selection.samples", "selection.budget", "selection.picks")
# What decides how its picks are trained alone, besides: the sixth and the seventh depend on it.
RETRAIN_KEYS = (*SELECTION_KEYS, "retrain.subnets", "retrain.init", "retrain.must_improve", VARIANT)


def has_target(config: Config) -> bool:
    """Whether a configuration says for which chip subnets are meant."""
    return config["target"] is not None
