"""Random changes of training samples: geometry by number, colours in their range, all of it by seed and position."""

from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.config import resolve_config, view_keys
from edgeflownas.data.augmentation import Augmentation, AugmentSettings, Crop
from edgeflownas.data.flow_files import UNKNOWN, known_pixels
from edgeflownas.data.index import build_index
from edgeflownas.data.layouts.flying_chairs2 import list_samples
from edgeflownas.data.pipeline import FlowBatches
from edgeflownas.data.prefetch import prefetch
from edgeflownas.data.samples import read_sample
from edgeflownas.training.run_data import RunData
from tests.tiny import TINY

ALL = AugmentSettings(0.5, 0.5, 0.4, 0.2, 15, 0.4, 0.4, 0.4, 0.1, 0.3, 4.0, 0.5)
GEOMETRY = {
    "flip_x": AugmentSettings(flip_x=1),
    "flip_y": AugmentSettings(flip_y=1),
    "zoom": AugmentSettings(zoom=0.5),
    "stretch": AugmentSettings(stretch=0.6),
    "rotation": AugmentSettings(rotation=40),
    "all": AugmentSettings(flip_x=0.5, flip_y=0.5, zoom=0.4, stretch=0.3, rotation=30),
}
MOTION = np.array([[1.03, -0.04], [0.05, 0.98]])
SHIFT = np.array([3.0, -2.0])


