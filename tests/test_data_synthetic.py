import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.data import synthetic
from edgeflownas.data.generated import MARKER
from edgeflownas.data.layouts.flying_chairs2 import list_samples
from edgeflownas.data.samples import read_sample
from edgeflownas.data.scenes import Scene, SceneSettings, render_scene
from edgeflownas.data.smooth_scenes import render_smooth_scene
from edgeflownas.data.streams import Purpose, philox
from edgeflownas.data.synthetic import SyntheticParameters, generate
from edgeflownas.errors import CannotWrite, UserError

SMALL = SyntheticParameters(train=3, val=2, height=32, width=40, seed=5)


def scenes(
    count: int, settings: SceneSettings, render: Callable[[SceneSettings, np.random.Generator], Scene] = render_scene
) -> list[Scene]:
    return [render(settings, np.random.Generator(philox(11, Purpose.SCENE_TRAIN, i))) for i in range(count)]


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def inside_one_layer(layers: np.ndarray) -> np.ndarray:
    """Pixels all of whose neighbours belong to the same layer."""
    kernel = np.ones((3, 3), np.uint8)
    return cv2.erode(layers, kernel) == cv2.dilate(layers, kernel)


def test_warping_frame_1_back_by_the_flow_gives_frame_0_where_nothing_is_hidden() -> None:
    height, width = 120, 160
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for scene in scenes(10, SceneSettings(height, width, max_motion=25)):
        target = (columns + scene.flow[..., 0], rows + scene.flow[..., 1])
        warped = cv2.remap(scene.frames[1], *target, cv2.INTER_CUBIC).astype(np.float32)
        layers = [np.where(inside_one_layer(layer), layer, 255).astype(np.uint8) for layer in scene.layers]
        ahead = cv2.remap(layers[1], *target, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=255)
        visible = (layers[0] == ahead) & (ahead != 255)
        visible &= (target[0] >= 1) & (target[0] <= width - 2) & (target[1] >= 1) & (target[1] <= height - 2)
        assert visible.mean() > 0.4
        error = np.abs(warped - scene.frames[0])[visible].mean()
        error_without_flow = np.abs(scene.frames[1].astype(np.float32) - scene.frames[0])[visible].mean()
        assert error < 1.5  # grey levels of 255
        assert error_without_flow > 5 * error


def test_motion_is_mostly_moderate_with_a_long_tail_within_the_bound() -> None:
    pictures = scenes(40, SceneSettings(100, 132, max_motion=40))
    lengths = np.concatenate([np.hypot(scene.flow[..., 0], scene.flow[..., 1]).ravel() for scene in pictures])
    assert 2 < np.median(lengths) < 6
    assert np.percentile(lengths, 99) > 4 * np.median(lengths)
    # 40 px of translation, and what rotation and scaling add at the rim of a shape of radius 32.
    assert lengths.max() < 40 + 32 * 0.45
    background = [np.hypot(*scene.flow[scene.layers[0] == 0].T).mean() for scene in pictures]
    foreground = [np.hypot(*scene.flow[scene.layers[0] > 0].T).mean() for scene in pictures]
    assert np.mean(foreground) > 1.5 * np.mean(background)


def test_shapes_hide_one_another_and_the_background() -> None:
    for scene in scenes(10, SceneSettings(100, 132, shapes=(3, 8))):
        assert scene.layers[0].max() <= 8
        assert 0.2 < (scene.layers[0] == 0).mean() < 1
        assert scene.frames[0].std() > 15


