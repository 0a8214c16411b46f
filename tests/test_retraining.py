"""Training that begins with another run's weights, and what is made of a selection's picks with it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeflownas.artifacts import read_json, sha256_file
from edgeflownas.config import Config, resolve_config
from edgeflownas.errors import UserError
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.search_space import SearchSpace, load_search_space
from edgeflownas.nas.single_subnet import write_space_of_one
from edgeflownas.retraining import merge, train
from edgeflownas.retraining.merge import merged, order_kept
from edgeflownas.retraining.picks import picks_of, read_selection
from edgeflownas.retraining.settings import own_config
from edgeflownas.runs.checkpoints import load_checkpoint, read_header, save_checkpoint
from edgeflownas.runs.initial_checkpoint import read_initial_weights
from edgeflownas.train_supernet import main
from tests.handmade_gates import make_evidence
from tests.handmade_runs import SPACE, edit_json, make_config
from tests.tiny import TINY, history_of, tiny_flags

CODE = (0, 0, 0, 0, 2, 1, 2, 2, 2)
DIGITS = "000021222"


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """The file of the search space that holds one subnet of the eval pool."""
    write_space_of_one(tmp_path / "alone.yaml", SPACE, CODE)
    return tmp_path / "alone.yaml"


@pytest.fixture
def supernet(whole_run: Path, tmp_path: Path) -> Path:
    """A copy of a supernet's last checkpoint, to be changed and deleted."""
    return Path(shutil.copy(whole_run / "checkpoints/supernet_last.ckpt", tmp_path / "supernet.ckpt"))


def begun(data: Path, run: Path, space: Path, supernet: Path, *more: str) -> list[str]:
    """Flags of a run of three epochs of that subnet, which begins with the supernet's weights."""
    own = ["--set", f"network.search_space={space}", "--set", f"train.init_from={supernet}", "--num_epochs", "3"]
    return tiny_flags(data, run, *own, *more)


@pytest.mark.slow
def test_a_subnet_begins_at_the_epe_it_has_in_the_supernet_and_does_not_load_it_again(
    synthetic_root: Path, whole_run: Path, alone: Path, supernet: Path, tmp_path: Path
) -> None:
    digest, whole, cut = sha256_file(supernet), tmp_path / "in_one_go", tmp_path / "cut_short"
    assert main(begun(synthetic_root, whole, alone, supernet)) == 0
    manifest = read_json(whole / "train_manifest.json", "train_manifest.schema.json")
    initial = manifest["init_from"]
    assert {key: initial[key] for key in ("sha256", "epoch", "global_step")} == {
        "sha256": digest,
        "epoch": 5,
        "global_step": 25,
    }
    (subnet,) = initial["subnets"]
    assert subnet["epe"] == pytest.approx(history_of(whole_run)[f"epe_{DIGITS}"].iloc[-1], abs=1e-5)
    # Everything else is that of a new run.
    assert (manifest["epochs_done"], manifest["global_step"], manifest["lr_schedule"]["steps"]) == (3, 15, 15)

    assert main(begun(synthetic_root, cut, alone, supernet, "--max_steps", "7")) == 0
    supernet.unlink()
    assert main(begun(synthetic_root, cut, alone, supernet, "--resume")) == 0
    first, second = (load_checkpoint(run / "checkpoints/supernet_last.ckpt") for run in (whole, cut))
    assert first.header["sha256"] == second.header["sha256"]
    assert first.header["identity"]["train.init_from"] == digest

    # Of another file of that name the run is no continuation.
    supernet.write_bytes((whole_run / "checkpoints/supernet_last.previous.ckpt").read_bytes())
    with pytest.raises(UserError, match=r"this would change the result: train\.init_from: "):
        main(begun(synthetic_root, cut, alone, supernet, "--resume"))


def test_weights_go_by_the_values_of_options_not_by_their_places(whole_run: Path, alone: Path, supernet: Path) -> None:
    initial = read_initial_weights(configured(alone, supernet), space_of(alone))
    assert initial is not None
    arrays = load_checkpoint(supernet).arrays
    expected = {
        "weights.E0.option0.kernel": "weights.E0.option0.kernel",
        "weights.EB0.option0.block0.conv0.kernel": "weights.EB0.option0.block0.conv0.kernel",
        "weights.H1.option0.kernel": f"weights.H1.option{CODE[place_of('H1')]}.kernel",
        "weights.H1.norm.gamma": "weights.H1.norm.gamma",
    }
    for own, theirs in expected.items():
        np.testing.assert_array_equal(initial.arrays[own], arrays[theirs])
    assert "weights.EB0.option1.block0.conv0.kernel" not in initial.arrays
    assert not any(name.startswith("optimizer") for name in initial.arrays)


def place_of(name: str) -> int:
    """The digit of a choice block."""
    return [block.name for block in SPACE.blocks].index(name)


def space_of(path: Path) -> SearchSpace:
    """The search space in a file."""
    return load_search_space(str(path))


