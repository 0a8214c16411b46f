"""The backend and the GPU: what the environment grants and names is what is used, or refused in one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflownas.config import resolve_config
from edgeflownas.devices import _choose_gpu, check_backend, check_device, granted_gpus
from edgeflownas.errors import UserError
from edgeflownas.gates.definitions.gate5 import GATE as GATE5
from edgeflownas.gates.definitions.gate5 import SPACE_EVAL
from edgeflownas.gates.gate import Context
from edgeflownas.nas.search_space import load_search_space
from tests.tiny import tiny_flags, trace_of

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = """
from edgeflownas.config import resolve_config
from edgeflownas.devices import prepare_backend
from edgeflownas.errors import run_command

def main():
    prepare_backend(resolve_config(None, {}))
    import keras
    print(keras.config.backend(), keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(),
          keras.config.is_nnx_enabled(), keras.config.max_epochs(), keras.config.max_steps_per_epoch())
    return 0

run_command(main)
"""
OTHER_SETTINGS = {"backend": "jax", "floatx": "float16", "epsilon": 1e-2, "image_data_format": "channels_first"}
JAX_PYTHON = os.environ.get("EDGEFLOWNAS_JAX_PYTHON")


def run(*command, python=sys.executable, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
    return subprocess.run(
        [python, *map(str, command)], cwd=ROOT, env=environment | variables, capture_output=True, text=True, check=False
    )


def config(**settings):
    return resolve_config(None, {f"train.{key}": value for key, value in settings.items()})


@pytest.mark.parametrize(
    ("value", "granted"),
    [
        (None, None),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0", ["0"]),
        ("3, 5", ["3", "5"]),
        ("1,-1,2", ["1"]),
        ("GPU-8a1b,MIG-77f0/1/0", ["GPU-8a1b", "MIG-77f0/1/0"]),
    ],
)
def test_the_granted_gpus_are_those_that_cuda_would_show(value, granted, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert granted_gpus() == granted


@pytest.mark.parametrize(
    ("value", "index", "chosen"),
    [
        (None, 2, "2"),
        ("3, 5", 1, "5"),
        ("GPU-8a1b,MIG-77f0", 1, "MIG-77f0"),
        # Hidden GPUs stay hidden: gate 4's command has `--gpu_device 0`, also where the CPU is to do the work.
        ("", 0, ""),
        ("-1", 0, "-1"),
        ("NoDevFiles", 1, "NoDevFiles"),
    ],
)
def test_the_index_counts_among_the_granted_gpus_and_none_stays_none(value, index, chosen, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value or "")
    if value is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    check_backend(config(gpu_device=index))
    _choose_gpu(index)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == chosen


@pytest.mark.parametrize(
    ("value", "settings", "words"),
    [
        ("3", {"gpu_device": 1}, r"train\.gpu_device 1: CUDA_VISIBLE_DEVICES is '3' and lists 1 GPU, .* at most 0"),
        ("3,-1,5", {"gpu_device": 1}, "is '3,-1,5' and lists 1 GPU"),
        ("MIG-a,MIG-b", {"gpu_device": 2}, "lists 2 GPUs, among which the index counts; expected at most 1"),
        ("", {"gpu_device": 0, "require_gpu": True}, "require_gpu is set, but CUDA_VISIBLE_DEVICES is '', which hides"),
        ("NoDevFiles", {"require_gpu": True}, "CUDA_VISIBLE_DEVICES is 'NoDevFiles', which hides every GPU"),
    ],
)
def test_a_gpu_that_is_not_granted_is_refused_by_name(value, settings, words, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    with pytest.raises(UserError, match=words):
        check_backend(config(**settings))


@pytest.mark.parametrize("settings", [{"gpu_device": 1, "require_gpu": True}, {}])
def test_gate_5_computes_on_the_gpu_that_the_configuration_names(settings):
    """Its evaluation reads the configuration of the run, which says nothing of the device here."""
    wanted = config(**settings)
    context = Context(wanted, load_search_space(), "out", [], [], [], {})
    commands = [part for step in GATE5.steps(wanted) for part in step if part.module == SPACE_EVAL]
    assert len(commands) == 3
    for command in commands:
        assert ("--gpu_device 1 --set train.require_gpu=true" in " ".join(command.words(context))) == bool(settings)


def test_the_warning_about_a_hidden_gpu_names_what_hides_it(monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert check_device(config(gpu_device=0))["kind"] == "cpu"
    assert (
        "the CPU does the work instead (CUDA_VISIBLE_DEVICES is '', which hides every GPU)" in capsys.readouterr().err
    )


@pytest.mark.parametrize("name", ["torch", "openvino", "numpy", "TensorFlow", "tensorflow "])
def test_a_backend_that_cannot_train_is_refused(name, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", name)
    with pytest.raises(UserError, match=f"KERAS_BACKEND is '{name}'; expected tensorflow or jax"):
        check_backend(config())


def test_a_backend_that_is_not_installed_is_refused_with_the_one_that_is(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr("edgeflownas.devices.find_spec", lambda name: None if name == "jax" else object())
    with pytest.raises(UserError, match="the backend jax is not installed here; set KERAS_BACKEND=tensorflow"):
        check_backend(config())


@pytest.mark.parametrize("command", ["train_supernet", "nas.supernet_eval", "nas.model_shape_check"])
def test_every_command_that_computes_refuses_an_unknown_backend_in_one_line_at_once(command, tmp_path):
    flags = ["--set", f"train.output_dir={tmp_path / 'run'}", "--set", f"data.root={tmp_path / 'data'}"]
    flags += ["--set", "data.source=folder"]
    done = run("-m", f"edgeflownas.{command}", *flags, KERAS_BACKEND="torch")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: KERAS_BACKEND is 'torch'")


def test_a_backend_that_does_not_start_is_told_in_one_line(tmp_path):
    (tmp_path / "keras.py").write_text("raise ImportError('libcudnn.so.9: cannot open shared object file')")
    done = run("-c", SETTINGS, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the backend tensorflow does not start here: libcudnn.so.9: cannot open shared object file" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(OTHER_SETTINGS),
        *(
            pytest.param(text, marks=pytest.mark.slow)
            for text in ('{"backend": "nonsense", "floatx": 3}', "[1, 2", "[]")
        ),
    ],
    ids=range(4),
)
def test_no_keras_json_and_no_switch_of_keras_changes_what_we_rely_on(text, tmp_path):
    (tmp_path / "keras.json").write_text(text)
    switches = {"KERAS_NNX_ENABLED": "true", "KERAS_MAX_EPOCHS": "x", "KERAS_MAX_STEPS_PER_EPOCH": "1"}
    done = run("-c", SETTINGS, KERAS_HOME=str(tmp_path), KERAS_BACKEND="", **switches)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["tensorflow", "float32", "1e-07", "channels_last", "False", "None", "None"]


@pytest.mark.slow
def test_keras_writes_no_settings_into_the_home_folder(tmp_path):
    assert run("-c", SETTINGS, HOME=str(tmp_path)).returncode == 0
    assert not (tmp_path / ".keras").exists()


@pytest.mark.slow
def test_a_keras_json_does_not_change_a_single_bit_of_a_training(synthetic_root, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "keras.json").write_text(json.dumps(OTHER_SETTINGS))
    traces = []
    for name, variables in (("plain", {}), ("with_settings", {"KERAS_HOME": str(home)})):
        flags = tiny_flags(synthetic_root, tmp_path / name, "--debug_trace", "--max_steps", "3")
        done = run("-m", "edgeflownas.train_supernet", *flags, **variables)
        assert done.returncode == 0, done.stderr
        traces.append(trace_of(tmp_path / name))
    assert traces[0] == traces[1]
    assert len(traces[0]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("platforms", ["nonsense", "cuda"])
def test_a_platform_that_jax_does_not_have_is_told_in_one_line(platforms):
    if not JAX_PYTHON:
        pytest.skip("EDGEFLOWNAS_JAX_PYTHON names no Python with requirements-jax.lock installed; see .ci/run")
    done = run("-c", SETTINGS, python=JAX_PYTHON, KERAS_BACKEND="jax", JAX_PLATFORMS=platforms)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"the backend jax does not start here with JAX_PLATFORMS={platforms}" in done.stderr
