"""Time on a chip of every subnet, from few compilations: its error is measured, and the front is compiled itself."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from edgeflownas.artifacts import read_json, sha256_file
from edgeflownas.deploy import additive
from edgeflownas.deploy.additive import fitted, held_out_codes, single_changes, survey
from edgeflownas.deploy.subnet import Subnet
from edgeflownas.deploy.targets import load_target
from edgeflownas.errors import UserError
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.selection.chip_costs import main
from edgeflownas.selection.chip_tables import FACTS, SCHEMA, TABLE
from edgeflownas.selection.front import front_rows
from edgeflownas.selection.tables import all_codes
from tests.handmade_spaces import cost_by_hand, cycles_by_hand, make_evaluated
from tests.spaces import eleven_block_space, small_space

SPACE = load_search_space()
HIGH_END = load_target("arm_high_end")
TARGET = ("--set", "target=arm_high_end")
SUBNET = Subnet(SPACE, SPACE.reference, 4, 45, 60, "sum")


@pytest.fixture
def compiled_by_hand(monkeypatch):
    """Which subnets were compiled, where costs are those by hand."""
    asked = []

    def costs(subnets, target, cache, workers=None, say=None):
        asked.extend(subnet.code for subnet in subnets)
        return [cost_by_hand(subnet) for subnet in subnets]

    monkeypatch.setattr(additive, "chip_costs", costs)
    return asked


def test_a_single_change_per_option_and_block_is_compiled(tmp_path):
    codes = single_changes(SPACE)
    assert (len(codes), len(set(codes))) == (19, 19)
    assert codes[0] == SPACE.reference
    assert {sum(a != b for a, b in zip(code, SPACE.reference, strict=True)) for code in codes[1:]} == {1}
    assert len(single_changes(eleven_block_space(tmp_path))) == 1 + 2 + 1 + 2 + 1 + 1 + 2 + 1 + 1 + 1 + 1 + 1


def test_held_out_subnets_are_others_and_always_the_same(tmp_path):
    codes = held_out_codes(SPACE)
    assert codes == held_out_codes(SPACE)
    assert len(set(codes)) == len(codes) >= 12
    assert not set(codes) & set(single_changes(SPACE))
    small = load_search_space(str(small_space(tmp_path)))
    assert len(held_out_codes(small)) == small.size - len(single_changes(small)) == 11


def test_the_model_goes_through_its_points_and_has_every_subnet_in_order():
    model = fitted(SUBNET, [cost_by_hand(replace(SUBNET, code=code)) for code in single_changes(SPACE)])
    assert all(model.of(code) == cycles_by_hand(code) for code in single_changes(SPACE))
    codes, cycles = all_codes(SPACE), model.of_all()
    assert cycles.shape == (SPACE.size,)
    assert all(cycles[row] == model.of(codes[row]) for row in (0, 1, 4711, SPACE.size - 1))
    # What is not additive is the error.
    assert model.of((2,) * 9) == pytest.approx(cycles_by_hand((2,) * 9) / 1.001, rel=1e-6)


def test_operators_on_the_cpu_end_the_survey(monkeypatch, tmp_path):
    def costs(subnets, *arguments):
        return [cost_by_hand(subnet, ("ResizeBilinear in Up1_resize",)) for subnet in subnets]

    monkeypatch.setattr(additive, "chip_costs", costs)
    with pytest.raises(
        UserError, match=r"subnet .* has no known time on target arm_high_end: 1 of its operators run on"
    ):
        survey(SUBNET, HIGH_END, tmp_path, print)


def test_the_table_has_milliseconds_and_its_front_is_compiled(tmp_path, compiled_by_hand):
    make_evaluated(tmp_path)
    before = (tmp_path / "subnets.csv").read_bytes()
    picked = (2, 2, 2, 2, 0, 0, 0, 0, 0)
    named = f"selection.picks='{format_code(picked)}'"
    assert main(["--evaluated", str(tmp_path), *TARGET, "--set", named]) == 0
    assert (tmp_path / "subnets.csv").read_bytes() == before
    table = pd.read_csv(tmp_path / TABLE, dtype={"code": str})
    facts = read_json(tmp_path / FACTS, schema=SCHEMA)
    assert facts["files"] == {TABLE: sha256_file(tmp_path / TABLE)}
    codes = [tuple(map(int, code)) for code in table["code"]]
    compiled = table["compiled"].to_numpy() == 1
    assert {code for code, own in zip(codes, compiled, strict=True) if own} == set(compiled_by_hand)
    true = np.array([cycles_by_hand(code) for code in codes]) / 500e3
    np.testing.assert_allclose(table["ms"][compiled], true[compiled], rtol=1e-12)
    np.testing.assert_allclose(table["ms"], true, rtol=1.1e-3)
    front = np.flatnonzero(table["on_front"])
    assert (table["on_front"][codes.index(picked)], compiled[codes.index(picked)]) == (0, True)
    assert compiled[front].all()
    assert set(front) == set(front_rows(table["ms"].to_numpy(), table["epe"].to_numpy()))
    assert {one["code"] for one in facts["compiled"]} == {format_code(code) for code in compiled_by_hand}
    assert len(facts["compiled"]) == compiled.sum()
    assert {one["cycles"] for one in facts["compiled"]} == {cycles_by_hand(code) for code in compiled_by_hand}
    assert (facts["target"], facts["chip"]["clock_mhz"], facts["chip"]["ini"]) == ("arm_high_end", 500, None)
    assert facts["differences"]["EB0"] == [0, 100_000, 200_000]
    assert facts["max_error"] == max(one["error"] for one in facts["held_out"])


@pytest.mark.parametrize(
    ("target", "words"),
    [({"sram_kib": 20}, "failed: it needs 26 KiB, sram_kib is 20"), ({"flash_kib": 80}, "it needs 90 KiB, flash_kib")],
)
def test_what_does_not_fit_fails(tmp_path, compiled_by_hand, target, words, capsys):
    make_evaluated(tmp_path)
    board = tmp_path / "board.yaml"
    lines = {"accelerator": "ethos-u55-128", "system_config": "Ethos_U55_High_End_Embedded", "clock_mhz": 500}
    lines |= {"memory_mode": "Shared_Sram", "optimise": "Size", "sram_kib": 4096, "flash_kib": 4096} | target
    board.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    assert main(["--evaluated", str(tmp_path), "--set", f"target={board}"]) == 1
    assert words in capsys.readouterr().out


def test_a_prediction_that_is_too_far_off_fails(tmp_path, compiled_by_hand, capsys, monkeypatch):
    make_evaluated(tmp_path)
    monkeypatch.setattr("edgeflownas.selection.chip_costs.EXACT", 1e-9)
    codes = [(2, 2, *code[2:]) for code in held_out_codes(SPACE)]
    monkeypatch.setattr(additive, "held_out_codes", lambda space: codes)
    assert main(["--evaluated", str(tmp_path), *TARGET]) == 1
    assert "failed: predicted cycles of held-out subnets are off by up to 0.10%" in capsys.readouterr().out


def test_without_a_target_there_is_nothing_to_compile_for(tmp_path, compiled_by_hand):
    make_evaluated(tmp_path)
    with pytest.raises(UserError, match="target is null: name a chip, for example --set target="):
        main(["--evaluated", str(tmp_path), "--set", "target=null"])
    assert compiled_by_hand == []


@pytest.mark.slow
def test_vela_itself_is_additive_where_the_arena_holds_the_peak(tmp_path):
    space = load_search_space(str(small_space(tmp_path)))
    surveyed = survey(replace(SUBNET, space=space, code=space.reference), HIGH_END, tmp_path / "cache", print)
    assert len(surveyed.compiled) == 16
    assert max(one.error for one in surveyed.held_out) <= 0.001
    assert all(cost.misfits(HIGH_END) == [] for cost in surveyed.compiled.values())
    assert surveyed.cycles.of_all().min() > 0