def configured(space: Path, supernet: Path, **changes: Any) -> Config:
    """The tiny configuration over a space, with `train.init_from`."""
    own = {"network.search_space": str(space), "train.init_from": str(supernet)}
    return resolve_config(None, {**TINY, **own, **{key.replace("__", "."): value for key, value in changes.items()}})


def test_a_checkpoint_of_another_network_is_refused_with_the_differences(alone: Path, supernet: Path) -> None:
    content = alone.read_text()
    with pytest.raises(UserError, match=r"of another network .*network\.init_neurons: 4 -> 6") as found:
        read_initial_weights(configured(alone, supernet, network__init_neurons=6), space_of(alone))
    assert "\n" not in str(found.value)
    with pytest.raises(UserError, match=r"data\.flow_scale: 5\.0 -> 10\.0"):
        read_initial_weights(configured(alone, supernet, data__flow_scale=10), space_of(alone))
    alone.write_text(content.replace("- 5\n", "- 9\n", 1))
    with pytest.raises(UserError, match=r"has conv 3x3, conv 5x5, conv 7x7, not conv 9x9"):
        read_initial_weights(configured(alone, supernet), space_of(alone))


def damaged(path: Path) -> None:
    """Overwrite the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def without_identity(path: Path) -> None:
    """A checkpoint that does not say what was trained."""
    checkpoint = load_checkpoint(path)
    save_checkpoint(path, {"epoch": 1, "global_step": 1, "config_hash": "0" * 64}, checkpoint.arrays)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, "no such checkpoint; name one of another run, or leave it out"),
        (lambda path: path.write_text("no archive"), "damaged checkpoint or none of EdgeFlowNAS"),
        (damaged, "damaged checkpoint or none of EdgeFlowNAS: Bad CRC-32"),
        (without_identity, "is no checkpoint of a training run"),
    ],
)
def test_a_file_that_is_no_whole_checkpoint_is_refused_in_a_sentence(
    damage: Callable[[Path], object], words: str, alone: Path, supernet: Path
) -> None:
    damage(supernet)
    with pytest.raises(UserError, match=words) as found:
        read_initial_weights(configured(alone, supernet), space_of(alone))
    assert str(supernet) in str(found.value)


def test_a_run_does_not_begin_with_what_lies_in_its_own_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lies in train\.output_dir .*; expected another folder"):
        make_config(train__init_from=str(tmp_path / "a/b.ckpt"), train__output_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train.lrr": 1}, r"retrain\.set: unknown key train\.lrr; did you mean train\.lr\?"),
        ({"train": {"lr": -1}}, r"retrain\.set: train\.lr: expected a number, above 0"),
        ({"network.init_neurons": 4}, "which a pick shares with its supernet; expected keys of seed, network.height"),
        ({"train.max_steps": 4}, r"a retraining is as long as its train\.num_epochs; leave it out"),
        ({"train.init_from": "x"}, r"retrain\.init decides from which weights"),
        ({"data.flow_scale": 10}, r"leave it out, or set retrain\.init to scratch"),
        ({"network.height": 4000}, r"data\.synthetic\.height 200 is smaller than network\.height 4000"),
        (7, r"retrain\.set: expected a mapping of keys to values, got 7"),
    ],
)
def test_what_picks_cannot_be_trained_with_is_said_before_the_supernet_is_trained(changes: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_config(retrain__set=changes)


def test_what_picks_are_trained_with_is_added_to_from_place_to_place(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("retrain: {set: {train: {num_epochs: 4, lr: 1e-3}}}\n")
    config = resolve_config(file, {"retrain.set.train.lr": 0.5, "retrain.set": {"eval.bn_recal_batches": 2}})
    assert config["retrain.set"] == {"train.num_epochs": 4, "train.lr": 0.5, "eval.bn_recal_batches": 2}
    assert config.hash == resolve_config(None, {}).hash  # the supernet is the same


def test_picks_are_taken_in_the_order_of_their_roles_each_subnet_once(tmp_path: Path) -> None:
    selection = json.loads((make_evidence("gate6", tmp_path).output_dir / "selection.json").read_text())
    codes = {"reference": "0,0,0,0,2,1,2,2,2", "knee": "2,1,0,1,1,1,0,1,0", "most accurate": "2,1,0,1,1,1,0,1,0"}
    template = selection["picks"][0]
    picks = [template | {"role": role, "code": code} for role, code in codes.items()]
    picks += [template | {"role": "named", "code": "1,1,1,1,1,1,1,1,1"}]
    taken = picks_of(selection | {"picks": picks}, SPACE, 5)
    assert [(pick.number, pick.role, pick.digits) for pick in taken] == [
        (1, "named", "111111111"),
        (2, "knee, most accurate", "210111010"),
        (3, "reference", "000021222"),
    ]
    assert len(picks_of(selection | {"picks": picks}, SPACE, 2)) == 2
    blocks = selection["evaluation"]["search_space"]["blocks"]
    selection["evaluation"]["search_space"]["blocks"] = blocks[1:]
    with pytest.raises(UserError, match=r"the selection is of search space edgeflow_9x3.*with other blocks"):
        picks_of(selection, SPACE, 3)


def test_a_missing_selection_is_said_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no selection to take picks from; run `snakemake gate5 --profile local`"):
        train.main(["--pick", "1", "--selection", str(tmp_path / "selection.json")])


def test_a_picks_run_is_the_supernets_but_for_what_is_said_otherwise(tmp_path: Path) -> None:
    evidence = make_evidence("gate6", tmp_path)
    (pick, *_) = picks_of(read_selection(tmp_path / "selection.json"), SPACE, 3)
    config = make_config(
        train__max_epochs=2, selection__samples=7, data__index="i.json", retrain__set={"train.num_epochs": 9}
    )
    own = own_config(config, pick, evidence.run("gate6"), tmp_path / "s.ckpt")
    changed = {key: value for key, value in own.values.items() if value != config[key]}
    assert changed == {
        "network.search_space": str(tmp_path / f"runs/gate6/{pick.digits}.yaml"),
        "train.output_dir": str(tmp_path / "runs/gate6" / pick.digits),
        "train.init_from": str(tmp_path / "s.ckpt"),
        "train.num_epochs": 9,
        "train.max_epochs": None,
        "eval.max_samples": 7,
        "fast_mode.max_samples": 7,
    }
    # Another size takes other crops than the supernet's index was built for, other colours do not.
    for changes, index in (({"network.height": 40}, None), ({"data.augment.hue": 0.1}, "i.json")):
        config = make_config(data__index="i.json", retrain__set=changes, retrain__init="scratch")
        own = own_config(config, pick, evidence.run("gate6"), tmp_path / "s.ckpt")
        assert (own["data.index"], own["train.init_from"]) == (index, None)


def test_runs_that_are_not_over_are_named_with_what_to_do(tmp_path: Path) -> None:
    evidence = make_evidence("gate6", tmp_path)
    manifest = evidence.run("gate6") / "000000000/train_manifest.json"
    edit_json(manifest, stopped_because="interrupted")
    with pytest.raises(UserError, match=r"pick 3 \(000000000\) was stopped at step 24 \(interrupted\); the same"):
        merged(evidence.config, tmp_path / "selection.json", evidence.run("gate6"))
    manifest.unlink()
    with pytest.raises(UserError, match=r"pick 3 \(000000000\) was not trained to its end; train it first"):
        merged(evidence.config, tmp_path / "selection.json", evidence.run("gate6"))


def test_order_of_the_picks_against_the_supernets() -> None:
    assert order_kept([1.0, 2.0, 3.0], [5.0, 4.0, 6.0]) == {"pairs": 3, "swapped": 1, "tau": pytest.approx(1 / 3)}
    assert order_kept([1.0], [2.0]) == {"pairs": 0, "swapped": 0, "tau": None}


@pytest.mark.slow
def test_picks_are_retrained_by_the_commands_and_again_in_no_time(
    synthetic_root: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_evidence("gate6", tmp_path / "made")
    selection = json.loads((tmp_path / "made/selection.json").read_text())
    epes = history_of(whole_run).iloc[-1]
    selection["picks"] = [
        selection["picks"][0] | {"role": "reference", "code": format_code(CODE), "epe": float(epes[f"epe_{DIGITS}"])}
    ] * 4
    selection["evaluation"]["samples"] = 3
    selected, runs = tmp_path / "selection.json", tmp_path / "gate6"
    selected.write_text(json.dumps(selection))
    flags = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    flags += ["--data_root", str(synthetic_root), "--set", "retrain.set.train.num_epochs=2"]
    where = ["--selection", str(selected), "--out", str(runs)]
    where += ["--supernet", str(whole_run / "checkpoints/supernet_last.ckpt")]
    assert train.main([*flags, "--pick", "1", *where]) == 0
    assert train.main([*flags, "--pick", "2", *where]) == 0
    assert f"there is no pick 2 to train: {selected} has picked 1 different subnet\n" in capsys.readouterr().out
    best = read_header(runs / DIGITS / "checkpoints/supernet_best.ckpt")["sha256"]
    assert train.main([*flags, "--pick", "1", *where]) == 0
    assert "resumed at step 10" in capsys.readouterr().out
    assert read_header(runs / DIGITS / "checkpoints/supernet_best.ckpt")["sha256"] == best
    settings = [word for word in flags if not word.startswith("--data_root") and word != str(synthetic_root)]
    assert (
        merge.main([*settings, "--set", "data.source=folder", "--selection", str(selected), "--runs", str(runs)]) == 0
    )
    (row,) = read_json(runs / "retrained.json", "retrained.schema.json")["picks"]
    assert row["start_epe"] == pytest.approx(row["inherited_epe"], abs=1e-5)
    assert (row["steps"], row["samples"], row["run"]) == (10, 3, DIGITS)
