import random
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.config import resolve_config
from edgeflownas.data.files import Opened
from edgeflownas.data.flow_files import write_flow
from edgeflownas.data.frame_cache import FrameCache
from edgeflownas.data.index import build_index
from edgeflownas.data.layouts.flying_chairs2 import list_samples, sample_of
from edgeflownas.data.pipeline import FlowBatches
from edgeflownas.data.png_files import decode_frame
from edgeflownas.data.prefetch import prefetch
from edgeflownas.data.samples import read_sample
from edgeflownas.errors import UserError
from edgeflownas.training.run_data import RunData
from tests.tiny import TINY


@pytest.fixture(scope="module")
def batches(synthetic_root: Path) -> FlowBatches:
    return FlowBatches(list_samples(synthetic_root, "train"), crop=(40, 56), batch_size=2, seed=42)


def test_a_batch_holds_scaled_frames_and_flow(synthetic_root: Path) -> None:
    samples = list_samples(synthetic_root, "val")
    fixed = FlowBatches(samples, crop=(40, 56), batch_size=2, mode="fixed", max_flow=3.0, flow_scale=20.0)
    frames, flow = fixed.batch(0, 0)
    assert (frames.shape, frames.dtype) == ((2, 40, 56, 6), np.float32)
    assert (flow.shape, flow.dtype) == ((2, 40, 56, 2), np.float32)
    frame_0, frame_1, pixels = read_sample(samples[1])
    np.testing.assert_allclose((frames[1, ..., :3] + 1) * 127.5, frame_0[4:44, 4:60], atol=1e-4)
    np.testing.assert_allclose((frames[1, ..., 3:] + 1) * 127.5, frame_1[4:44, 4:60], atol=1e-4)
    np.testing.assert_allclose(flow[1] * 20, np.clip(pixels[4:44, 4:60], -3, 3), atol=1e-6)
    assert frames.min() >= -1
    assert frames.max() <= 1
    assert abs(flow).max() == pytest.approx(3 / 20)


def test_a_pair_seen_in_a_mirror_has_the_opposite_u_and_the_same_v(synthetic_root: Path, tmp_path: Path) -> None:
    sample = list_samples(synthetic_root, "val")[0]
    *frame_paths, flow_path = sample.files
    # By the formats' own definitions, and not by our readers: mirrored pixels, and the first of two floats negated.
    for path in frame_paths:
        cv2.imwrite(str(tmp_path / path.name), cv2.flip(cv2.imread(str(path)), 1))
    header, body = flow_path.read_bytes()[:12], np.frombuffer(flow_path.read_bytes()[12:], "<f4").reshape(48, 64, 2)
    mirrored = body[:, ::-1] * np.float32([-1, 1])
    (tmp_path / flow_path.name).write_bytes(header + np.ascontiguousarray(mirrored).tobytes())

    there, seen = (
        FlowBatches([one], crop=(48, 64), batch_size=1, mode="fixed").batch(0, 0)
        for one in (sample, sample_of(tmp_path, sample.name))
    )
    np.testing.assert_array_equal(seen[0], there[0][:, :, ::-1])
    np.testing.assert_array_equal(seen[1][..., 0], -there[1][:, :, ::-1, 0])
    np.testing.assert_array_equal(seen[1][..., 1], there[1][:, :, ::-1, 1])
    assert np.abs(there[1][..., 0] - there[1][..., 1]).max() > 0.05


