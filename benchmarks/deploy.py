"""From subnet to chip: how long it takes here, what it costs there, against what one would do by hand.

python -m benchmarks.deploy                        # 180×240, width 32, arm_deep_embedded
python -m benchmarks.deploy --h 144 --w 192 --target grove_vision_ai_v2 --survey
python -m benchmarks.deploy --quick --json         # 45×60, width 4
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import alternate, circumstances
from edgeflownas.config import resolve_config
from edgeflownas.deploy.additive import survey
from edgeflownas.deploy.converter import convert_model
from edgeflownas.deploy.litert import LiteModel
from edgeflownas.deploy.peak import estimated_peak
from edgeflownas.deploy.settings import as_floats
from edgeflownas.deploy.subnet import OUTPUTS, RESIZES, Subnet, untrained_weights
from edgeflownas.deploy.targets import Target, load_target
from edgeflownas.deploy.vela import ChipCost, compile_model
from edgeflownas.devices import prepare_backend
from edgeflownas.nas.arch_codec import format_code, parse_code
from edgeflownas.nas.search_space import load_search_space

CALIBRATION = 4


def measure(subnet: Subnet, target: Target, rounds: int) -> dict[str, Any]:
    """Seconds of every part, and what each form of the network costs on the chip.

    Args:
        subnet: with untrained weights.
        target: the chip.
        rounds: frames per way to compute them.
    """
    prepare_backend(resolve_config(None, {}))
    from edgeflownas.deploy.keras_model import plain_model, save_plain_model

    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (CALIBRATION, subnet.height, subnet.width, 6), dtype=np.uint8)
    seconds: dict[str, float] = {}

    def timed(name: str, run: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = run()
        seconds[name] = round(time.perf_counter() - started, 2)
        return result

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = timed("build_s", lambda: plain_model(subnet, untrained_weights(subnet, 0)))
        timed("save_s", lambda: save_plain_model(model, folder / "model.keras"))
        floats, ints = timed("convert_s", lambda: convert_model(folder / "model.keras", frames, "int8"))
        _, cost = timed("compile_s", lambda: compile_model(ints, target, "the subnet"))
        for file, content in (("float.tflite", floats), ("int8.tflite", ints)):
            (folder / file).write_bytes(content)
        ways = _ways(model, folder, frames[0])
        alternate(ways, 1)
        per_frame = {f"{way}_ms": round(1e3 * statistics.median(s), 1) for way, s in alternate(ways, rounds).items()}
    forms = [(resize, output) for resize in RESIZES for output in OUTPUTS]
    by_form = {
        f"{resize} {output}": _on_chip(_compiled(replace(subnet, resize=resize, output=output), frames, target), target)
        for resize, output in forms
    }
    by_hand = compile_model(_by_hand(subnet, frames), target, "the supernet converted by hand")[1]
    return {
        "code": format_code(subnet.code),
        "h": subnet.height,
        "w": subnet.width,
        "width": subnet.init_neurons,
        "target": target.name,
        **seconds,
        **per_frame,
        "chip": _on_chip(cost, target),
        "estimated_sram_kib": round(estimated_peak(subnet)[0] / 1024, 2),
        "by_form": by_form,
        "by_hand": _on_chip(by_hand, target),
    }


def _on_chip(cost: ChipCost, target: Target) -> dict[str, Any]:
    return {
        # What Vela itself would say, with operators on the CPU counted as nothing.
        "ms": round(cost.cycles / target.clock_mhz / 1e3, 2),
        "sram_kib": round(cost.sram_kib, 1),
        "flash_kib": round(cost.flash_kib, 1),
        "cpu_operators": len(cost.cpu_operators),
    }


def _compiled(subnet: Subnet, frames: np.ndarray, target: Target) -> ChipCost:
    from edgeflownas.deploy.keras_model import plain_model, save_plain_model

    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "model.keras")
        save_plain_model(plain_model(subnet, untrained_weights(subnet, 0)), path)
        return compile_model(
            convert_model(path, frames, subnet.precision)[1], target, f"{subnet.resize} {subnet.output}"
        )[1]


def _ways(model: Any, folder: Path, frames: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Ways to compute one frame pair on this CPU."""
    import tensorflow as tf

    keras_graph = tf.function(model, autograph=False)
    batch = tf.convert_to_tensor(as_floats(frames)[None])
    of_float, of_int8 = LiteModel(folder / "float.tflite"), LiteModel(folder / "int8.tflite")
    return {
        "keras": lambda: np.asarray(keras_graph(batch)),
        "litert_float": lambda: of_float.run(frames),
        "litert_int8_reference": lambda: of_int8.run(frames),
    }


