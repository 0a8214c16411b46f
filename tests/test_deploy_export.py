"""Export: the files of a subnet are that subnet, need none of our classes, and say what they are."""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.artifacts import read_json, sha256_file
from edgeflownas.data.order import centre_crop
from edgeflownas.data.readers import read_flow
from edgeflownas.deploy.bundle import SUM_HEADS, read_golden
from edgeflownas.deploy.export import SCHEMA, TOLERANCE_PX, TOLERANCE_SHARE, main
from edgeflownas.deploy.litert import LiteModel, summed
from edgeflownas.deploy.settings import as_bytes, as_chip_input, as_floats
from edgeflownas.deploy.subnet import Subnet, doubles, resize_matrix, subnet_weights, untrained_weights
from edgeflownas.errors import UserError
from edgeflownas.nas.search_space import load_search_space
from tests.spaces import eleven_block_space

SPACE = load_search_space()
CODE = "012012012"
EXPORTED = ["model.keras", "float.tflite", "int8.tflite", "model.h", "model_card.md"]


@pytest.fixture(scope="module")
def exported(whole_run, tmp_path_factory):
    """The folder of an exported subnet, and what the command wrote to stderr."""
    folder, err = tmp_path_factory.mktemp("exported"), StringIO()
    with redirect_stderr(err), redirect_stdout(StringIO()):
        assert main(["--run_dir", str(whole_run), "--arch", CODE, "--out", str(folder), "--set", "target=null"]) == 0
    return folder, err.getvalue()


@pytest.mark.parametrize(
    ("size", "target"), [((12, 15), (23, 30)), ((23, 30), (45, 60)), ((6, 8), (12, 16)), ((9, 4), (4, 9))]
)
def test_resize_matrices_are_the_networks_resize(size, target):
    from keras import ops

    x = np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)
    rows, columns = resize_matrix(size[0], target[0]), resize_matrix(size[1], target[1])
    mine = np.einsum("bhwc,hH,wW->bHWc", x, rows, columns)
    np.testing.assert_allclose(mine, ops.image.resize(x, target, interpolation="bilinear"), atol=1e-6)
    assert doubles(size, target) == (target == (12, 16))


def a_network(space, code, height, width):
    """Frames, the flow in pixels of a subnet with trained-looking batch norms, and that subnet's weights by name."""
    from edgeflownas.network.flow_network import FlowNetwork
    from edgeflownas.network.routes import FixedPath
    from edgeflownas.network.statistics import GivenStatistics, RecordedStatistics

    network = FlowNetwork(space, 4, seed=1)
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        if variable.name.endswith((".gamma", ".beta")):
            variable.assign(rng.normal(float(variable.name.endswith(".gamma")), 0.3, variable.shape))
    frames = rng.uniform(-1, 1, (3, height, width, 6)).astype(np.float32)
    recorded = RecordedStatistics()
    network(frames, route=FixedPath(code), statistics=recorded)
    flows = network(frames[:1], route=FixedPath(code), statistics=GivenStatistics(recorded.taken))
    arrays = {variable.name: np.asarray(variable) for variable in network.trainable_variables}
    return frames[:1], np.asarray(flows[-1])[0, ..., :2] * 5, arrays, recorded.taken


@pytest.mark.parametrize("code", ["000000000", "222222222", CODE])
@pytest.mark.parametrize(("height", "width"), [(45, 60), (48, 64)])
def test_the_plain_model_is_the_subnet_in_pixels(code, height, width):
    from edgeflownas.deploy.keras_model import plain_model

    code = tuple(map(int, code))
    frames, flow, arrays, statistics = a_network(SPACE, code, height, width)
    subnet = Subnet(SPACE, code, 4, height, width, "sum")
    model = plain_model(subnet, subnet_weights(subnet, arrays, statistics, 5.0))
    np.testing.assert_allclose(np.asarray(model(frames)), flow, atol=1e-4)


def test_heads_summed_by_the_host_are_the_flow_in_any_search_space(tmp_path):
    from edgeflownas.deploy.keras_model import plain_model

    space = eleven_block_space(tmp_path)
    frames, flow, arrays, statistics = a_network(space, space.reference, 45, 60)
    subnet = Subnet(space, space.reference, 4, 45, 60, "heads")
    model = plain_model(subnet, subnet_weights(subnet, arrays, statistics, 5.0))
    heads = [np.asarray(head)[0] for head in model(frames)]
    assert [head.shape for head in heads] == [(12, 15, 2), (23, 30, 2), (45, 60, 2)]
    np.testing.assert_allclose(summed(heads), flow[0], atol=1e-4)