def wave(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth picture, RGB, known at every position."""
    parts = [np.sin(x / 9) + np.cos(y / 7), np.sin((x + y) / 11), np.cos((x - 2 * y) / 13) + np.sin(y / 8)]
    return np.stack([127.5 + 50 * part for part in parts], axis=-1)


@pytest.fixture(scope="module")
def moving() -> Crop:
    """A pair under an affine motion about the middle, whose flow is exact at every pixel."""
    rows, columns = np.mgrid[:120, :160].astype(float)
    middle = np.array([79.5, 59.5])
    places = np.stack([columns, rows], axis=-1)
    there = (places - middle) @ MOTION.T + middle + SHIFT
    back = (places - middle - SHIFT) @ np.linalg.inv(MOTION).T + middle
    frames = [np.rint(wave(columns, rows)).astype(np.uint8), np.rint(wave(*np.moveaxis(back, -1, 0))).astype(np.uint8)]
    return Crop(frames[0], frames[1], (there - places).astype(np.float32))


def warped_back(crop: Crop) -> tuple[np.ndarray, np.ndarray]:
    """Frame 1 at the ends of the flow, and where those lie within it."""
    height, width = crop.flow.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + crop.flow[..., 0], rows + crop.flow[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return cv2.remap(crop.frame_1, x, y, cv2.INTER_LINEAR).astype(float), inside


@pytest.mark.parametrize("name", GEOMETRY)
def test_the_second_frame_taken_back_by_the_moved_flow_is_the_first(name: str, moving: Crop) -> None:
    settings = GEOMETRY[name]
    for position in range(12):
        changes = Augmentation(settings, 3, position)
        if settings.resamples:
            crop = changes.resampled(moving, (60, 80), None)
        else:
            crop = changes.flipped(Crop(*(part[20:80, 30:110] for part in vars(moving).values())))
        assert crop.flow.shape == (60, 80, 2)
        back, inside = warped_back(crop)
        assert inside.mean() > 0.7
        assert np.abs(back - crop.frame_0)[inside].mean() < 1.2
        # What no flow would give, and flow that was not turned with the frames.
        assert np.abs(crop.frame_1.astype(float) - crop.frame_0)[inside].mean() > 8


def test_a_mirror_image_changes_the_sign_of_its_own_component_alone(moving: Crop) -> None:
    mirrored = Augmentation(AugmentSettings(flip_x=1), 1, 1).flipped(moving)
    np.testing.assert_array_equal(mirrored.frame_1, moving.frame_1[:, ::-1])
    np.testing.assert_array_equal(mirrored.flow[..., 0], -moving.flow[:, ::-1, 0])
    np.testing.assert_array_equal(mirrored.flow[..., 1], moving.flow[:, ::-1, 1])
    upside_down = Augmentation(AugmentSettings(flip_y=1), 1, 1).flipped(moving)
    np.testing.assert_array_equal(upside_down.flow[..., 1], -moving.flow[::-1, :, 1])


def test_a_zoom_by_two_doubles_the_flow(moving: Crop) -> None:
    steps = [np.abs(Augmentation(AugmentSettings(zoom=1), 5, p).matrix()).max() for p in range(400)]
    assert 0.5 <= min(steps) < 0.52
    assert 1.95 < max(steps) <= 2
    position = int(np.argmin(steps))
    crop = Augmentation(AugmentSettings(zoom=1), 5, position).resampled(moving, (60, 80), None)
    assert np.abs(crop.flow).mean() == pytest.approx(np.abs(moving.flow).mean() / steps[position], rel=0.25)


def test_a_crop_stays_within_its_sample_however_it_is_turned(moving: Crop) -> None:
    # The position of every pixel as its flow: turned with the crop, it is the crop's own pixel grid plus an offset.
    # Where a crop reached beyond its sample, the border's pixels would repeat instead.
    rows, columns = np.mgrid[:120, :160].astype(np.float32)
    placed = Crop(moving.frame_0, moving.frame_1, np.stack([columns, rows], axis=-1))
    wild = AugmentSettings(flip_x=0.5, zoom=1, stretch=0.5, rotation=180)
    for size in ((118, 158), (60, 80)):
        grid = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1)
        for position in range(60):
            crop = Augmentation(wild, 7, position).resampled(placed, size, None)
            assert np.ptp(crop.flow - grid, axis=(0, 1)).max() < 0.25


def test_colours_change_within_their_range_and_alike_unless_asymmetric() -> None:
    grey = np.full((20, 30, 3), 100, np.uint8)
    pair = Crop(grey, grey.copy(), np.ones((20, 30, 2), np.float32))
    levels = []
    for position in range(300):
        changed = Augmentation(AugmentSettings(brightness=0.4), 1, position).painted(pair)
        np.testing.assert_array_equal(changed.frame_0, changed.frame_1)
        levels.append(int(changed.frame_0[0, 0, 0]))
    assert 60 <= min(levels) < 63
    assert 137 < max(levels) <= 140
    # Contrast keeps the mean, saturation and hue keep a grey.
    for settings in (AugmentSettings(contrast=0.5), AugmentSettings(saturation=0.5), AugmentSettings(hue=0.5)):
        for position in range(20):
            assert np.abs(Augmentation(settings, 1, position).painted(pair).frame_0.astype(int) - 100).max() <= 1
    apart = AugmentSettings(brightness=0.4, asymmetric=1)
    same = [np.array_equal(c.frame_0, c.frame_1) for c in (Augmentation(apart, 1, p).painted(pair) for p in range(50))]
    assert sum(same) < 5


def test_a_hue_turned_by_a_third_of_the_circle_and_a_saturation_of_zero() -> None:
    red = np.full((4, 4, 3), [200, 60, 60], np.uint8)
    pair = Crop(red, red, np.ones((4, 4, 2), np.float32))
    greyed = next(
        changed
        for position in range(2000)
        if (changes := Augmentation(AugmentSettings(saturation=1), 1, position))._within(14, 1) < -0.99
        for changed in [changes.painted(pair).frame_0]
    )
    assert np.ptp(greyed[0, 0].astype(int)) <= 3
    for position in range(200):
        changed = Augmentation(AugmentSettings(hue=0.5), 1, position).painted(pair).frame_0
        # A turned hue keeps its luminance, as far as 8 bits and their range go.
        luminance = changed[0, 0] @ np.array([0.299, 0.587, 0.114])
        assert luminance == pytest.approx(0.299 * 200 + 0.701 * 60, abs=12)


def test_noise_and_eraser_touch_what_they_should(moving: Crop) -> None:
    changed = Augmentation(AugmentSettings(noise=8), 1, 4).painted(moving)
    deviation = (changed.frame_0.astype(int) - moving.frame_0).std()
    assert 0.2 < deviation < 8.1
    assert not np.array_equal(changed.frame_0 - moving.frame_0, changed.frame_1 - moving.frame_1)
    for position in range(40):
        covered = Augmentation(AugmentSettings(eraser=1), 1, position).painted(moving)
        np.testing.assert_array_equal(covered.frame_0, moving.frame_0)
        np.testing.assert_array_equal(covered.flow, moving.flow)
        share = (covered.frame_1 != moving.frame_1).any(axis=-1).mean()
        assert 0.005 < share < 2 * 0.25**2 + 0.01


def test_unknown_flow_stays_unknown_and_every_crop_has_some_that_is_known(moving: Crop) -> None:
    flow = moving.flow.copy()
    flow[:, :120] = UNKNOWN
    known = known_pixels(flow)
    for position in range(40):
        changes = Augmentation(GEOMETRY["all"], 2, position)
        crop = changes.resampled(Crop(moving.frame_0, moving.frame_1, flow), (40, 50), known)
        here = known_pixels(crop.flow)
        assert here.any()
        assert (np.abs(crop.flow[here]) < 30).all()
        assert (crop.flow[~here] == np.float32(UNKNOWN)).all()


def test_an_augmented_batch_is_a_function_of_seed_epoch_and_index(synthetic_root: Path) -> None:
    samples = list_samples(synthetic_root, "train")
    places = [(epoch, index) for epoch in range(3) for index in range(3)]
    batches = FlowBatches(samples, (32, 40), 2, seed=42, augment=ALL)
    expected = [batches.batch(*place) for place in places]
    again = FlowBatches(samples, (32, 40), 2, seed=42, augment=ALL)
    found = list(prefetch(lambda place: again.batch(*place), reversed(places), workers=3))
    for (frames, flow), (other_frames, other_flow) in zip(expected, reversed(found), strict=True):
        np.testing.assert_array_equal(frames, other_frames)
        np.testing.assert_array_equal(flow, other_flow)
    # The stream does not depend on how it is cut into epochs, or batches.
    single = FlowBatches(samples, (32, 40), 1, seed=42, augment=ALL, steps_per_epoch=18)
    np.testing.assert_array_equal(single.batch(0, 7)[0][0], expected[3][0][1])
    other = FlowBatches(samples, (32, 40), 2, seed=43, augment=ALL)
    assert not np.array_equal(other.batch(0, 0)[0], expected[0][0])


def test_nothing_changes_where_nothing_is_on_and_never_in_evaluation(synthetic_root: Path) -> None:
    samples = list_samples(synthetic_root, "train")
    for mode, augment in (("train", AugmentSettings(asymmetric=1)), ("fixed", ALL)):
        plain, changed = (FlowBatches(samples, (32, 40), 2, mode, 5, augment=one) for one in (None, augment))
        for index in range(5):
            for one, other in zip(plain.batch(0, index), changed.batch(0, index), strict=True):
                np.testing.assert_array_equal(one, other)


def test_a_change_that_is_turned_on_moves_no_other(synthetic_root: Path) -> None:
    samples = list_samples(synthetic_root, "train")
    plain, noisy = (
        FlowBatches(samples, (32, 40), 2, augment=AugmentSettings(zoom=0.3, rotation=9, noise=noise))
        for noise in (0, 2)
    )
    np.testing.assert_array_equal(plain.batch(0, 1)[1], noisy.batch(0, 1)[1])


def test_the_config_has_a_key_for_every_change_all_off_and_takes_them(synthetic_root: Path) -> None:
    keys = view_keys(AugmentSettings)
    assert keys == {field.name: f"data.augment.{field.name}" for field in fields(AugmentSettings)}
    config = resolve_config(None, TINY)
    assert not config.view(AugmentSettings).any
    index = build_index(synthetic_root, (45, 60))
    plain = RunData(config, index)
    flipped = RunData(resolve_config(None, TINY | {"data.augment.flip_x": 1.0}), index)
    for one, other in ((plain.train_batch(0), flipped.train_batch(0)),):
        np.testing.assert_array_equal(one[0], other[0][:, :, ::-1])
    for one, other in zip(plain.validation(), flipped.validation(), strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)


@pytest.mark.real_data
def test_real_pairs_still_fit_their_flow_after_any_change_of_geometry(real_pairs: Path) -> None:
    for number, sample in enumerate(list_samples(real_pairs, "train")):
        pair = Crop(*read_sample(sample))
        crop = Augmentation(GEOMETRY["all"], 1, number).resampled(pair, (180, 240), None)
        back, inside = warped_back(crop)
        with_flow = np.abs(back - crop.frame_0)[inside].mean()
        without = np.abs(crop.frame_1.astype(float) - crop.frame_0)[inside].mean()
        assert with_flow < 0.75 * without