def _by_hand(subnet: Subnet, frames: np.ndarray) -> bytes:
    """The supernet converted as it is: all branches are computed, and masked by the constant code."""
    import tensorflow as tf

    from benchmarks.ways import MaskedPath
    from edgeflownas.network.flow_network import FlowNetwork
    from edgeflownas.network.statistics import GivenStatistics
    from edgeflownas.training.evaluation import batch_norm_owners

    network = FlowNetwork(subnet.space, subnet.init_neurons, seed=0, rewritten=False)
    channels = [variable.shape[0] for variable in network.trainable_variables if variable.name.endswith(".gamma")]
    assert len(channels) == len(batch_norm_owners(subnet.space, subnet.init_neurons))
    unit = [(np.zeros((1, 1, 1, 1, c), np.float32), np.ones((1, 1, 1, 1, c), np.float32)) for c in channels]

    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernels = [variable.value for variable in network.trainable_variables]

        @tf.function(input_signature=[tf.TensorSpec((1, subnet.height, subnet.width, 6))], autograph=False)
        def __call__(self, x: Any) -> Any:
            return network(x, route=MaskedPath(tf.constant(subnet.code)), statistics=GivenStatistics(unit))[-1][
                0, ..., :2
            ]

    module = Module()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.__call__.get_concrete_function()], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([as_floats(one[None])] for one in frames)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    content: bytes = converter.convert()
    return content


def additive_error(subnet: Subnet, target: Target) -> dict[str, Any]:
    """How far the additive model is off on held-out subnets, all compiled here."""
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        surveyed = survey(subnet, target, Path(name), lambda line: None)
        took = time.perf_counter() - started
    errors = [one.error for one in surveyed.held_out]
    milliseconds = surveyed.cycles.of_all() / target.clock_mhz / 1e3
    return {
        "survey_s": round(took, 1),
        "survey_compiled": len(surveyed.compiled),
        "held_out": len(errors),
        "max_error": max(errors),
        "mean_error": float(np.mean(errors)),
        "fastest_ms": round(float(milliseconds.min()), 2),
        "slowest_ms": round(float(milliseconds.max()), 2),
        "sram_kib": sorted({round(cost.sram_kib, 1) for cost in surveyed.compiled.values()}),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deploy", description=__doc__.splitlines()[0])
    parser.add_argument("--h", type=int, default=180)
    parser.add_argument("--w", type=int, default=240)
    parser.add_argument("--width", type=int, default=32, help="base width (%(default)s)")
    parser.add_argument("--arch", default="000021222", help="the subnet (%(default)s)")
    parser.add_argument("--target", default="arm_deep_embedded")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--survey", action="store_true", help="also the error of the additive model (a few minutes)")
    parser.add_argument("--quick", action="store_true", help="45×60, width 4")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.h, arguments.w, arguments.width = 45, 60, 4
    space, target = load_search_space(), load_target(arguments.target)
    subnet = Subnet(space, parse_code(arguments.arch, space), arguments.width, arguments.h, arguments.w, "sum")
    result = measure(subnet, target, arguments.rounds)
    if arguments.survey:
        result["additive"] = additive_error(subnet, target)
    result |= circumstances()
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"subnet {result['code']}, {subnet.height}x{subnet.width}, width {subnet.init_neurons}, {target.name}")
    print(
        f"build {result['build_s']} s, save {result['save_s']} s, convert (float and int8, in a process of their own)"
    )
    print(f"{result['convert_s']} s, compile {result['compile_s']} s")
    print(
        f"per frame pair on this CPU: Keras {result['keras_ms']} ms, LiteRT float {result['litert_float_ms']} ms, int8 "
        f"with reference kernels {result['litert_int8_reference_ms']} ms"
    )
    for name, cost in {**result["by_form"], "by hand": result["by_hand"]}.items():
        memory = f"{cost['sram_kib']:8.1f} KiB of SRAM, {cost['flash_kib']:8.1f} KiB of flash"
        print(f"{name:14s} {cost['ms']:9.2f} ms, {memory}, {cost['cpu_operators']} operators on the CPU")
    print(f"estimated SRAM {result['estimated_sram_kib']} KiB")
    if "additive" in result:
        print("additive model:", result["additive"])
    host = result["host"]
    print(f"{host['cpu']}, {host['cores']} cores, load {result['load_average']}, {result['versions']}")


if __name__ == "__main__":
    main()