@pytest.mark.parametrize("code", ["000000000", "222222222", CODE])
@pytest.mark.parametrize("output", ["sum", "heads"])
def test_subpixel_resizes_are_exact_but_at_the_border(code, output):
    from edgeflownas.deploy.keras_model import plain_model

    code = tuple(map(int, code))
    frames, flow, arrays, statistics = a_network(SPACE, code, 96, 128)
    subnet = Subnet(SPACE, code, 4, 96, 128, output, "subpixel")
    predicted = plain_model(subnet, subnet_weights(subnet, arrays, statistics, 5.0))(frames)
    heads = [np.asarray(head)[0] for head in (predicted if output == "heads" else [predicted])]
    errors = np.abs(summed(heads) - flow[0])
    assert errors[28:-28, 28:-28].max() < 2e-4
    assert errors.max() > 0.1


def test_a_plain_keras_loads_a_subpixel_model(tmp_path):
    import keras

    from edgeflownas.deploy.keras_model import plain_model, save_plain_model

    subnet = Subnet(SPACE, SPACE.reference, 4, 48, 64, "sum", "subpixel")
    model = plain_model(subnet, untrained_weights(subnet, 0))
    save_plain_model(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    frames = np.random.default_rng(0).uniform(-1, 1, (1, 48, 64, 6)).astype(np.float32)
    np.testing.assert_array_equal(loaded(frames), model(frames))


def test_nothing_but_convolutions_remains_of_batch_norm():
    from edgeflownas.deploy.keras_model import plain_model

    subnet = Subnet(SPACE, SPACE.reference, 4, 45, 60, "sum")
    kinds = {type(layer).__name__ for layer in plain_model(subnet, untrained_weights(subnet, 0)).layers}
    assert kinds == {"InputLayer", "Conv2D", "Add", "ReLU", "Permute", "UpSampling2D"}


def test_bytes_and_floats_are_each_others_inverse():
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(as_bytes(as_floats(every)), every)
    np.testing.assert_array_equal(as_chip_input(every, "int8"), np.arange(-128, 128, dtype=np.int8))
    wide = as_chip_input(every, "int16")
    assert (wide.dtype, wide[0], wide[255]) == (np.int16, -32767, 32767)
    np.testing.assert_allclose(wide / 32767, as_floats(every), atol=2e-5)


@pytest.mark.slow
def test_the_folder_is_complete_and_its_facts_hold(exported, whole_run):
    folder, _ = exported
    facts = read_json(folder / "export.json", schema=SCHEMA)
    assert facts["code"] == "0,1,2,0,1,2,0,1,2"
    assert set(facts["files"]) == {str(path.relative_to(folder)) for path in folder.rglob("*.*")} - {"export.json"}
    assert set(EXPORTED) <= set(facts["files"])
    assert all(sha256_file(folder / name) == digest for name, digest in facts["files"].items())
    assert facts["checkpoint"]["sha256"] == sha256_file(whole_run / "checkpoints" / "supernet_last.ckpt")
    splits = read_json(whole_run / "data_index.json")["splits"]
    names = {split: {sample["name"] for sample in found["samples"]} for split, found in splits.items()}
    assert set(facts["calibration"]) == names["train"]
    assert set(facts["golden"]) <= names["val"]


@pytest.mark.slow
def test_float_files_are_exact_and_int8_is_close(exported):
    folder, _ = exported
    facts = read_json(folder / "export.json")
    epe = facts["epe"]
    assert facts["float_difference"] <= max(TOLERANCE_PX, TOLERANCE_SHARE * facts["largest_flow"])
    assert epe["keras"] == pytest.approx(epe["supernet"], abs=1e-4)
    assert epe["float"] == pytest.approx(epe["keras"], abs=1e-4)
    assert epe["quantised"] == pytest.approx(epe["keras"], abs=0.2)
    assert facts["saturated"] < 0.01
    assert facts["input"]["scale"] == pytest.approx(1 / 127.5)


@pytest.mark.slow
def test_a_plain_keras_loads_the_model_without_this_package(exported, tmp_path):
    folder, _ = exported
    program = (
        "import sys, keras; "
        f"model = keras.saving.load_model({str(folder / 'model.keras')!r}); "
        "print(model.input_shape, model.output_shape, any(name.startswith('edgeflownas') for name in sys.modules))"
    )
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "(1, 45, 60, 6) (1, 45, 60, 2) False"


@pytest.mark.slow
def test_golden_vectors_are_what_the_int8_file_gives(exported):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    folder, _ = exported
    facts = read_json(folder / "export.json")
    interpreter = Interpreter(
        str(folder / "int8.tflite"), experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    for number in range(len(facts["golden"])):
        frames, flow, pixels = (
            np.fromfile(folder / "golden" / f"{number:03d}_{name}.bin", dtype)
            for name, dtype in (("frames", "i1"), ("flow", "i1"), ("pixels", "<f4"))
        )
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], frames.reshape(1, 45, 60, 6))
        interpreter.invoke()
        output = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_array_equal(flow.reshape(output.shape), output)
        made = facts["outputs"]["flow"]
        np.testing.assert_allclose(pixels, made["scale"] * (flow.astype(int) - made["zero_point"]), rtol=1e-6)


