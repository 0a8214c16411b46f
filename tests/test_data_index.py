import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.artifacts import validate, write_json
from edgeflownas.data.flow_files import read_flow, write_flow
from edgeflownas.data.flying_chairs import Sample
from edgeflownas.data.index import SCHEMA, build_index, check_unchanged, indexed_samples, load_index, zero_flow_epe
from edgeflownas.errors import UserError

CROP = (40, 56)


@pytest.fixture
def root(synthetic_root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(synthetic_root, tmp_path / "copy"))


def test_the_zero_flow_epe_is_the_mean_length_of_the_clipped_flow() -> None:
    flow = np.array([[[3, 4], [300, 0]], [[0, 0], [-60, 60]]], np.float32)
    assert zero_flow_epe(flow, 50.0) == pytest.approx((5 + 50 + 0 + 50 * 2**0.5) / 4)


def test_an_index_lists_every_sample_with_its_sizes_and_digests(root: Path, tmp_path: Path) -> None:
    index = build_index(root, CROP)
    write_json(tmp_path / "data_index.json", index, SCHEMA)
    assert load_index(tmp_path / "data_index.json") == index
    assert {split: part["count"] for split, part in index["splits"].items()} == {"train": 7, "val": 3}
    entry = index["splits"]["train"]["samples"][2]
    assert (entry["name"], entry["height"], entry["width"]) == ("0000002", 48, 64)
    assert entry["bytes"][2] == 12 + 48 * 64 * 8
    assert entry["zero_flow_epe"] == zero_flow_epe(read_flow(root / "train" / "0000002-flow_01.flo"), 50.0)
    epes = [sample["zero_flow_epe"] for sample in index["splits"]["train"]["samples"]]
    assert index["splits"]["train"]["zero_flow_epe"] == pytest.approx(np.mean(epes))
    assert indexed_samples(index, "val") == [Sample(root / "val", f"{i:07d}") for i in range(3)]


def test_the_digest_is_that_of_the_bytes_and_not_of_place_time_or_threads(root: Path, tmp_path: Path) -> None:
    digest = build_index(root, CROP, workers=1)["digest"]
    moved = Path(shutil.move(root, tmp_path / "elsewhere"))
    for file in moved.rglob("*.png"):
        os.utime(file, (1, 1))
    assert build_index(moved, CROP, workers=3)["digest"] == digest
    flow = read_flow(moved / "val" / "0000000-flow_01.flo")
    flow[0, 0, 0] += 1
    write_flow(moved / "val" / "0000000-flow_01.flo", flow)
    assert build_index(moved, CROP)["digest"] != digest


def small_images(sample: Sample) -> None:
    for path in sample.files[:2]:
        cv2.imwrite(str(path), np.zeros((50, 50, 3), np.uint8))
    write_flow(sample.files[2], np.zeros((50, 50, 2)))


def truncated_flow(sample: Sample) -> None:
    sample.files[2].write_bytes(sample.files[2].read_bytes()[:-8])


def oversized_flow(sample: Sample) -> None:
    sample.files[2].write_bytes(sample.files[2].read_bytes() + b"\0")


def wrong_magic(sample: Sample) -> None:
    sample.files[2].write_bytes(b"HEIP" + sample.files[2].read_bytes()[4:])


def flow_with_nan(sample: Sample) -> None:
    flow = read_flow(sample.files[2])
    flow[3, 4, 1] = np.nan
    flow[5, 6, 0] = np.inf
    write_flow(sample.files[2], flow)


def other_flow_size(sample: Sample) -> None:
    write_flow(sample.files[2], np.zeros((48, 63, 2)))


def broken_image(sample: Sample) -> None:
    sample.files[1].write_bytes(b"not a picture")


def missing_partner(sample: Sample) -> None:
    sample.files[0].unlink()


def folder_in_place_of_a_file(sample: Sample) -> None:
    sample.files[1].unlink()
    sample.files[1].mkdir()


FAULTS = [
    (small_images, "-img_0.png: is 50x50 pixels .height x width., smaller than the crop 40x56"),
    (truncated_flow, "-flow_01.flo: truncated flow file"),
    (oversized_flow, "-flow_01.flo: oversized flow file"),
    (wrong_magic, "-flow_01.flo: not a .flo file"),
    (flow_with_nan, "-flow_01.flo: flow is not finite at 2 of 3072 pixels"),
    (other_flow_size, "-flow_01.flo: is 63x48 pixels, but its frame 0 is 64x48"),
    (broken_image, "-img_1.png: not a readable image"),
    (missing_partner, "missing 0000001-img_0.png"),
    (folder_in_place_of_a_file, "-img_1.png: cannot read the frame: Is a directory"),
]


