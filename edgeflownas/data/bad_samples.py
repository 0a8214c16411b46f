"""What to do with samples that cannot be used: stop, or leave them out as long as they are few."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import write_text
from edgeflownas.errors import UserError

POLICIES = ("stop", "exclude")
LIST_FILE = "bad_samples.txt"
NAMED = 10
"""How many bad samples the one line of an error names."""


def require_good(
    splits: Mapping[str, Any], root: Path | str, on_bad_sample: str, max_bad_fraction: float, folder: Path | None = None
) -> None:
    """Refuse a data set whose bad samples the policy does not allow to leave out.

    Args:
        splits: of an index: per split, usable `samples` and `rejected` ones with their reasons.
        root: names the data set.
        on_bad_sample: "stop" allows none, "exclude" some.
        max_bad_fraction: the largest share of a split that may be left out, 0 to 1.
        folder: where `bad_samples.txt` is written if an error cannot name all.

    Raises:
        UserError: names the first of them and how many there are; all of both splits are in `bad_samples.txt`.
    """
    bad = [f"{split} {entry['name']}: {entry['reason']}" for split in splits for entry in splits[split]["rejected"]]
    if bad and on_bad_sample == "stop":
        raise UserError(
            f"{root}: {len(bad)} bad sample(s): {_listed(bad, folder)}. "
            "Fix or remove them, or set data.on_bad_sample to exclude"
        )
    for split, part in splits.items():
        rejected, total = len(part["rejected"]), len(part["rejected"]) + len(part["samples"])
        if not part["samples"]:
            first = part["rejected"][0]
            raise UserError(
                f"{root}: {split}: no usable sample is left of {total}; the first, {first['name']}: {first['reason']}"
            )
        if rejected > max_bad_fraction * total:
            raise UserError(
                f"{root}: {split}: {rejected} of {total} samples are bad ({rejected / total:.1%}), and "
                f"data.max_bad_fraction allows {max_bad_fraction:.1%} to be left out: {_listed(bad, folder)}. "
                "Fix or remove them"
            )


def _listed(bad: list[str], folder: Path | None) -> str:
    named = "; ".join(bad[:NAMED])
    if len(bad) <= NAMED:
        return named
    more = f"{named}; and {len(bad) - NAMED} more"
    if folder is None:
        return more
    write_text(folder / LIST_FILE, "".join(f"{line}\n" for line in bad))
    return f"{more}, all in {folder / LIST_FILE}"