@pytest.mark.slow
def test_golden_vectors_can_be_judged_and_read_back(exported, whole_run, synthetic_root):
    folder, _ = exported
    facts = read_json(folder / "export.json")
    samples = read_golden(folder, facts)
    assert [sample.name for sample in samples] == facts["golden"]
    of_float = LiteModel(folder / "float.tflite")
    for sample in samples:
        (outputs,) = of_float.run_all([sample.pictures()])
        np.testing.assert_array_equal(of_float.flow(outputs), sample.float_)
        np.testing.assert_array_equal(as_chip_input(sample.pictures(), "int8"), sample.frames)
        flow = read_flow(synthetic_root / "val" / f"{sample.name}-flow_01.flo")
        top, left = centre_crop(flow.shape[:2], (45, 60))
        truth = flow[top : top + 45, left : left + 60]
        np.testing.assert_allclose(sample.truth, np.clip(truth, -50, 50), atol=1e-5)
    (folder / "golden" / "000_truth.bin").rename(folder / "golden" / "000_truth.gone")
    try:
        with pytest.raises(UserError, match=r"000_truth\.bin: No such file"):
            read_golden(folder, facts)
    finally:
        (folder / "golden" / "000_truth.gone").rename(folder / "golden" / "000_truth.bin")


def test_the_cards_c_code_sums_heads_as_they_are_summed_here(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    call = "const float *sum, int h, int w, float *head, int height, int width"
    source = f"{SUM_HEADS}\nvoid add({call}) {{ edgeflow_add_coarser(sum, h, w, head, height, width); }}\n"
    library = tmp_path / "heads.so"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-shared", "-fPIC", "-x", "c", "-"]
    subprocess.run([compiler, *flags, "-o", str(library)], input=source, check=True, text=True)
    add = ctypes.CDLL(str(library)).add
    rng = np.random.default_rng(0)
    heads = [rng.normal(0, 5, (*size, 2)).astype(np.float32) for size in ((12, 15), (23, 30), (46, 60))]
    flow = heads[0].copy()
    for head in heads[1:]:
        head = head.copy()
        pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) for array in (flow, head)]
        add(pointers[0], *flow.shape[:2], pointers[1], *head.shape[:2])
        flow = head
    np.testing.assert_allclose(flow, summed(heads), atol=2e-5)


@pytest.mark.slow
def test_the_header_holds_the_file_and_its_quantisation(exported):
    folder, _ = exported
    text = (folder / "model.h").read_text()
    facts = read_json(folder / "export.json")
    array = re.search(r"= \{\n(.*)\};", text, flags=re.DOTALL)[1]
    content = bytes(int(value) for value in array.replace("\n", "").rstrip(",").split(","))
    assert content == (folder / "int8.tflite").read_bytes()
    macros = dict(re.findall(r"^#define EDGEFLOW_(\w+) (.*)$", text, flags=re.MULTILINE))
    assert float(macros["FLOW_SCALE"].rstrip("f")) == pytest.approx(facts["outputs"]["flow"]["scale"], rel=1e-7)
    assert macros["FLOW_ZERO_POINT"] == f"({facts['outputs']['flow']['zero_point']})"
    assert (macros["INPUT_HEIGHT"], macros["INPUT_WIDTH"], macros["INPUT_CHANNELS"]) == ("45", "60", "6")


