"""How a mistake of the user ends: one line, whatever the names in it."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgeflownas.errors import UserError, run_command


def test_no_name_breaks_the_line_or_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise UserError("a\nb\x1b[31m\r\udcff: not there, größer als ≤ 2 ✓")

    with pytest.raises(SystemExit) as end:
        run_command(main)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: a\\nb\\x1b[31m\\r\\udcff: not there, größer als ≤ 2 ✓\n"


def test_a_signal_within_an_exec_ends_in_exit_code_3_too(tmp_path: Path) -> None:
    """As within `dataclass`, when a command is still importing: Python then would end itself by SIGINT."""
    (tmp_path / "command.py").write_text("""
import os, signal
from edgeflownas.errors import run_command
run_command(lambda: exec("os.kill(os.getpid(), signal.SIGTERM)"))
""")
    done = subprocess.run([sys.executable, "-m", "command"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (3, "interrupted\n")