@pytest.mark.parametrize(("damage", "reason"), FAULTS, ids=[damage.__name__ for damage, _ in FAULTS])
def test_a_bad_sample_stops_or_is_excluded_with_its_reason(
    root: Path, damage: Callable[[Sample], None], reason: str
) -> None:
    damage(Sample(root / "train", "0000001"))
    with pytest.raises(UserError, match=rf"copy: 1 bad sample\(s\): train 0000001: .*{reason}.*on_bad_sample"):
        build_index(root, CROP)
    index = build_index(root, CROP, on_bad_sample="exclude")
    validate(index, SCHEMA, where="index")
    (rejected,) = index["splits"]["train"]["rejected"]
    assert rejected["name"] == "0000001"
    assert index["splits"]["train"]["count"] == len(indexed_samples(index, "train")) == 6
    assert Sample(root / "train", "0000001") not in indexed_samples(index, "train")


def test_of_many_bad_samples_the_first_ten_are_named(root: Path) -> None:
    for number in range(7, 20):
        (root / "train" / f"{number:07d}-img_0.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"13 bad sample.*0000016: .*; and 3 more") as caught:
        build_index(root, CROP)
    assert "0000017" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_an_empty_split_are_refused_under_either_policy(root: Path, tmp_path: Path) -> None:
    for file in (root / "val").iterdir():
        file.unlink()
    for policy in ("stop", "exclude"):
        with pytest.raises(UserError, match=r"nowhere: no such data folder"):
            build_index(tmp_path / "nowhere", CROP, on_bad_sample=policy)
        with pytest.raises(UserError, match=r"val: the split 'val' is empty"):
            build_index(root, CROP, on_bad_sample=policy)


def test_a_split_that_exclusion_empties_is_refused(root: Path) -> None:
    for number in range(3):
        truncated_flow(Sample(root / "val", f"{number:07d}"))
    with pytest.raises(UserError, match=r"val: no usable sample is left of 3; the first, 0000000: .*truncated"):
        build_index(root, CROP, on_bad_sample="exclude")


def test_a_file_that_changes_or_vanishes_after_indexing_is_noticed(root: Path) -> None:
    index = build_index(root, CROP)
    for file in root.rglob("*.flo"):
        os.utime(file, (5, 5))  # a copy has new times and old bytes
    check_unchanged(index)
    path = root / "train" / "0000003-flow_01.flo"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"0000003-flow_01.flo: has other bytes than were indexed"):
        check_unchanged(index)
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"0000003-flow_01.flo: has 24587 bytes, was indexed with 24588"):
        check_unchanged(index)
    path.unlink()
    with pytest.raises(UserError, match=r"0000003-flow_01.flo: No such file or directory.*build the index again"):
        check_unchanged(index)


def test_an_edited_index_is_refused(root: Path, tmp_path: Path) -> None:
    index = build_index(root, CROP)
    index["splits"]["train"]["samples"].pop()
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"index.json: its digest does not fit its samples"):
        load_index(tmp_path / "index.json")
    index["surprise"] = 1
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"does not fit schemas/data_index.schema.json: .*surprise"):
        load_index(tmp_path / "index.json")


def test_the_command_writes_a_whole_index_or_none(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "data_index.json"
    command = [sys.executable, "-m", "edgeflownas.data.index", "--root", str(root), "--out", str(out)]
    command += ["--height", "40", "--width", "56", "--max_flow", "50"]
    flow_with_nan(Sample(root / "train", "0000005"))
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "train 0000005" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not out.parent.exists()
    done = subprocess.run([*command, "--on_bad_sample", "exclude"], capture_output=True, text=True, check=True)
    assert "train: 6 samples" in done.stdout
    assert "1 rejected" in done.stdout
    assert load_index(out)["splits"]["train"]["rejected"][0]["name"] == "0000005"


@pytest.mark.real_data
def test_the_real_pairs_index_cleanly(real_pairs: Path) -> None:
    index = build_index(real_pairs, (180, 240))
    assert {split: (part["count"], part["rejected"]) for split, part in index["splits"].items()} == {
        "train": (6, []),
        "val": (2, []),
    }
    assert index["splits"]["train"]["zero_flow_epe"] == pytest.approx(12.477, abs=1e-3)
    assert index["splits"]["val"]["zero_flow_epe"] == pytest.approx(6.025, abs=1e-3)
    check_unchanged(index)
