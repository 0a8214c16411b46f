"""How a mistake of the user ends: one line, whatever the names in it."""

import pytest

from edgeflownas.errors import UserError, run_command


def test_no_name_breaks_the_line_or_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise UserError("a\nb\x1b[31m\r\udcff: not there, größer als ≤ 2 ✓")

    with pytest.raises(SystemExit) as end:
        run_command(main)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: a\\nb\\x1b[31m\\r\\udcff: not there, größer als ≤ 2 ✓\n"
