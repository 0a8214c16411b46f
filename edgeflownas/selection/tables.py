"""What the evaluation of a whole search space leaves in a folder, and how the other parts read it.

- `subnets.csv`: one row per subnet, in lexicographic order of arch codes.
- `sample_epes.npy`: float32 (subnets, validation samples), pixels, in the same order: EPE differences between subnets
  are judged by sample.
- `space_eval.json` (`schemas/space_eval.schema.json`): checkpoint, data, settings, estimate, and the digests of the
  other two.

Imports no Keras.
"""

import io
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from edgeflownas.artifacts import read_json, sha256_file, write_atomic, write_json, write_text
from edgeflownas.errors import UserError
from edgeflownas.nas.arch_codec import code_text
from edgeflownas.nas.ranking import standard_errors
from edgeflownas.nas.search_space import ArchCode, ChoiceBlock, SearchSpace
from edgeflownas.runs.records import METRICS
from edgeflownas.selection.front import pareto_front

if TYPE_CHECKING:
    import pandas as pd

TABLE = "subnets.csv"
SAMPLE_EPES = "sample_epes.npy"
FACTS = "space_eval.json"
SCHEMA = "space_eval.schema.json"
COLUMNS = ("code", "epe", "epe_error", *METRICS[1:], "params", "macs", "on_front")


@dataclass(frozen=True)
class Evaluated:
    """Every subnet of a space, evaluated.

    space: the search space.
    table: the columns `COLUMNS`, one row per subnet in lexicographic order of codes. `code` is text (`code_text`);
        `epe` and its standard error `epe_error` are in pixels, the other metrics are shares; `on_front` is a bool.
    sample_epes: (subnets, validation samples) float32, pixels.
    facts: the content of `space_eval.json`.
    """

    space: SearchSpace
    table: "pd.DataFrame"
    sample_epes: np.ndarray
    facts: dict[str, Any]


def all_codes(space: SearchSpace) -> list[ArchCode]:
    """Every arch code of the space, in lexicographic order."""
    return list(itertools.product(*(range(len(block.options)) for block in space.blocks)))


def write_evaluated(
    folder: Path,
    space: SearchSpace,
    sample_epes: np.ndarray,
    other_metrics: np.ndarray,
    costs: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
) -> None:
    """Write the three files; `space_eval.json` last, so that a folder that has it is complete.

    Args:
        folder: made if it is not there.
        space: its subnets are the rows, in lexicographic order of codes.
        sample_epes: (subnets, samples) float32, pixels.
        other_metrics: (subnets, 4) float64, the means over samples of the metrics that follow `epe` in `METRICS`.
        costs: `params` and `macs`, (subnets,) int64 each.
        facts: the content of `space_eval.json` without `search_space` and `files`.

    Raises:
        CannotWrite: the system refuses; an earlier result is then no longer complete, and `read_evaluated` says so.
    """
    import pandas as pd

    epes = sample_epes.mean(axis=1, dtype=np.float64)
    errors = standard_errors(sample_epes.astype(np.float64))
    columns: dict[str, Any] = {"code": [code_text(code) for code in all_codes(space)], "epe": epes, "epe_error": errors}
    columns |= dict(zip(METRICS[1:], other_metrics.T, strict=True))
    columns |= {"params": costs["params"], "macs": costs["macs"]}
    columns["on_front"] = pareto_front(costs["macs"], epes).astype(int)
    text = io.StringIO()
    pd.DataFrame(columns)[list(COLUMNS)].to_csv(text, index=False, lineterminator="\n")

    def write_array(file: BinaryIO) -> None:
        np.save(file, sample_epes.astype(np.float32), allow_pickle=False)

    write_text(folder / TABLE, text.getvalue())
    write_atomic(folder / SAMPLE_EPES, write_array)
    digests = {name: sha256_file(folder / name) for name in (TABLE, SAMPLE_EPES)}
    write_json(folder / FACTS, {**facts, "search_space": _space_facts(space), "files": digests}, schema=SCHEMA)


def read_evaluated(folder: Path) -> Evaluated:
    """Read what `write_evaluated` wrote.

    Raises:
        UserError: a file is missing, or is not what was written: `subnets.csv` was changed since it was evaluated.
    """
    import pandas as pd

    if not (folder / FACTS).is_file():
        remedy = "evaluate the space first: python -m edgeflownas.nas.space_eval --run_dir RUN"
        raise UserError(f"{folder}: holds no evaluated search space ({FACTS}); {remedy}")
    facts = read_json(folder / FACTS, schema=SCHEMA)
    for name, expected in facts["files"].items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path}: is missing, {FACTS} names it; evaluate the space again")
        if (digest := sha256_file(path)) != expected:
            raise UserError(
                f"{path}: was changed since it was evaluated: its sha256 is {digest}, {FACTS} has {expected}; "
                "evaluate the space again"
            )
    given = facts["search_space"]
    blocks = tuple(ChoiceBlock(block["name"], block["kind"], tuple(block["options"])) for block in given["blocks"])
    space = SearchSpace(given["name"], blocks, tuple(given["reference"]))
    table = pd.read_csv(folder / TABLE, dtype={"code": str})
    table["on_front"] = table["on_front"].astype(bool)
    return Evaluated(space, table, np.load(folder / SAMPLE_EPES, allow_pickle=False), facts)


def _space_facts(space: SearchSpace) -> dict[str, Any]:
    blocks = [{"name": block.name, "kind": block.kind, "options": list(block.options)} for block in space.blocks]
    return {"name": space.name, "blocks": blocks, "reference": list(space.reference)}
