"""Choosing the device before the backend is imported, and telling afterwards which one does the work."""

import gc
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from edgeflownas.config import Config
from edgeflownas.errors import UserError

CHATTER = re.compile(rb"WARNING: All log messages before absl|I0000 .*(oneDNN custom operations|find cuda drivers)")


def prepare_backend(config: Config) -> None:
    """Import the backend, and set before what it reads then: the visible GPU, deterministic kernels, a quiet log."""
    if config["train.gpu_device"] is not None:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        index = config["train.gpu_device"]
        # Under Slurm the visible devices are those of the job, and the index counts among them.
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[index] if index < len(visible) else str(index)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["TF_DETERMINISTIC_OPS"] = "1"
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    with _without_start_up_chatter(), _out_of_collections():
        import keras  # noqa: F401


@contextmanager
def _out_of_collections() -> Iterator[None]:
    """Import without Python's search for cycles, and leave what was imported out of all later ones.

    Modules stay. To go through their objects again and again took 3 of the 17 s until a first step was taken and the
    process had ended.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


@contextmanager
def _without_start_up_chatter() -> Iterator[None]:
    """Leave out what TensorFlow's C++ writes to stderr on import whatever its log level; let all else through."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            caught.seek(0)
            kept = [line for line in caught.read().splitlines(keepends=True) if not CHATTER.match(line)]
            os.write(stderr, b"".join(kept))
            os.close(stderr)


def gpu_visible() -> bool:
    """Whether the backend (which this imports) sees a GPU."""
    import keras

    try:
        return bool(keras.distribution.list_devices("gpu"))
    except RuntimeError:  # JAX, where its GPU plugin is not installed
        return False


@cache
def onednn_computes() -> bool:
    """Whether TensorFlow computes with oneDNN: where the CPU has instructions for neural networks, unless told.

    Its convolutions are two to eight times as fast as those of Eigen, which TensorFlow uses elsewhere.
    """
    told = os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    if told in ("0", "1"):
        return told == "1"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return not {"avx512_vnni", "avx512_bf16", "amx_tile"}.isdisjoint(flags)


def check_device(config: Config) -> dict[str, Any]:
    """The device that does the work: kind, name, and the index asked for. Imports the backend.

    A GPU that was asked for and is not there is a loud warning on stderr.

    Raises:
        UserError: the same, with `train.require_gpu`.
    """
    import keras

    requested = config["train.gpu_device"]
    if gpu_visible():
        return {"kind": "gpu", "name": _gpu_name(), "requested": requested}
    if config["train.require_gpu"]:
        raise UserError(
            f"train.require_gpu is set, but the backend {keras.backend.backend()} sees no GPU"
            f"{'' if requested is None else f' {requested}'}; check nvidia-smi and the driver, and that the GPU "
            "libraries are installed (extra `cuda`)"
        )
    if requested is not None:
        print(f"WARNING: --gpu_device {requested}: no such GPU here, the CPU does the work instead", file=sys.stderr)
    return {"kind": "cpu", "name": _cpu_name(), "requested": requested}


def _gpu_name() -> str:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        query.append(f"--id={visible.split(',')[0]}")
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown GPU"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