@pytest.mark.slow
def test_c_compiles_the_header(exported):
    folder, _ = exported
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    source = '#include "model.h"\nint main(void) { return edgeflow_model[4] == 84 && EDGEFLOW_FLOW_SCALE > 0 ? 0 : 1; }'
    binary = folder.parent / "reads_model"
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-I", str(folder), "-x", "c", "-", "-o", str(binary)]
    subprocess.run(command, input=source, check=True, text=True)
    assert subprocess.run([str(binary)], check=False).returncode == 0


@pytest.mark.slow
def test_few_calibration_samples_are_a_warning_with_the_reason(exported):
    _, err = exported
    assert "WARNING: the ranges are calibrated on 7 training samples only" in err


@pytest.mark.slow
def test_the_same_export_twice_is_the_same_bytes(exported, whole_run, tmp_path):
    folder, _ = exported
    again = tmp_path / "again"
    command = [sys.executable, "-m", "edgeflownas.deploy.export", "--run_dir", str(whole_run), "--arch", CODE]
    subprocess.run([*command, "--out", str(again), "--set", "target=null"], check=True, capture_output=True)
    names = sorted(str(path.relative_to(again)) for path in again.rglob("*.*"))
    assert names == sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))
    assert [name for name in names if (again / name).read_bytes() != (folder / name).read_bytes()] == []


