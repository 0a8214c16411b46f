"""A network is freed with its graphs once nobody uses it, however many a process trains."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.train_supernet import main
from edgeflownas.training.supernet_model import TrainingModel
from tests.networks import started_network
from tests.spaces import small_space
from tests.tiny import tiny_flags


@pytest.mark.parametrize("execution", ["fused", "sequential"])
def test_a_model_is_freed_with_the_graphs_of_its_steps(execution: str, tmp_path: Path) -> None:
    space = load_search_space(str(small_space(tmp_path)))
    model = TrainingModel(started_network(space, 4), execution, learning_rate=1e-4, weight_decay=4e-5, grad_clip=5.0)
    rng = np.random.default_rng(0)
    frames, flow = (rng.uniform(-1, 1, (1, 45, 60, channels)).astype(np.float32) for channels in (6, 2))
    observed = model.train_cycle(frames, flow, fair_cycle(space, seed=5, step=0), lr=1e-4)
    assert observed["backward"] == 2
    left = [weakref.ref(model), weakref.ref(model.network), weakref.ref(model.optimizer)]
    del model
    gc.collect()
    assert [reference() for reference in left] == [None, None, None]


@pytest.mark.slow
def test_a_second_training_of_a_process_leaves_nothing_of_its_networks_and_graphs(
    synthetic_root: Path, tmp_path: Path
) -> None:
    space = ["--set", f"network.search_space={small_space(tmp_path)}"]
    kinds = []
    for name in ("first", "second"):
        assert main(tiny_flags(synthetic_root, tmp_path / name, *space, "--num_epochs", "1")) == 0
        gc.collect()
        kinds.append([type(each).__name__ for each in gc.get_objects()])
    for kind in ("FuncGraph", "SymbolicTensor", "FlowNetwork", "TrainingModel", "RecalibrationModel", "MetricsModel"):
        assert kinds[1].count(kind) <= kinds[0].count(kind), kind
