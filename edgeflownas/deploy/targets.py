"""Targets: the chips that subnets are compiled for, as files in `config/targets/`."""

import configparser
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import PROJECT_ROOT, sha256_file, validate
from edgeflownas.errors import UserError
from edgeflownas.yaml_files import is_yaml_path, read_yaml, yaml_path

TARGET_FOLDER = PROJECT_ROOT / "config" / "targets"
SCHEMA = "target.schema.json"


@dataclass(frozen=True)
class Target:
    """A chip: what `schemas/target.schema.json` says, and `name` as it was asked for.

    ini: the path of Vela's ini; None for Arm's own, which Vela brings.
    """

    name: str
    accelerator: str
    system_config: str
    memory_mode: str
    clock_mhz: float
    optimise: str
    sram_kib: float
    flash_kib: float
    ini: Path | None

    @property
    def sram_bytes(self) -> int:
        """The tensor arena, bytes."""
        return int(self.sram_kib * 1024)

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-accumulates of int8 per cycle of the NPU."""
        return int(self.accelerator.rpartition("-")[2])

    @property
    def ini_path(self) -> Path:
        """Vela's ini.

        Raises:
            UserError: it is Arm's own, and Vela is not installed.
        """
        found = self.ini or _arms_ini()
        if found is None:
            raise UserError("the compiler Vela is not installed here; install ethos-u-vela: see README.md")
        return found

    def facts(self) -> dict[str, Any]:
        """Everything that defines the chip, as JSON values: the content of its files, not their names.

        Arm's own ini belongs to a version of Vela.
        """
        values = {key: value for key, value in vars(self).items() if key not in ("name", "ini")}
        return {**values, "ini": None if self.ini is None else sha256_file(self.ini)}


def load_target(name_or_path: str) -> Target:
    """Read a target by name (a file in `config/targets/`) or by path (ending in .yaml).

    Raises:
        UserError: no such target, a wrong value, or an ini that is missing or of another device.
    """
    path = yaml_path(name_or_path, TARGET_FOLDER, "target")
    values = read_yaml(path)
    validate(values, SCHEMA, where=str(path))
    ini = values.get("vela_ini")
    target = Target(
        name=path.stem if is_yaml_path(name_or_path) else name_or_path,
        accelerator=values["accelerator"],
        system_config=values["system_config"],
        memory_mode=values["memory_mode"],
        clock_mhz=float(values["clock_mhz"]),
        optimise=values["optimise"],
        sram_kib=float(values["sram_kib"]),
        flash_kib=float(values["flash_kib"]),
        ini=None if ini is None else path.parent / ini,
    )
    # Where networks are only trained, Vela and its ini may be missing.
    if used := target.ini or _arms_ini():
        _check_ini(target, used, path)
    return target


def _arms_ini() -> Path | None:
    try:
        spec = find_spec("ethosu.vela")
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parents[1] / "config_files" / "Arm" / "vela.ini"


def _check_ini(target: Target, ini: Path, path: Path) -> None:
    """Refuse an ini that is not the target's, which Vela itself compiles with, as if nothing were wrong.

    Raises:
        UserError: naming the target's file, the ini and what does not fit.
    """
    found = configparser.ConfigParser(strict=False)
    try:
        text = ini.read_text(encoding="utf-8")
        found.read_string(text)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise UserError(f"{path}: vela_ini {ini} cannot be read: {reason}") from error
    for kind, name in (("System_Config", target.system_config), ("Memory_Mode", target.memory_mode)):
        if f"{kind}.{name}" not in found:
            known = [section.partition(".")[2] for section in found.sections() if section.startswith(f"{kind}.")]
            raise UserError(
                f"{path}: {kind.lower()} {name} is not in {ini}, which has {', '.join(known) or 'none'}; is it "
                "the ini of another device?"
            )
    device = re.match(r"Ethos_(U\d+)", target.system_config)
    if device and f"-{device[1].lower()}-" not in target.accelerator:
        raise UserError(
            f"{path}: system_config {target.system_config} is of an Ethos-{device[1]}, accelerator is "
            f"{target.accelerator}; give the system_config of that device"
        )
    clock = found[f"System_Config.{target.system_config}"].get("core_clock", "none")
    try:
        mhz = float(clock) / 1e6
    except ValueError:
        mhz = 0.0
    if abs(mhz - target.clock_mhz) > 1e-6 * target.clock_mhz:
        raise UserError(
            f"{path}: clock_mhz is {target.clock_mhz:g}, but {ini} has core_clock {clock} in "
            f"{target.system_config}; is it the ini of another device?"
        )
