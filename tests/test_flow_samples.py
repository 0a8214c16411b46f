"""What a run keeps for pictures: predicted flow of fixed validation samples, and TensorBoard's logs if asked for."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.artifacts import read_json
from edgeflownas.errors import UserError
from edgeflownas.reporting import flow_pictures
from edgeflownas.runs.flow_samples import FlowSamples, load_flow_samples, save_flow_samples
from edgeflownas.runs.manifest_checks import manifest_faults
from edgeflownas.runs.records import read_history, read_trace
from edgeflownas.train_supernet import main
from tests.fuzzing import archive_of
from tests.tiny import tiny_flags


def test_kept_flow_is_what_the_subnets_were_judged_by(whole_run: Path) -> None:
    samples = load_flow_samples(whole_run / "flow_samples.npz")
    # All three validation samples of the run are kept, so their mean error is the EPE of the pool's first subnets.
    assert samples.names == ("0000000", "0000001", "0000002")
    judged = read_json(whole_run / "pool_results.json")["subnets"][:3]
    assert samples.codes == tuple(subnet["code"] for subnet in judged)
    epes = samples.errors.mean(axis=(1, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(epes, [subnet["epe"] for subnet in judged], rtol=1e-5)
    outliers = (samples.errors > 3).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(outliers, [subnet["outliers_3px"] for subnet in judged], atol=1e-3)
    assert (samples.origin["epoch"], samples.origin["bn_recal_batches"]) == (5, 8)


def test_kept_frames_and_flow_are_those_of_the_files(whole_run: Path, synthetic_root: Path) -> None:
    from edgeflownas.data.layouts.flying_chairs2 import sample_of
    from edgeflownas.data.samples import read_sample

    samples = load_flow_samples(whole_run / "flow_samples.npz")
    frame_0, frame_1, flow = read_sample(sample_of(synthetic_root / "val", "0000001"))
    window = (slice(1, 46), slice(2, 62))  # the centre 45x60 of 48x64
    np.testing.assert_array_equal(samples.frames[1], np.concatenate([frame_0, frame_1], axis=2)[window])
    np.testing.assert_allclose(samples.flow[1], flow[window], rtol=1e-5, atol=1e-5)


def test_manifest_covers_what_is_kept(whole_run: Path) -> None:
    files = read_json(whole_run / "train_manifest.json")["files"]
    assert {"flow_samples", "pool_results"} <= files.keys()
    assert manifest_faults(whole_run / "train_manifest.json") == []


def events_of(log: Path) -> list:
    import tensorflow as tf

    return [tf.compat.v1.Event.FromString(record) for record in tf.data.TFRecordDataset(str(log)).as_numpy_iterator()]


@pytest.mark.slow
def test_tensorboard_shows_each_epoch_once_also_after_a_resume(synthetic_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = tiny_flags(synthetic_root, run, "--num_epochs", "2", "--set", "train.tensorboard=true")
    assert main([*flags, "--max_epochs", "1"]) == 0
    assert main([*flags, "--resume"]) == 0
    shown: list = []
    for log in sorted((run / "tensorboard").iterdir()):
        for event in events_of(log):
            if event.HasField("session_log"):  # as TensorBoard reads it: from this step on nothing earlier counts
                shown = [earlier for earlier in shown if earlier.step < event.step]
            shown.append(event)
    for tag in ("epoch/mean_epe_12", "flow/0000001"):
        assert [event.step for event in shown for value in event.summary.value if value.tag == tag] == [5, 10]


def test_tensorboard_logs_hold_the_numbers_of_trace_and_history(whole_run: Path) -> None:
    (log,) = (whole_run / "tensorboard").iterdir()
    assert ".tfevents." in log.name
    events = events_of(log)
    assert events[0].file_version == "brain.Event:2"
    scalars = {(value.tag, event.step): value.simple_value for event in events for value in event.summary.value}
    for line in read_trace(whole_run / "trace.jsonl"):
        norm = line["global_grad_norm_before"]
        assert scalars["step/grad_norm_before", line["step"]] == pytest.approx(norm, rel=1e-6)
    row = read_history(whole_run / "eval_epe_history.csv")[-1]
    assert scalars["epoch/mean_epe_12", 25] == pytest.approx(row["mean_epe_12"], rel=1e-6)
    assert scalars["epe_of_subnet/000021222", 25] == pytest.approx(row["epe_000021222"], rel=1e-6)
    pictures = [value for event in events for value in event.summary.value if value.tag == "flow/0000001"]
    shown = cv2.imdecode(np.frombuffer(pictures[0].image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (45, 5 * 60, 3)  # a frame, the true flow, three subnets


def test_tensorboard_without_tensorflow_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    flags = tiny_flags(tmp_path / "data", tmp_path / "run", "--set", "train.tensorboard=true", "--dry_run")
    with pytest.raises(UserError, match=r"train\.tensorboard is set, but .* KERAS_BACKEND=tensorflow"):
        main(flags)


def test_damaged_samples_are_refused_by_name(tmp_path: Path) -> None:
    zeros = np.zeros((1, 1, 4, 4, 2), np.float32)
    path = tmp_path / "flow_samples.npz"
    save_flow_samples(
        path, FlowSamples({}, ("a",), ("0",), np.zeros((1, 4, 4, 6), np.uint8), zeros[0], zeros, zeros[..., 0])
    )
    assert load_flow_samples(path).radius(0) == 1.0
    for content in (path.read_bytes()[:-40], archive_of(b"(\n")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"flow_samples\.npz: damaged"):
            load_flow_samples(path)


@pytest.mark.parametrize("arch", [[], pytest.param(["--arch", "0,0,0,0,2,1,2,2,2"], marks=pytest.mark.slow)])
def test_pictures_are_drawn_from_what_was_kept_or_predicted_anew(
    whole_run: Path, tmp_path: Path, arch: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (whole_run / "flow_samples.npz").read_bytes()
    assert flow_pictures.main(["--run_dir", str(whole_run), "--out", str(tmp_path), *arch]) == 0
    said = capsys.readouterr().out.splitlines()
    judged = {subnet["code"]: subnet["epe"] for subnet in read_json(whole_run / "pool_results.json")["subnets"]}
    codes = arch[1:] or list(judged)[:3]
    for line, code in zip(said, codes, strict=True):
        path = tmp_path / f"flow_{code.replace(',', '')}.png"
        # Kept or predicted anew, a subnet is judged alike.
        error = float(line.removeprefix(f"{path}: mean error ").removesuffix(" px over 3 samples"))
        assert error == pytest.approx(judged[code], abs=6e-4)
        assert cv2.imread(str(path)).std() > 20
    assert (whole_run / "flow_samples.npz").read_bytes() == before


def test_pictures_of_no_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run directory: it has no config\.json"):
        flow_pictures.main(["--run_dir", str(tmp_path)])
