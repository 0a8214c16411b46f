"""Several data sets in one run: all are trained on by their weights, the first is evaluated on."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.artifacts import write_json
from edgeflownas.config import resolve_config
from edgeflownas.data.changes import check_unchanged
from edgeflownas.data.index import SCHEMA, build_index, has_unknown_flow, indexed_samples, load_index, training_shares
from edgeflownas.data.layouts.registry import layout_of
from edgeflownas.data.order import mixed_at, sample_at
from edgeflownas.data.pipeline import FlowBatches
from edgeflownas.data.samples import read_sample
from edgeflownas.errors import UserError
from edgeflownas.runs.data_index import find_index
from edgeflownas.training.run_data import RunData
from tests import layouts_on_disk as disk
from tests.tiny import TINY

CROP = (40, 56)


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """FlyingChairs, three times as often as KITTI, and Sintel's final pass as often as that."""
    for name in ("flying_chairs", "kitti", "sintel"):
        disk.WRITERS[name](tmp_path / name)
    path = tmp_path / "sets.yaml"
    path.write_text(
        f"- {{root: {tmp_path / 'flying_chairs'}, weight: 3}}\n"
        "- {root: kitti}\n"
        "- {root: sintel, layout: sintel, passes: final, weight: 1}\n"
    )
    return path


def test_all_sets_are_listed_for_training_and_the_first_for_validation(collection: Path, tmp_path: Path) -> None:
    index = build_index(collection, CROP)
    write_json(tmp_path / "index.json", index, SCHEMA)
    assert load_index(tmp_path / "index.json") == index
    assert index["layout"] == "collection"
    assert str(layout_of(index)) == "a collection of data sets"
    assert [(one["layout"], one["passes"], one["weight"]) for one in index["sets"]] == [
        ("flying_chairs", "all", 3),
        ("kitti", "all", 1),
        ("sintel", "final", 1),
    ]
    assert [entry["name"] for entry in index["splits"]["val"]["samples"]] == ["00/00010"]
    names = [entry["name"] for entry in index["splits"]["train"]["samples"]]
    assert names == sorted(names)
    assert names[10:] == [
        "00/00012",
        "01/000000_10",
        "01/000001_10",
        "02/final/alley_1/frame_0001",
        "02/final/alley_1/frame_0002",
    ]
    assert training_shares(index) == [(11, 3), (2, 1), (2, 1)]
    assert has_unknown_flow(index)
    np.testing.assert_array_equal(read_sample(indexed_samples(index, "train")[12])[0], disk.frame(2))
    assert check_unchanged(index) == []
    (tmp_path / "kitti/training/flow_occ/000001_10.png").unlink()
    with pytest.raises(UserError, match=r"kitti/training/flow_occ/000001_10.png: No such file"):
        check_unchanged(index)


def test_weights_belong_to_the_digest_and_places_do_not(collection: Path, tmp_path: Path) -> None:
    digest = build_index(collection, CROP)["digest"]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("flying_chairs", "kitti", "sintel"):
        (tmp_path / name).rename(moved / name)
    text = collection.read_text().replace(str(tmp_path / "flying_chairs"), "flying_chairs")
    (moved / "other.yaml").write_text(text)
    assert build_index(moved / "other.yaml", CROP)["digest"] == digest
    (moved / "other.yaml").write_text(text.replace("weight: 3", "weight: 4"))
    assert build_index(moved / "other.yaml", CROP)["digest"] != digest


def test_a_set_of_flying_chairs_2_is_one_of_them(tmp_path: Path) -> None:
    disk.middlebury(tmp_path / "middlebury")
    disk.flying_chairs2(tmp_path / "chairs2")
    (tmp_path / "sets.yaml").write_text("- {root: middlebury}\n- {root: chairs2}\n")
    index = build_index(tmp_path / "sets.yaml", CROP)
    assert index["splits"]["train"]["samples"][-1]["files"] == [
        f"train/0000001-{kind}" for kind in ("img_0.png", "img_1.png", "flow_01.flo")
    ]
    np.testing.assert_array_equal(read_sample(indexed_samples(index, "train")[-1])[2], disk.flow(1))


def test_a_pair_that_two_sets_have_is_found(tmp_path: Path) -> None:
    for name in ("kitti", "flying_chairs2"):  # the same random frames
        disk.WRITERS[name](tmp_path / name)
    (tmp_path / "sets.yaml").write_text("- {root: kitti}\n- {root: flying_chairs2}\n")
    with pytest.raises(UserError, match=r"train 01/0000000: has the frames of train 00/000000_10: a copy"):
        build_index(tmp_path / "sets.yaml", CROP)