@pytest.mark.slow
def test_a_folder_whose_export_ended_early_is_not_taken_for_complete(exported, whole_run, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(exported[0], folder)
    (folder / "int8_vela.tflite").write_bytes(b"of an earlier target")

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgeflownas.deploy.export.convert_model", killed)
    with pytest.raises(KeyboardInterrupt):
        main(["--run_dir", str(whole_run), "--arch", CODE, "--out", str(folder)])
    assert not (folder / "export.json").exists()
    assert not (folder / "int8_vela.tflite").exists()


@pytest.mark.slow
def test_with_a_target_the_header_holds_the_compiled_file(whole_run, tmp_path):
    flags = ["--run_dir", str(whole_run), "--arch", CODE, "--out", str(tmp_path), "--set", "target=arm_deep_embedded"]
    assert main(flags) == 0
    facts = read_json(tmp_path / "export.json", schema=SCHEMA)
    chip = facts["chip"]
    assert (chip["target"], chip["cpu_operators"], chip["fits"]) == ("arm_deep_embedded", [], True)
    assert facts["files"]["int8_vela.tflite"] == sha256_file(tmp_path / "int8_vela.tflite")
    text = (tmp_path / "model.h").read_text()
    assert f"#define EDGEFLOW_MODEL_BYTES {(tmp_path / 'int8_vela.tflite').stat().st_size}\n" in text
    assert f"#define EDGEFLOW_ARENA_BYTES {chip['sram_kib'] * 1024:.0f}\n" in text
    assert f"| {chip['ms']:.2f} |" in (tmp_path / "model_card.md").read_text()
    assert sum(layer["cycles"] for layer in chip["layers"]) == chip["cycles"]
    assert max(layer["sram_kib"] for layer in chip["layers"]) == chip["peak_layers"][0]["sram_kib"]


def flows_of_int8_weights(path, pictures):
    """The flows (H, W, 2), pixels, of a plain model whose kernels alone are rounded as the converter does it."""
    from keras.layers import Conv2D
    from keras.models import load_model

    model = load_model(path)
    for layer in model.layers:
        if isinstance(layer, Conv2D):
            kernel, *bias = layer.get_weights()
            step = np.abs(kernel).max(axis=(0, 1, 2)) / 127
            layer.set_weights([np.rint(kernel / step) * step, *bias])
    return [np.asarray(model(as_floats(picture)[None]))[0] for picture in pictures]


@pytest.mark.slow
def test_int16_activations_lose_almost_nothing(exported, whole_run, tmp_path):
    flags = ["--run_dir", str(whole_run), "--arch", CODE, "--out", str(tmp_path), "--set", "target=arm_deep_embedded"]
    shutil.copy(exported[0] / "int8.tflite", tmp_path)
    assert main([*flags, "--set", "deploy.precision=int16x8"]) == 0
    facts, of_int8 = (read_json(path / "export.json", schema=SCHEMA) for path in (tmp_path, exported[0]))
    assert {"int16x8.tflite", "int16x8_vela.tflite"} <= set(facts["files"])
    assert not (tmp_path / "int8.tflite").exists()
    golden = read_golden(tmp_path, facts)
    rounded = flows_of_int8_weights(tmp_path / "model.keras", [sample.pictures() for sample in golden])
    flows = [sample.pixels for sample in golden]
    assert np.mean([np.abs(flow) for flow in flows]) > 0.1
    # At most 0.004 px where it was written, and 0.43 with int8 activations.
    np.testing.assert_allclose(flows, rounded, atol=0.02)
    # What the kernels' rounding alone costs this network, which has hardly been trained, is 0.01.
    assert facts["epe"]["quantised"] == pytest.approx(facts["epe"]["keras"], abs=0.02)
    assert facts["chip"]["cpu_operators"] == []
    frames = np.fromfile(tmp_path / "golden" / "000_frames.bin", "<i2")
    assert (frames.size, int(np.abs(frames).max()) > 1000) == (45 * 60 * 6, True)
    assert facts["input"]["scale"] == pytest.approx(1 / 32767, rel=1e-4)
    assert of_int8["precision"] == "int8"


@pytest.mark.slow
def test_heads_as_outputs_lose_no_more_than_their_sum(exported, whole_run, tmp_path):
    folder, _ = exported
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    flags = ["--run_dir", str(whole_run), "--arch", CODE, "--out", str(tmp_path), "--set", "deploy.output=heads"]
    assert main([*flags, "--set", "deploy.calibration_samples=1"]) == 0
    heads, of_sum = (read_json(path / "export.json", schema=SCHEMA) for path in (tmp_path, folder))
    assert list(heads["outputs"]) == ["head0", "head1", "head2"]
    # Nothing is left of the earlier export to this folder.
    assert set(heads["files"]) == {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")} - {"export.json"}
    assert heads["epe"]["keras"] == pytest.approx(of_sum["epe"]["keras"], abs=1e-4)
    assert heads["epe"]["quantised"] == pytest.approx(heads["epe"]["keras"], abs=0.2)
    assert len(heads["calibration"]) == 1
    assert SUM_HEADS in (tmp_path / "model_card.md").read_text()
    model = LiteModel(tmp_path / "int8.tflite")
    assert [tensor.shape[1:3] for tensor in model.outputs] == [(12, 15), (23, 30), (45, 60)]


def test_what_cannot_be_exported_is_told_in_a_sentence(whole_run, tmp_path, synthetic_root, monkeypatch):
    def refused(*flags: str) -> str:
        with pytest.raises(UserError) as error:
            main(list(flags))
        return str(error.value)

    run = str(whole_run)
    assert "no run directory" in refused("--run_dir", str(tmp_path / "none"), "--arch", CODE)
    assert "length=9 required, got 4" in refused("--run_dir", run, "--arch", "0120")
    assert "deploy.output: expected one of sum, heads" in refused(
        "--run_dir", run, "--arch", CODE, "--set", "deploy.output=both"
    )
    moved = tmp_path / "moved"
    shutil.copytree(whole_run, moved)
    index = json.loads((moved / "data_index.json").read_text())
    (moved / "data_index.json").write_text(json.dumps({**index, "root": str(tmp_path / "gone")}))
    (moved / "config.json").write_text(
        (moved / "config.json").read_text().replace(str(synthetic_root), str(tmp_path / "gone"))
    )
    assert str(tmp_path / "gone") in refused("--run_dir", str(moved), "--arch", CODE)
    monkeypatch.setattr("edgeflownas.deploy.converter.find_spec", lambda name: None)
    assert "the converter to LiteRT files needs TensorFlow" in refused("--run_dir", run, "--arch", CODE)


@pytest.mark.slow
def test_without_tensorflow_it_is_told_in_a_sentence(whole_run):
    python = os.environ.get("EDGEFLOWNAS_JAX_PYTHON")
    if not python:
        pytest.skip("EDGEFLOWNAS_JAX_PYTHON names no Python with requirements-jax.lock installed; see .ci/run")
    done = subprocess.run(
        [python, "-m", "edgeflownas.deploy.export", "--run_dir", str(whole_run), "--arch", CODE],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "the converter to LiteRT files needs TensorFlow" in done.stderr
    assert len(done.stderr.splitlines()) == 1
