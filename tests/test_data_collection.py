"""Several data sets in one run: trained on by their weights, each evaluated on by itself; the first decides."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edgeflownas.artifacts import read_json, write_json
from edgeflownas.config import resolve_config
from edgeflownas.data.changes import check_unchanged
from edgeflownas.data.index import SCHEMA, build_index, has_unknown_flow, indexed_samples, load_index, training_shares
from edgeflownas.data.layouts.registry import layout_of
from edgeflownas.data.order import mixed_at, sample_at
from edgeflownas.data.pipeline import FlowBatches
from edgeflownas.data.remarks import outline
from edgeflownas.data.samples import read_sample
from edgeflownas.errors import UserError
from edgeflownas.runs.data_index import find_index
from edgeflownas.runs.manifest_checks import manifest_faults
from edgeflownas.runs.records import read_further_history, subnet_epes
from edgeflownas.training.run_data import RunData
from tests import layouts_on_disk as disk
from tests.tiny import TINY, history_of, tiny_flags

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
    assert has_unknown_flow(index, ["train"])
    assert not has_unknown_flow(index, ["val"])
    np.testing.assert_array_equal(read_sample(indexed_samples(index, "train")[12])[0], disk.frame(2))
    assert check_unchanged(index) == []
    (tmp_path / "kitti/training/flow_occ/000001_10.png").unlink()
    with pytest.raises(UserError, match=r"kitti/training/flow_occ/000001_10.png: No such file"):
        check_unchanged(index)


@pytest.fixture
def judged(collection: Path, tmp_path: Path) -> Path:
    """The same, trained on without Sintel; evaluated on FlyingChairs, both passes of Sintel apart, and KITTI."""
    path = tmp_path / "judged.yaml"
    path.write_text(
        "train:\n- {root: flying_chairs, weight: 3}\n- {root: kitti}\n"
        "val:\n- {root: flying_chairs}\n- {root: sintel, passes: clean}\n- {root: sintel, passes: final}\n"
        "- {root: sintel, passes: final, name: sintel_final}\n- {root: kitti}\n"
    )
    return path


def test_each_validation_set_is_a_split_of_its_own(judged: Path, tmp_path: Path) -> None:
    index = build_index(judged, CROP)
    write_json(tmp_path / "index.json", index, SCHEMA)
    assert load_index(tmp_path / "index.json") == index
    names = {split: [entry["name"] for entry in part["samples"]] for split, part in index["splits"].items()}
    scenes = [f"{scene}/frame_000{number}" for scene in ("alley_1", "cave_2") for number in (1, 2)]
    assert names.pop("train") == [f"00/{n:05d}" for n in (*range(1, 10), 11, 12)] + ["01/000000_10", "01/000001_10"]
    assert names == {
        # Of a set that is trained on, what training leaves; of others without an official split, all.
        "val": ["02/00010"],
        "val_sintel_clean": [f"03/clean/{scene}" for scene in scenes],
        "val_sintel_final_2": [f"04/final/{scene}" for scene in scenes],
        "val_sintel_final": [f"05/final/{scene}" for scene in scenes],
        "val_kitti": ["06/000002_10"],
    }
    assert [(one.get("weight"), one.get("split")) for one in index["sets"]] == [
        (3, None),
        (1, None),
        *((None, split) for split in names),
    ]
    assert training_shares(index) == [(11, 3), (2, 1)]
    frames = read_sample(indexed_samples(index, "val_sintel_clean")[0])
    np.testing.assert_array_equal(frames[0], disk.frame(disk.hash_of("alley_1", 1, "clean")))
    assert [line.partition(":")[0] for line in outline(index)] == ["train", *names]
    (tmp_path / "sintel/training/flow/cave_2/frame_0002.flo").write_bytes(b"")
    with pytest.raises(UserError, match=r"cave_2/frame_0002.flo: has 0 bytes"):
        check_unchanged(index)


def test_what_is_evaluated_on_belongs_to_the_digest(judged: Path) -> None:
    digest = build_index(judged, CROP)["digest"]
    judged.write_text(judged.read_text().replace("- {root: kitti}\n", "", 1))
    without_training = build_index(judged, CROP)["digest"]
    judged.write_text(judged.read_text().replace("- {root: kitti}\n", ""))
    assert len({digest, without_training, build_index(judged, CROP)["digest"]}) == 3


def test_a_pair_that_is_trained_on_and_evaluated_on_is_refused_in_any_set(judged: Path, tmp_path: Path) -> None:
    for name in ("000000_10.png", "000000_11.png"):
        disk.put(tmp_path / "other/training/image_2" / name, (tmp_path / "kitti/training/image_2" / name).read_bytes())
    known = np.ones(disk.SIZE, bool)
    disk.put(tmp_path / "other/training/flow_occ/000000_10.png", disk.kitti_png(disk.flow(1), known))
    judged.write_text(f"{judged.read_text()}- {{root: other, name: mine}}\n")
    with pytest.raises(UserError, match=r"train 01/000000_10: has the frames of val_mine 07/000000_10: a copy"):
        build_index(judged, CROP)


def test_batches_say_what_is_known_only_where_a_set_needs_it(judged: Path, tmp_path: Path) -> None:
    judged.write_text(judged.read_text().replace("- {root: kitti}\n", "", 1))
    places = {"data.root": str(judged), "train.output_dir": str(tmp_path / "run")}
    config = resolve_config(None, TINY | places)
    data = RunData(config, find_index(config))
    assert data.further == {"sintel_clean": 3, "sintel_final_2": 3, "sintel_final": 3, "kitti": 3}
    assert data.train_batch(0)[1].shape[-1] == 2
    for name in (None, *data.further):
        batches = list(data.validation(name))
        assert {batch.flow.shape[-1] for batch in batches} == {3}
        assert sum(batch.samples for batch in batches) == (1 if name is None else 3)


@pytest.mark.slow
def test_a_run_reports_each_validation_set_and_only_the_first_decides(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeflownas import watch
    from edgeflownas.reporting.training_report import write_report
    from edgeflownas.train_supernet import main

    sets, run, alone = tmp_path / "judged.yaml", tmp_path / "run", tmp_path / "alone"
    chairs = f"train:\n- {{root: {tmp_path / 'flying_chairs'}}}\n"
    val = "- {root: flying_chairs}\n"
    sets.write_text(f"{chairs}val:\n{val}- {{root: sintel, name: film}}\n- {{root: kitti}}\n")
    (tmp_path / "alone.yaml").write_text(f"{chairs}val:\n{val}")
    tensorboard = ["--set", "train.tensorboard=true"]
    assert main(tiny_flags(sets, run, "--num_epochs", "3", "--max_epochs", "2", *tensorboard)) == 0
    assert "kitti " in capsys.readouterr().out
    assert main(tiny_flags(sets, run, "--num_epochs", "3", "--resume", *tensorboard)) == 0
    assert main(tiny_flags(tmp_path / "alone.yaml", alone, "--num_epochs", "3")) == 0
    pd.testing.assert_frame_equal(history_of(run), history_of(alone))
    results = read_json(run / "pool_results.json", "pool_results.schema.json")
    for name, count in (("film", 3), ("kitti", 3)):
        rows = read_further_history(run / f"eval_epe_history_{name}.csv")
        assert [(row["epoch"], row["global_step"]) for row in rows] == [(1, 5), (2, 10), (3, 15)]
        found = results["further"][name]
        assert found["samples"] == count
        epes = [one["epe"] for one in found["subnets"]]
        assert rows[-1]["mean_epe_12"] == pytest.approx(np.mean(epes))
        assert list(subnet_epes(rows[-1]).values()) == epes
    lengths = []
    for number in range(3):  # the lower half is known at every third column
        u, v = np.moveaxis(disk.flow(number)[1:46, 2:62].astype(np.float64), -1, 0)
        known = np.zeros((48, 64), bool)
        known[24:, ::3] = True
        lengths.append(np.hypot(u, v)[known[1:46, 2:62]].mean())
    assert rows[0]["zero_flow_epe"] == pytest.approx(np.mean(lengths), rel=1e-5)
    assert manifest_faults(run / "train_manifest.json") == []
    facts = read_json(run / "train_manifest.json")["data"]["further"]
    assert {name: one["samples"] for name, one in facts.items()} == {"film": 8, "kitti": 3}
    write_report(run)
    line = f"| kitti | 3 | {rows[-1]['mean_epe_12']:.4f} |"
    assert line in (run / "supernet_training_report.md").read_text()
    assert f"<td>{rows[-1]['mean_epe_12']:.4f}</td>" in (run / "report.html").read_text()
    capsys.readouterr()
    assert watch.main([str(run), "--once"]) == 0
    said = capsys.readouterr().out
    assert f"kitti {rows[-1]['mean_epe_12']:.4f} px (zero-flow {rows[-1]['zero_flow_epe']:.4f})" in said
    tags = {
        tag
        for file in (run / "tensorboard").iterdir()
        for tag in re.findall(rb"further/[a-z0-9_/]+", file.read_bytes())
    }
    assert {b"further/film/mean_epe_12", b"further/kitti/zero_flow_epe"} <= tags
    (run / "eval_epe_history_film.csv").write_text("epoch\n1\n")
    assert len(manifest_faults(run / "train_manifest.json")) >= 2
    sets.write_text(sets.read_text().replace("- {root: kitti}\n", ""))
    with pytest.raises(UserError, match=r"data.digest"):
        main(tiny_flags(sets, run, "--num_epochs", "4", "--resume"))


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
        ("val: [{root: kitti}]", r"sets.yaml: does not fit .*train"),
        ("train: [{root: kitti}]\nval: [{root: kitti, weight: 2}]", r"sets.yaml: does not fit .*weight"),
        ("train: [{root: kitti}]\nval: [{root: kitti}, {root: kitti, name: a b}]", r"sets.yaml: does not fit .*a b"),
        (
            "train: [{root: kitti}]\nval: [{root: kitti}, {root: kitti, name: a}, {root: kitti, name: a}]",
            r"two sets of val have the name a",
        ),
        ("- {root: sets.yaml}", r"sets.yaml, which is a list of sets itself"),
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
