"""Choosing the device before the backend is imported, and reporting afterwards which one is used."""

import gc
import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from edgeflownas.config import Config
from edgeflownas.errors import UserError

CHATTER = re.compile(rb"WARNING: All log messages before absl|I0000 .*(oneDNN custom operations|find cuda drivers)")


# The backends that train here; Keras has others, which cannot.
BACKENDS = ("tensorflow", "jax")
# Keras's own environment variables, on which no run may depend.
KERAS_SWITCHES = ("KERAS_NNX_ENABLED", "KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")


def backend_name() -> str:
    """The backend that KERAS_BACKEND names; TensorFlow if it names none.

    Raises:
        UserError: it names one that cannot train.
    """
    name = os.environ.get("KERAS_BACKEND") or BACKENDS[0]
    if name not in BACKENDS:
        raise UserError(f"KERAS_BACKEND is {name!r}; expected {' or '.join(BACKENDS)}, or unset it for {BACKENDS[0]}")
    return name


def granted_gpus() -> list[str] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES lists for this process, read as CUDA does; None if it is not set.

    An entry is an index, or the UUID of a GPU or of a part of one (`GPU-…`, `MIG-…`). The first entry that is neither
    (-1, or Slurm's NoDevFiles) ends the list.
    """
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    entries = (entry.strip() for entry in value.split(","))
    return [*itertools.takewhile(re.compile(r"[0-9]+|(?:GPU|MIG)-\S+").fullmatch, entries)]


@dataclass(frozen=True)
class DeviceSettings:
    """Which device is asked for."""

    gpu_device: Annotated[int | None, "train.gpu_device"]
    require_gpu: Annotated[bool, "train.require_gpu"]


def check_backend(config: Config) -> None:
    """Check that the requested backend and GPU are available, as far as that is known without an import.

    Raises:
        UserError: an unknown backend or one that is not installed, a GPU that CUDA_VISIBLE_DEVICES does not list, or
        one that is required while it hides all.
    """
    name = backend_name()
    if find_spec("keras") is None or find_spec(name) is None:
        others = [other for other in BACKENDS if other != name and find_spec(other)]
        remedy = f"set KERAS_BACKEND={others[0]}, which is installed, or " if others else ""
        raise UserError(f"the backend {name} is not installed here; {remedy}install it: see README.md")
    settings = config.view(DeviceSettings)
    index, granted = settings.gpu_device, granted_gpus()
    if granted and index is not None and index >= len(granted):
        raise UserError(
            f"train.gpu_device {index}: CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r} and lists "
            f"{len(granted)} GPU{'s' if len(granted) > 1 else ''}, among which the index counts; expected at most "
            f"{len(granted) - 1}"
        )
    if granted == [] and settings.require_gpu:
        raise UserError(f"train.require_gpu is set, but {_hidden()}; request a GPU, or unset it")


def _choose_gpu(index: int) -> None:
    """Leave one GPU visible. The index counts among those listed, under Slurm those of the job; none remains none."""
    granted = granted_gpus()
    if granted != []:
        os.environ["CUDA_VISIBLE_DEVICES"] = granted[index] if granted else str(index)


def _hidden() -> str:
    return f"CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}, which hides every GPU"


def prepare_backend(config: Config) -> None:
    """Import the backend, after setting what it reads on import: the visible GPU, deterministic kernels, a quiet log,
    and Keras's settings, whatever the user's keras.json says.

    Raises:
        UserError: as `check_backend`, or the backend cannot be imported or finds nothing to compute on.
    """
    check_backend(config)
    gpu_device = config.view(DeviceSettings).gpu_device
    if gpu_device is not None:
        _choose_gpu(gpu_device)
    # The order of nvidia-smi; CUDA's own puts the fastest first.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["TF_DETERMINISTIC_OPS"] = "1"
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    # A folder that cannot exist: Keras finds no keras.json and writes none.
    os.environ |= {"KERAS_BACKEND": backend_name(), "KERAS_HOME": os.devnull}
    for name in KERAS_SWITCHES:
        os.environ.pop(name, None)
    try:
        with _without_start_up_chatter(), _out_of_collections():
            import keras
        if backend_name() == "jax":
            keras.distribution.list_devices()
        else:
            keep_order_of_sums()
    except (ImportError, RuntimeError, AssertionError) as error:
        # The last two are JAX's, if JAX_PLATFORMS names a platform that does not exist.
        platforms = os.environ.get("JAX_PLATFORMS")
        where = f" with JAX_PLATFORMS={platforms}" if platforms and backend_name() == "jax" else ""
        why = " ".join(str(error).split()) or "it finds no device"
        raise UserError(f"the backend {backend_name()} does not start here{where}: {why}") from error


def keep_order_of_sums() -> None:
    """Keep TensorFlow from rewriting a + b + c into one `AddN`, which sums in an order that depends on its threads.

    `AddN` starts with the first input whose buffer has no other reader left, also with `TF_DETERMINISTIC_OPS`: the loss
    of the same step differed in its last bit. All arithmetic rewriting is turned off with it, which costs no measurable
    time (`benchmarks/README.md`). `network.readers` does the same for sums of gradients.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


@contextmanager
def _out_of_collections() -> Iterator[None]:
    """Import with the cyclic garbage collector off, and freeze what was imported.

    Modules are never freed. Traversing them again and again took 3 of the 17 s of a process that takes one step. Only
    the first time: later there are networks among what would be frozen, which then would never be freed.
    """
    if "keras" in sys.modules:
        yield
        return
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
    """Filter what TensorFlow's C++ writes to stderr on import at any log level; pass everything else on."""
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
    """Whether TensorFlow computes with oneDNN: if the CPU has instructions for neural networks, unless set otherwise.

    Its convolutions are two to eight times as fast as those of Eigen, which TensorFlow uses otherwise.
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
    """The device in use: kind, name, and the requested index. Imports the backend.

    If a requested GPU is not there, there is a warning on stderr.

    Raises:
        UserError: the same, with `train.require_gpu`.
    """
    import keras

    settings = config.view(DeviceSettings)
    requested = settings.gpu_device
    if gpu_visible():
        return {"kind": "gpu", "name": _gpu_name(), "requested": requested}
    if settings.require_gpu:
        raise UserError(
            f"train.require_gpu is set, but the backend {keras.backend.backend()} sees no GPU"
            f"{'' if requested is None else f' {requested}'}; check nvidia-smi and the driver, and that the GPU "
            "libraries are installed (extra `cuda`)"
        )
    if requested is not None:
        why = f" ({_hidden()})" if granted_gpus() == [] else ""
        print(
            f"WARNING: --gpu_device {requested}: no such GPU here, the CPU does the work instead{why}", file=sys.stderr
        )
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
