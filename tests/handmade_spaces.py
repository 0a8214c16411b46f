"""Evaluated search spaces made by hand, in milliseconds: what `space_eval` leaves, without evaluating anything."""

from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.artifacts import sha256_file, write_json
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.search_space import SearchSpace, load_search_space
from edgeflownas.network.cost import space_costs
from edgeflownas.selection.tables import Evaluated, all_codes, write_evaluated

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


def make_chip_costs(folder: Path, evaluated: Evaluated) -> None:
    """Write what `selection.chip_costs` does, with milliseconds made by hand: more for every digit, unlike MACs."""
    folder.mkdir()
    table = evaluated.table.copy()
    table["ms"] = 20.0 + np.array(all_codes(evaluated.space)) @ (1 + np.arange(len(evaluated.space.blocks))[::-1] ** 2)
    table.to_csv(folder / "chip_costs.csv", index=False)
    reference = format_code(evaluated.space.reference)
    facts = {
        **{"target": "a chip made by hand", "vela": "5.2", "clock_mhz": 500.0},
        **{"output": "sum", "resize": "exact", "precision": "int8"},
        **{key: evaluated.facts[key] for key in ("init_neurons", "height", "width")},
        "reference": {"code": reference, "cycles": 1000},
        "differences": {block.name: [0] * len(block.options) for block in evaluated.space.blocks},
        "held_out": [{"code": reference, "cycles": 1000, "predicted": 1001, "error": 0.001}],
        **{"mean_error": 0.001, "max_error": 0.001, "compiled": 40, "sram_kib": 26.0, "flash_kib": 90.0, "faults": []},
        "files": {"chip_costs.csv": sha256_file(folder / "chip_costs.csv")},
    }
    write_json(folder / "chip_costs.json", facts, schema="chip_costs.schema.json")
