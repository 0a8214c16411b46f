"""Remarks about a data index for people: what it lists, leaves out and clips."""

from collections.abc import Mapping
from typing import Any

from edgeflownas.data.layouts.registry import layout_of
from edgeflownas.data.other_files import in_words, total, unexpected
from edgeflownas.errors import printable

MUCH_CLIPPED = 0.05
"""From this share of clipped pixels on it is worth a remark; FlyingChairs2 itself has some 2% beyond ±50 px."""


def outline(index: Mapping[str, Any]) -> list[str]:
    """A line for each split, one for each sample that was left out, and one for other content of the root."""
    lines = []
    for split, part in index["splits"].items():
        lines.append(
            f"{split}: {part['count']} samples, zero-flow EPE {part['zero_flow_epe']:.3f} px, "
            f"{len(part['rejected'])} rejected, {part['clipped_share']:.2%} of the pixels clipped to "
            f"±{index['max_flow']:g} px, {_unknown(part)}{total(part['other'])} other file(s)"
        )
        lines += [f"left out: {split} {printable(entry['name'])}: {entry['reason']}" for entry in part["rejected"]]
    if index["other"]:
        lines.append(f"besides the splits, not used: {in_words(index['other'])}")
    return lines


def _unknown(part: Mapping[str, Any]) -> str:
    share = part.get("unknown_share")
    return "" if share is None else f"{share:.2%} of unknown flow, "


def remarks(index: Mapping[str, Any]) -> list[str]:
    """What may surprise the owner of the data, a sentence each; samples left out are not among them."""
    found = []
    for split, part in index["splits"].items():
        if other := unexpected(part["other"], layout_of(index).expected):
            found.append(f"{split}: {total(other)} file(s) belong to no sample and are not used: {in_words(other)}")
        if part["clipped_share"] >= MUCH_CLIPPED:
            found.append(
                f"{split}: {part['clipped_share']:.1%} of the pixels have flow beyond ±{index['max_flow']:g} px, which "
                "is clipped (data.max_flow): errors on longer motion do not count. Flow must be in pixels"
            )
    return found
