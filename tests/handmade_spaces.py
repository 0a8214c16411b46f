"""Evaluated search spaces made by hand, in milliseconds: what `space_eval` leaves, without evaluating anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from edgeflownas.deploy import additive
from edgeflownas.deploy.subnet import Subnet
from edgeflownas.deploy.vela import ChipCost, Layer
from edgeflownas.nas.search_space import ArchCode, SearchSpace, load_search_space
from edgeflownas.network.cost import space_costs
from edgeflownas.selection import chip_costs
from edgeflownas.selection.tables import all_codes, write_evaluated

HEIGHT, WIDTH, INIT_NEURONS = 45, 60, 4
DIGEST = "ab" * 32


def handmade_epes(space: SearchSpace, samples: int, seed: int = 0, noise: float = 0.05) -> np.ndarray:
    """(subnets, samples) float32: 6 px, minus what each option is worth (heavier is better), times how hard the sample
    is, plus noise of the given standard deviation for each subnet and sample."""
    rng = np.random.default_rng(seed)
    codes = np.array(all_codes(space))
    worth = np.zeros(len(codes))
    for digit, block in enumerate(space.blocks):
        worth += np.sort(rng.uniform(0, 0.3, len(block.options)))[codes[:, digit]]
    hardness = rng.uniform(0.5, 2.0, samples)
    epes = (6.0 - worth)[:, None] * hardness + noise * rng.standard_normal((len(codes), samples))
    return epes.astype(np.float32)


def handmade_facts(samples: int, **changes: Any) -> dict[str, Any]:
    """The facts that `write_evaluated` takes."""
    checkpoint = {"path": "checkpoints/supernet_best.ckpt", "sha256": DIGEST, "epoch": 5, "global_step": 25}
    facts: dict[str, Any] = {
        "checkpoint": checkpoint | {"config_hash": DIGEST},
        "config_hash": DIGEST,
        "init_neurons": INIT_NEURONS,
        "height": HEIGHT,
        "width": WIDTH,
        "data": {"digest": DIGEST, "split": "val"},
        "samples": samples,
        "bn_recal_batches": 8,
        "batch_size": 4,
        "zero_flow_epe": 9.0,
        "backend": "tensorflow",
        "device": "a processor",
        "estimate": {"subnets": 19683, "nodes": 2000, "macs": 10**12, "bytes": 10**8, "seconds": 100.0},
        "seconds": 110.5,
    }
    return facts | changes


def make_evaluated(
    folder: Path, space: SearchSpace | None = None, sample_epes: np.ndarray | None = None, samples: int = 8
) -> SearchSpace:
    """Write an evaluated space (the 9-block one by default) whose costs are the network's and whose EPEs are
    `sample_epes`, or `handmade_epes`."""
    space = space or load_search_space()
    epes = handmade_epes(space, samples) if sample_epes is None else sample_epes
    means = epes.mean(axis=1, dtype=np.float64)[:, None] * np.array([0.1, 0.05, 0.02, 0.04])
    costs = space_costs(space, HEIGHT, WIDTH, INIT_NEURONS)
    write_evaluated(folder, space, epes, means, costs, handmade_facts(epes.shape[1]))
    return space


def cycles_by_hand(code: ArchCode) -> int:
    """Additive, but for a thousandth where the first two digits are both 2, which is no single change; more for every
    digit, unlike MACs."""
    cycles = 10_000_000 + sum(100_000 * (1 + place**2) * digit for place, digit in enumerate(code))
    return round(cycles * (1.001 if code[0] == code[1] == 2 else 1))


def cost_by_hand(subnet: Subnet, cpu_operators: tuple[str, ...] = ()) -> ChipCost:
    """What a subnet costs, as a compiler of few words would say."""
    return ChipCost(cycles_by_hand(subnet.code), 500.0, 26.0, 90.0, cpu_operators, (Layer("E0_option0", 1000, 26.0),))


def make_chip_costs(evaluated: Path, out: Path, *flags: str) -> None:
    """Run `selection.chip_costs` with a compiler that gives `cost_by_hand`."""

    def costs(subnets: Sequence[Subnet], *arguments: Any) -> list[ChipCost]:
        return [cost_by_hand(subnet) for subnet in subnets]

    with mock.patch.object(additive, "chip_costs", costs):
        assert chip_costs.main(["--evaluated", str(evaluated), "--out", str(out), *flags]) == 0
