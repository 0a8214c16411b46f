"""The configuration: defaults, merging, hashing, and every fault named."""

import pytest

from edgeflownas.config import parse_assignment, resolve_config
from edgeflownas.errors import UserError
from edgeflownas.train_supernet import main

SMALL = "config/config.yaml"
REAL = "config/supernet_fc2_180x240.yaml"


def test_the_command_line_beats_the_file_and_the_file_the_defaults():
    config = resolve_config(SMALL, {"train.lr": 1e-3})
    assert (config["train.lr"], config.origins["train.lr"]) == (1e-3, "command line")
    assert (config["network.init_neurons"], config.origins["network.init_neurons"]) == (8, SMALL)
    assert (config["train.grad_clip"], config.origins["train.grad_clip"]) == (5.0, "default")


def test_the_real_config_is_the_designs():
    config = resolve_config(REAL, {})
    expected = {
        "network.height": 180,
        "network.width": 240,
        "network.init_neurons": 32,
        "train.batch_size": 32,
        "train.num_epochs": 200,
        "train.lr": 1e-4,
        "train.weight_decay": 4e-5,
        "train.grad_clip": 5.0,
        "train.early_stop_patience": 15,
        "train.early_stop_min_delta": 0.002,
        "eval.bn_recal_batches": 8,
        "data.flow_scale": 20.0,
        "data.max_flow": 50.0,
        "data.source": "folder",
    }
    assert {key: config[key] for key in expected} == expected


def test_the_hash_ignores_comments_order_and_paths_and_nothing_else(tmp_path):
    base = resolve_config(SMALL, {}).hash
    with open(SMALL, encoding="utf-8") as file:
        sections = file.read().split("\n\n")
    reordered = tmp_path / "reordered.yaml"
    reordered.write_text("# another comment\n" + "\n\n".join(reversed(sections)))
    assert resolve_config(reordered, {}).hash == base
    for harmless in ({"train.output_dir": "x"}, {"train.max_epochs": 2}, {"data.workers": 7}, {"data.root": "y"}):
        assert resolve_config(SMALL, harmless).hash == base
    for change in ({"train.lr": 2e-4}, {"seed": 1}, {"train.fast_mode": True}, {"data.flow_scale": 10.0}):
        assert resolve_config(SMALL, change).hash != base


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"train.learning_rate": 1e-4}, "unknown key train.learning_rate"),
        ({"train.batchsize": 2}, "did you mean train.batch_size?"),
        ({"train.batch_size": "two"}, "train.batch_size: 'two' is not of type 'integer'"),
        ({"train.batch_size": 0}, "train.batch_size: 0 is less than the minimum of 1"),
        ({"train.supernet_mode": "unfair"}, "train.supernet_mode: 'unfair' is not one of"),
        ({"train": 3}, "train is a section"),
        ({"data.synthetic.height": 100}, "data.synthetic.height 100 is smaller than network.height 180"),
        ({"train.supernet_mode": "expectation_fairness"}, "set train.execution to sequential"),
    ],
)
def test_wrong_values_are_refused_with_key_and_remedy(overrides, words):
    with pytest.raises(UserError) as error:
        resolve_config(SMALL, overrides)
    assert words in str(error.value)


def test_all_faults_come_at_once():
    with pytest.raises(UserError) as error:
        resolve_config(SMALL, {"train.batch_size": 0, "seed": -1, "nonsense": 1})
    assert all(word in str(error.value) for word in ("train.batch_size", "seed", "nonsense"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {lr: 1e-4, lr: 2e-4}", "key 'lr' is given twice"),
        ("train: [1, 2", "not valid YAML at line"),
        ("- a list", "expected a mapping"),
        ("seed: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_wrong_files_are_refused_by_name(tmp_path, text, words):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        resolve_config(path, {})
    assert str(path) in str(error.value)
    assert words in str(error.value)


def test_numbers_are_read_as_people_write_them():
    assert parse_assignment("train.lr=1e-4") == ("train.lr", 1e-4)
    assert parse_assignment("train.max_epochs=null") == ("train.max_epochs", None)
    with pytest.raises(UserError, match="expected key=value"):
        parse_assignment("train.lr")


def test_a_dry_run_prints_every_value_with_its_origin_and_the_hash(capsys):
    assert main(["--config", SMALL, "--dry_run", "--lr", "1e-3", "--data_root", "/my data", "--fast_mode"]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["train.lr"].split()[1:] == ["0.001", "#", "command", "line"]
    assert '"/my data"' in lines["data.root"]
    assert '"folder"' in lines["data.source"]
    assert "true" in lines["train.fast_mode"]
    assert lines["train.grad_clip"].endswith("# default")
    assert out.splitlines()[-1].startswith("config hash ")
