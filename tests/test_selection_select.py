"""The commands `select` and `compare` on evaluated spaces made by hand: what they write, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from edgeflownas.artifacts import read_json
from edgeflownas.errors import CannotWrite, UserError
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.selection.compare import main as compare
from edgeflownas.selection.select import main as select
from edgeflownas.selection.selecting import code_of, row_of
from edgeflownas.selection.tables import all_codes, read_evaluated
from tests.handmade_spaces import handmade_epes, make_chip_costs, make_evaluated
from tests.spaces import small_space

SETTINGS = ("--set", "target=null")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 9-block space, evaluated on 8 samples."""
    folder = tmp_path_factory.mktemp("evaluated")
    make_evaluated(folder)
    return folder


def run_select(evaluated: Path, out: Path, *flags: str) -> tuple[dict, dict]:
    """The content of `selection.json` and `pareto_front.json`, valid by their schemas."""
    assert select([*SETTINGS, "--evaluated", str(evaluated), "--out", str(out), *flags]) == 0
    return (
        read_json(out / "selection.json", schema="selection.schema.json"),
        read_json(out / "pareto_front.json", schema="pareto_front.schema.json"),
    )


def test_front_of_the_file_is_that_of_the_table_and_nothing_dominates_it(evaluated: Path, tmp_path: Path) -> None:
    selection, front = run_select(evaluated, tmp_path)
    table = pd.read_csv(evaluated / "subnets.csv", dtype={"code": str})
    marked = table[table["on_front"] == 1].sort_values("macs")
    assert [subnet["code"] for subnet in front["subnets"]] == [",".join(code) for code in marked["code"]]
    assert [subnet["epe"] for subnet in front["subnets"]] == pytest.approx(list(marked["epe"]), abs=0)
    for subnet in front["subnets"]:
        cheaper = (table["macs"] <= subnet["macs"]) & (table["epe"] < subnet["epe"])
        better = (table["macs"] < subnet["macs"]) & (table["epe"] <= subnet["epe"])
        assert not (cheaper | better).any()
    assert selection["front"]["subnets"] == len(marked) > 5
    assert front["hypervolume"]["worst"] == {"macs": table["macs"].max(), "epe": 9.0}
    assert front["hypervolume"]["ideal"] == {"macs": table["macs"].min(), "epe": 0.0}
    assert 0.2 < front["hypervolume"]["share"] < 0.9


def test_picks_of_the_file_are_what_a_person_would_pick_from_the_table(evaluated: Path, tmp_path: Path) -> None:
    table = pd.read_csv(evaluated / "subnets.csv", dtype={"code": str})
    budget = float(table["macs"].median() / 1e6)
    picks = "--set", "selection.picks='012012012 1,1,1,1,1,1,1,1,1 012012012'"
    selection, _ = run_select(evaluated, tmp_path, "--set", f"selection.budget={budget}", *picks)
    found = [(pick["role"], pick["code"].replace(",", "")) for pick in selection["picks"]]
    expected = {
        "most accurate": table.loc[table["epe"].idxmin(), "code"],
        "lightest": table.loc[table["macs"].idxmin(), "code"],
        "best within budget": table.loc[table[table["macs"] <= budget * 1e6]["epe"].idxmin(), "code"],
        "reference": "000021222",
    }
    assert expected.items() <= dict(found).items()
    assert [code for role, code in found if role == "named"] == ["012012012", "111111111"]
    by_role = {pick["role"]: pick for pick in selection["picks"]}
    assert all(by_role[role]["on_front"] for role in ("most accurate", "knee", "lightest", "best within budget"))
    row = table.set_index("code").loc["000021222"]
    assert (by_role["reference"]["epe"], by_role["reference"]["macs"]) == (row["epe"], row["macs"])
    assert selection["settings"]["picks"] == ["0,1,2,0,1,2,0,1,2", "1,1,1,1,1,1,1,1,1"]


