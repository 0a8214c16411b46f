"""Effects and shares of variance against pandas and least squares; noise against SciPy's paired tests, by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from edgeflownas.nas.search_space import ChoiceBlock, SearchSpace, load_search_space
from edgeflownas.selection.effects import effects, main_effects, pair_effects
from edgeflownas.selection.front import front_rows
from edgeflownas.selection.noise import difference, front_ties, half_epes, halves, noise, tied_with
from edgeflownas.selection.tables import all_codes
from tests.handmade_spaces import handmade_epes

# Blocks with different numbers of options, one of them with a single one.
UNEVEN = SearchSpace(
    "uneven",
    (
        ChoiceBlock("EB0", "depth", (1, 2)),
        ChoiceBlock("H1", "kernel", (3, 5, 7)),
        ChoiceBlock("H2", "kernel", (5,)),
        ChoiceBlock("DB0", "depth", (1, 2, 3, 4)),
    ),
    (0, 0, 0, 0),
)


def random_space(samples: int = 6) -> tuple[pd.DataFrame, np.ndarray]:
    """The codes of `UNEVEN` by block name with an EPE that nothing explains, and the EPEs by sample."""
    sample_epes = np.random.Generator(np.random.Philox(1)).gamma(4, 1, (24, samples)).astype(np.float32)
    table = pd.DataFrame(all_codes(UNEVEN), columns=[block.name for block in UNEVEN.blocks])
    table["epe"] = sample_epes.mean(axis=1, dtype=np.float64)
    table["macs"] = 7 * table["EB0"] + 11 * table["H1"] ** 2 + table["DB0"]
    return table, sample_epes


def counts_of(space: SearchSpace) -> list[int]:
    """Options per block."""
    return [len(block.options) for block in space.blocks]


def test_main_effects_are_the_means_that_pandas_groups():
    table, _ = random_space()
    found = main_effects(table["epe"].to_numpy(), counts_of(UNEVEN))
    for block, effect in zip(UNEVEN.blocks, found, strict=True):
        np.testing.assert_allclose(effect, table.groupby(block.name)["epe"].mean() - table["epe"].mean(), atol=1e-12)


def test_pair_effects_are_what_main_effects_leave_of_the_means_that_pandas_groups():
    table, _ = random_space()
    mains = main_effects(table["epe"].to_numpy(), counts_of(UNEVEN))
    found = pair_effects(table["epe"].to_numpy(), counts_of(UNEVEN))
    assert list(found) == list(itertools.combinations(range(4), 2))
    for (one, other), effect in found.items():
        names = [UNEVEN.blocks[one].name, UNEVEN.blocks[other].name]
        cells = table.groupby(names)["epe"].mean().to_numpy().reshape(effect.shape)
        np.testing.assert_allclose(effect, cells - table["epe"].mean() - mains[one][:, None] - mains[other], atol=1e-12)


def r_squared(features: pd.DataFrame, values: pd.Series) -> float:
    """Share of the variance that a least-squares fit on dummy variables explains."""
    design = np.column_stack([np.ones(len(values)), features.to_numpy(float)])
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return 1 - float(((values - fitted) ** 2).sum() / ((values - values.mean()) ** 2).sum())


def test_shares_of_variance_are_those_of_least_squares():
    table, sample_epes = random_space()
    costs = {"macs": table["macs"].to_numpy()}
    found = effects(UNEVEN, table["epe"].to_numpy(), sample_epes, costs)
    names = [block.name for block in UNEVEN.blocks]
    dummies = pd.get_dummies(table[names].astype(str))
    shares = found["variance_shares"]
    assert shares["additive"] == pytest.approx(r_squared(dummies, table["epe"]))
    products = {
        f"{a}{b}": dummies[a] & dummies[b]
        for a, b in itertools.combinations(dummies.columns, 2)
        if a.split("_")[0] != b.split("_")[0]
    }
    with_pairs = pd.concat([dummies, pd.DataFrame(products)], axis=1)
    assert shares["additive"] + shares["pairwise"] == pytest.approx(r_squared(with_pairs, table["epe"]))
    assert sum(shares.values()) == pytest.approx(1)
    for entry in found["blocks"]:
        one = dummies[[name for name in dummies.columns if name.startswith(f"{entry['block']}_")]]
        assert entry["variance_share"] == pytest.approx(r_squared(one, table["epe"]), abs=1e-12)


def test_effects_have_labels_costs_and_errors_over_samples():
    table, sample_epes = random_space()
    found = effects(UNEVEN, table["epe"].to_numpy(), sample_epes, {"macs": table["macs"].to_numpy()})
    kernel = found["blocks"][1]
    assert [option["short"] for option in kernel["options"]] == ["3x3", "5x5", "7x7"]
    assert [option["macs"] for option in kernel["options"]] == pytest.approx([-55 / 3, 11 - 55 / 3, 44 - 55 / 3])
    # The effect of 3x3 sample by sample, as a table of its own.
    frame = pd.DataFrame(sample_epes.astype(float))
    by_sample = frame[table["H1"] == 0].mean() - frame.mean()
    assert kernel["options"][0]["epe"] == pytest.approx(by_sample.mean())
    assert kernel["options"][0]["epe_error"] == pytest.approx(stats.sem(by_sample))
    # The only option of a block has no effect.
    assert found["blocks"][2]["options"][0]["epe"] == pytest.approx(0)
    assert [pair["variance_share"] for pair in found["pairs"]] == sorted(
        (pair["variance_share"] for pair in found["pairs"]), reverse=True
    )


def test_an_additive_space_is_wholly_additive_and_its_effects_are_what_was_put_in():
    codes = np.array(all_codes(load_search_space()))
    worth = np.linspace(0.1, 0.9, 27).reshape(9, 3)
    epe = 10 - sum(worth[block][codes[:, block]] for block in range(9))
    found = effects(load_search_space(), epe, np.stack([epe, epe + 1], 1), {"macs": codes.sum(axis=1)})
    assert found["variance_shares"] == pytest.approx({"additive": 1, "pairwise": 0, "higher": 0}, abs=1e-9)
    for block, entry in enumerate(found["blocks"]):
        assert [o["epe"] for o in entry["options"]] == pytest.approx(list(worth[block].mean() - worth[block]))
        assert [o["macs"] for o in entry["options"]] == pytest.approx([-1, 0, 1])
        assert [o["epe_error"] for o in entry["options"]] == pytest.approx([0, 0, 0], abs=1e-6)


def test_the_largest_interaction_is_the_one_that_was_put_in():
    codes = np.array(all_codes(load_search_space()))
    epe = 10.0 - codes @ np.linspace(0.1, 0.5, 9) + 2.0 * ((codes[:, 2] == 1) & (codes[:, 7] == 2))
    first = effects(load_search_space(), epe, epe[:, None], {})["pairs"][0]
    assert first["blocks"] == ["DB0", "H2"]
    assert first["largest"] == {"options": [1, 2], "epe": pytest.approx(2 * 4 / 9)}


def test_subnets_that_are_all_equal_have_no_variance_to_share():
    found = effects(UNEVEN, np.full(24, 3.0), np.full((24, 2), 3.0), {})
    assert found["variance_shares"] == {"additive": None, "pairwise": None, "higher": None}
    assert {block["variance_share"] for block in found["blocks"]} == {None}


def test_one_sample_gives_effects_without_errors_and_no_noise():
    table, sample_epes = random_space(samples=1)
    found = effects(UNEVEN, table["epe"].to_numpy(), sample_epes, {})
    assert {option["epe_error"] for block in found["blocks"] for option in block["options"]} == {None}
    assert noise(sample_epes, table["macs"].to_numpy(), table["epe"].to_numpy()) is None


def test_ties_are_those_of_paired_t_tests():
    sample_epes = handmade_epes(load_search_space(), 12, noise=0.4)
    epe = sample_epes.mean(axis=1, dtype=np.float64)
    cost = np.array(all_codes(load_search_space())).sum(axis=1)
    rows = front_rows(cost, epe)
    found = front_ties(sample_epes, rows)
    assert 0 < sum(tie is not None for tie in found) < len(rows)
    for place, tie in enumerate(found):
        tests = [
            stats.ttest_rel(sample_epes[cheaper].astype(float), sample_epes[rows[place]]) for cheaper in rows[:place]
        ]
        tied = [int(row) for row, test in zip(rows, tests, strict=False) if test.pvalue >= 0.05]
        assert (None if tie is None else tie[0]) == (tied[0] if tied else None)
    one, other = int(rows[0]), int(rows[-1])
    test = stats.ttest_rel(sample_epes[one].astype(float), sample_epes[other])
    gap = difference(sample_epes, one, other)
    assert gap.epe == pytest.approx(epe[one] - epe[other])
    assert gap.epe / gap.error == pytest.approx(test.statistic)
    # And of all subnets, against one.
    pvalues = stats.ttest_rel(sample_epes.astype(float), sample_epes[other][None].astype(float), axis=1).pvalue
    assert tied_with(sample_epes, other) == int(np.sum(pvalues >= 0.05))


def test_halves_part_the_samples_and_are_the_same_each_time():
    sample_epes = np.random.Generator(np.random.Philox(2)).uniform(1, 2, (5000, 7)).astype(np.float32)
    found = half_epes(sample_epes)
    assert found.shape == (10, 2, 5000)
    np.testing.assert_array_equal(found, half_epes(sample_epes))
    whole = sample_epes.mean(axis=1, dtype=np.float64)
    np.testing.assert_allclose((3 * found[:, 0] + 4 * found[:, 1]) / 7, np.tile(whole, (10, 1)), rtol=1e-6)
    assert len({tuple(split[0]) for split in found}) > 5


def test_without_noise_halves_agree_and_with_nothing_else_they_do_not():
    cost = np.array(all_codes(load_search_space())).sum(axis=1)
    calm = handmade_epes(load_search_space(), 8, noise=0.0).astype(np.float64)
    found = halves(calm, cost, calm.mean(axis=1))
    assert found["tau"] == pytest.approx(1)
    assert found["kept"] == {"mean": 1, "least": 1, "most": 1}
    # Each half's mean hardness scales what a subnet is better by; over both directions of a split that cancels.
    assert found["optimism"] == pytest.approx(0, abs=1e-12)
    wild = np.random.Generator(np.random.Philox(4)).normal(5, 1, (19_683, 8)).astype(np.float32)
    found = halves(wild, cost, wild.mean(axis=1))
    assert abs(found["tau"]) < 0.02
    assert found["kept"]["mean"] < 0.5
    # The best of thousands, by chance alone: more than two standard deviations of the mean of four.
    assert found["optimism"] > 2 * 0.5
