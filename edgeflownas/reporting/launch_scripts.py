"""Launch scripts of the long run, for this machine and for Slurm, rendered from one command and compared as parsed."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from edgeflownas.artifacts import PROJECT_ROOT, write_text
from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, UserError, require_writable_folder, run_command
from edgeflownas.parsers import command_parser

TEMPLATES = PROJECT_ROOT / "scripts"
SCRIPT_NAME = "run_supernet_train.sh"
# What may differ between a laptop and a cluster: where things lie, and what the machine gives.
PATH_FLAGS = frozenset({"--output_dir", "--data_root", "data.root", "data.index", "train.output_dir"})
RESOURCE_FLAGS = frozenset({"--gpu_device", "train.gpu_device", "data.workers"})


@dataclass(frozen=True)
class Resources:
    """What the long run requests from a cluster; `site` holds further sbatch options, such as `--partition=gpu`."""

    cpus: int
    mem_mb: int
    minutes: int
    gpus: int
    site: tuple[str, ...] = ()


def render_scripts(command: Sequence[str], resources: Resources, workdir: Path) -> dict[str, str]:
    """The scripts `local` and `hpc` of one command; they use this Python and this package."""
    site = ([f"--gpus={resources.gpus}"] if resources.gpus else []) + list(resources.site)
    if any("\n" in option for option in (*site, *command)):
        raise UserError("a launch script's command and sbatch options must not contain line breaks")
    values = {
        "command": _wrapped(command),
        "workdir": shlex.quote(str(workdir)),
        # That of this process, whatever the environment it is started from has installed.
        "package": shlex.quote(str(PROJECT_ROOT)),
        "bin": shlex.quote(os.path.dirname(sys.executable)),
        "cpus": resources.cpus,
        "mem_mb": resources.mem_mb,
        "minutes": resources.minutes,
        "site_directives": "".join(f"#SBATCH {option}\n" for option in site),
    }
    return {
        place: Template((TEMPLATES / place / f"{SCRIPT_NAME}.template").read_text(encoding="utf-8")).substitute(values)
        for place in ("local", "hpc")
    }


def _wrapped(command: Sequence[str]) -> str:
    """A shell command with each flag on a line of its own."""
    lines = [""]
    for word in command:
        if word.startswith("--") and lines[-1]:
            lines.append("")
        lines[-1] += f" {shlex.quote(word)}" if lines[-1] else shlex.quote(word)
    return " \\\n    ".join(lines)


def parse_script(text: str, name: str) -> dict[str, str | None]:
    """The flags of the command that a launch script ends in: `--flag` -> value, and for `--set` key -> value.

    The program itself is under `command`. Paths of the interpreter count as `python`.

    Raises:
        UserError: there is no single `exec` line.
    """
    commands = re.findall(r"^exec ((?:.*\\\n)*.*)$", text, flags=re.MULTILINE)
    if len(commands) != 1:
        raise UserError(f"{name}: expected one command that begins with exec, found {len(commands)}")
    words = shlex.split(commands[0].replace("\\\n", " "))
    first_flag = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    program = [os.path.basename(words[0]), *words[1:first_flag]] if words else []
    flags: dict[str, str | None] = {"command": shlex.join(program)}
    rest = words[first_flag:]
    while rest:
        flag = rest.pop(0)
        value = rest.pop(0) if rest and not rest[0].startswith("--") else None
        if flag == "--set" and value is not None:
            flag, _, value = value.partition("=")
        flags[flag] = value
    return flags


def compare_scripts(local: Mapping[str, str | None], hpc: Mapping[str, str | None]) -> tuple[list[str], list[str]]:
    """Differences between the flags of two scripts.

    Returns:
        Those in paths and resources, which are allowed, and all others, which are faults.
    """
    allowed: list[str] = []
    faults: list[str] = []
    for flag in sorted(local.keys() | hpc.keys()):
        here, there = local.get(flag, "(not given)"), hpc.get(flag, "(not given)")
        if here != there:
            words = f"{flag}: local {here}, cluster {there}"
            (allowed if flag in PATH_FLAGS | RESOURCE_FLAGS else faults).append(words)
    return allowed, faults


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.reporting.launch_scripts",
        "Render the launch scripts of one command for this machine and for Slurm, and compare them.",
        ("--out launch --gpus 1 --minutes 600 -- python -m edgeflownas.train_supernet --resume auto",),
    )
    parser.add_argument(
        "--out", type=require_writable_folder, required=True, help="folder for local/ and hpc/ with a script each"
    )
    parser.add_argument("--cpus", type=int, default=8, help="CPU cores (%(default)s)")
    parser.add_argument("--mem_mb", type=int, default=32000, help="memory, MB (%(default)s)")
    parser.add_argument("--minutes", type=int, default=1440, help="time limit, minutes (%(default)s)")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs (%(default)s)")
    parser.add_argument("--sbatch", action="append", default=[], metavar="OPTION", help="more, as --partition=gpu")
    parser.add_argument("command", nargs="+", help="the command, after --")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.reporting.launch_scripts`."""
    arguments = _parser().parse_args(argv)
    resources = Resources(arguments.cpus, arguments.mem_mb, arguments.minutes, arguments.gpus, tuple(arguments.sbatch))
    scripts = render_scripts(arguments.command, resources, Path.cwd())
    for place, text in scripts.items():
        path = arguments.out / place / SCRIPT_NAME
        write_text(path, text)
        path.chmod(path.stat().st_mode | 0o111)
        print(path)
    allowed, faults = compare_scripts(*(parse_script(text, place) for place, text in scripts.items()))
    for difference in allowed:
        print(f"differs, as it may: {difference}")
    for fault in faults:
        print(f"fault: {fault}")
    return EXIT_CHECK_FAILED if faults else EXIT_DONE


if __name__ == "__main__":
    run_command(main)
