"""What the Snakefile needs to know while it is parsed: the configuration, and which gates must run again.

The main process determines it and passes it to the jobs through the environment, because every Slurm job parses the
Snakefile again and must see the same.
"""

import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import yaml

from edgeflownas.artifacts import PROJECT_ROOT, load_schema
from edgeflownas.command_line import data_root_overrides
from edgeflownas.config import Config, resolve_config
from edgeflownas.config_schema import STUDIES_SCHEMA, flatten
from edgeflownas.errors import UserError, make_folder
from edgeflownas.gates.gate import Gate
from edgeflownas.gates.lifecycle.attempts import living_attempts
from edgeflownas.gates.lifecycle.owner import name_owner
from edgeflownas.gates.lifecycle.states import gate_states, require_long_run, require_up_to_date
from edgeflownas.gates.registry import GATES, LONG_RUN
from edgeflownas.locks import LockHeld, take_lock
from edgeflownas.processes import describe, this_process
from edgeflownas.yaml_files import parse_yaml

PLAN_VARIABLE = "EDGEFLOWNAS_PLAN"
# Given for a single call: only the long run gets it, and no launch script keeps it.
FOR_ONE_CALL = ("train.accept_changed_code",)


@dataclass(frozen=True)
class WorkflowPlan:
    """The configuration of a Snakemake run, and per gate the number that changes when it must run again.

    `up_to_date` are the gates that wait for nothing. `hidden` are those of them whose done files are not all there, one
    after another: Snakemake would run a part of them, so they are kept from it.
    `study_overrides` are what was typed for the studies (`schemas/studies.schema.json`), which no gate depends on.
    `next_numbers` are those of the gates' next attempts.
    """

    config_path: str
    overrides: dict[str, Any]
    config: Config
    triggers: dict[str, int]
    up_to_date: frozenset[str]
    hidden: frozenset[str]
    study_overrides: dict[str, Any]
    next_numbers: dict[str, int]

    @property
    def output_dir(self) -> str:
        """Where gates publish."""
        path: str = self.config["workflow.output_dir"]
        return path

    def done_file(self, gate: str, name: str) -> str:
        """The file that a command of a gate writes for Snakemake on success. The attempt's records lie elsewhere.

        Nothing else of a gate is declared to Snakemake, which deletes what is declared: before a job runs, and when it
        fails or is refused. Each time that a gate must run the folder is a new one, so all of the gate runs.
        """
        return f"{self.output_dir}/gates/{gate}/done/{self.triggers[gate]:04d}/{name}.json"

    def run_again(self, gates: Collection[str]) -> "WorkflowPlan":
        """The plan by which these gates run again though they passed; the jobs are told of it, too."""
        plan = replace(
            self,
            triggers=self.triggers | {gate: self.next_numbers[gate] for gate in gates},
            up_to_date=self.up_to_date.difference(gates),
            hidden=self.hidden.difference(gates),
        )
        plan.tell_jobs()
        return plan

    def tell_jobs(self) -> None:
        """Hand it to the jobs through the environment."""
        facts: dict[str, Any] = {"config_path": self.config_path, "overrides": self.overrides}
        facts["triggers"] = self.triggers
        facts |= {"study_overrides": self.study_overrides, "next_numbers": self.next_numbers}
        os.environ[PLAN_VARIABLE] = json.dumps(facts | {"up_to_date": [*self.up_to_date], "hidden": [*self.hidden]})

    def config_flags(self, **extra: Any) -> list[str]:
        """`--config FILE --set key=value …` for commands; `extra` adds keys, with `__` for the dot."""
        pairs = self.overrides | {key.replace("__", "."): value for key, value in extra.items()}
        flags = ["--config", self.config_path]
        for key, value in pairs.items():
            flags += [] if key in FOR_ONE_CALL else ["--set", f"{key}={yaml_text(value)}"]
        return flags


# Prints the file of the package that `python -m edgeflownas…` runs, or nothing, without running any of it.
_WHICH_PACKAGE = """
from importlib.util import find_spec
spec = find_spec("edgeflownas")
print(spec.origin or "" if spec else "")
"""


