"""A data set to evaluate on and not to train on, such as `sintel:/data/MPI-Sintel`: inspected as for an index."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeflownas.artifacts import sha256_of
from edgeflownas.data.bad_samples import require_good
from edgeflownas.data.index import inspect_split, summary
from edgeflownas.data.layouts.layout import Layout
from edgeflownas.data.layouts.registry import AUTO, find_layout
from edgeflownas.data.samples import Sample

UNCLIPPED = 1e9
"""Flow is compared as it is, pixels."""


@dataclass(frozen=True)
class EvaluationSet:
    """The usable samples of a data set.

    digest: of their names and their files' digests.
    """

    layout: Layout
    root: str
    samples: list[Sample]
    digest: str

    def pass_of(self, sample: Sample) -> str:
        """Which rendering of its scene a sample is of; "all" if there is only one."""
        return sample.name.partition("/")[0] if self.layout.passes else "all"


def find_evaluation_set(
    words: str,
    on_bad_sample: str,
    max_bad_fraction: float,
    workers: int,
    print_line: Callable[[str], None] = lambda line: None,
) -> EvaluationSet:
    """Inspect the data set that `LAYOUT:FOLDER`, or a folder alone, names.

    It has the official validation split, or all samples where there is no official split.

    Args:
        on_bad_sample, max_bad_fraction: as `require_good`.
        workers: threads.
        print_line: is told the progress.

    Raises:
        UserError: no such data set, or bad samples that the policy does not allow to leave out.
    """
    name, colon, folder = words.partition(":")
    name, root = (name, folder) if colon else (AUTO, words)
    layout = find_layout(root, name)
    scan = layout.scan(Path(root), layout.judged, "all")
    entries, other = inspect_split(layout, scan, layout.judged, (1, 1), UNCLIPPED, workers, None, print_line)
    part = summary(entries, other, {})
    require_good({layout.judged: part}, root, on_bad_sample, max_bad_fraction)
    usable = {entry["name"]: entry["sha256"] for entry in part["samples"]}
    samples = [sample for sample in scan.samples if sample.name in usable]
    return EvaluationSet(layout, root, samples, sha256_of(usable))