def test_a_batch_is_a_function_of_seed_epoch_and_index(batches: FlowBatches) -> None:
    again = FlowBatches(batches.samples, crop=(40, 56), batch_size=2, seed=42)
    places = [(epoch, index) for epoch in range(3) for index in range(batches.steps_per_epoch)]
    in_order = {place: batches.batch(*place) for place in places}
    shuffled = random.Random(0).sample(places, len(places))
    for place, (frames, flow) in zip(shuffled, prefetch(lambda p: again.batch(*p), shuffled, workers=3), strict=True):
        np.testing.assert_array_equal(frames, in_order[place][0])
        np.testing.assert_array_equal(flow, in_order[place][1])
    assert len({frames.tobytes() for frames, _ in in_order.values()}) == len(places)
    other_seed = FlowBatches(batches.samples, crop=(40, 56), batch_size=2, seed=43)
    assert [other_seed.batch_samples(*place) for place in places] != [batches.batch_samples(*place) for place in places]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The frames that were decoded since the list was last cleared."""
    paths: list[Path] = []

    def note(png: Opened) -> np.ndarray:
        paths.append(png.path)
        return decode_frame(png)

    monkeypatch.setattr("edgeflownas.data.samples.decode_frame", note)
    return paths


def test_a_cache_changes_no_batch_decodes_once_and_keeps_to_its_bound(
    synthetic_root: Path, decoded: list[Path]
) -> None:
    samples = list_samples(synthetic_root, "train")
    plain = FlowBatches(samples, crop=(40, 56), batch_size=2, seed=42)
    expected = [plain.batch(*divmod(step, 3)) for step in range(21)]
    pair = 2 * 48 * 64 * 3
    for megabytes, kept in ((1, 7), (4 * pair / 2**20, 4), (0.9 * pair / 2**20, 0)):
        decoded.clear()
        cached = FlowBatches(samples, crop=(40, 56), batch_size=2, seed=42, read=FrameCache(megabytes).read)
        for step, (frames, flow) in enumerate(expected):
            found = cached.batch(*divmod(step, 3))
            np.testing.assert_array_equal(found[0], frames)
            np.testing.assert_array_equal(found[1], flow)
        # 42 positions are 6 passes over 7 samples: what is kept is decoded in the first of them only.
        assert len(decoded) == 2 * (6 * (7 - kept) + kept)


def test_the_config_chooses_the_cache(synthetic_root: Path, decoded: list[Path]) -> None:
    index = build_index(synthetic_root, (45, 60))
    for megabytes, times in ((0, 4), (1, 2)):
        data = RunData(resolve_config(None, TINY | {"data.cache_mb": megabytes, "train.batch_size": 7}), index)
        decoded.clear()
        for step in (0, 1):  # with 7 of 7 samples each step is a pass
            data.train_batch(step)
        assert len(decoded) == 7 * times


def test_training_sees_each_sample_once_per_pass_across_epochs(batches: FlowBatches) -> None:
    assert batches.steps_per_epoch == 7 // 2
    stream = [sample.name for epoch in range(14) for i in range(3) for sample in batches.batch_samples(epoch, i)]
    assert len(stream) == 12 * 7
    for start in range(0, len(stream), 7):
        assert len(set(stream[start : start + 7])) == 7


def test_the_stream_does_not_depend_on_how_it_is_cut_into_epochs(batches: FlowBatches) -> None:
    long = FlowBatches(batches.samples, crop=(40, 56), batch_size=2, seed=42, steps_per_epoch=10)
    for step in range(10):
        np.testing.assert_array_equal(long.batch(0, step)[0], batches.batch(step // 3, step % 3)[0])


def test_validation_sees_each_sample_exactly_once(batches: FlowBatches) -> None:
    fixed = FlowBatches(batches.samples, crop=(40, 56), batch_size=3, mode="fixed")
    assert [len(fixed.batch(0, i)[0]) for i in range(fixed.steps_per_epoch)] == [3, 3, 1]
    assert [fixed.first_seen(i) for i in range(3)] == [3, 3, 1]
    assert [sample for i in range(3) for sample in fixed.batch_samples(0, i)] == batches.samples
    np.testing.assert_array_equal(fixed.batch(0, 1)[0], fixed.batch(5, 1)[0])


def test_recalibration_wraps_round_when_the_samples_run_out(batches: FlowBatches) -> None:
    fixed = FlowBatches(batches.samples, crop=(40, 56), batch_size=2, mode="fixed", steps_per_epoch=5)
    names = [[int(sample.name) for sample in fixed.batch_samples(0, i)] for i in range(fixed.steps_per_epoch)]
    assert names == [[0, 1], [2, 3], [4, 5], [6, 0], [1, 2]]
    assert [fixed.first_seen(i) for i in range(5)] == [2, 2, 2, 1, 0]
    assert [fixed.batch(0, i)[0].shape for i in range(5)] == [(2, 40, 56, 6)] * 5
    np.testing.assert_array_equal(fixed.batch(0, 0)[0][1], fixed.batch(0, 4)[0][0])


def test_too_few_samples_for_a_batch_are_refused_unless_steps_are_given(batches: FlowBatches) -> None:
    with pytest.raises(UserError, match="batch_size is 8, but there are only 7 samples"):
        FlowBatches(batches.samples, crop=(40, 56), batch_size=8)
    large = FlowBatches(batches.samples, crop=(40, 56), batch_size=8, steps_per_epoch=2)
    assert large.batch(0, 1)[0].shape == (8, 40, 56, 6)
    with pytest.raises(UserError, match="no samples"):
        FlowBatches([], crop=(40, 56), batch_size=1)
    with pytest.raises(UserError, match="batch_size is 0"):
        FlowBatches(batches.samples, crop=(40, 56), batch_size=0)
    with pytest.raises(IndexError, match="batch 2 of an epoch of 2"):
        large.batch(0, 2)


def test_a_sample_that_went_bad_after_indexing_is_refused(synthetic_root: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(synthetic_root, tmp_path / "copy"))
    samples = list_samples(root, "val")
    with pytest.raises(UserError, match=r"0000000-img_0.png: is 48x64 pixels .*, smaller than the crop 180x240"):
        FlowBatches(samples, crop=(180, 240), batch_size=1, mode="fixed").batch(0, 0)
    for bad in (np.nan, np.inf, 1e10):
        write_flow(samples[1].files[2], np.full((48, 64, 2), bad))
        with pytest.raises(UserError, match=r"0000001-flow_01.flo: flow is not finite"):
            FlowBatches(samples, crop=(40, 56), batch_size=3, mode="fixed").batch(0, 0)
