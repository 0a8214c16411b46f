"""The tables of an evaluated space: they read back as written, and nobody changes them unnoticed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edgeflownas.errors import UserError
from edgeflownas.nas.arch_codec import code_text, parse_code
from edgeflownas.nas.search_space import ChoiceBlock, SearchSpace, load_search_space
from edgeflownas.network.cost import space_costs, subnet_cost
from edgeflownas.selection.tables import COLUMNS, all_codes, read_evaluated
from tests.handmade_spaces import HEIGHT, INIT_NEURONS, WIDTH, handmade_epes, make_evaluated
from tests.spaces import eleven_block_space, small_space


def test_an_evaluated_space_reads_back_as_written(tmp_path: Path) -> None:
    space = make_evaluated(tmp_path)
    found = read_evaluated(tmp_path)
    assert found.space == space
    np.testing.assert_array_equal(found.sample_epes, handmade_epes(space, 8))
    assert tuple(found.table.columns) == COLUMNS
    assert (len(found.table), found.table["code"].nunique()) == (19683, 19683)
    assert found.table["code"].is_monotonic_increasing
    row = found.table.iloc[4711]
    code = parse_code(row["code"], space)
    assert code == all_codes(space)[4711]
    assert {"params": row["params"], "macs": row["macs"]} == subnet_cost(space, code, HEIGHT, WIDTH, INIT_NEURONS)
    # Not a digit is lost on the way.
    np.testing.assert_array_equal(found.table["epe"], handmade_epes(space, 8).mean(axis=1, dtype=np.float64))
    front = found.table[found.table["on_front"]]
    assert 1 < len(front) < 1000
    assert front["epe"].min() == found.table["epe"].min()


def test_costs_of_a_whole_space_are_those_of_its_subnets(tmp_path: Path) -> None:
    for space in (load_search_space(str(small_space(tmp_path))), eleven_block_space(tmp_path)):
        costs = space_costs(space, 93, 125, 6)
        codes = all_codes(space)
        assert {len(codes), len(costs["params"]), len(costs["macs"])} == {space.size}
        for row in range(0, space.size, 7):
            expected = subnet_cost(space, codes[row], 93, 125, 6)
            assert {key: values[row] for key, values in costs.items()} == expected


def test_digits_of_two_places_are_written_with_commas(tmp_path: Path) -> None:
    space = SearchSpace("wide", (ChoiceBlock("H0Out", "kernel", tuple(range(1, 13))),), (0,))
    assert [code_text(code) for code in all_codes(space)][8:] == ["8", "9", "10", "11"]
    assert (code_text((0, 0, 2)), code_text((0, 10, 2))) == ("002", "0,10,2")


@pytest.mark.parametrize("name", ["subnets.csv", "sample_epes.npy"])
def test_a_file_that_was_changed_or_lost_is_named(tmp_path: Path, name: str) -> None:
    make_evaluated(tmp_path, load_search_space(str(small_space(tmp_path))))
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: was changed since it was evaluated: its sha256 is .* again"):
        read_evaluated(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=f"{name}: is missing, space_eval.json names it; evaluate the space again"):
        read_evaluated(tmp_path)


def test_a_folder_without_an_evaluated_space_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no evaluated search space .*: python -m edgeflownas.nas.space_eval"):
        read_evaluated(tmp_path)


def test_facts_that_do_not_fit_their_schema_are_refused(tmp_path: Path) -> None:
    make_evaluated(tmp_path, load_search_space(str(small_space(tmp_path))))
    path = tmp_path / "space_eval.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"samples": 0}))
    with pytest.raises(UserError, match=r"space_eval.json: does not fit .*samples"):
        read_evaluated(tmp_path)


def test_a_spreadsheet_reads_the_table(tmp_path: Path) -> None:
    make_evaluated(tmp_path, load_search_space(str(small_space(tmp_path))))
    table = pd.read_csv(tmp_path / "subnets.csv", dtype={"code": str})
    assert table["code"].iloc[0] == "000000000"
    assert set(table["on_front"]) == {0, 1}