@pytest.mark.parametrize(("height", "width", "max_motion"), [(48, 64, 3), (96, 128, 12), (61, 45, 0)])
def test_smooth_motion_is_exact_everywhere_and_as_large_as_asked_for(height: int, width: int, max_motion: int) -> None:
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    largest = []
    for scene in scenes(10, SceneSettings(height, width, max_motion), render_smooth_scene):
        x, y = columns + scene.flow[..., 0], rows + scene.flow[..., 1]
        inside = (x >= 1) & (x <= width - 2) & (y >= 1) & (y <= height - 2)
        assert inside.mean() > 0.7
        warped = cv2.remap(scene.frames[1], x, y, cv2.INTER_CUBIC).astype(np.float32)
        error = np.abs(warped - scene.frames[0])[inside].mean()
        error_without_flow = np.abs(scene.frames[1].astype(np.float32) - scene.frames[0])[inside].mean()
        assert error < 0.7  # grey levels of 255, half a level of which is rounding
        assert error_without_flow > 20 * error or max_motion == 0
        assert scene.frames[0].std() > 30
        largest.append(np.abs(scene.flow).max())
        # No jump, as at the edge of a shape: the motion changes by a fraction of itself from pixel to pixel.
        assert np.abs(np.diff(scene.flow, axis=1)).max() <= 0.2 * max_motion
    assert max_motion <= np.median(largest) * 1.1
    assert max(largest) <= 1.9 * max_motion


def test_the_same_parameters_give_the_same_bytes_whatever_the_number_of_threads(tmp_path: Path) -> None:
    assert generate(tmp_path / "one", SMALL, workers=1)
    assert generate(tmp_path / "three", SMALL, workers=3)
    assert digests(tmp_path / "one") == digests(tmp_path / "three")
    assert len(digests(tmp_path / "one")) == 3 * 5 + 1
    pictures = [digest for name, digest in digests(tmp_path / "one").items() if name.endswith("img_0.png")]
    assert len(set(pictures)) == 5
    assert {path.name for path in tmp_path.iterdir()} == {"one", "three"}


def test_a_longer_data_set_begins_with_the_shorter_one(tmp_path: Path) -> None:
    generate(tmp_path / "short", SMALL)
    generate(tmp_path / "long", SyntheticParameters(train=5, val=2, height=32, width=40, seed=5))
    assert digests(tmp_path / "short" / "train").items() < digests(tmp_path / "long" / "train").items()


def test_files_hold_the_scene_exactly(tmp_path: Path) -> None:
    generate(tmp_path / "data", SMALL)
    frame_0, frame_1, flow = read_sample(list_samples(tmp_path / "data", "val")[1])
    scene = render_scene(SceneSettings(32, 40), np.random.Generator(philox(5, Purpose.SCENE_VAL, 1)))
    np.testing.assert_array_equal(frame_0, scene.frames[0])
    np.testing.assert_array_equal(frame_1, scene.frames[1])
    np.testing.assert_array_equal(flow, scene.flow)


def test_an_existing_data_set_is_accepted_only_with_the_same_parameters(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()  # an empty folder is nobody's data
    assert generate(root, SMALL)
    before = digests(root)
    assert not generate(root, SMALL)
    with pytest.raises(UserError, match=r"data: was generated with other parameters \(seed is 5, wanted 6\)"):
        generate(root, SyntheticParameters(train=3, val=2, height=32, width=40, seed=6))
    assert digests(root) == before
    for file in (root / "val").glob("0000001*"):
        file.unlink()
    with pytest.raises(UserError, match=r"val: holds 1 samples, expected 2"):
        generate(root, SMALL)


def test_kinds_of_scenes_are_told_apart_and_older_folders_hold_layers(tmp_path: Path) -> None:
    smooth = replace(SMALL, kind="smooth", max_motion=3.0)
    assert generate(tmp_path / "smooth", smooth)
    assert not generate(tmp_path / "smooth", smooth)
    scene = render_smooth_scene(SceneSettings(32, 40, 3.0), np.random.Generator(philox(5, Purpose.SCENE_VAL, 1)))
    np.testing.assert_array_equal(read_sample(list_samples(tmp_path / "smooth", "val")[1])[2], scene.flow)
    with pytest.raises(UserError, match=r"\(kind is smooth, wanted layers; max_motion is 3.0, wanted 40.0\)"):
        generate(tmp_path / "smooth", SMALL)

    generate(tmp_path / "layers", SMALL)
    marker = json.loads((tmp_path / "layers" / MARKER).read_text())
    # Before there were kinds.
    del marker["kind"]
    (tmp_path / "layers" / MARKER).write_text(json.dumps(marker))
    assert not generate(tmp_path / "layers", SMALL)
    with pytest.raises(UserError, match=r"\(kind is layers, wanted smooth\)"):
        generate(tmp_path / "layers", replace(SMALL, kind="smooth"))


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"sea")
    with pytest.raises(
        UserError, match=r"photos: holds files that were not generated .*give data_root=\S+photos"
    ) as caught:
        generate(tmp_path / "photos", SMALL)
    assert "remove" not in str(caught.value)
    assert list(tmp_path.rglob("*.*")) == [tmp_path / "photos" / "holiday.jpg"]


