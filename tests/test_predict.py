"""Flow of one's own frames: what is written is what the evaluation saw, and the errors printed are those of NumPy."""

import itertools
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas import predict
from edgeflownas.artifacts import read_json
from edgeflownas.data import video_files
from edgeflownas.data.fitting import OVERLAP, Fit, tile_starts
from edgeflownas.data.flow_files import UNKNOWN, read_flow
from edgeflownas.data.video_files import frames_per_second, read_frames, require_codec, write_video
from edgeflownas.errors import UserError
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.predict import chosen_code, end_point_errors, pairs_of
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
        ([*frames, "--fit", "tiles"], r"a: is 40x64 pixels .height x width., smaller than the network's 45x60"),
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


@pytest.mark.parametrize("size", [(45, 60), (46, 100), (130, 61), (217, 399)])
def test_tiles_cover_a_frame_from_border_to_border_and_overlap(size: tuple[int, int]) -> None:
    for whole, tile in zip(size, (45, 60), strict=True):
        starts = tile_starts(whole, tile)
        assert (starts[0], starts[-1] + tile) == (0, whole)
        assert all(0 < after - before <= tile * (1 - OVERLAP) + 1 for before, after in itertools.pairwise(starts))


def test_tiled_flow_is_that_of_the_tiles_and_has_no_seams() -> None:
    fit, shapes = Fit("tiles", (45, 60)), []
    frames = np.random.default_rng(1).uniform(-1, 1, (217, 399, 6)).astype(np.float32)

    def pixelwise(batch: np.ndarray) -> np.ndarray:
        shapes.append(batch.shape)
        return 3 * batch[..., :2]

    np.testing.assert_allclose(fit.flow(pixelwise, frames), 3 * frames[..., :2], atol=1e-5)
    assert len(set(shapes)) == 1
    np.testing.assert_allclose(fit.flow(pixelwise, frames[:45, :60]), 3 * frames[:45, :60, :2], rtol=1e-6)

    def by_tile(batch: np.ndarray) -> np.ndarray:
        """Each tile has a flow of its own, as far from the others' as anything could be."""
        return np.broadcast_to(batch[:, :1, :1, :2], (*batch.shape[:3], 2))

    flow = fit.flow(by_tile, frames)
    np.testing.assert_allclose(flow[0, 0], frames[0, 0, :2], rtol=1e-6)
    steps = np.abs(np.diff(flow, axis=1)).max(), np.abs(np.diff(flow, axis=0)).max()
    # Blending from one tile to the next takes a quarter of a tile; a seam would be as large as the difference, 2.
    assert max(steps) < 0.5


def test_a_video_comes_back_and_one_without_a_codec_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    for name in ("walk.mp4", "walk.avi"):
        require_codec(tmp_path / name)
        write_video(tmp_path / name, [np.full((75, 101, 3), colour, np.uint8) for colour in colours], 12.5)
        back = list(read_frames(tmp_path / name))
        assert [frame.shape for frame in back] == [(76, 102, 3)] * 3
        for frame, colour in zip(back, colours, strict=True):
            np.testing.assert_allclose(frame.mean(axis=(0, 1)), colour, atol=8)
        assert frames_per_second(tmp_path / name) == 12.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk.avi", "walk.mp4"]
    with pytest.raises(UserError, match=r"walk.gif: expected a video with the suffix .mp4 or .avi"):
        require_codec(tmp_path / "walk.gif")
    monkeypatch.setitem(video_files.CODECS, ".avi", "0000")
    with pytest.raises(
        UserError, match=r"new.avi: OpenCV \S+ cannot write .avi here, because its codec 0000 is missing"
    ):
        require_codec(tmp_path / "new.avi")


@pytest.mark.slow
def test_a_folder_becomes_a_video_of_its_flow_by_tiles(
    whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        disk.put(tmp_path / f"walk/{number}.png", disk.png(np.tile(disk.frame(number), (2, 2, 1))))
    out = tmp_path / "out"
    flags = ["--run_dir", str(whole_run), "--fit", "tiles", "--out", str(out), "--radius", "40"]
    assert predict.main([*flags, "--video_out", str(tmp_path / "flow.avi"), str(tmp_path / "walk")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"[\d.]+ ms per pair of 128x96 after it", said)
    assert "flow.avi: 2 pictures, full colour at 40.0 px" in said
    pictures = [cv2.imread(str(out / f"{number}_flow.png"))[..., ::-1] for number in range(2)]
    for frame, picture in zip(read_frames(tmp_path / "flow.avi"), pictures, strict=True):
        assert np.abs(frame.astype(int) - picture).mean() < 6
    # A corner is of one tile alone: what cropping the frames to it gives.
    for number in range(2):
        disk.put(tmp_path / f"corner/{number}.png", disk.png(np.tile(disk.frame(number), (2, 2, 1))[:45, :60]))
    assert predict.main([*flags, str(tmp_path / "corner/0.png"), str(tmp_path / "corner/1.png")]) == 0
    corner = read_flow(out / "0_flow.flo")
    assert corner.shape == (45, 60, 2)
    assert predict.main([*flags, str(tmp_path / "walk/0.png"), str(tmp_path / "walk/1.png")]) == 0
    whole = read_flow(out / "0_flow.flo")
    assert whole.shape == (96, 128, 2)
    np.testing.assert_allclose(whole[:8, :10], corner[:8, :10], atol=1e-4)
    with pytest.raises(UserError, match=r"flow.gif: expected a video with the suffix"):
        predict.main([*flags, "--video_out", str(tmp_path / "flow.gif"), str(tmp_path / "walk")])


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
@pytest.mark.parametrize(
    ("name", "fit"),
    [("sintel", "resize"), ("kitti", "tiles"), pytest.param("kitti", "full", marks=pytest.mark.slow)],
)
def test_a_real_pair_is_predicted_and_held_against_its_flow(
    name: str, fit: str, real_pairs: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern, folder, suffix = REAL[name]
    numbers = (2, 3) if name == "sintel" else (0, 1)
    frames = [str(real_pairs.parent / pattern.format(number)) for number in numbers]
    truth = real_pairs.parent / folder / Path(frames[0]).with_suffix(suffix).name
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
