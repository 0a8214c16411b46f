"""The front against brute force, the hypervolume against a grid and a Monte-Carlo estimate, knee and picks by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeflownas.errors import UserError
from edgeflownas.selection.front import (
    KNEE,
    LIGHTEST,
    MOST_ACCURATE,
    REFERENCE,
    WITHIN_BUDGET,
    automatic_picks,
    front_rows,
    hypervolume,
    knee,
    named_picks,
    pareto_front,
)


def by_brute_force(cost: np.ndarray, epe: np.ndarray) -> np.ndarray:
    """Every subnet against every other one."""
    no_worse = (cost[:, None] <= cost) & (epe[:, None] <= epe)
    better = (cost[:, None] < cost) | (epe[:, None] < epe)
    first = np.arange(len(cost))[:, None] < np.arange(len(cost))
    return ~(no_worse & (better | first)).any(axis=0)


# Few distinct values, so that most subnets tie with others in cost, in EPE, or in both.
TIED = st.integers(1, 40).flatmap(lambda n: arrays(np.int64, (2, n), elements=st.integers(0, 9)))


@given(TIED)
def test_front_is_what_brute_force_finds_also_among_ties(points):
    cost, epe = points.astype(float)
    assert pareto_front(cost, epe).tolist() == by_brute_force(cost, epe).tolist()


def test_front_of_a_space_of_twenty_thousand_is_non_dominated():
    random = np.random.Generator(np.random.Philox(3))
    cost = random.integers(50, 400, 19_683).astype(float)
    epe = 3 + 40 / cost + random.exponential(0.3, 19_683)
    on_front = pareto_front(cost, epe)
    assert 10 < on_front.sum() < 200
    for point in np.flatnonzero(on_front):
        assert not ((cost <= cost[point]) & (epe < epe[point])).any()
        assert not ((cost < cost[point]) & (epe <= epe[point])).any()
    # Whatever is not on it is dominated by, or equal to, something on it.
    on = np.flatnonzero(on_front)
    assert ((cost[on][:, None] <= cost) & (epe[on][:, None] <= epe)).any(axis=0).all()


def test_of_equal_subnets_the_first_is_on_the_front_whatever_their_order():
    assert pareto_front(np.array([2, 1, 1, 2]), np.array([1.0, 3, 3, 1])).tolist() == [True, True, False, False]


def test_a_subnet_that_is_not_finite_hides_no_other_and_is_never_on_the_front():
    cost, epe = np.array([1.0, 2, np.nan, 3, 0]), np.array([np.nan, 5, 0, 4, np.inf])
    assert pareto_front(cost, epe).tolist() == [False, True, False, True, False]


def test_rows_of_the_front_go_from_light_to_heavy():
    cost, epe = np.array([5, 1, 3, 4]), np.array([1.0, 9, 2, 8])
    assert front_rows(cost, epe).tolist() == [1, 2, 0]


def test_hypervolume_by_hand():
    # Two rectangles: (1..4) x (2..10) and (4..5) x (1..10), of a rectangle of 5 x 10.
    assert hypervolume(np.array([1, 4, 4]), np.array([2.0, 1, 5]), (0, 0), (5, 10)) == pytest.approx((3 * 8 + 9) / 50)
    assert hypervolume(np.array([6, 1]), np.array([0.0, 11]), (0, 0), (5, 10)) == 0
    assert hypervolume(np.array([0]), np.array([0.0]), (0, 0), (5, 10)) == 1
    # What is better than the ideal corner counts as if it lay on its edge.
    assert hypervolume(np.array([-5]), np.array([5.0]), (0, 0), (5, 10)) == pytest.approx(0.5)
    assert hypervolume(np.array([2]), np.array([-9.0]), (0, 0), (5, 10)) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="beyond the ideal"):
        hypervolume(np.array([1]), np.array([1.0]), (5, 0), (5, 10))
    with pytest.raises(ValueError, match="beyond the ideal"):
        hypervolume(np.array([1]), np.array([1.0]), (6, 11), (5, 10))


@given(TIED)
def test_hypervolume_is_what_a_grid_counts(points):
    cost, epe = points.astype(float)
    corners = np.arange(8)
    cells = ((cost[:, None, None] <= corners[:, None]) & (epe[:, None, None] <= corners)).any(axis=0)
    assert hypervolume(cost, epe, (0, 0), (8, 8)) == pytest.approx(cells.mean())


def test_hypervolume_is_what_random_points_say():
    random = np.random.Generator(np.random.Philox(5))
    cost, epe = random.uniform(1, 10, 500), random.uniform(2, 8, 500)
    throws = random.uniform((0, 0), (9, 7), (40_000, 2))
    hit = np.mean([((cost <= x) & (epe <= y)).any() for x, y in throws])
    assert hypervolume(cost, epe, (0, 0), (9, 7)) == pytest.approx(hit, abs=4 * (hit * (1 - hit) / 40_000) ** 0.5)


def test_knee_is_the_farthest_below_the_line_between_the_ends():
    cost, epe = np.array([0.0, 1, 2, 3, 10]), np.array([10.0, 6, 2, 1.9, 0])
    assert knee(cost, epe) == 2
    # In any unit.
    assert knee(cost * 1e9 + 7, epe / 3) == 2


@pytest.mark.parametrize(
    ("cost", "epe"), [([4], [2]), ([4, 5], [2, 1]), ([0, 1, 2, 3], [3, 2, 1, 0]), ([0, 9, 10], [9, 8, 0])]
)
def test_a_front_without_a_bend_has_its_lightest_subnet_as_knee(cost, epe):
    assert knee(np.array(cost), np.array(epe, float)) == 0


def test_no_finite_subnet_has_no_knee():
    with pytest.raises(ValueError, match="finite"):
        knee(np.array([1.0]), np.array([np.nan]))


MILLIONS = "million multiply-accumulates"


def test_picks_are_on_the_front_but_for_the_reference():
    cost, epe = np.array([9, 1, 3, 5, 4]), np.array([1.0, 9, 3, 2, 8])
    picks = {pick.role: pick.row for pick in automatic_picks(cost, epe, reference=4, budget=6, unit=MILLIONS)}
    assert picks == {MOST_ACCURATE: 0, KNEE: 2, LIGHTEST: 1, WITHIN_BUDGET: 3, REFERENCE: 4}
    without = automatic_picks(cost, epe, reference=4, budget=None, unit=MILLIONS)
    assert [pick.role for pick in without].count(WITHIN_BUDGET) == 0
    assert {pick.role: pick.row for pick in automatic_picks(cost, epe, 4, budget=1, unit=MILLIONS)}[WITHIN_BUDGET] == 1


def test_a_budget_below_the_lightest_subnet_is_refused_with_its_cost():
    words = "selection.budget 0.5 is below the lightest subnet, which takes 1 million multiply-accumulates: raise it"
    with pytest.raises(UserError, match=words):
        automatic_picks(np.array([9, 1]), np.array([1.0, 9]), reference=0, budget=0.5, unit=MILLIONS)


def test_a_subnet_named_twice_is_one_pick():
    assert [pick.row for pick in named_picks([5, 3, 5])] == [5, 3]
