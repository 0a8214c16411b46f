"""The real workflow over toy commands: a copy of the project whose gates run a line of Python each, in a second."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import PROJECT_ROOT, read_json
from edgeflownas.gates.registry import GATES
from tests.handmade_runs import make_config, make_run

COPIED = ("Snakefile", "rules", "edgeflownas", "schemas", "config", "scripts", "profiles", "local")
# A command named `work` per gate, which appends to ran.txt and then does what the gate's line in toys/ says. Where a
# gate has a command that is split, its toy has one before it: `part`.
TOY_GATES = """

import dataclasses
from edgeflownas.gates.gate import Command


class Toy(Command):
    def words(self, context):
        return [self.module.replace(".", "/") + ".py", *([self.part] if self.part else [])]


def toys(gate):
    parts = Toy("part", f"toys.{gate.name}_part", None, parts=lambda config: ["1", "2", "3"])
    return (*([parts] if gate.is_split else []), Toy("work", f"toys.{gate.name}", None))


GATES = tuple(
    dataclasses.replace(
        gate,
        commands=toys(gate),
        criteria=(),
        artifacts=(),
        uses_data=False,
        resources="light",
    )
    for gate in GATES
)
"""
TOY_SUPERNET = '\nSUPERNET = ["toys/supernet.py"]\n'
TOY = "import sys; open('ran.txt', 'a').write('_'.join(['{name}', *sys.argv[1:2]]) + ' ')\n"
# A toy of a long run leaves what one is known by.
TOY_RUN = """import os, shutil
os.makedirs("outputs/supernet/runs/supernet", exist_ok=True)
shutil.copy("toys/train_manifest.json", "outputs/supernet/runs/supernet")
"""
TOY_REPORT = """from pathlib import Path
page = Path("outputs/supernet/runs/supernet/report.html")
page.parent.mkdir(parents=True, exist_ok=True)
page.touch()
"""
PATCHES = {
    "edgeflownas/gates/registry.py": TOY_GATES,
    "rules/gates.smk": TOY_SUPERNET,
    "edgeflownas/gates/lifecycle/long_run.py": (
        "def evaluate_long_run(attempt, output_dir):\n    return close_attempt(attempt, 'passed', [])\n"
    ),
}


class ToyWorkflow:
    """A copy of the project in `root`, with commands that take no time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in COPIED:
            source = PROJECT_ROOT / name
            if source.is_symlink():
                (root / name).symlink_to(os.readlink(source))
            elif source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, root / name)
        for path, text in PATCHES.items():
            with open(root / path, "a") as file:
                file.write(text)
        # A toy of a long run leaves nothing to report on.
        (root / "edgeflownas/reporting/training_report.py").write_text(TOY_REPORT)
        (root / "toys").mkdir()
        make_run(root / "toys", 5, make_config())
        for gate in GATES:
            self.toy(gate.name)
            if gate.is_split:
                self.toy(f"{gate.name}_part")
        self.toy("supernet", TOY_RUN)

    def toy(self, name: str, then: str = "") -> None:
        """Say what a command does after it noted that it ran."""
        (self.root / "toys" / f"{name}.py").write_text(TOY.format(name=name) + then)

    @property
    def environment(self) -> dict[str, str]:
        """The copy's package goes before the installed one."""
        return os.environ | {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}

    def snakemake(self, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        """Run Snakemake as a user does; stdout and stderr come back together."""
        return subprocess.run(
            [python, "-m", "snakemake", *arguments, "--profile", "local"],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Snakemake and return at once, its output thrown away."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments, "--profile", "local"],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def gates(self, *arguments: str) -> str:
        """Run `python -m edgeflownas.gates`."""
        command = [sys.executable, "-m", "edgeflownas.gates", *arguments]
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False
        ).stdout

    def ran(self) -> list[str]:
        """Which commands ran since the last look, in order."""
        path = self.root / "ran.txt"
        names = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return names

    def wait_until_running(self, name: str) -> None:
        """Wait until a command has noted that it runs."""
        for _ in range(1200):
            path = self.root / "ran.txt"
            if path.exists() and path.read_text().split()[-1:] == [name]:
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} did not start")

    def report(self, gate: str, attempt: int) -> dict[str, Any]:
        """The report of an attempt."""
        path = self.root / "outputs/supernet/gates" / gate / "attempts" / f"{attempt:04d}" / "report.json"
        value: dict[str, Any] = read_json(path, schema="verdict.schema.json")
        return value

    def verdict_stands(self, gate: str) -> bool:
        """Whether a verdict lies there."""
        return (self.root / "outputs/supernet/gates" / f"{gate}.json").is_file()


def end(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
    """End a Snakemake run with a signal, and it alone."""
    os.kill(process.pid, number)
    process.wait(timeout=60)
