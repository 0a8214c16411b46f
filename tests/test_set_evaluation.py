"""Evaluating on a data set that was not trained on: which samples, at which size, and the sums behind each number."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.artifacts import read_json
from edgeflownas.data.evaluation_set import find_evaluation_set
from edgeflownas.data.flow_files import LARGEST_KNOWN
from edgeflownas.data.samples import read_sample
from edgeflownas.errors import UserError
from edgeflownas.nas.eval_pool import eval_pool
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.network.flow_network import FlowNetwork
from edgeflownas.training.evaluation import Batch, Evaluator
from edgeflownas.training.set_evaluation import evaluate_set
from tests import layouts_on_disk as disk
from tests.tiny import tiny_flags

POLICY = ("stop", 0.01, 2)
SPACE = load_search_space()


def test_a_set_without_an_official_split_is_taken_whole_and_others_by_their_validation_split(tmp_path: Path) -> None:
    for name, count in (("sintel", 8), ("kitti", 3), ("middlebury", 2), ("flying_chairs", 1), ("flying_things3d", 16)):
        made = disk.WRITERS[name](tmp_path / name)
        tested = find_evaluation_set(f"{name}:{tmp_path / name}", *POLICY)
        expected = sorted([*made.names["train"], *made.names["val"]]) if count in (8, 3, 2) else made.names["val"]
        assert [sample.name for sample in tested.samples] == expected
        assert len(tested.samples) == count
        assert find_evaluation_set(str(tmp_path / name), *POLICY) == tested
    sintel = find_evaluation_set(f"sintel:{tmp_path / 'sintel'}", *POLICY)
    assert {sintel.pass_of(sample) for sample in sintel.samples} == {"clean", "final"}
    shutil.rmtree(tmp_path / "sintel/training/final")
    assert len(find_evaluation_set(f"sintel:{tmp_path / 'sintel'}", *POLICY).samples) == 4


def test_a_single_pair_is_enough_to_evaluate_on_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    disk.kitti(tmp_path)
    for number in (1, 2):
        for file in tmp_path.rglob(f"00000{number}_1*.png"):
            file.unlink()
    assert [sample.name for sample in find_evaluation_set(f"kitti:{tmp_path}", *POLICY).samples] == ["000000_10"]
    flow = tmp_path / "training/flow_occ/000000_10.png"
    flow.write_bytes(flow.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"1 bad sample\(s\): all 000000_10: training/flow_occ/\S+: truncated"):
        find_evaluation_set(f"kitti:{tmp_path}", *POLICY)
    with pytest.raises(UserError, match=r"data.layout is 'kity'"):
        find_evaluation_set(f"kity:{tmp_path}", *POLICY)


def test_what_is_visible_in_both_frames_is_read_where_the_set_says_it(tmp_path: Path) -> None:
    disk.sintel(tmp_path / "sintel")
    tested = find_evaluation_set(f"sintel:{tmp_path / 'sintel'}", *POLICY)
    matched = tested.layout.matched(tested.samples[0])
    assert matched is not None
    assert (~matched).sum() == 5
    disk.kitti(tmp_path / "kitti")
    known = np.zeros(disk.SIZE, bool)
    known[30:, 1] = True
    disk.put(tmp_path / "kitti/training/flow_noc/000001_10.png", disk.kitti_png(disk.flow(1), known))
    kitti = find_evaluation_set(f"kitti:{tmp_path / 'kitti'}", *POLICY)
    masks = [kitti.layout.matched(sample) for sample in kitti.samples]
    assert masks[0] is None
    np.testing.assert_array_equal(masks[1], known)


@pytest.mark.slow
def test_every_number_is_a_mean_over_the_pixels_of_the_set(tmp_path: Path) -> None:
    disk.sintel(tmp_path)
    occluded = np.zeros(disk.SIZE, np.uint8)
    occluded[:20] = 255
    for path in (tmp_path / "training/occlusions").rglob("*.png"):
        path.write_bytes(disk.png(occluded))
    tested = find_evaluation_set(f"sintel:{tmp_path}", *POLICY)
    evaluator = Evaluator(FlowNetwork(SPACE, 4, seed=1), 4, flow_scale=20.0)
    cycles = eval_pool(SPACE)[:1]
    rng = np.random.default_rng(1)
    batch = Batch(rng.uniform(-1, 1, (2, 45, 60, 6)).astype(np.float32), np.zeros((2, 45, 60, 2), np.float32), 2)
    statistics, _, _ = evaluator.recalibrate(cycles, [batch])
    found = evaluate_set(evaluator, cycles, statistics, tested, workers=2)
    assert found["samples"] == 8
    errors, lengths, kinds = {"clean": [], "final": []}, {"clean": [], "final": []}, []
    for sample in tested.samples:
        frame_0, frame_1, flow = read_sample(sample)
        frames = (np.dstack([frame_0, frame_1]).astype(np.float32) / 127.5 - 1)[None]
        predicted = evaluator.flow_at_any_size(cycles[0], statistics[0], frames)[1, 0]
        known = np.abs(flow).max(axis=-1) <= LARGEST_KNOWN
        errors[sample.name[:5]].append(np.linalg.norm(predicted - flow, axis=-1)[known])
        lengths[sample.name[:5]].append(np.linalg.norm(flow, axis=-1)[known])
        kinds.append((occluded == 0)[known])
    (subnet,) = [one for one in found["subnets"] if one["code"] == ",".join("1" * 9)]
    rows = {(row["pass"], row["pixels_of"]): row for row in subnet["rows"]}
    zero = {(row["pass"], row["pixels_of"]): row for row in found["zero_flow"]}
    for name in ("clean", "final"):
        error, length, matched = (np.concatenate(part) for part in (errors[name], lengths[name], kinds[:4]))
        for kind, which in (
            ("all", np.ones_like(matched)),
            ("matched", matched),
            ("unmatched", ~matched),
            ("s0-10", length < 10),
            ("s10-40", length >= 10),
        ):
            row = rows[name, kind]
            assert row["pixels"] == zero[name, kind]["pixels"] == which.sum()
            assert row["epe"] == pytest.approx(error[which].mean(), rel=1e-4)
            assert row["outliers_3px"] == pytest.approx((error[which] > 3).mean(), abs=1e-4)
            assert row["fl_all"] == pytest.approx(((error > 3) & (error > 0.05 * length))[which].mean(), abs=1e-4)
            assert zero[name, kind]["epe"] == pytest.approx(length[which].mean(), rel=1e-5)
    assert ("clean", "s40+") not in rows


@pytest.mark.slow
def test_the_command_evaluates_any_subnets_on_any_sets(
    whole_run: Path, synthetic_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeflownas.nas.supernet_eval import main

    disk.sintel(tmp_path / "sintel")
    disk.kitti(tmp_path / "kitti")
    sets = ["--val", f"sintel:{tmp_path / 'sintel'}", "--val", f"kitti:{tmp_path / 'kitti'}"]
    out = tmp_path / "eval.json"
    flags = tiny_flags(synthetic_root, whole_run, "--arch", "0,0,0,0,2,1,2,2,2", "--out", str(out))
    assert main([*flags, *sets]) == 0
    sintel, kitti = read_json(out, "supernet_eval.schema.json")["sets"]
    assert (sintel["layout"], sintel["samples"], kitti["layout"], kitti["samples"]) == ("sintel", 8, "kitti", 3)
    assert [one["code"] for one in sintel["subnets"]] == ["0,0,0,0,2,1,2,2,2"]
    assert "kitti), 3 samples at their own size" in capsys.readouterr().out
