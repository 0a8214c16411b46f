"""Pixels without known flow take no part: in batches, crops, loss, metrics, zero-flow EPE and pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from keras import ops

from edgeflownas.artifacts import read_json
from edgeflownas.data.flow_colours import flow_colours
from edgeflownas.data.flow_files import LARGEST_KNOWN, UNKNOWN
from edgeflownas.data.index import build_index, indexed_samples
from edgeflownas.data.order import central_known_crop, centre_crop, random_crop, random_known_crop
from edgeflownas.data.pipeline import FlowBatches
from edgeflownas.data.samples import Sample, read_sample
from edgeflownas.errors import UserError
from edgeflownas.reporting import flow_pictures
from edgeflownas.reporting.flow_pictures import amount_colours
from edgeflownas.runs.flow_samples import load_flow_samples
from edgeflownas.selection.flow_sums import FlowSums
from edgeflownas.training.evaluation import Batch, Evaluator
from edgeflownas.training.labels import resize_label, true_flow
from edgeflownas.training.losses import path_losses
from edgeflownas.training.metrics import flow_metrics
from tests import layouts_on_disk as disk
from tests.tiny import tiny_flags

SIZES = ((12, 15), (23, 30), (45, 60))


def predictions(seed: int, paths: int = 3, batch: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (paths, batch, *size, 4)).astype(np.float32) for size in SIZES]


def label(seed: int, share: float) -> np.ndarray:
    """Flow that is known at a share of the pixels."""
    rng = np.random.default_rng(seed)
    known = (rng.random((2, *SIZES[-1], 1)) < share).astype(np.float32)
    return np.concatenate([rng.normal(0, 1, (2, *SIZES[-1], 2)).astype(np.float32) * known, known], axis=-1)


def test_a_mask_that_leaves_nothing_out_changes_no_loss_and_no_metric() -> None:
    whole = label(1, 1.0)
    assert whole[..., 2].all()
    for uncertainty in (True, False):
        dense = path_losses(predictions(2), whole[..., :2], uncertainty)
        np.testing.assert_allclose(path_losses(predictions(2), whole, uncertainty), dense, rtol=2e-6)
    flow = predictions(2)[-1][..., :2]
    np.testing.assert_allclose(flow_metrics(flow, whole), flow_metrics(flow, whole[..., :2]), rtol=2e-6)


def test_neither_loss_nor_metrics_depend_on_what_an_unknown_pixel_holds() -> None:
    partly = label(3, 0.3)
    other = partly.copy()
    other[..., :2] += 1000 * (1 - partly[..., 2:])
    flows = predictions(4)
    np.testing.assert_array_equal(path_losses(flows, other), path_losses(flows, partly))
    changed = [flow.copy() for flow in flows]
    changed[-1][..., :2] += 1000 * (1 - partly[None, ..., 2:])
    np.testing.assert_array_equal(flow_metrics(changed[-1][..., :2], partly), flow_metrics(flows[-1][..., :2], partly))
    np.testing.assert_allclose(path_losses(changed[-1:] * 3, partly)[0], path_losses(flows[-1:] * 3, partly)[0])


def test_metrics_are_those_of_the_known_pixels() -> None:
    partly, flow = label(5, 0.2), 4 * predictions(6)[-1][..., :2]
    found = ops.convert_to_numpy(flow_metrics(flow, partly))
    for path in range(3):
        for sample in range(2):
            known = partly[sample, ..., 2] > 0
            error = np.linalg.norm(flow[path, sample][known] - partly[sample, ..., :2][known], axis=-1)
            length = np.linalg.norm(partly[sample, ..., :2][known], axis=-1)
            fl_all = ((error > 3) & (error > 0.05 * length)).mean()
            expected = [error.mean(), (error > 1).mean(), (error > 3).mean(), (error > 5).mean(), fl_all]
            np.testing.assert_allclose(found[path, sample], expected, rtol=1e-5)


def test_the_sums_of_the_whole_space_leave_out_the_same_pixels() -> None:
    partly = label(5, 0.2)
    rng = np.random.default_rng(13)
    heads = [rng.normal(0, 3, (options, 2, 2, 45 * 60)).astype(np.float32) for options in (3, 2)]
    found = FlowSums(partly).measure(heads)
    for first in range(3):
        for second in range(2):
            flow = (heads[0][first] + heads[1][second]).reshape(2, 2, 45, 60).transpose(0, 2, 3, 1)
            expected = ops.convert_to_numpy(flow_metrics(flow[None], partly))[0]
            np.testing.assert_allclose(found[first, second], expected, rtol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_a_coarser_label_is_made_of_known_neighbours_alone(size: tuple[int, int]) -> None:
    partly = label(7, 0.25)
    known = partly[..., 2:]
    constant = np.concatenate([3.5 * known, -2 * known], axis=-1)
    flow, counts = (ops.convert_to_numpy(part) for part in resize_label(constant, known, *size))
    assert flow.shape == (1, 2, *size, 2)
    assert counts.shape == (1, 2, *size, 1)
    # Known vectors that are all the same stay what they are, wherever there is one among the neighbours.
    np.testing.assert_allclose(flow[counts[..., 0] > 0], [[3.5, -2]] * int(counts.sum()), rtol=1e-4)
    # Where OpenCV's resize, half-pixel centres without antialiasing, finds weight, something is known.
    shares = [cv2.resize(one[..., 0], size[::-1], interpolation=cv2.INTER_LINEAR) for one in known]
    np.testing.assert_array_equal(counts[0, ..., 0], np.stack(shares) >= 1e-3)


def test_a_sample_counts_as_much_as_another_however_little_of_it_is_known() -> None:
    partly = label(8, 1.0)
    partly[0, :, :, 2] = 0
    partly[0, 20:24, 20:24, 2] = 1
    flows = predictions(9)
    each = [path_losses([flow[:, [i]] for flow in flows], partly[[i]]) for i in (0, 1)]
    np.testing.assert_allclose(path_losses(flows, partly), (each[0] + each[1]) / 2, rtol=1e-5)


def test_a_batch_of_which_nothing_is_known_at_a_scale_has_a_finite_loss() -> None:
    partly = label(10, 0.0)
    partly[:, 0, 0, 2] = 1  # between the pixels that the coarsest scale looks at
    losses = ops.convert_to_numpy(path_losses(predictions(11), partly))
    assert np.isfinite(losses).all()
    assert (losses > 0).all()


def test_the_zero_flow_epe_is_that_of_the_known_pixels() -> None:
    partly = label(12, 0.3)
    evaluator = object.__new__(Evaluator)
    evaluator.flow_scale = 5.0
    lengths = [np.linalg.norm(5 * one[..., :2], axis=-1)[one[..., 2] > 0].mean(dtype=np.float64) for one in partly]
    batch = Batch(np.zeros((2, 45, 60, 6), np.float32), partly, samples=2)
    assert evaluator.zero_flow_epe([batch]) == pytest.approx(np.mean(lengths), rel=1e-6)


def test_batches_say_what_is_known_only_where_asked(tmp_path: Path) -> None:
    disk.kitti(tmp_path)
    samples = indexed_samples(build_index(tmp_path, (40, 56)), "train")
    masked = FlowBatches(samples, (40, 56), 2, mode="fixed", max_flow=3, flow_scale=2, masked=True)
    _, flow = masked.batch(0, 0)
    assert flow.shape == (2, 40, 56, 3)
    pixels = read_sample(samples[1])[2]
    top, left = centre_crop(pixels.shape[:2], (40, 56))
    window = pixels[top : top + 40, left : left + 56]
    known = np.abs(window).max(axis=-1) < LARGEST_KNOWN
    np.testing.assert_array_equal(flow[1, ..., 2], known)
    np.testing.assert_array_equal(flow[1, ..., :2], np.where(known[..., None], np.clip(window, -3, 3) / 2, 0))
    np.testing.assert_array_equal(np.isnan(true_flow(flow, 2)), np.repeat(flow[..., 2:] == 0, 2, axis=-1))
    with pytest.raises(UserError, match=r"000000_10.png: flow is not finite or not known"):
        FlowBatches(samples, (40, 56), 2, mode="fixed").batch(0, 0)


def test_a_mask_of_a_set_that_is_known_everywhere_changes_nothing_else(synthetic_root: Path) -> None:
    samples = indexed_samples(build_index(synthetic_root, (40, 56)), "train")
    plain, masked = (FlowBatches(samples, (40, 56), 2, seed=3, masked=masked) for masked in (False, True))
    for step in range(6):
        (frames, flow), (frames_masked, flow_masked) = plain.batch(0, step % 3), masked.batch(0, step % 3)
        np.testing.assert_array_equal(frames, frames_masked)
        np.testing.assert_array_equal(flow, flow_masked[..., :2])
        assert (flow_masked[..., 2] == 1).all()


def test_every_crop_holds_a_known_pixel_by_a_rule_of_seed_and_position() -> None:
    known = np.zeros((48, 64), bool)
    known[2, 3] = known[45, 10] = known[20, 60] = True
    crop = (8, 8)
    places = [random_known_crop(5, position, known, crop) for position in range(300)]
    assert places == [random_known_crop(5, position, known, crop) for position in range(300)]
    assert all(known[top : top + 8, left : left + 8].any() for top, left in places)
    # The three pixels are about equally often the one that a crop was moved to; what needed no moving, stays.
    drawn = [random_crop(5, position, (48, 64), crop) for position in range(300)]
    moved = [place for place, before in zip(places, drawn, strict=True) if place != before]
    assert {place: moved.count(place) > 60 for place in set(moved)} == dict.fromkeys([(0, 0), (40, 6), (16, 56)], True)
    assert [random_known_crop(5, p, np.ones((48, 64), bool), crop) for p in range(300)] == drawn
    assert central_known_crop(known, crop) == (16, 56)
    assert central_known_crop(known, (48, 64)) == (0, 0)
    assert central_known_crop(np.ones((48, 64), bool), crop) == centre_crop((48, 64), crop)


def test_a_sample_that_went_bad_after_indexing_is_refused(tmp_path: Path) -> None:
    disk.middlebury(tmp_path)
    samples = indexed_samples(build_index(tmp_path, (40, 56)), "val")
    field = np.full((*disk.SIZE, 2), UNKNOWN, np.float32)
    for bad in (UNKNOWN, np.nan):
        field[20, 20] = bad
        disk.put(tmp_path / "other-gt-flow/RubberWhale/flow10.flo", disk.flo(field))
        with pytest.raises(UserError, match=r"flow10.flo: flow is not finite, or known nowhere"):
            FlowBatches(samples, (40, 56), 1, mode="fixed", masked=True).batch(0, 0)


def test_unknown_pixels_are_black_in_pictures() -> None:
    flow = np.full((2, 2, 2), 3.0)
    flow[0, 1] = np.nan
    colours = flow_colours(flow, 4.0)
    assert (colours[0, 1] == 0).all()
    assert (colours[0, 0] == colours[1, 1]).all()
    assert colours[1, 1].any()
    amounts = amount_colours(np.array([[1.0, np.nan]]), 2.0)
    assert (amounts[0, 1] == 0).all()
    assert amounts[0, 0].any()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["kitti", "sintel"])
def test_a_run_on_partly_known_flow_is_trained_evaluated_and_drawn(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeflownas.nas.supernet_eval import main as evaluate
    from edgeflownas.train_supernet import main

    root, run = tmp_path / "set", tmp_path / "run"
    disk.WRITERS[layout](root)
    flags = tiny_flags(root, run, "--num_epochs", "1")
    assert main(flags) == 0
    samples = load_flow_samples(run / "flow_samples.npz")
    assert np.isnan(samples.flow).any()
    judged = read_json(run / "pool_results.json")["subnets"][:3]
    # All validation samples of the run are kept.
    epes = samples.mean_errors.mean(axis=1, dtype=np.float64)
    np.testing.assert_allclose(epes, [subnet["epe"] for subnet in judged], rtol=1e-5)
    manifest, index = read_json(run / "train_manifest.json"), read_json(run / "data_index.json")
    assert manifest["data"]["layout"] == layout
    unknown = {split: part["unknown_share"] for split, part in index["splits"].items()}
    assert manifest["data"]["unknown_share"] == unknown
    assert flow_pictures.main(["--run_dir", str(run), "--out", str(tmp_path)]) == 0
    assert evaluate([*tiny_flags(root, run), "--json", "--arch", "0,0,0,0,2,1,2,2,2"]) == 0
    zero = []
    for entry in index["splits"]["val"]["samples"][:3]:
        flow = read_sample(Sample(root, entry["name"], tuple(entry["files"])))[2]
        top, left = centre_crop(flow.shape[:2], (45, 60))
        window = flow[top : top + 45, left : left + 60]
        window = window[np.abs(window).max(axis=-1) < LARGEST_KNOWN]
        zero.append(np.linalg.norm(window, axis=-1).mean())
    assert f'"zero_flow_epe": {np.mean(zero):.4f}'[:-1] in capsys.readouterr().out
