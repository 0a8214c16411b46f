"""TensorFlow's converter to LiteRT files, in processes of its own.

It leaks memory, and the names in its files depend on what the process built before. So every call starts a fresh
process, which only this module's `_main` runs in, and which alone imports TensorFlow.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.deploy.children import child_lines, run_child, work_folder
from edgeflownas.deploy.settings import as_floats
from edgeflownas.deploy.subnet import Subnet, untrained_weights
from edgeflownas.errors import UserError

MODEL, CALIBRATION, FLOAT, QUANTISED = "model.keras", "calibration.npy", "float.tflite", "quantised.tflite"
# Heads in this order come out of TensorFlow's converter from fine to coarse. Vela then computes each as soon as it can;
# in any other order it keeps arrays of the trunk for a head that it leaves for later (a third more SRAM).
_HEADS = (1, 2, 0)
# How the child says that a file is there.
_DONE = "done: "


def require_converter() -> None:
    """Raises: UserError if TensorFlow is not installed, as on machines that train with JAX."""
    if find_spec("tensorflow") is None:
        raise UserError(
            "the converter to LiteRT files needs TensorFlow, which is not installed here; export on a machine that has "
            "it (see README.md): a run directory that was trained with JAX can be copied there"
        )


def convert_model(model: Path, calibration: np.ndarray, precision: str) -> tuple[bytes, bytes]:
    """Convert a saved Keras model to a float and a quantised file.

    Args:
        model: a .keras file that plain Keras can load.
        calibration: (N, H, W, 6) uint8, frames from which the ranges of activations are taken.
        precision: `int8` or `int16x8`.

    Raises:
        UserError: TensorFlow is not installed.
        RuntimeError: the converter failed.
    """
    with work_folder() as folder:
        (folder / MODEL).symlink_to(model.resolve())
        np.save(folder / CALIBRATION, calibration)
        _run({"precision": precision}, folder)
        return (folder / FLOAT).read_bytes(), (folder / QUANTISED).read_bytes()


def convert_untrained(subnets: Sequence[Subnet], seed: int) -> Iterator[bytes]:
    """Quantised files of untrained subnets, calibrated on noise: for their cost on a chip, not for their flow.

    Each comes as soon as it is there, while the child converts the next.

    Raises:
        UserError: TensorFlow is not installed.
        RuntimeError: the converter failed.
    """
    with work_folder() as folder:
        spaces = {subnet.space.name for subnet in subnets}
        if len(spaces) != 1:
            raise ValueError(f"expected subnets of one search space, got {spaces}")
        request = {"seed": seed, "subnets": [subnet.facts() for subnet in subnets]}
        # TensorFlow prints, too.
        for line in child_lines(*_asked(request, folder)):
            if line.startswith(_DONE):
                path = folder / line.removeprefix(_DONE).rstrip("\n")
                yield path.read_bytes()
                path.unlink()


def _asked(request: dict[str, Any], folder: Path) -> tuple[list[str], Path, str]:
    """Command, folder and input of the child that does what is asked."""
    require_converter()
    command = [sys.executable, "-c", f"from {__name__} import _main; _main()"]
    return command, folder, json.dumps({**request, "folder": str(folder)})


def _run(request: dict[str, Any], folder: Path) -> None:
    done = run_child(*_asked(request, folder))
    if done.returncode != 0:
        raise RuntimeError(f"TensorFlow's converter ended with {done.returncode}:\n{done.stderr[-4000:]}")


def _main() -> None:
    """The child: what `_asked` puts on standard input says what to do."""
    request = json.load(sys.stdin)
    folder = Path(request["folder"])
    os.environ |= {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull, "TF_CPP_MIN_LOG_LEVEL": "3"}
    import keras

    if "subnets" not in request:
        model = keras.saving.load_model(folder / MODEL)
        (folder / FLOAT).write_bytes(_converted(model, None))
        (folder / QUANTISED).write_bytes(_converted(model, np.load(folder / CALIBRATION), request["precision"]))
        return

    from edgeflownas.deploy.keras_model import plain_model

    for index, facts in enumerate(request["subnets"]):
        subnet = Subnet.of_facts(facts)
        shape = (1, subnet.height, subnet.width, 6)
        noise = np.random.Generator(np.random.Philox(key=request["seed"])).integers(0, 256, shape, dtype=np.uint8)
        model = plain_model(subnet, untrained_weights(subnet, request["seed"]))
        (folder / f"{index}.tflite").write_bytes(_converted(model, noise, subnet.precision))
        print(f"{_DONE}{index}.tflite", flush=True)
        keras.utils.clear_session()


def _converted(model: Any, calibration: np.ndarray | None, precision: str = "int8") -> bytes:
    """A LiteRT file: float without calibration frames, else quantised from end to end."""
    import keras
    import tensorflow as tf

    if len(model.outputs) == len(_HEADS):
        model = keras.Model(model.inputs, [model.outputs[index] for index in _HEADS], name=model.name)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([as_floats(frames[None])] for frames in calibration)
        ops, kind = {
            "int8": (tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8),
            "int16x8": (tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8, tf.int16),
        }[precision]
        converter.target_spec.supported_ops = [ops]
        converter.inference_input_type = converter.inference_output_type = kind
    content: bytes = converter.convert()
    return content
