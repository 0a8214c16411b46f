"""Which share of bad samples the policy allows, to the sample, and how they are told."""

from pathlib import Path
from typing import Any

import pytest

from edgeflownas.data.bad_samples import LIST_FILE, NAMED, require_good
from edgeflownas.errors import UserError


def split(good: int, bad: int) -> dict[str, Any]:
    """A split of an index with so many usable samples and so many that are not."""
    rejected = [{"name": f"{number:07d}", "reason": f"reason {number}"} for number in range(bad)]
    return {"samples": [{"name": f"{number:07d}"} for number in range(bad, bad + good)], "rejected": rejected}


def test_good_data_pass_under_every_policy() -> None:
    for policy in ("stop", "exclude"):
        require_good({"train": split(100, 0), "val": split(1, 0)}, "data", policy, 0.0)


@pytest.mark.parametrize(("good", "bad", "share"), [(99, 1, 0.01), (98, 2, 0.02), (1, 1, 0.5), (1, 3, 0.75)])
def test_the_largest_share_is_allowed_and_one_sample_more_is_not(good: int, bad: int, share: float) -> None:
    require_good({"train": split(good, bad)}, "data", "exclude", share)
    total = good + bad
    refused = rf"^data: train: {bad} of {total} samples are bad \({bad / total:.1%}\), and data.max_bad_fraction allows"
    with pytest.raises(UserError, match=refused):
        require_good({"train": split(good, bad)}, "data", "exclude", share - 1e-9)


def test_each_split_is_counted_by_itself() -> None:
    with pytest.raises(UserError, match=r"^data: val: 1 of 10 samples are bad \(10\.0%\), .* allows 1\.0%"):
        require_good({"train": split(990, 0), "val": split(9, 1)}, "data", "exclude", 0.01)


def test_a_split_without_a_usable_sample_is_refused_whatever_is_allowed() -> None:
    with pytest.raises(UserError, match=r"val: no usable sample is left of 3; the first, 0000000: reason 0"):
        require_good({"train": split(5, 0), "val": split(0, 3)}, "data", "exclude", 1.0)


def test_stop_allows_none_and_counts_both_splits(tmp_path: Path) -> None:
    splits = {"train": split(1000, NAMED - 1), "val": split(1000, 2)}
    with pytest.raises(UserError) as fault:
        require_good(splits, "data", "stop", 1.0, tmp_path)
    words = str(fault.value)
    assert words.startswith("data: 11 bad sample(s): train 0000000: reason 0; ")
    assert words.count("reason") == NAMED == 10
    assert f"; and 1 more, all in {tmp_path / LIST_FILE}. " in words
    lines = (tmp_path / LIST_FILE).read_text().splitlines()
    assert (len(lines), lines[-1]) == (11, "val 0000001: reason 1")


def test_what_one_line_can_name_needs_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data: 10 bad sample\(s\)"):
        require_good({"train": split(1, NAMED)}, "data", "stop", 1.0, tmp_path)
    assert list(tmp_path.iterdir()) == []