def test_with_a_target_front_picks_and_budget_are_of_milliseconds(evaluated: Path, tmp_path: Path) -> None:
    target = ("--set", "target=arm_high_end")
    make_chip_costs(evaluated, tmp_path, *target)
    table = pd.read_csv(tmp_path / "chip_costs.csv", dtype={"code": str})
    budget = float(table["ms"].median())
    flags = (*target, "--chip", str(tmp_path), "--set", f"selection.budget={budget!r}")
    selection, front = run_select(evaluated, tmp_path, *flags)
    assert selection["cost"] == front["cost"] == "ms"
    marked = table[table["on_front"] == 1].sort_values("ms")
    assert [subnet["ms"] for subnet in front["subnets"]] == list(marked["ms"])
    assert marked["compiled"].all()
    picks = {pick["role"]: pick for pick in selection["picks"]}
    expected = {
        "lightest": table["ms"].idxmin(),
        "most accurate": table["epe"].idxmin(),
        "best within budget": table[table["ms"] <= budget]["epe"].idxmin(),
    }
    for role, row in expected.items():
        assert picks[role]["code"].replace(",", "") == table["code"][row]
        assert (picks[role]["ms"], picks[role]["macs"]) == (table["ms"][row], table["macs"][row])
    assert front["hypervolume"]["worst"] == {"ms": table["ms"].max(), "epe": 9.0}
    assert selection["chip"]["target"] == "arm_high_end"
    (first, *_) = selection["effects"]["blocks"]
    counts = table["code"].str[0].map(table.groupby(table["code"].str[0])["ms"].mean()).unique() - table["ms"].mean()
    assert [option["ms"] for option in first["options"]] == pytest.approx(list(counts))
    by_macs, _ = run_select(evaluated, tmp_path / "macs")
    assert {pick["ms"] for pick in by_macs["picks"]} == {None}
    assert by_macs["chip"] is None
    too_little = (*SETTINGS, "--evaluated", str(evaluated), *flags[:4], "--set", "selection.budget=3")
    with pytest.raises(UserError, match=r"selection.budget 3 is below the lightest .* takes 20 ms on arm_high_end"):
        select(too_little)


def test_every_subnet_of_the_front_says_which_cheaper_one_it_is_tied_with(evaluated: Path, tmp_path: Path) -> None:
    selection, front = run_select(evaluated, tmp_path)
    found = read_evaluated(evaluated)
    ties = [(subnet, subnet["tied_with"]) for subnet in front["subnets"] if subnet["tied_with"]]
    assert len(ties) == selection["noise"]["tied_with_cheaper"] > 0
    rows = {format_code(code): row for row, code in enumerate(all_codes(found.space))}
    for subnet, tie in ties:
        one, other = (found.sample_epes[rows[entry["code"]]].astype(float) for entry in (tie, subnet))
        assert stats.ttest_rel(one, other).pvalue >= 0.05
        assert (tie["epe"], tie["epe_error"]) == (
            pytest.approx((one - other).mean()),
            pytest.approx(stats.sem(one - other)),
        )


def test_rows_and_codes_are_each_others_inverse(tmp_path: Path) -> None:
    for space in (load_search_space(), load_search_space(str(small_space(tmp_path)))):
        codes = all_codes(space)
        assert [row_of(code, space) for code in codes[::7]] == list(range(len(codes)))[::7]
        assert [code_of(row, space) for row in range(0, len(codes), 5)] == codes[::5]


def test_the_same_evaluation_gives_the_same_bytes(evaluated: Path, tmp_path: Path) -> None:
    for out in ("one", "other"):
        run_select(evaluated, tmp_path / out)
    for name in ("selection.json", "pareto_front.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_one_validation_sample_is_enough_for_a_front_and_says_what_it_is_worth(tmp_path: Path) -> None:
    make_evaluated(tmp_path, samples=1)
    selection, front = run_select(tmp_path, tmp_path)
    assert selection["noise"] is None
    assert "single validation sample" in selection["cautions"][0]
    assert {subnet["tied_with"] for subnet in front["subnets"]} == {None}


def test_a_supernet_that_has_not_learned_is_called_that(tmp_path: Path) -> None:
    make_evaluated(tmp_path, sample_epes=12 + 0.1 * _noise(200))
    selection, front = run_select(tmp_path, tmp_path)
    words = " ".join(selection["cautions"])
    assert "No subnet beats predicting no motion (9.000 px)" in words
    assert front["hypervolume"]["share"] == 0
    assert "Only" not in words


def test_many_subnets_worse_than_no_motion_are_counted(tmp_path: Path) -> None:
    epes = 8 + np.linspace(0, 1.25, 19_683, dtype=np.float32)[:, None] + np.zeros((1, 100), np.float32)
    make_evaluated(tmp_path, sample_epes=epes)
    selection, _ = run_select(tmp_path, tmp_path)
    assert selection["cautions"] == ["20% of the subnets are no better than predicting no motion (9.000 px)."]


def _noise(samples: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(9)).standard_normal((19_683, samples)).astype(np.float32)


def test_a_front_whose_spread_is_below_its_noise_is_called_that(tmp_path: Path) -> None:
    make_evaluated(tmp_path, sample_epes=np.abs(5 + _noise(2)))
    selection, _ = run_select(tmp_path, tmp_path)
    assert selection["noise"]["front_told_apart"] is False
    assert any("is below its noise" in words for words in selection["cautions"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["selection.budget=0.001"], "selection.budget 0.001 is below the lightest subnet, which takes "),
        (["selection.budget=-3"], "selection.budget: expected a number, above 0"),
        (["selection.picks=nonsense"], "selection.picks: arch code 'nonsense': expected digits like 0,1,2"),
        (
            ["selection.picks='000021223'"],
            "selection.picks: arch code '000021223': value must be in {0,1,2}, got 3 at position 8 (H2Out)",
        ),
        (["selection.picks='111111111 1,1'"], "selection.picks: arch code '1,1': length=9 required, got 2"),
    ],
)
def test_wrong_settings_are_refused_and_nothing_is_written(
    evaluated: Path, tmp_path: Path, flags: list[str], words: str
) -> None:
    settings = [word for flag in flags for word in ("--set", flag)]
    with pytest.raises(UserError) as error:
        select([*SETTINGS, "--evaluated", str(evaluated), "--out", str(tmp_path), *settings])
    assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_table_edited_by_hand_is_refused(tmp_path: Path) -> None:
    make_evaluated(tmp_path)
    table = tmp_path / "subnets.csv"
    table.write_text(table.read_text().replace("000021222,", "000021222,0", 1))
    with pytest.raises(UserError, match=r"subnets.csv: was changed since it was evaluated"):
        select([*SETTINGS, "--evaluated", str(tmp_path)])
    with pytest.raises(UserError, match="holds no evaluated search space"):
        select([*SETTINGS, "--evaluated", str(tmp_path / "elsewhere")])