def require_package_beside(folder: Path, started_in: Path | None = None) -> None:
    """Refuse unless the commands of the workflow in `folder` run the package next to it.

    With two clones and one environment, the Snakefile would be of one and its commands of the other: the gates would
    certify code that did not run.

    Args:
        folder: where the Snakefile is.
        started_in: where the commands are started; by default here.

    Raises:
        UserError: whose package they would run instead.
    """
    command = [sys.executable, "-c", _WHICH_PACKAGE]
    found = subprocess.run(command, cwd=started_in, capture_output=True, text=True, check=False).stdout.strip()
    for package in (Path(found).parents[1] if found else None, PROJECT_ROOT):
        if package is None or not package.exists() or not os.path.samefile(package, folder):
            runs = "there is no package edgeflownas" if package is None else f"the package of {package} runs"
            root = shlex.quote(str(folder))
            raise UserError(
                f"the Snakefile of {folder} is used, and for `python -m edgeflownas…` {runs}: start snakemake in "
                f"{folder}, or install that one (pip install --no-deps --no-build-isolation -e {root}), or put it "
                f"first (export PYTHONPATH={root})"
            )


def plan_workflow(
    configfiles: Sequence[Path],
    entries: Mapping[str, Any],
    default: Path,
    main: bool,
    forced: Collection[str] = (),
) -> WorkflowPlan:
    """Read the base config file and Snakemake's `--config` entries, validate them, and look at the gates' states.

    `forced` are the gates that must run again although they are up to date.

    Raises:
        UserError: several config files, or a configuration that is not valid.
    """
    if not main and PLAN_VARIABLE in os.environ:
        plan = json.loads(os.environ[PLAN_VARIABLE])
        config = resolve_config(plan["config_path"], plan["overrides"])
        return WorkflowPlan(
            plan["config_path"],
            plan["overrides"],
            config,
            plan["triggers"],
            frozenset(plan["up_to_date"]),
            frozenset(plan["hidden"]),
            plan["study_overrides"],
            plan["next_numbers"],
        )
    if len(configfiles) > 1:
        raise UserError(f"--configfile takes one file, got {len(configfiles)}: {', '.join(map(str, configfiles))}")
    config_path = _beside(configfiles[0] if configfiles else default)
    given = config_overrides(entries, sys.argv)
    study_overrides = {key: value for key, value in given.items() if _is_of_studies(key)}
    overrides = {key: value for key, value in given.items() if key not in study_overrides}
    config = resolve_config(config_path, overrides)
    states = gate_states(Path(config["workflow.output_dir"]), config)
    again = {state.gate.name for state in states if state.state != "passed" or state.gate.name in forced}
    for number, state in enumerate(states):
        # What they publish may become something else, and then it is too late to ask this one.
        if state.gate.built_on and any(s.gate.after_long_run and s.gate.name in again for s in states[:number]):
            again.add(state.gate.name)
    triggers = {s.gate.name: s.next_number if s.gate.name in again else s.trigger for s in states}
    up_to_date = frozenset(triggers) - again
    next_numbers = {state.gate.name: state.next_number for state in states}
    plan = WorkflowPlan(
        config_path, overrides, config, triggers, up_to_date, frozenset(), study_overrides, next_numbers
    )
    hidden = {state.gate.name for state in states if state.gate.name in up_to_date and not _in_order(plan, state.gate)}
    plan = replace(plan, hidden=frozenset(hidden))
    plan.tell_jobs()
    name_owner(sys.argv[1:])
    return plan


def _is_of_studies(key: str) -> bool:
    """Whether a dotted key, or a section, is for the studies, which check it."""
    return key.partition(".")[0] in load_schema(STUDIES_SCHEMA)["properties"]


def _in_order(plan: WorkflowPlan, gate: Gate) -> bool:
    """Whether a gate's done files are all there, none older than one that it waits for."""
    steps = [["start"], *([part.name for part in step] for step in gate.steps(plan.config)), ["judge"]]
    try:
        times = [[os.stat(plan.done_file(gate.name, name)).st_mtime_ns for name in step] for step in steps]
    except OSError:
        return False
    return all(max(before) <= min(after) for before, after in itertools.pairwise(times))


