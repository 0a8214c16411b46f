"""How a gate publishes a page; apart from `lifecycle/publishing.py`, so that gates without one depend on no pages."""

from collections.abc import Callable
from pathlib import Path

from edgeflownas.artifacts import write_text
from edgeflownas.gates.lifecycle.evidence import Evidence
from edgeflownas.reporting.pages import rebased_page


def page_of(run: str, page: str) -> Callable[[Evidence, Path], None]:
    """How a page of a run is published: with its links as seen from where it is published."""

    def publish(evidence: Evidence, target: Path) -> None:
        folder = evidence.run(run)
        write_text(target, rebased_page((folder / page).read_text(encoding="utf-8"), folder, target.parent))

    return publish
