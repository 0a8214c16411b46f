"""What a run's records call the results of its eval pool: the names say how many subnets the pool has.

In the 9-block space these are `mean_epe_12` and `eval_pool_12.json`. A pool of 24 has `mean_epe_24` and
`eval_pool_24.json`, so that nobody takes a mean over 24 subnets for one over 12.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeflownas.errors import UserError
from edgeflownas.nas.eval_pool import pool_size
from edgeflownas.nas.search_space import SearchSpace

_MEAN = re.compile(r"mean_epe_([1-9][0-9]*)")


@dataclass(frozen=True)
class PoolNames:
    """The names for a pool of `size` subnets: columns of the history, keys of records, and the pool's own file."""

    size: int

    @property
    def mean_epe(self) -> str:
        """Mean EPE over the pool, pixels."""
        return f"mean_epe_{self.size}"

    @property
    def std_epe(self) -> str:
        """Standard deviation of the EPE between the pool's subnets, pixels."""
        return f"std_epe_{self.size}"

    @property
    def noise_epe(self) -> str:
        """How much of that the choice of validation samples makes, pixels."""
        return f"noise_epe_{self.size}"

    @property
    def best_mean_epe(self) -> str:
        """The smallest mean EPE of all epochs so far, pixels."""
        return f"best_mean_epe_{self.size}"

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """The columns of the history that are named after the pool."""
        return self.mean_epe, self.std_epe, self.noise_epe, self.best_mean_epe

    @property
    def file(self) -> str:
        """The file in the run directory that lists the pool."""
        return f"eval_pool_{self.size}.json"

    def renamed(self, text: str) -> str:
        """A text that has the names of a pool of 12, with the names of this pool."""
        return re.sub(r"\b(\w+_epe|eval_pool)_12\b", rf"\g<1>_{self.size}", text)


def pool_names(space: SearchSpace) -> PoolNames:
    """The names of a search space's eval pool."""
    return PoolNames(pool_size(space))


def names_in(record: Mapping[str, Any]) -> PoolNames:
    """The names that a record uses: a row of the history, the best epoch, what a run reports of its progress.

    Raises:
        UserError: it has no mean EPE of a pool.
    """
    for name in record:
        if found := _MEAN.fullmatch(name):
            return PoolNames(int(found.group(1)))
    raise UserError(f"mean_epe_N, the mean EPE of an eval pool of N subnets, is missing; there are {', '.join(record)}")


def mean_epe(record: Mapping[str, Any]) -> Any:
    """The mean EPE of the eval pool in such a record, pixels."""
    return record[names_in(record).mean_epe]
