"""What lies in a data folder and belongs to no sample is counted; nearly a sample's name is no reason to drop it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflownas.artifacts import validate
from edgeflownas.data.changes import check_unchanged
from edgeflownas.data.flow_files import read_flow, write_flow
from edgeflownas.data.index import SCHEMA, build_index
from edgeflownas.data.layouts.flying_chairs2 import list_samples, scan_split
from edgeflownas.data.other_files import MOST_FORMS, forms, in_words, total
from edgeflownas.data.remarks import outline, remarks
from edgeflownas.errors import UserError

CROP = (40, 56)


@pytest.fixture
def root(synthetic_root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(synthetic_root, tmp_path / "copy"))


def put_flying_chairs(folder: Path) -> None:
    """The files of six samples of FlyingChairs, which has another layout."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 7):
        for kind in ("img1.ppm", "img2.ppm", "flow.flo"):
            (folder / f"{number:05d}_{kind}").touch()


def rename(root: Path, number: int, pattern: str) -> None:
    """Give a training sample's files other names; the pattern has {number}, {stem} and {suffix}."""
    for path in sorted((root / "train").glob(f"{number:07d}-*")):
        stem = path.stem.partition("-")[2]
        path.rename(path.with_name(pattern.format(number=f"{number:07d}", stem=stem, suffix=path.suffix)))


def test_files_of_no_sample_are_counted_by_form_and_remarked(root: Path) -> None:
    put_flying_chairs(root / "train")
    (root / "train" / "notes.txt").touch()
    (root / "train" / "more").mkdir()
    (root / "backup_2").mkdir()
    index = build_index(root, CROP)
    validate(index, SCHEMA, where="index")
    assert index["splits"]["train"]["other"] == [
        {"form": "N_imgN.ppm", "count": 12, "example": "00001_img1.ppm"},
        {"form": "N_flow.flo", "count": 6, "example": "00001_flow.flo"},
        {"form": "more/", "count": 1, "example": "more/"},
        {"form": "notes.txt", "count": 1, "example": "notes.txt"},
    ]
    assert index["splits"]["val"]["other"] == []
    assert index["other"] == [{"form": "backup_N/", "count": 1, "example": "backup_2/"}]
    assert remarks(index) == [
        "train: 20 file(s) belong to no sample and are not used: 12 × N_imgN.ppm such as 00001_img1.ppm, "
        "6 × N_flow.flo such as 00001_flow.flo, more/, notes.txt (that is FlyingChairs, which has another layout)"
    ]
    assert outline(index)[0].endswith(", 20 other file(s)")
    assert outline(index)[-1] == "besides the splits, not used: backup_2/"


def test_other_files_change_neither_digest_nor_what_is_trained_on(root: Path) -> None:
    before = build_index(root, CROP)
    put_flying_chairs(root / "train")
    after = build_index(root, CROP)
    assert after["digest"] == before["digest"]
    assert after["splits"]["train"]["samples"] == before["splits"]["train"]["samples"]
    assert check_unchanged(before) == []


def test_what_flying_chairs_2_ships_besides_is_counted_and_no_remark(root: Path) -> None:
    kinds = ["flow_10.flo", "mb_01.png", "mb_weights_10.pfm", "occ_10.png", "occ_weights_01.pfm", "oids_0.png"]
    for kind in kinds:
        (root / "val" / f"0000000-{kind}").touch()
    index = build_index(root, CROP)
    assert total(index["splits"]["val"]["other"]) == len(kinds)
    assert remarks(index) == []


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("{number}_{stem}{suffix}", r"found 0000004_img_0.png: rename it"),
        ("{number}{stem}{suffix}", r"found 0000004img_0.png: rename it"),
        ("{number}-{stem}{suffix} ", r"found 0000004-img_0.png : rename it"),
        ("{number}-{stem}.jpg", r"found 0000004-img_0.jpg: convert it"),
        ("frame{number}-{stem}{suffix}", r"found frame0000004-img_0.png: rename it"),
    ],
)
def test_a_sample_whose_names_nearly_match_is_a_bad_sample(root: Path, pattern: str, found: str) -> None:
    for number in (4, 5):
        rename(root, number, pattern)
    with pytest.raises(UserError, match=rf"2 bad sample\(s\): train \w*0000004: missing \w+-img_0.png \({found}\)"):
        build_index(root, CROP)
    index = build_index(root, CROP, on_bad_sample="exclude", max_bad_fraction=2 / 7)
    validate(index, SCHEMA, where="index")
    part = index["splits"]["train"]
    assert (part["count"], len(part["rejected"])) == (5, 2)
    assert total(part["other"]) == (2 if ".jpg" in pattern else 0)  # a picture is nobody's flow
    assert check_unchanged(index) == []
    with pytest.raises(UserError, match=rf"train: missing \w+-img_0.png \({found}\)"):
        list_samples(root, "train")