def test_unknown_flow_is_a_fault_only_in_the_sets_where_it_is_one(collection: Path, tmp_path: Path) -> None:
    field = disk.flow(1)
    field[2, 3] = 1e10
    disk.put(tmp_path / "flying_chairs/data/00001_flow.flo", disk.flo(field))
    with pytest.raises(UserError, match=r"1 bad sample\(s\): train 00/00001: data/00001_flow.flo: flow is unknown"):
        build_index(collection, CROP)


def test_a_mixed_stream_has_each_set_by_its_weight_and_each_of_its_samples_once_per_pass() -> None:
    weights = (3, 1, 2)
    drawn = [mixed_at(9, position, weights) for position in range(600)]
    assert drawn == [mixed_at(9, position, weights) for position in range(600)]
    for block in range(100):
        assert Counter(which for which, _ in drawn[6 * block : 6 * block + 6]) == {0: 3, 1: 1, 2: 2}
    for which in range(3):
        assert [within for one, within in drawn if one == which] == list(range(100 * weights[which]))
    assert len({tuple(which for which, _ in drawn[6 * block : 6 * block + 6]) for block in range(100)}) > 20
    assert [mixed_at(9, position, (5,)) for position in range(7)] == [(0, position) for position in range(7)]
    seen = [sample_at(9, within, 7) for one, within in drawn if one == 1][:98]
    assert all(sorted(seen[start : start + 7]) == list(range(7)) for start in range(0, 98, 7))


def test_a_run_draws_its_batches_from_all_sets(collection: Path, tmp_path: Path) -> None:
    places = {"data.root": str(collection), "train.output_dir": str(tmp_path / "run")}
    config = resolve_config(None, TINY | places | {"train.batch_size": 5})
    index = find_index(config)
    data = RunData(config, index)
    names = [name for step in range(8) for name in data.train_sample_names(step)]
    assert Counter(name[:2] for name in names) == {"00": 24, "01": 8, "02": 8}
    assert all(len({name[:2] for name in names[5 * step : 5 * step + 5]}) == 3 for step in range(8))
    frames, label = data.train_batch(0)
    assert frames.shape == (5, 45, 60, 6)
    assert label.shape == (5, 45, 60, 3)
    assert 0 < label[..., 2].mean() < 1
    again = FlowBatches(
        indexed_samples(index, "train"),
        (45, 60),
        5,
        seed=config["seed"],
        flow_scale=5,
        masked=True,
        steps_per_epoch=5,
        shares=training_shares(index),
    )
    np.testing.assert_array_equal(again.batch(0, 3)[1], data.train_batch(3)[1])
    write_json(tmp_path / "index.json", index, SCHEMA)
    kept = resolve_config(None, TINY | places | {"data.index": str(tmp_path / "index.json")})
    assert find_index(kept) == index
    collection.write_text(collection.read_text().replace("weight: 3", "weight: 2"))
    with pytest.raises(UserError, match=r"was built for other settings: sets"):
        find_index(kept)


def test_a_collection_that_lists_nothing_or_something_else_is_refused(tmp_path: Path) -> None:
    disk.kitti(tmp_path / "kitti")
    path = tmp_path / "sets.yaml"
    for text, message in (
        ("[]", r"sets.yaml: does not fit schemas/collection.schema.json"),
        ("- {layout: kitti}", r"sets.yaml: does not fit .*root"),
        ("- {root: kitti, weight: 0}", r"sets.yaml: does not fit .*weight"),
        ("- {root: kitti, colour: red}", r"sets.yaml: does not fit .*colour"),
        ("- {root: gone}", r"gone: no such data folder"),
        ("- {root: kitti}\n- {root: .}", r"holds no data set of a known layout"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            build_index(path, CROP)


def test_a_set_of_which_nothing_is_left_is_refused(collection: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "kitti/training/flow_occ").iterdir():
        path.write_bytes(b"")
    index = build_index(collection, CROP, on_bad_sample="exclude", max_bad_fraction=0.5)
    assert json.dumps(index)
    with pytest.raises(UserError, match=r"sets.yaml: no usable training sample of \S+kitti is left"):
        training_shares(index)
