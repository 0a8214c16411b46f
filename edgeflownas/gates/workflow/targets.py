"""What to ask Snakemake for: results are published by targets, and are none themselves."""

import os
from collections.abc import Iterable
from pathlib import Path

from edgeflownas.errors import UserError
from edgeflownas.gates.lifecycle.states import verdict_path
from edgeflownas.gates.registry import GATES, LONG_RUN
from edgeflownas.nas.search_space import SearchSpace


def require_targets(names: Iterable[str], output_dir: Path, space: SearchSpace) -> None:
    """Refuse a target that is a result: no rule declares those, so that Snakemake never deletes them.

    Args:
        names: targets, as typed.
        output_dir: where gates publish.
        space: the search space, which some results are named after.

    Raises:
        UserError: which target makes that result.
    """
    makers = {os.path.abspath(path): target for path, target in _results(output_dir, space)}
    for name in names:
        path = Path(os.path.abspath(name))
        if target := next((makers[str(found)] for found in (path, *path.parents) if str(found) in makers), None):
            raise UserError(
                f"{name} is no target of its own: `snakemake {target}` makes it, and leaves it alone while it is up to "
                "date"
            )


def _results(output_dir: Path, space: SearchSpace) -> Iterable[tuple[Path, str]]:
    """Results, and the targets that make them; a file that several gates publish is the first one's."""
    for gate in reversed(GATES):
        yield from ((output_dir / path, gate.name) for path in gate.publishes_in(space))
        yield verdict_path(output_dir, gate.name), gate.name
    yield output_dir / "data_index.json", "data"
    yield output_dir / "runs" / LONG_RUN / "report.html", LONG_RUN
    for study in ("learning", "fidelity", "ablation"):
        yield output_dir / f"{study}.json", study
    yield output_dir / "fidelity.svg", "fidelity"
