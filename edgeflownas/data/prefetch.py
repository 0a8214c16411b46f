"""A bounded look-ahead over threads that keeps the order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(load: Callable[[Item], Result], items: Iterable[Item], workers: int = 2) -> Iterator[Result]:
    """Yield `load(item)` for each item in order, computed by threads before they are asked for.

    Twice as many results as there are threads may wait or be under way.

    An exception of `load` is raised where its result would have come. Closing the generator (or leaving it to the
    garbage collector) cancels what has not started, waits for what has, and ends the threads.

    Args:
        load: a function that threads may call at the same time, for example a dataset's `__getitem__`.
        items: may be endless.
        workers: number of threads, at least 1.
    """
    remaining = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    pending: deque[Future[Result]] = deque()
    try:
        pending.extend(pool.submit(load, item) for item in islice(remaining, 2 * workers))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(load, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
