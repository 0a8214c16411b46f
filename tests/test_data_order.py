import itertools
import threading
import time

import numpy as np
import pytest

from edgeflownas.data.order import centre_crop, permutation, random_crop, sample_at
from edgeflownas.data.prefetch import prefetch


def test_each_pass_has_every_sample_once_in_an_order_of_its_own() -> None:
    passes = [[sample_at(42, pass_index * 50 + i, 50) for i in range(50)] for pass_index in range(20)]
    assert all(sorted(order) == list(range(50)) for order in passes)
    assert len({tuple(order) for order in passes}) == 20


def test_orders_are_uniform() -> None:
    firsts = np.bincount([permutation(0, pass_index, 4)[0] for pass_index in range(4000)], minlength=4)
    assert (abs(firsts - 1000) < 120).all()  # 4.4 standard deviations


def test_the_order_of_a_seed_never_changes() -> None:
    assert permutation(42, 0, 10).tolist() == [4, 9, 5, 3, 0, 2, 7, 1, 6, 8]
    assert permutation(42, 1, 10).tolist() == [2, 8, 9, 3, 4, 7, 5, 6, 1, 0]
    assert [random_crop(42, position, (200, 264), (180, 240)) for position in range(3)] == [(8, 5), (8, 12), (16, 13)]


def test_random_crops_reach_every_place_that_fits() -> None:
    crops = [random_crop(1, position, (12, 10), (10, 7)) for position in range(2000)]
    assert set(crops) == set(itertools.product(range(3), range(4)))
    assert {random_crop(1, position, (12, 10), (12, 10)) for position in range(9)} == {(0, 0)}


def test_the_centre_crop_is_in_the_middle() -> None:
    assert centre_crop((384, 512), (180, 240)) == (102, 136)
    assert centre_crop((181, 240), (180, 240)) == (0, 0)


def test_prefetch_keeps_the_order_whichever_is_done_first() -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.01 * (item % 4 == 0))
        return item * item

    assert list(prefetch(slow_at_first, range(30), workers=4)) == [i * i for i in range(30)]


def test_prefetch_looks_ahead_no_further_than_two_items_per_thread() -> None:
    started = []
    results = prefetch(lambda item: started.append(item) or item, itertools.count(), workers=2)
    assert [next(results) for _ in range(5)] == list(range(5))
    results.close()
    assert set(started) <= set(range(5 + 4))


def test_prefetch_raises_where_the_result_would_have_come() -> None:
    def fail_at_3(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    results = prefetch(fail_at_3, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_closing_prefetch_ends_its_threads() -> None:
    results = prefetch(lambda item: item, itertools.count(), workers=3)
    next(results)
    assert any(thread.name.startswith("prefetch") for thread in threading.enumerate())
    results.close()
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())
