"""A config that a gate can never pass is told before anything runs; one that only looks like it is not."""

import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from edgeflownas.artifacts import write_json
from edgeflownas.config import Config, resolve_config
from edgeflownas.errors import UserError
from edgeflownas.gates.registry import GATES
from edgeflownas.gates.requirements import require_passable, steps_per_epoch
from edgeflownas.gates.settings import GateSettings

EXPECTATION = {"train.supernet_mode": "expectation_fairness", "train.execution": "sequential"}


def config_of(**settings: Any) -> Config:
    return resolve_config(None, {key.replace("__", "."): value for key, value in settings.items()})


def refusal(config: Config, gate: int, index: Path = Path("nowhere")) -> str:
    with pytest.raises(UserError) as caught:
        require_passable(GATES[:gate], config, index)
    return str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "gate", "words"),
    [
        (EXPECTATION, 2, "gate2 is refused: train.supernet_mode is expectation_fairness"),
        ({"eval.bn_recal_batches": 4}, 3, "gate3 is refused: eval.bn_recal_batches is 4, .* set it to 8"),
        ({"train.num_epochs": 3}, 3, "train.num_epochs is 3, which leaves nothing to resume .* at least 4"),
        ({"train.max_steps": 4}, 3, "train.max_steps is 4, which ends the run before its 5 epochs; .* at least 5, or"),
        (
            {"train.max_steps": 149, "train.steps_per_epoch": 30},
            3,
            "train.max_steps is 149, which ends the run before its 5 epochs of 30 steps; .* at least 150, or null",
        ),
        (
            {"train.max_steps": 149, "train.batch_size": 3, "data.source": "synthetic"},
            3,
            "before its 5 epochs of 32 steps; expected at least 160",
        ),
        ({"train.init_from": "supernet.ckpt"}, 3, "train.init_from is supernet.ckpt, and what a gate trains"),
        ({"train.early_stop_patience": 3}, 3, "early_stop_patience is 3, which may end .* 5 epochs; .* at least 4"),
        (
            {"train.batch_size": 97, "data.source": "synthetic"},
            3,
            "train.batch_size is 97, more than there are training samples",
        ),
        ({"train.max_epochs": 1}, 4, "gate4 is refused: train.max_epochs is 1, .* 2 epochs; expected at least 2, or"),
        (
            {"train.max_steps": 150, "train.steps_per_epoch": 30, "fast_mode.steps_per_epoch": 76},
            4,
            "gate4 is refused: train.max_steps is 150, .* 2 epochs of 76 steps; expected at least 152",
        ),
        (
            {"train.num_epochs": 4, "train.early_stop_patience": 1},
            4,
            "gate4 is refused: train.early_stop_patience is 1",
        ),
        (
            {"train.max_epochs": 15},
            5,
            "gate5 is refused: train.max_epochs ends the long run after 15 epochs, before its 200 epochs or early",
        ),
        (
            {"train.max_steps": 479, "train.steps_per_epoch": 30},
            5,
            "gate5 is refused: train.max_steps ends the long run after 15 epochs, .* raise it, or set it to null",
        ),
        (
            {"selection.picks": "0,0,0,0,2,1,2,2,2 012"},
            5,
            "gate5 is refused: selection.picks: arch code '012': length=9 required, got 3",
        ),
        (
            {"selection.budget": 2000},
            5,
            "gate5 is refused: selection.budget is 2000, and the lightest subnet takes 2006.42 million",
        ),
        (
            # At 128 multiply-accumulates per cycle and 500 MHz; compiled, it takes 48.6 ms.
            {"selection.budget": 30, "target": "arm_high_end"},
            5,
            "gate5 is refused: selection.budget is 30, and on target arm_high_end the lightest .* more than 30.7 ms",
        ),
        (
            {"selection.max_tmacs": 20, "data.source": "synthetic"},
            5,
            "gate5 is refused: selection.max_tmacs is 20, and evaluating the 19683 subnets of edgeflow_9x3 takes",
        ),
    ],
)
def test_what_no_attempt_could_pass_is_refused_by_key(overrides: dict[str, Any], gate: int, words: str) -> None:
    config = resolve_config(None, overrides)
    with pytest.raises(UserError, match=words):
        require_passable(GATES[:gate], config, Path("nowhere"))