def forced_gates(names: Iterable[str], everything: bool) -> frozenset[str]:
    """The gates of which a part is forced: by Snakemake's `--forceall`, or by the names of rules or files.

    A part of a gate proves nothing, so all of that gate is forced.
    """
    words = list(names)

    def is_forced(gate: str) -> bool:
        return any(word == gate or word.startswith(f"{gate}_") or f"/gates/{gate}/" in word for word in words)

    return frozenset(gate.name for gate in GATES if everything or is_forced(gate.name))


def config_overrides(entries: Mapping[str, Any], argv: Sequence[str]) -> dict[str, Any]:
    """Snakemake's `--config` entries as dotted overrides.

    `data_root=PATH` stands for a folder of the user's data, like the flag `--data_root`. Snakemake has guessed
    types by then (007 is 7), so the text as it was typed in `argv` is read again where it is there.

    Raises:
        UserError: a value that is not YAML, or `data_root` beside another root or source.
    """
    overrides: dict[str, Any] = {}
    data_root: str | None = None
    for name, guessed in entries.items():
        typed = next((text for word in reversed(argv) if (text := _value_of(name, word)) is not None), None)
        if name == "data_root":
            data_root = str(guessed) if typed is None else typed
            continue
        value = _reread(guessed, name) if typed is None else parse_yaml(typed, where=f"--config {name}")
        overrides |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return overrides | data_root_overrides(data_root, overrides)


def _value_of(name: str, word: str) -> str | None:
    for prefix in (f"{name}=", f"--config={name}=", f"-C{name}="):
        if word.startswith(prefix):
            return word[len(prefix) :]
    return None


def _reread(value: Any, where: str) -> Any:
    """Snakemake leaves nested values as strings; read them as YAML."""
    if isinstance(value, Mapping):
        return {key: _reread(item, where) for key, item in value.items()}
    return parse_yaml(value, where) if isinstance(value, str) else value


def yaml_text(value: Any) -> str:
    """A text that `--set` reads back as `value`: as it is where that does, quoted where it does not."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        if parse_yaml(value, where="value") == value:
            return value
    except UserError:
        pass
    # Not JSON's quotes, which write characters beyond 16 bits as pairs that YAML does not read.
    return yaml.safe_dump(value, default_style='"', width=float("inf")).rstrip("\n")


def _beside(path: Path) -> str:
    """A path as one would type it here: relative if it lies below the working directory."""
    try:
        return str(Path(path).absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def require_gates_up_to_date(plan: WorkflowPlan) -> None:
    """Refuse the long run unless each gate before it is up to date.

    Raises:
        UserError: naming the gate and the reason.
    """
    require_up_to_date(gate_states(Path(plan.output_dir), plan.config), LONG_RUN)


def require_long_run_for(gate: Gate, plan: WorkflowPlan) -> None:
    """Refuse a gate that comes after the long run unless that passed; it is never started on a gate's behalf.

    Raises:
        UserError: with the state of the long run.
    """
    if gate.after_long_run:
        require_long_run(Path(plan.output_dir), plan.config, doing=gate.name)


def lock_output_dir(output_dir: Path) -> IO[str]:
    """Make this process the only one that runs gates below `output_dir`, until it ends.

    Returns:
        The open lock file: keep it open as long as the run lasts.

    Raises:
        UserError: another run is there, or an attempt's command or Slurm job is still running; says which and where.
    """
    make_folder(output_dir)
    try:
        file = take_lock(output_dir / ".lock", describe(this_process()))
    except LockHeld as holder:
        raise UserError(f"{output_dir} is in use by {holder}: wait for it or end it") from None
    for attempt, owner in living_attempts(output_dir):
        raise UserError(
            f"{attempt.gate} attempt {attempt.number} is still running ({describe(owner)}): wait for it or end it; "
            f"nothing is started beside it. If it is gone for certain: "
            f"python -m edgeflownas.gates abandon {attempt.gate} --output_dir {output_dir}"
        )
    return file