def test_one_file_in_capitals_is_missing_and_named(root: Path) -> None:
    path = root / "train" / "0000002-img_1.png"
    path.rename(path.with_name("0000002-IMG_1.PNG"))
    with pytest.raises(UserError, match=r"missing 0000002-img_1.png \(found 0000002-IMG_1.PNG: rename it\)\. Fix"):
        build_index(root, CROP)


def test_of_two_files_that_may_be_meant_one_is_named_and_the_other_counted(root: Path) -> None:
    path = root / "train" / "0000002-img_1.png"
    for name in ("0000002_img_1.png", "0000002-img1.png"):
        shutil.copy(path, path.with_name(name))
    path.unlink()
    index = build_index(root, CROP, on_bad_sample="exclude", max_bad_fraction=1 / 7)
    (rejected,) = index["splits"]["train"]["rejected"]
    assert rejected["reason"] == "missing 0000002-img_1.png (found 0000002-img1.png: rename it)"
    assert total(index["splits"]["train"]["other"]) == 1


def test_a_near_name_beside_the_right_one_and_a_hidden_file_are_only_other_files(root: Path) -> None:
    for name in ("0000002-img_0.jpg", "._0000002-img_0.png", "0000002-img_0.png.bak", "0000002-img_0 (1).png"):
        (root / "train" / name).touch()
    index = build_index(root, CROP)
    assert index["splits"]["train"]["count"] == 7
    assert total(index["splits"]["train"]["other"]) == 4


def test_a_split_or_root_of_another_data_set_is_named(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "val")
    put_flying_chairs(root / "val")
    with pytest.raises(UserError, match=r"'val' is empty: .* It holds 12 × N_imgN.ppm such as .*that is FlyingChairs"):
        build_index(root, CROP)
    put_flying_chairs(tmp_path / "chairs" / "data")
    with pytest.raises(UserError, match=r"no split 'train' .* It holds data/; there, 12 × .*that is FlyingChairs"):
        build_index(tmp_path / "chairs", CROP, layout="flying_chairs2")
    (root / "train").rename(root / "Train")
    shutil.rmtree(root / "val")
    with pytest.raises(
        UserError, match=r"no data set of a known layout.* It holds Train/, synthetic.json; there, 14 × N-img_N.png"
    ):
        build_index(root, CROP)
    (tmp_path / "kitti" / "training" / "flow_occ").mkdir(parents=True)
    with pytest.raises(UserError, match=r"It holds training/; there, flow_occ/ \(that is KITTI"):
        build_index(tmp_path / "kitti", CROP, layout="flying_chairs2")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match=r"known layout; looked for FlyingChairs2 \(train/ .*\. The folder is empty$"):
        build_index(tmp_path / "nothing", CROP)


@pytest.mark.real_data
def test_the_real_example_of_flying_chairs_is_called_so(real_pairs: Path) -> None:
    with pytest.raises(UserError, match=r"no split 'train' .*there, 2 × N_imgN.ppm such as .*that is FlyingChairs"):
        build_index(real_pairs.parent / "flying_chairs_example", CROP, layout="flying_chairs2")


def test_thousands_of_forms_are_bounded_and_any_name_is_one_printable_line(root: Path) -> None:
    letters = "abcdefghijklmnopqrst"
    found = forms(f"{one}{two}" for one in letters for two in letters)
    assert (len(found), total(found)) == (MOST_FORMS + 1, len(letters) ** 2)
    assert "and 395 more" in in_words(found)
    (root / "train" / os.fsdecode(b"\xff\n\x1b[31m")).touch()
    (root / "train" / "loop").symlink_to("loop")
    assert all(line.isprintable() for line in remarks(build_index(root, CROP)))
    assert scan_split(root, "train").missing == {}


def test_much_clipped_flow_is_a_remark_and_every_share_is_said(root: Path) -> None:
    for path in (root / "train").glob("*.flo"):
        write_flow(path, 100 * read_flow(path))
    index = build_index(root, CROP)
    part = index["splits"]["train"]
    flows = [read_flow(path) for path in (root / "train").glob("*.flo")]
    clipped = [int((abs(flow) > 50).any(axis=-1).sum()) for flow in flows]
    assert sorted(entry["clipped_pixels"] for entry in part["samples"]) == sorted(clipped)
    assert part["clipped_share"] == pytest.approx(sum(clipped) / (7 * 48 * 64))
    assert part["clipped_share"] > 0.5
    (remark,) = remarks(index)
    assert re.match(r"train: \d\d\.\d% of the pixels have flow beyond ±50 px, which is clipped", remark)
    assert "0.00% of the pixels clipped to ±50 px" in outline(index)[1]


def test_the_command_says_what_it_leaves_out(root: Path, tmp_path: Path) -> None:
    put_flying_chairs(root / "train")
    command = [sys.executable, "-m", "edgeflownas.data.index", "--root", str(root), "--height", "40", "--width", "56"]
    done = subprocess.run([*command, "--out", str(tmp_path / "i.json")], capture_output=True, text=True, check=True)
    assert "WARNING: train: 18 file(s) belong to no sample and are not used: 12 × N_imgN.ppm" in done.stdout