def test_everything_that_is_wrong_comes_at_once_and_only_once() -> None:
    config = resolve_config(None, EXPECTATION | {"eval.bn_recal_batches": 1, "train.num_epochs": 1})
    said = refusal(config, 4)
    assert said.count("is refused: ") == 3
    for words in ("gate2 is refused: train.supernet_mode", "gate3 is refused: eval.bn_recal", "train.num_epochs is 1"):
        assert said.count(words) == 1


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"train.num_epochs": 4, "train.early_stop_patience": 3},
        {"train.max_steps": 64, "train.steps_per_epoch": 4},
        # The commands have flags of their own for these, or wrap round.
        {"train.debug_trace": True, "train.fast_mode": True},
        # The long run may stop early by then, or has no more epochs.
        {"train.max_epochs": 16},
        {"train.max_epochs": 5, "train.num_epochs": 5},
        {"train.batch_size": 97, "data.source": "synthetic", "train.steps_per_epoch": 2},
        {"workflow.gate4_batch_size": 4096, "data.source": "synthetic", "train.batch_size": 1},
        {"selection.picks": "000000000  2,2,2,2,2,2,2,2,2", "selection.budget": 2006.5},
        {"target": "arm_high_end", "selection.budget": 49},
        # Fast mode evaluates the long run, and so all subnets, on a few of many samples.
        {
            "selection.max_tmacs": 40,
            "train.fast_mode": True,
            "data.source": "synthetic",
            "data.synthetic.val": 1000,
            "eval.batch_size": 1,
        },
    ],
)
def test_what_can_pass_is_not_refused(overrides: dict[str, Any]) -> None:
    # Of a chip, gate 7 alone must know.
    require_passable(GATES[:6], resolve_config(None, overrides), Path("nowhere"))


def test_a_limit_of_the_long_run_is_nothing_to_the_gates_before_it() -> None:
    for overrides in ({"train.max_epochs": 2}, {"train.max_steps": 20, "train.steps_per_epoch": 4}):
        require_passable(GATES[:4], resolve_config(None, overrides), Path("nowhere"))


@pytest.mark.parametrize("name", ["config.yaml", "supernet_fc2_180x240.yaml", "supernet_fc2_144x192.yaml"])
def test_the_projects_own_configs_for_gates_can_pass(name: str) -> None:
    require_passable(GATES, resolve_config(f"config/{name}", {}), Path("nowhere"))


def test_without_a_converter_only_what_compiles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeflownas.deploy.converter.find_spec", lambda name: None)
    config = resolve_config("config/config.yaml", {})
    require_passable(GATES[:4], config, Path("nowhere"))
    words = (
        "gate5 is refused: target is grove_vision_ai_v2, for which gate 5 compiles subnets, and the converter to LiteRT"
    )
    assert words in refusal(config, 5)
    require_passable(GATES[:5], resolve_config("config/config.yaml", {"target": None}), Path("nowhere"))


def test_without_the_compiler_gate_1_still_tells_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("edgeflownas.deploy.vela.version", missing)
    monkeypatch.setattr("edgeflownas.deploy.targets.find_spec", lambda name: None)
    config = resolve_config("config/supernet_fc2_180x240.yaml", {})
    require_passable(GATES[:4], config, Path("nowhere"))
    assert "the compiler Vela is not installed here; install ethos-u-vela" in refusal(config, 5)
    assert "gate1 is refused: at 360×480" in refusal(
        resolve_config("config/supernet_fc2_180x240.yaml", {"network.height": 360, "network.width": 480}), 4
    )


def test_gate_1_asks_nothing_of_the_training() -> None:
    require_passable(GATES[:1], resolve_config(None, EXPECTATION | {"train.num_epochs": 1}), Path("nowhere"))


def test_the_index_says_how_many_steps_an_epoch_has_while_it_is_that_of_the_folder(tmp_path: Path) -> None:
    root, index = tmp_path / "data", tmp_path / "data_index.json"
    (root / "train").mkdir(parents=True)
    config = config_of(data__root=str(root), train__batch_size=4)
    assert steps_per_epoch(config.view(GateSettings), index) is None

    def write(samples: int, rejected: int = 0, where: Path = root) -> None:
        split = {"samples": [{}] * samples, "rejected": [{}] * rejected}
        write_json(index, {"root": str(where), "splits": {"train": split}})

    write(9)
    assert steps_per_epoch(config.view(GateSettings), index) == 2
    write(3)
    assert "train.batch_size is 4, more than there are training samples" in refusal(config, 3, index)
    write(9, where=tmp_path)
    assert steps_per_epoch(config.view(GateSettings), index) is None
    # Another policy may take what this one left out.
    write(9, rejected=1)
    assert steps_per_epoch(config.view(GateSettings), index) is None
    write(9)
    later = index.stat().st_mtime + 10
    os.utime(root / "train", (later, later))
    assert steps_per_epoch(config.view(GateSettings), index) is None
    index.write_text("nonsense")
    assert steps_per_epoch(config.view(GateSettings), index) is None
