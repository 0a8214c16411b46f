"""Flow of one's own frames: what is written is what the evaluation saw, and the errors printed are those of NumPy."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas import predict
from edgeflownas.artifacts import read_json
from edgeflownas.data.flow_files import UNKNOWN, read_flow
from edgeflownas.errors import UserError
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.predict import Fit, chosen_code, end_point_errors, pairs_of
from edgeflownas.runs.flow_samples import load_flow_samples
from edgeflownas.runs.run_directory import RunDirectory
from tests import layouts_on_disk as disk


def test_a_prediction_is_that_of_the_evaluation(
    whole_run: Path, synthetic_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = load_flow_samples(whole_run / "flow_samples.npz")
    frames = [str(synthetic_root / "val" / f"0000001-img_{number}.png") for number in (0, 1)]
    truth = str(synthetic_root / "val/0000001-flow_01.flo")
    flags = ["--run_dir", str(whole_run), "--checkpoint", "last", "--arch", samples.codes[1], "--out", str(tmp_path)]
    assert predict.main([*flags, "--fit", "crop", "--flow", truth, *frames]) == 0
    written = read_flow(tmp_path / "0000001-img_0_flow.flo")
    np.testing.assert_allclose(written, samples.predicted[1, 1], atol=1e-4)
    said = capsys.readouterr().out
    epe, zero = map(float, re.search(r"EPE (\S+) px, zero-flow (\S+) px, of 60x45 pixels 100.0% known", said).groups())
    assert epe == pytest.approx(samples.mean_errors[1, 1], abs=2e-4)
    assert zero == pytest.approx(np.linalg.norm(samples.flow[1], axis=-1).mean(), abs=2e-4)
    assert cv2.imread(str(tmp_path / "0000001-img_0_flow.png")).shape == (45, 60, 3)
    assert re.search(r"first pair \d+\.\d\d s, compiling included$", said.strip())


def test_without_a_code_it_is_the_best_subnet_of_the_last_evaluation(whole_run: Path, tmp_path: Path) -> None:
    space = load_search_space()
    subnets = read_json(whole_run / "pool_results.json")["subnets"]
    best = min(subnets, key=lambda subnet: subnet["epe"])["code"]
    assert chosen_code(RunDirectory(whole_run), None, space) == tuple(map(int, best.split(",")))
    assert chosen_code(RunDirectory(tmp_path), None, space) == space.reference
    assert chosen_code(RunDirectory(whole_run), "000021222", space) == space.reference


def test_pairs_are_neighbours_in_a_folder_or_a_video(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        disk.put(tmp_path / f"walk/{number:03d}.ppm", disk.ppm(disk.frame(number)))
    disk.put(tmp_path / "walk/notes.txt", b"")
    pairs = list(pairs_of([tmp_path / "walk"], None))
    assert [pair.name for pair in pairs] == ["001", "002"]
    np.testing.assert_array_equal(pairs[1].frame_0, disk.frame(2))
    np.testing.assert_array_equal(pairs[1].frame_1, disk.frame(3))
    writer = cv2.VideoWriter(str(tmp_path / "walk.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    for colour in colours:
        writer.write(np.full((48, 64, 3), colour[::-1], np.uint8))
    writer.release()
    pairs = list(pairs_of([], tmp_path / "walk.avi"))
    assert [pair.name for pair in pairs] == ["walk_000001", "walk_000002"]
    np.testing.assert_allclose(pairs[1].frame_0.mean(axis=(0, 1)), colours[1], atol=6)
    np.testing.assert_allclose(pairs[1].frame_1.mean(axis=(0, 1)), colours[2], atol=6)


def test_frames_that_make_no_pair_are_refused_by_name(tmp_path: Path) -> None:
    frame = disk.frame(1)
    disk.put(tmp_path / "a.png", disk.png(frame))
    disk.put(tmp_path / "b.ppm", disk.ppm(frame))
    disk.put(tmp_path / "c.png", disk.png(frame[:, :50]))
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    for frames, video, message in (
        ([], None, r"expected two frames, a folder of frames or --video FILE, got 0 name"),
        ([tmp_path / "a.png"], None, r"got 1 name"),
        ([tmp_path], None, r"holds 3 frames \(.png, .ppm\); expected at least two, of one kind"),
        ([tmp_path / "empty"], None, r"empty: holds no frame \(.png, .ppm, .jpg, .jpeg\)"),
        ([tmp_path / "a.png", tmp_path / "c.png"], None, r"a and c are 64x48 and 50x48 pixels"),
        ([tmp_path / "a.png", tmp_path / "d.png"], None, r"d.png: cannot read the file: No such file"),
        ([tmp_path / "a.png"], tmp_path / "broken.mp4", r"give frames or --video, not both"),
        ([], tmp_path / "broken.mp4", r"broken.mp4: OpenCV reads 0 frame"),
        ([], tmp_path / "gone.mp4", r"gone.mp4: no such file"),
    ):
        with pytest.raises(UserError, match=message):
            list(pairs_of(frames, video))


def test_inputs_are_refused_before_anything_is_computed(whole_run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        disk.put(tmp_path / f"{name}.png", disk.png(disk.frame(1)[:40]))
    disk.put(tmp_path / "truth.flo", disk.flo(disk.flow(1)))
    frames = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    for flags, message in (
        ([*frames, "--fit", "crop"], r"a: is 40x64 pixels .height x width., smaller than the network's 45x60"),
        ([*frames, "--flow", str(tmp_path / "truth.flo")], r"truth.flo: is 64x48 pixels, but \S+a.png is 64x40"),
        ([str(tmp_path), "--flow", str(tmp_path / "truth.flo")], r"--flow is the true flow of one pair"),
        ([*frames, "--radius", "0"], r"--radius is 0.0; expected more than 0"),
        ([*frames, "--arch", "0,1"], r"0,1"),
    ):
        with pytest.raises(UserError, match=message):
            predict.main(["--run_dir", str(whole_run), *flags])
    with pytest.raises(UserError, match="no run directory"):
        predict.main(["--run_dir", str(tmp_path), *frames])


def test_flow_at_the_networks_size_comes_back_in_the_frames_own_pixels() -> None:
    fit = Fit("resize", (45, 60))
    back = fit.predicted(np.full((45, 60, 2), [3.0, -2.0], np.float32), (90, 180))
    assert back.shape == (90, 180, 2)
    np.testing.assert_allclose(back, np.broadcast_to([9.0, -4.0], (90, 180, 2)), rtol=1e-6)
    assert fit.frame(np.zeros((90, 180, 3), np.uint8)).shape == (45, 60, 3)
    frame = disk.frame(1)
    np.testing.assert_array_equal(Fit("crop", (40, 56)).frame(frame), frame[4:44, 4:60])
    assert Fit("full", (45, 60)).frame(frame) is frame


def test_errors_are_of_the_known_pixels() -> None:
    truth = np.zeros((4, 5, 2), np.float32)
    truth[0, 0] = [3, 4]
    truth[1] = UNKNOWN
    predicted = np.full((4, 5, 2), [0.0, 1.0], np.float32)
    expected = (14 + np.hypot(3, 3)) / 15
    assert end_point_errors(predicted, truth) == pytest.approx((expected, 5 / 15, 15 / 20))


REAL = {
    "sintel": ("sintel_examples/training/final/cave_2/frame_000{}.png", "sintel_examples/training/flow/cave_2", ".flo"),
    "kitti": ("kitti_examples/training/image_2/000000_1{}.png", "kitti_examples/training/flow_occ", ".png"),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_a_real_pair_is_predicted_and_held_against_its_flow(
    name: str, real_pairs: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern, folder, suffix = REAL[name]
    numbers = (2, 3) if name == "sintel" else (0, 1)
    frames = [str(real_pairs.parent / pattern.format(number)) for number in numbers]
    truth = real_pairs.parent / folder / Path(frames[0]).with_suffix(suffix).name
    fit = "resize" if name == "sintel" else "full"
    flags = ["--run_dir", str(whole_run), "--out", str(tmp_path), "--fit", fit, "--flow", str(truth)]
    assert predict.main([*flags, *frames]) == 0
    epe, zero = re.search(r"EPE (\S+) px, zero-flow (\S+) px", capsys.readouterr().out).groups()
    if name == "sintel":
        flow = np.frombuffer(truth.read_bytes()[12:], "<f4").reshape(436, 1024, 2).astype(np.float64)
        known = np.ones((436, 1024), bool)
    else:
        blue, green, red = np.moveaxis(cv2.imread(str(truth), cv2.IMREAD_UNCHANGED).astype(np.float64), -1, 0)
        flow, known = (np.stack([red, green], axis=-1) - 2**15) / 64, blue > 0
    assert float(zero) == pytest.approx(np.linalg.norm(flow, axis=-1)[known].mean(), abs=1e-4)
    (written,) = tmp_path.glob("*.flo")
    height, width = known.shape
    predicted = read_flow(written)
    if fit == "resize":
        predicted = cv2.resize(predicted, (width, height)) * [width / 60, height / 45]
    assert float(epe) == pytest.approx(np.linalg.norm(predicted - flow, axis=-1)[known].mean(), abs=1e-3)
