"""Arm's compiler Vela, by its command line, in a process of its own: damaged input ends it with SIGSEGV."""

import csv
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgeflownas.deploy.children import run_child, work_folder
from edgeflownas.deploy.targets import Target
from edgeflownas.errors import UserError

PACKAGE = "ethos-u-vela"
PEAKS = 3
SHOWN = 5
# The name of a tensor begins with that of the model, then of the layer: `subnet_1/H2_option1_1/Relu;…`.
_LAYER = re.compile(r"(?:^|;)[^/;]+/([^/;]+?)(?:_\d+)?/")
_OUTPUT = re.compile(r"StatefulPartitionedCall\w*(?::(\d+))?$")


@dataclass(frozen=True)
class Layer:
    """What a layer takes on the chip: cycles in all of its operators, and the most SRAM in use while one runs, KiB."""

    name: str
    cycles: int
    sram_kib: float


@dataclass(frozen=True)
class ChipCost:
    """What a network costs on a chip.

    cycles: of the NPU. Operators that fall to the CPU are not in it: Vela counts them as 0.
    sram_kib, flash_kib: tensor arena, and weights with the commands.
    cpu_operators: those that the NPU does not have.
    layers: in order of execution.
    """

    cycles: int
    clock_mhz: float
    sram_kib: float
    flash_kib: float
    cpu_operators: tuple[str, ...]
    layers: tuple[Layer, ...]

    @property
    def ms(self) -> float | None:
        """Milliseconds per frame pair; None if that is not known, because a part runs on the CPU."""
        return None if self.cpu_operators or not self.cycles else self.cycles / self.clock_mhz / 1e3

    @property
    def peaks(self) -> list[Layer]:
        """The layers that hold the peak of the SRAM, the largest first."""
        return sorted(self.layers, key=lambda layer: -layer.sram_kib)[:PEAKS]

    def misfits(self, target: Target) -> list[str]:
        """Why it does not run on the target, in words; empty if it does."""
        faults = []
        if self.cpu_operators:
            shown = ", ".join(self.cpu_operators[:SHOWN]) + (" …" if len(self.cpu_operators) > SHOWN else "")
            faults.append(f"{len(self.cpu_operators)} of its operators run on the CPU: {shown}")
        if not self.cycles:
            faults.append("nothing runs on the NPU")
        for what, needed, room in (
            ("sram_kib", self.sram_kib, target.sram_kib),
            ("flash_kib", self.flash_kib, target.flash_kib),
        ):
            if needed > room:
                faults.append(f"it needs {needed:,.0f} KiB, {what} is {room:,.0f}")
        return faults

    def summary(self, target: Target) -> dict[str, Any]:
        """As the commands print it: JSON values, without the single layers."""
        faults = self.misfits(target)
        return {
            "ms": self.ms,
            "fps": None if self.ms is None else 1e3 / self.ms,
            "cycles": self.cycles,
            "sram_kib": self.sram_kib,
            "flash_kib": self.flash_kib,
            "cpu_operators": list(self.cpu_operators),
            "peak_layers": [{"layer": layer.name, "sram_kib": layer.sram_kib} for layer in self.peaks],
            "fits": not faults,
            "why_not": faults,
        }

    def facts(self) -> dict[str, Any]:
        """As JSON values; `of_facts` is the inverse."""
        return asdict(self)

    @classmethod
    def of_facts(cls, facts: dict[str, Any]) -> "ChipCost":
        """What `facts` describes."""
        layers = tuple(Layer(**layer) for layer in facts["layers"])
        return cls(**{**facts, "cpu_operators": tuple(facts["cpu_operators"]), "layers": layers})


def cost_line(summary: Mapping[str, Any]) -> str:
    """A summary with the target's name, in a line."""
    time = (
        "time unknown" if summary["ms"] is None else f"{summary['ms']:.1f} ms, {summary['fps']:.1f} frames per second"
    )
    fits = "; ".join(summary["why_not"]) or "it fits"
    memory = f"{summary['sram_kib']:,.0f} KiB of SRAM, {summary['flash_kib']:,.0f} KiB of flash"
    return f"{summary['target']}: {time}, {memory}, {len(summary['cpu_operators'])} operators on the CPU; {fits}"


def vela_version() -> str:
    """The version of the installed compiler.

    Raises:
        UserError: it is not installed.
    """
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        raise UserError(f"the compiler Vela is not installed here; install {PACKAGE}: see README.md") from None


def compile_model(content: bytes, target: Target, where: str) -> tuple[bytes, ChipCost]:
    """Compile an int8 LiteRT file for a target.

    Args:
        content: the file.
        target: the chip.
        where: what to call it in messages.

    Returns:
        The compiled file and what it costs.

    Raises:
        UserError: Vela cannot read it, or refuses it.
        CannotWrite: there is no space for temporary files.
    """
    vela_version()
    with work_folder() as folder:
        source = folder / "model.tflite"
        source.write_bytes(content)
        done = run_child(_command(source, folder, target), folder)
        compiled = folder / "model_vela.tflite"
        if done.returncode != 0 or not compiled.is_file():
            raise UserError(f"{where}: Vela cannot compile it for {target.name}: {_why(done)}")
        summary = _rows(next(folder.glob("model_summary_*.csv")))[0]
        return compiled.read_bytes(), _cost(summary, _rows(folder / "model_per-layer.csv"), target)


def _command(source: Path, folder: Path, target: Target) -> list[str]:
    command = [sys.executable, "-m", "ethosu.vela", str(source), "--output-dir", str(folder)]
    command += ["--config", str(target.ini_path.resolve()), "--accelerator-config", target.accelerator]
    command += ["--system-config", target.system_config, "--memory-mode", target.memory_mode]
    command += ["--optimise", target.optimise, "--verbose-performance"]
    if target.optimise == "Performance":
        command += ["--arena-cache-size", str(target.sram_bytes)]
    return command


def _why(done: subprocess.CompletedProcess[str]) -> str:
    said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    if done.returncode == -signal.SIGSEGV:
        return f"it died of SIGSEGV, as it does of a damaged file{f' ({said[-1]})' if said else ''}; export it again"
    # Vela's own errors are quoted: ethosu.vela.errors.CliOptionError: 'Error: …'.
    return f"{said[-1][:300] if said else f'exit code {done.returncode}'}; expected an int8 LiteRT file"


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _cost(summary: dict[str, str], operators: list[dict[str, str]], target: Target) -> ChipCost:
    layers: dict[str, Layer] = {}
    on_cpu: list[str] = []
    name = ""
    for row in operators:
        # Operators that Vela made itself have names like #337; they belong to what comes before.
        name = _layer_name(row["Name"]) or name
        before = layers.get(name, Layer(name, 0, 0.0))
        sram = max(before.sram_kib, float(row["Staging Usage"]) / 1024)
        layers[name] = Layer(name, before.cycles + int(float(row["Op Cycles"])), sram)
        if row["Target"] != "NPU":
            on_cpu.append(f"{row['Original Operator']} in {name}")
    return ChipCost(
        cycles=int(float(summary["cycles_total"])),
        clock_mhz=target.clock_mhz,
        sram_kib=float(summary["sram_memory_used"]) + float(summary["dram_memory_used"]),
        flash_kib=float(summary["on_chip_flash_memory_used"]) + float(summary["off_chip_flash_memory_used"]),
        cpu_operators=tuple(on_cpu),
        layers=tuple(layers.values()),
    )


def _layer_name(tensor: str) -> str | None:
    if output := _OUTPUT.match(tensor):
        return f"output{output[1] or ''}"
    found = _LAYER.search(tensor)
    return found[1] if found else None
