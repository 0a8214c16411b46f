"""The evaluated subtrees of a space, kept beside the table until all are there, and merged. Imports no Keras.

They lie in `parts/<digest>/` beside `subnets.csv`, two files for each subtree: the arrays, whose bytes are the same
whenever the subtree is evaluated again, and what is known of them. The digest is of everything that decides the numbers
(checkpoint, data, settings, backend, source), so that parts of different evaluations never meet in one table.
"""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgeflownas.artifacts import read_json, remove_unfinished, sha256_file, sha256_of, write_atomic, write_json
from edgeflownas.errors import UserError, make_folder
from edgeflownas.locks import LockHeld, take_lock
from edgeflownas.network.cost import space_costs
from edgeflownas.runs.records import METRICS
from edgeflownas.selection.tables import write_evaluated
from edgeflownas.selection.tree import Options, Tree

PARTS = "parts"
SCHEMA = "space_part.schema.json"
# How many subtrees a sentence names.
NAMED = 5


@dataclass(frozen=True)
class Part:
    """An evaluated subtree.

    sample_epes: (subnets, samples) float32, pixels; other_metrics: (subnets, 4) float64, means over samples; both in
    the order of `np.sort(tree.rows(subtree), axis=None)`.
    """

    sample_epes: np.ndarray
    other_metrics: np.ndarray
    zero_flow_epe: float
    device: str
    expected_seconds: float
    seconds: float


class Parts:
    """The parts of one evaluation.

    facts: the content of `space_eval.json` that is known beforehand.
    identity: what else decides the numbers, as JSON values.
    """

    def __init__(self, out: Path, tree: Tree, facts: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        self.out = out
        self.tree = tree
        self.facts = facts
        self.digest = sha256_of({"facts": facts, "space": tree.space.facts(), **identity})
        self.folder = out / PARTS / self.digest[:12]

    def arrays(self, subtree: Options) -> Path:
        """The file of a subtree's arrays."""
        return self.folder / f"{self.tree.name_of(subtree)}.npz"

    def missing(self, subtrees: Sequence[Options]) -> list[Options]:
        """Those that have not been evaluated, or whose files are damaged."""
        return [subtree for subtree in subtrees if not self._is_whole(subtree)]

    @contextmanager
    def claimed(self, subtrees: Sequence[Options]) -> Iterator[None]:
        """Lock some subtrees; the system releases the locks when their owner ends.

        Raises:
            UserError: another process evaluates one of them (names host and pid).
            CannotWrite: the folder cannot be made.
        """
        make_folder(self.folder)
        owner = f"{socket.gethostname()} pid {os.getpid()}"
        with ExitStack() as locks:
            for subtree in subtrees:
                name = self.tree.name_of(subtree)
                try:
                    locks.enter_context(take_lock(self.folder / f".{name}.lock", owner))
                except LockHeld as holder:
                    raise UserError(
                        f"{self.out}: {holder} is evaluating subtree {name} of the same space; wait or stop it"
                    ) from None
            yield

    def save(self, subtree: Options, part: Part) -> None:
        """Keep a subtree; its second file is written last, and without it the first does not count.

        Raises:
            CannotWrite: the system refuses; what was kept before is whole.
        """
        path = self.arrays(subtree)

        def write(file: BinaryIO) -> None:
            np.savez(file, allow_pickle=False, sample_epes=part.sample_epes, other_metrics=part.other_metrics)

        write_atomic(path, write)
        facts = {
            "evaluation": self.digest,
            "subtree": self.tree.name_of(subtree),
            "sha256": sha256_file(path),
            "zero_flow_epe": part.zero_flow_epe,
            "device": part.device,
            "expected_seconds": part.expected_seconds,
            "seconds": part.seconds,
        }
        write_json(path.with_suffix(".json"), facts, schema=SCHEMA)

    def merge(self) -> None:
        """Write the tables of the whole space.

        Raises:
            UserError: subtrees are missing or damaged (names them).
            CannotWrite: the system refuses; the parts are whole.
        """
        if missing := self.missing(self.tree.subtrees):
            names = [self.tree.name_of(subtree) for subtree in missing]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            raise UserError(
                f"{self.folder}: {len(names)} of {len(self.tree.subtrees)} subtrees are missing: "
                f"{', '.join(names[:NAMED])}{more}; run their shards, or the command without --shard and --merge"
            )
        remove_unfinished(self.folder)
        size = self.tree.space.size
        epes = np.empty((size, self.facts["samples"]), np.float32)
        others = np.empty((size, len(METRICS) - 1))
        known = []
        for subtree in self.tree.subtrees:
            rows = np.sort(self.tree.rows(subtree), axis=None)
            with np.load(self.arrays(subtree), allow_pickle=False) as arrays:
                epes[rows], others[rows] = arrays["sample_epes"], arrays["other_metrics"]
            known.append(read_json(self.arrays(subtree).with_suffix(".json"), schema=SCHEMA))
        facts = {
            **self.facts,
            "zero_flow_epe": known[0]["zero_flow_epe"],
            "device": " and ".join(sorted({part["device"] for part in known})),
            "estimate": {**self.facts["estimate"], "seconds": sum(part["expected_seconds"] for part in known)},
            "seconds": sum(part["seconds"] for part in known),
        }
        costs = space_costs(self.tree.space, self.tree.height, self.tree.width, self.tree.init_neurons)
        write_evaluated(self.out, self.tree.space, epes, others, costs, facts)

    def _is_whole(self, subtree: Options) -> bool:
        path = self.arrays(subtree)
        try:
            facts = read_json(path.with_suffix(".json"), schema=SCHEMA)
            return bool(facts["evaluation"] == self.digest and facts["sha256"] == sha256_file(path))
        except (UserError, OSError):
            return False
