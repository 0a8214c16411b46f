"""Arch codes: what is read, what is refused and with which words."""

import json

import pytest

from edgeflownas.errors import UserError
from edgeflownas.nas.arch_codec import describe_code, main, parse_code, self_test, validate_code
from edgeflownas.nas.search_space import load_search_space

SPACE = load_search_space()


@pytest.mark.parametrize("text", ["0,1,2,0,0,1,2,1,0", "[0,1,2,0,0,1,2,1,0]", " [0, 1, 2,0,0,1,2,1,0] ", "012001210"])
def test_every_way_to_write_a_code_is_read(text):
    assert parse_code(text, SPACE) == (0, 1, 2, 0, 0, 1, 2, 1, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0,1,2,0,1,2,1,0", "length=9 required, got 8"),
        ("01200121", "length=9 required, got 8"),
        ("0,1,2,0,3,1,2,1,0", "value must be in {0,1,2}, got 3 at position 4 (H0Out)"),
        ("0,-1,2,0,0,1,2,1,0", "value must be in {0,1,2}, got -1 at position 1 (EB1)"),
        ("0,x,2,0,0,1,2,1,0", "got 'x' at position 1"),
        ("0,1.0,2,0,0,1,2,1,0", "got '1.0' at position 1"),
        ("0,٣,2,0,0,1,2,1,0", "at position 1"),
        ("", "at position 0"),
        ("[0,1,2", "at position 0"),
        ("9" * 5000, "length=9 required, got 5000"),
        ("0," + "9" * 5000, "at position 1"),
    ],
)
def test_wrong_codes_are_refused_with_what_is_wrong(text, words):
    with pytest.raises(UserError) as error:
        parse_code(text, SPACE)
    assert words in str(error.value)


def test_a_code_is_described_block_by_block():
    entries = describe_code(validate_code([0, 1, 2, 0, 0, 1, 2, 1, 0], SPACE), SPACE)
    assert " ".join(entry["block"] for entry in entries) == "EB0 EB1 DB0 DB1 H0Out H1 H1Out H2 H2Out"
    assert entries[2] == {"block": "DB0", "kind": "depth", "option": 2, "label": "3 residual blocks"}
    assert entries[5] == {"block": "H1", "kind": "kernel", "option": 1, "label": "conv 5x5"}


def test_the_self_test_passes_and_covers_all_19683_codes(capsys):
    assert self_test(SPACE) == []
    assert SPACE.size == 19_683
    assert main(["--self_test"]) == 0
    assert "19683 subnets" in capsys.readouterr().out


def test_describe_prints_json(capsys):
    assert main(["--describe", "0,1,2,0,0,1,2,1,0"]) == 0
    assert [entry["option"] for entry in json.loads(capsys.readouterr().out)] == [0, 1, 2, 0, 0, 1, 2, 1, 0]