def test_nothing_is_generated_behind_a_link_to_nowhere_or_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("unmounted")
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "link", tmp_path / "link" / "scenes"):
        with pytest.raises(UserError, match=r"link is a link to nowhere: unmounted; no scenes are generated behind it"):
            generate(root, SMALL)
    for root in (tmp_path / "file", tmp_path / "file" / "scenes"):
        with pytest.raises(UserError, match=r"file is no folder, so no scenes can be generated there"):
            generate(root, SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {"link", "file"}
    (tmp_path / "folder").mkdir()
    (tmp_path / "good").symlink_to("folder")
    assert generate(tmp_path / "good", SMALL)
    assert (tmp_path / "good").is_symlink()
    assert not generate(tmp_path / "good", SMALL)


def test_what_a_killed_generation_left_is_removed_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "a [data] set"
    flags = ["--train", "9999", "--val", "1", "--height", "64", "--width", "64", "--seed", "1"]
    command = [sys.executable, "-m", "edgeflownas.data.synthetic", "--root", str(root), *flags]
    with subprocess.Popen(command) as running:
        try:
            while not list(tmp_path.glob(".*/train/*.flo")):
                assert running.poll() is None
                time.sleep(0.05)
            (partial,) = tmp_path.iterdir()
            generate(root, SMALL)
            assert partial.is_dir()
            shutil.rmtree(root)
        finally:
            running.kill()
    assert list(tmp_path.iterdir()) == [partial]
    assert generate(root, SMALL)
    assert list(tmp_path.iterdir()) == [root]


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def fill_the_disk(path: Path, flow: np.ndarray) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        path.write_bytes(b"")

    monkeypatch.setattr(synthetic, "write_flow", fill_the_disk)
    with pytest.raises(CannotWrite, match=r"data: cannot be written: No space left on device; free space there"):
        generate(tmp_path / "data", SMALL)
    assert len(written) >= 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 0}, "train is 0; expected 1 to"),
        ({"height": 7}, "height is 7; expected 8 to"),
        ({"seed": -1}, "seed is -1; expected 0 to"),
        ({"max_motion": float("nan")}, "max_motion is nan"),
        ({"kind": "rough"}, "kind is rough; expected layers or smooth"),
        ({"shapes": (4, 3)}, "shapes, most is 3; expected 4 to"),
    ],
)
def test_parameters_out_of_range_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SyntheticParameters(**{"train": 1, "val": 1, "height": 8, "width": 8, "seed": 0, **change})


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeflownas.data.synthetic", "--root", str(tmp_path / "data")]
    command += ["--train", "2", "--val", "1", "--height", "16", "--width", "24", "--seed", "9", "--max_motion", "4"]
    first = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    second = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "generated 2 training and 1 validation scenes" in first
    assert "already holds 2 training and 1 validation scenes" in second
    assert json.loads((tmp_path / "data" / "synthetic.json").read_text()) == {
        **{"generator": 1, "train": 2, "val": 1, "height": 16, "width": 24, "seed": 9},
        **{"kind": "layers", "max_motion": 4.0, "shapes": [3, 8]},
    }
    refused = subprocess.run([*command, "--seed", "10"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: {tmp_path}/data: was generated with other parameters")
    assert refused.stderr.count("\n") == 1
