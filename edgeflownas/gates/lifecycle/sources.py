"""Which source files a gate's verdict depends on: found by following what its commands and its module import.

A file that no gate reaches matters to all gates: what nobody thought of makes gates stale too often, never too seldom.
It matters to none if it is named in `NO_GATE`, or imported by what is named there alone.
"""

import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from edgeflownas.artifacts import PROJECT_ROOT
from edgeflownas.gates.gate import Gate
from edgeflownas.gates.registry import GATES
from edgeflownas.source_code import reached_from

# No verdict depends on these. What only they import is not followed.
NO_GATE = (
    # The list of gates: each gate's own module is followed.
    "edgeflownas/gates/registry.py",
    # What a run says while it goes, and its logs.
    "edgeflownas/runs/monitor.py",
    "edgeflownas/training/tensorboard.py",
    "edgeflownas/console/printer.py",
    "edgeflownas/console/terminal.py",
    # What only a reader of finished gates runs.
    "edgeflownas/watch.py",
    "edgeflownas/gates/lifecycle/page.py",
    "edgeflownas/gates/lifecycle/verifying.py",
    "edgeflownas/gates/workflow/log_filter.py",
    "edgeflownas/reporting/provenance_page.py",
    "edgeflownas/reporting/provenance.html.jinja",
    # The long run and the studies, which come after the gates.
    "edgeflownas/gates/lifecycle/long_run.py",
    "edgeflownas/studies/*",
    "rules/supernet.smk",
    "rules/learning.smk",
    "rules/fidelity.smk",
    "schemas/studies.schema.json",
    "schemas/learning.schema.json",
    "schemas/fidelity.schema.json",
    "schemas/ablation.schema.json",
    "schemas/recalibration.schema.json",
    # Commands that no gate runs, and what only they write.
    "edgeflownas/deploy/compile.py",
    "edgeflownas/nas/cost.py",
    "edgeflownas/predict.py",
    "edgeflownas/selection/compare.py",
    "schemas/progress.schema.json",
    # The space in force is among the values of the configuration.
    "config/search_spaces/*",
)
# What runs and judges every gate. Of `devices.py` it takes the backend's name, which is part of another digest.
EVERY_GATE = "edgeflownas/gates/__main__.py"
NOT_OF_EVERY_GATE = ("edgeflownas/devices.py", "edgeflownas/gates/definitions/*")
# What gates that use the data index depend on besides.
DATA = ("rules/data.smk", "edgeflownas/data/index.py", "edgeflownas/data/synthetic.py")


def depends_on(gate: Gate, path: str) -> bool:
    """Whether the gate's verdict depends on a source file. Later gates depend on all that earlier ones depend on."""
    if _matches(path, NO_GATE):
        return False
    if path in _of_every_gate():
        return True
    first = next((other.number for other in GATES if path in _of_gate(other)), None)
    if first is None:
        return path not in _of_no_gate()
    return first <= gate.number


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


@cache
def _of_every_gate() -> frozenset[str]:
    return _with_named(reached_from([EVERY_GATE], without=_files((*NO_GATE, *NOT_OF_EVERY_GATE))))


@cache
def _of_gate(gate: Gate) -> frozenset[str]:
    begin = [f"edgeflownas/gates/definitions/{gate.name}.py", *(DATA[1:] if gate.uses_data else ())]
    begin += [f"{command.module.replace('.', '/')}.py" for command in gate.commands]
    # Where nothing is computed, no function is called that imports what computes.
    found = reached_from(begin, without=_files(NO_GATE), nested=bool(gate.packages))
    return _with_named(found | _files(gate.sources) | (set(DATA) if gate.uses_data else set()))


@cache
def _of_no_gate() -> frozenset[str]:
    return frozenset(reached_from(sorted(path for path in _files(NO_GATE) if path.endswith(".py")), without=()))


def _with_named(found: set[str]) -> frozenset[str]:
    """These files, and the schemas and templates whose names stand in their text, or in the text of such a one."""
    waiting = list(found)
    found = set(found)
    while waiting:
        named = _named_in(waiting.pop()) - found
        found |= named
        waiting += named
    return frozenset(found)


@cache
def _named_in(path: str) -> frozenset[str]:
    text = (PROJECT_ROOT / path).read_text(encoding="utf-8")
    # Looking for the plain text first is many times faster.
    return frozenset(
        other for other, name in _can_be_named().items() if name in text and re.search(rf"\b{re.escape(name)}\b", text)
    )


@cache
def _can_be_named() -> dict[str, str]:
    paths = (path for pattern in ("schemas/*", "edgeflownas/**/*.j*") for path in _glob(pattern))
    return {path: Path(path).name for path in paths if not _matches(path, NO_GATE)}


def _files(patterns: tuple[str, ...]) -> set[str]:
    return {path for pattern in patterns for path in _glob(pattern)}


def _glob(pattern: str) -> set[str]:
    found = (path for path in PROJECT_ROOT.glob(pattern) if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(PROJECT_ROOT).as_posix() for path in found}