def test_epes_that_are_not_finite_are_refused_with_the_first_code(tmp_path: Path) -> None:
    epes = handmade_epes(load_search_space(), 4)
    epes[[row_of((0, 0, 0, 0, 2, 1, 2, 2, 2), load_search_space()), 19_000]] = np.nan
    make_evaluated(tmp_path, sample_epes=epes)
    with pytest.raises(UserError, match="the EPE of 2 subnets is not finite, first of 0,0,0,0,2,1,2,2,2"):
        select([*SETTINGS, "--evaluated", str(tmp_path)])


def test_out_that_is_a_file_is_refused(evaluated: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CannotWrite, match="file: cannot be written: it is no folder"):
        select([*SETTINGS, "--evaluated", str(evaluated), "--out", str(tmp_path / "file")])


@pytest.mark.slow
def test_a_supernet_agrees_with_itself_and_less_with_another(
    evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    epes = handmade_epes(load_search_space(), 8, noise=0.0)
    other = epes + 0.3 * _noise(1)
    make_evaluated(tmp_path, sample_epes=other)
    capsys.readouterr()
    assert compare([str(evaluated), str(evaluated), "--json"]) == 0
    itself = json.loads(capsys.readouterr().out)
    assert (itself["tau"], itself["rho"]) == (pytest.approx(1), pytest.approx(1))
    assert itself["front"][0] == itself["front"][1] == itself["front"][2]
    assert (itself["regret"], itself["rank_of_best"]) == ([0, 0], [1, 1])
    assert compare([str(evaluated), str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first, second = (read_evaluated(folder).table for folder in (evaluated, tmp_path))
    assert found["tau"] == pytest.approx(stats.kendalltau(first["epe"], second["epe"]).statistic)
    assert found["tau"] == pytest.approx(pairs_in_order(first["epe"], second["epe"]), abs=0.02)
    assert 0.2 < found["tau"] < 0.95
    # The regret by hand: the first one's front in the second's table.
    front = first[first["on_front"]]
    best = [second["epe"][second["macs"] <= macs].min() for macs in front["macs"]]
    assert found["regret"][0] == pytest.approx((second["epe"][front.index] - best).mean())
    rank = second["epe"].rank()[first["epe"].idxmin()]
    assert found["rank_of_best"][0] == rank
    assert compare([str(evaluated), str(tmp_path)]) == 0
    assert f"Kendall's tau over all 19683 subnets: {found['tau']:.4f}" in capsys.readouterr().out


def pairs_in_order(x: pd.Series, y: pd.Series) -> float:
    """Tau from the definition, on pairs drawn at random: the share in the same order minus that in the other."""
    one, other = np.random.Generator(np.random.Philox(6)).integers(0, len(x), (2, 100_000))
    return float(
        np.mean(np.sign(x.to_numpy()[one] - x.to_numpy()[other]) * np.sign(y.to_numpy()[one] - y.to_numpy()[other]))
    )


def test_supernets_of_two_spaces_or_two_networks_are_not_compared(evaluated: Path, tmp_path: Path) -> None:
    make_evaluated(tmp_path / "small", space=load_search_space(str(small_space(tmp_path))))
    with pytest.raises(UserError, match="the two are of different search spaces, edgeflow_9x3 and "):
        compare([str(evaluated), str(tmp_path / "small")])
    make_evaluated(tmp_path / "wide")
    facts = json.loads((tmp_path / "wide" / "space_eval.json").read_text())
    (tmp_path / "wide" / "space_eval.json").write_text(json.dumps(facts | {"init_neurons": 32}))
    with pytest.raises(UserError, match="the two differ in init_neurons, 4 and 32"):
        compare([str(evaluated), str(tmp_path / "wide")])
