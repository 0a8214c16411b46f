"""Each layout: recognised, indexed with every sample, read as it was written, and strict about what is missing."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.artifacts import write_json
from edgeflownas.data.changes import check_unchanged
from edgeflownas.data.flow_files import LARGEST_KNOWN
from edgeflownas.data.index import SCHEMA, _digest, build_index, indexed_samples, load_index
from edgeflownas.data.inspection import inspect_sample
from edgeflownas.data.layouts.registry import LAYOUTS, find_layout, layout_of
from edgeflownas.data.readers import read_flow
from edgeflownas.data.remarks import outline, remarks
from edgeflownas.data.samples import Sample, read_sample
from edgeflownas.errors import UserError
from tests import layouts_on_disk as disk

CROP = (40, 56)
MASKED = ("sintel", "kitti", "middlebury")


def test_every_layout_of_a_folder_has_a_writer() -> None:
    assert [*disk.WRITERS, "collection"] == list(LAYOUTS)


@pytest.mark.parametrize("name", disk.WRITERS)
def test_a_layout_is_recognised_and_every_sample_is_listed(name: str, tmp_path: Path) -> None:
    made = disk.WRITERS[name](tmp_path / "set")
    said: list[str] = []
    index = build_index(tmp_path / "set", CROP, print_line=said.append)
    assert f"({name})" in said[0]
    write_json(tmp_path / "index.json", index, SCHEMA)
    assert load_index(tmp_path / "index.json") == index
    for split, names in made.names.items():
        part = index["splits"][split]
        assert [entry["name"] for entry in part["samples"]] == names
        assert [entry.get("unknown_pixels", 0) for entry in part["samples"]] == [made.unknown] * len(names)
        assert part.get("unknown_share", 0) == pytest.approx(made.unknown / (48 * 64))
        for entry, sample in zip(part["samples"], indexed_samples(index, split), strict=True):
            frame_0, frame_1, flow = read_sample(sample)
            assert frame_0.shape == frame_1.shape == (48, 64, 3)
            known = (np.abs(flow) <= LARGEST_KNOWN).all(axis=-1)
            assert (~known).sum() == made.unknown
            lengths = np.hypot(*np.moveaxis(flow, -1, 0))[known]
            assert entry["zero_flow_epe"] == pytest.approx(lengths.mean(), rel=1e-5)
    assert check_unchanged(index) == []
    assert remarks(index) == []
    assert index["other"] == []
    assert ("of unknown flow" in outline(index)[0]) == (name in MASKED)
    assert index.get("layout", "flying_chairs2") == name
    assert str(layout_of(index)) == f"a {LAYOUTS[name].title} folder"
    assert build_index(tmp_path / "set", CROP, layout=name) == index


def test_an_index_of_flying_chairs_2_says_nothing_that_it_did_not_say_before(tmp_path: Path) -> None:
    disk.flying_chairs2(tmp_path)
    index = build_index(tmp_path, CROP)
    assert "layout" not in index
    assert "passes" not in index
    assert index["splits"]["train"].keys() == {
        "count",
        "zero_flow_epe",
        "clipped_share",
        "samples",
        "rejected",
        "other",
    }
    assert index["splits"]["train"]["samples"][0].keys() == {
        "name",
        "height",
        "width",
        "zero_flow_epe",
        "clipped_pixels",
        "sha256",
        "bytes",
        "mtime_ns",
    }


READ = {
    "flying_chairs": ("00003", disk.frame(6), disk.frame(7), disk.flow(3)),
    "flying_things3d": (
        "frames_finalpass/TRAIN/A/0000/into_past/right/0007",
        disk.frame(disk.hash_of("train", "right", 7, 1)),
        disk.frame(disk.hash_of("train", "right", 6, 1)),
        disk.flow(disk.hash_of("train", "right", 7, "into_past")),
    ),
    "flying_things3d_subset": (
        "image_clean/left/into_past/0000003",
        disk.frame(disk.hash_of("train", "left", 3, "image_clean")),
        disk.frame(disk.hash_of("train", "left", 2, "image_clean")),
        disk.flow(disk.hash_of("train", "left", "into_past", 3)),
    ),
    "sintel": (
        "final/alley_1/frame_0002",
        disk.frame(disk.hash_of("alley_1", 2, "final")),
        disk.frame(disk.hash_of("alley_1", 3, "final")),
        disk.flow(disk.hash_of("alley_1", 2)),
    ),
    "kitti": ("000001_10", disk.frame(2), disk.frame(3), disk.flow(1)),
}


@pytest.mark.parametrize("name", READ)
def test_a_sample_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    disk.WRITERS[name](tmp_path)
    label, *expected = READ[name]
    (sample,) = [one for one in indexed_samples(build_index(tmp_path, CROP), "train") if one.name == label]
    frame_0, frame_1, flow = read_sample(sample)
    np.testing.assert_array_equal(frame_0, expected[0])
    np.testing.assert_array_equal(frame_1, expected[1])
    known = np.abs(flow).max(axis=-1) <= LARGEST_KNOWN
    np.testing.assert_array_equal(flow[known], expected[2][known])
    if name == "kitti":
        assert known[24:, ::3].all()
    elif name == "sintel":
        assert (~known[3, 10:15]).all()


LOST = {
    "flying_chairs": ("data/00002_img2.ppm", 1),
    "flying_things3d": ("frames_cleanpass/TRAIN/A/0000/left/0007.png", 4),
    "flying_things3d_subset": ("train/image_clean/left/0000001.png", 2),
    "sintel": ("training/invalid/alley_1/frame_0001.png", 2),
    "kitti": ("training/flow_occ/000000_10.png", 1),
    "middlebury": ("other-data/Dimetrodon/frame11.png", 1),
}


@pytest.mark.parametrize("name", LOST)
def test_a_file_that_is_not_there_makes_bad_samples_by_name(name: str, tmp_path: Path) -> None:
    disk.WRITERS[name](tmp_path)
    index = build_index(tmp_path, CROP)
    file, samples = LOST[name]
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=rf"{samples} bad sample\(s\): train \S+: missing {re.escape(file)}"):
        build_index(tmp_path, CROP)
    with pytest.raises(UserError, match=rf"not what was indexed: .*{re.escape(file)}: No such file"):
        check_unchanged(index)


def test_what_belongs_to_no_sample_is_remarked_and_what_ships_with_the_set_is_not(tmp_path: Path) -> None:
    disk.kitti(tmp_path)
    disk.put(tmp_path / "training/image_2/000000_09.png", b"of the multi-view extension")
    disk.put(tmp_path / "training/image_2/000000_10 (1).png", b"")
    disk.put(tmp_path / "devkit/readme.txt", b"")
    index = build_index(tmp_path, CROP)
    assert remarks(index) == [
        "train: 1 file(s) belong to no sample and are not used: 000000_10 (1).png",
    ]
    assert index["other"] == [{"form": "devkit/", "count": 1, "example": "devkit/"}]


def test_a_sample_that_comes_later_is_a_remark(tmp_path: Path) -> None:
    disk.sintel(tmp_path)
    index = build_index(tmp_path, CROP)
    disk.put(tmp_path / "training/clean/alley_1/frame_0004.png", disk.png(disk.frame(1)))
    disk.put(tmp_path / "training/flow/alley_1/frame_0003.flo", disk.flo(disk.flow(1)))
    assert check_unchanged(index) == [
        "train has 2 new sample(s), such as clean/alley_1/frame_0003",
    ]


def test_a_pass_is_chosen_and_remembered(tmp_path: Path) -> None:
    disk.sintel(tmp_path / "sintel")
    index = build_index(tmp_path / "sintel", CROP, passes="final")
    assert [entry["name"] for entry in index["splits"]["val"]["samples"]] == [
        "final/cave_2/frame_0001",
        "final/cave_2/frame_0002",
    ]
    assert check_unchanged(index) == []
    shutil.rmtree(tmp_path / "sintel/training/clean")
    assert build_index(tmp_path / "sintel", CROP)["digest"] == index["digest"]
    with pytest.raises(UserError, match=r"holds no training/clean, which data.passes clean asks for"):
        build_index(tmp_path / "sintel", CROP, passes="clean")
    disk.kitti(tmp_path / "kitti")
    with pytest.raises(UserError, match=r"KITTI has no passes"):
        build_index(tmp_path / "kitti", CROP, passes="clean")


def test_the_official_split_of_flying_chairs_is_followed(tmp_path: Path) -> None:
    disk.flying_chairs(tmp_path)
    split_list = tmp_path / "FlyingChairs_train_val.txt"
    split_list.write_text("".join("2\n" if number in (1, 5) else "1\n" for number in range(1, 13)))
    index = build_index(tmp_path, CROP)
    assert [entry["name"] for entry in index["splits"]["val"]["samples"]] == ["00001", "00005"]
    assert index["splits"]["train"]["count"] == 10
    assert index["other"] == []
    split_list.write_text("1\n2\n3\n")
    with pytest.raises(UserError, match=r"train_val.txt: line 3 is '3'; expected 1 \(training\) or 2"):
        build_index(tmp_path, CROP)
    split_list.write_text("1\n2\n")
    with pytest.raises(UserError, match=r"train_val.txt: has 2 lines, none for sample 00003"):
        build_index(tmp_path, CROP)


def test_without_an_official_split_every_tenth_group_is_for_validation(tmp_path: Path) -> None:
    for number in range(23):
        disk.put(tmp_path / f"training/colored_0/{number:06d}_10.png", disk.png(disk.frame(2 * number)))
        disk.put(tmp_path / f"training/colored_0/{number:06d}_11.png", disk.png(disk.frame(2 * number + 1)))
        known = np.ones(disk.SIZE, bool)
        disk.put(tmp_path / f"training/flow_noc/{number:06d}_10.png", disk.kitti_png(disk.flow(number), known))
    index = build_index(tmp_path, CROP)
    assert [entry["name"] for entry in index["splits"]["val"]["samples"]] == ["000009_10", "000019_10"]
    assert index["splits"]["train"]["count"] == 21
    assert index["splits"]["val"]["samples"][0]["files"] == [
        "training/colored_0/000009_10.png",
        "training/colored_0/000009_11.png",
        "training/flow_noc/000009_10.png",
    ]


def test_a_single_scene_is_not_both_trained_on_and_evaluated_on(tmp_path: Path) -> None:
    disk.sintel(tmp_path)
    shutil.rmtree(tmp_path / "training/flow/cave_2")
    for passes in ("clean", "final"):
        shutil.rmtree(tmp_path / "training" / passes / "cave_2")
    with pytest.raises(UserError, match=r"all 4 sample\(s\) belong to alley_1; expected at least two groups"):
        build_index(tmp_path, CROP)


def test_bad_flow_of_flying_things_is_found_and_not_listed_by_name(tmp_path: Path) -> None:
    disk.flying_things3d(tmp_path)
    folder = tmp_path / "optical_flow/TRAIN/A/0000/into_future/left"
    field = disk.flow(1)
    field[2, 3, 1] = np.nan
    disk.put(folder / "OpticalFlowIntoFuture_0006_L.pfm", disk.pfm(field))
    field[2, 3, 1] = 1e10
    disk.put(folder / "OpticalFlowIntoFuture_0007_L.pfm", disk.pfm(field))
    index = build_index(tmp_path, CROP, on_bad_sample="exclude", max_bad_fraction=0.5)
    reasons = {entry["name"]: entry["reason"] for entry in index["splits"]["train"]["rejected"]}
    scene = "TRAIN/A/0000/into_future/left"
    for passes in ("frames_cleanpass", "frames_finalpass"):
        assert reasons[f"{passes}/{scene}/0006"].endswith("0006_L.pfm: flow is not finite at 1 of 3072 pixels")
        assert "0007_L.pfm: flow is unknown" in reasons[f"{passes}/{scene}/0007"]
    assert len(reasons) == 4


def test_flow_that_is_known_nowhere_is_a_bad_sample(tmp_path: Path) -> None:
    disk.kitti(tmp_path)
    nothing = disk.kitti_png(disk.flow(0), np.zeros(disk.SIZE, bool))
    disk.put(tmp_path / "training/flow_occ/000000_10.png", nothing)
    with pytest.raises(UserError, match=r"train 000000_10: training/flow_occ/000000_10.png: flow is unknown at every"):
        build_index(tmp_path, CROP)


def test_two_data_sets_in_one_folder_are_for_their_owner_to_tell_apart(tmp_path: Path) -> None:
    disk.sintel(tmp_path)
    disk.kitti(tmp_path)
    with pytest.raises(UserError, match=r"looks like sintel and kitti; say which it is with data.layout"):
        build_index(tmp_path, CROP)
    assert build_index(tmp_path, CROP, layout="kitti")["splits"]["val"]["count"] == 1


def test_a_layout_that_is_named_and_not_there_says_what_was_expected(tmp_path: Path) -> None:
    disk.kitti(tmp_path)
    with pytest.raises(
        UserError, match=r"the split 'train' is empty: .*<root>/data/NNNNN_.* It holds training/; there"
    ):
        build_index(tmp_path, CROP, layout="flying_chairs")
    with pytest.raises(UserError, match=r"data.layout is 'kity'; expected auto or one of flying_chairs2, "):
        find_layout(tmp_path, "kity")
    with pytest.raises(UserError, match=r"nowhere: no such data folder"):
        find_layout(tmp_path / "nowhere", "kitti")


def test_an_index_names_no_file_outside_its_root(tmp_path: Path) -> None:
    disk.kitti(tmp_path / "set")
    index = build_index(tmp_path / "set", CROP)
    for name in ("/etc/passwd", "../secret.png", "training/../../secret.png"):
        index["splits"]["val"]["samples"][0]["files"][0] = name
        (tmp_path / "index.json").write_text(json.dumps(index))
        with pytest.raises(UserError, match="files"):
            load_index(tmp_path / "index.json")


def test_an_index_that_was_made_by_hand_is_held_against_its_layout(tmp_path: Path) -> None:
    disk.flying_chairs2(tmp_path / "set")
    index = build_index(tmp_path / "set", CROP)
    sample = index["splits"]["val"]["samples"][0]
    for change in ({"name": "../../0000002"}, {"bytes": [1, 2, 3, 4]}):
        index["splits"]["val"]["samples"][0] = {**sample, **change}
        index["digest"] = _digest(index["splits"])
        (tmp_path / "index.json").write_text(json.dumps(index))
        with pytest.raises(UserError, match=r"index.json: val \S+: not the files of the layout"):
            load_index(tmp_path / "index.json")


@pytest.fixture
def shared(real_pairs: Path) -> Path:
    """The folder with real files of every set; without it, these tests are skipped."""
    return real_pairs.parent


@pytest.mark.real_data
def test_real_sintel_pairs_have_the_flow_that_ten_lines_of_numpy_find(shared: Path) -> None:
    index = build_index(shared / "sintel_examples", (180, 240), max_flow=1000)
    assert index["layout"] == "sintel"
    epes = {}
    for split in ("train", "val"):
        for entry in index["splits"][split]["samples"]:
            training, scene = shared / "sintel_examples/training", entry["name"].split("/")[1]
            data = (training / f"flow/{scene}/frame_0002.flo").read_bytes()
            width, height = np.frombuffer(data[4:12], "<i4")
            flow = np.frombuffer(data[12:], "<f4").reshape(height, width, 2).astype(np.float64)
            invalid = _grey(training / f"invalid/{scene}/frame_0002.png") != 0
            length = np.sqrt((flow**2).sum(axis=-1))
            assert entry["zero_flow_epe"] == pytest.approx(length[~invalid].mean(), abs=1e-4)
            assert entry.get("unknown_pixels", 0) == invalid.sum()
            epes[entry["name"]] = entry["zero_flow_epe"]
    assert epes == pytest.approx(
        {f"{passes}/{scene}": epe for passes in ("clean", "final") for scene, epe in REAL_SINTEL.items()}, abs=1e-3
    )


REAL_SINTEL = {"alley_1/frame_0002": 2.982, "cave_2/frame_0002": 15.124}


def _grey(path: Path) -> np.ndarray:
    import cv2

    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.mark.real_data
def test_the_real_kitti_pair_has_the_flow_that_ten_lines_of_numpy_find(shared: Path) -> None:
    root = shared / "kitti_examples"
    parts = ("training/image_2/000000_10.png", "training/image_2/000000_11.png", "training/flow_occ/000000_10.png")
    entry = inspect_sample(Sample(root, "000000_10", parts), [], (180, 240), 1000.0, may_be_unknown=True)
    blue, green, red = np.moveaxis(_grey(root / parts[2]).astype(np.float64), -1, 0)
    length = np.hypot((red - 2**15) / 64, (green - 2**15) / 64)[blue > 0]
    assert entry["zero_flow_epe"] == pytest.approx(length.mean(), abs=1e-4)
    assert entry["unknown_pixels"] == (blue == 0).sum()
    assert 1 - entry["unknown_pixels"] / (375 * 1242) == pytest.approx(0.162, abs=1e-3)
    with pytest.raises(UserError, match=r"all 1 sample\(s\) belong to 000000"):
        build_index(root, (180, 240))


@pytest.mark.real_data
def test_the_real_files_of_middlebury_and_flying_chairs_are_read(shared: Path) -> None:
    flow = read_flow(shared / "middlebury_examples/flow10.flo")
    unknown = np.abs(flow).max(axis=-1) > LARGEST_KNOWN
    assert unknown.mean() == pytest.approx(0.016, abs=1e-3)
    assert np.abs(flow[~unknown]).max() < 30
    parts = tuple(f"data/00001_{kind}" for kind in ("img1.ppm", "img2.ppm", "flow.flo"))
    frame_0, frame_1, flow = read_sample(Sample(shared / "flying_chairs_example", "00001", parts))
    assert frame_0.shape == frame_1.shape == (50, 50, 3)
    assert flow.shape == (50, 50, 2)
    np.testing.assert_array_equal(frame_0, _grey(shared / "flying_chairs_example" / parts[0])[..., ::-1])
