"""The configuration: defaults, merging, hashing, and every fault named."""

import ast
import functools
import importlib
import operator
import time
import tracemalloc
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from edgeflownas.config import parse_assignment, resolve_config, view_keys
from edgeflownas.config_schema import STUDIES_SCHEMA, schema_leaves
from edgeflownas.errors import UserError
from edgeflownas.studies.settings import StudySettings, study_settings
from edgeflownas.train_supernet import main
from edgeflownas.training.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[1]
SMALL = "config/config.yaml"
REAL = "config/supernet_fc2_180x240.yaml"
SCENES_ELSEWHERE = {"data.source": "synthetic", "data.root": "y"}


def test_the_command_line_beats_the_file_and_the_file_the_defaults():
    config = resolve_config(SMALL, {"train.lr": 1e-3})
    assert (config["train.lr"], config.origins["train.lr"]) == (1e-3, "command line")
    assert (config["network.init_neurons"], config.origins["network.init_neurons"]) == (8, SMALL)
    assert (config["train.grad_clip"], config.origins["train.grad_clip"]) == (5.0, "default")


@pytest.mark.parametrize("name", ["default", "command line"])
def test_a_file_called_like_another_origin_is_a_file_like_any_other(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("seed: 7\ntrain: {lr: 0.5}\n")
    config = resolve_config(name, {"train.lr": 1e-3})
    assert (config["seed"], config.origins["seed"]) == (7, f"./{name}")
    assert (config["train.lr"], config.origins["train.lr"]) == (1e-3, "command line")
    assert config.origins["train.batch_size"] == "default"
    Path(name).write_text("seed: 7\ntrain: {lr: 0.5}\ntrain.lr: 0.1\n")
    with pytest.raises(UserError, match=rf"^\./{name}: train\.lr is given twice"):
        resolve_config(name, {})


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
        "data.flow_scale": 5.0,
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
    for harmless in ({"train.output_dir": "x"}, {"train.max_epochs": 2}, {"data.workers": 7}, SCENES_ELSEWHERE):
        assert resolve_config(SMALL, harmless).hash == base
    for change in ({"train.lr": 2e-4}, {"seed": 1}, {"train.fast_mode": True}, {"data.flow_scale": 10.0}):
        assert resolve_config(SMALL, change).hash != base


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"train.batchsize": 2}, "unknown key train.batchsize; did you mean train.batch_size?"),
        ({"trian.lr": 1}, "unknown key trian.lr; did you mean train.lr?"),
        ({"batch_size": 2}, "unknown key batch_size; did you mean train.batch_size or eval.batch_size?"),
        (
            {"fast_mode.samples": 2},
            "unknown key fast_mode.samples; did you mean fast_mode.max_samples or selection.samples?",
        ),
        (
            {"eval.patience": 2},
            "unknown key eval.patience; eval has batch_size, bn_recal_batches, max_samples, flow_samples, split",
        ),
        ({"nonsense": 2}, "unknown key nonsense; there are seed, target, network, data, train"),
        ({"train": 3}, "train is a section with its own keys, got 3"),
        (
            {"train.batch_size": "two"},
            'train.batch_size: expected a whole number, at least 1, at most 65536, got "two"',
        ),
        ({"train.batch_size": 0}, "train.batch_size: expected a whole number, at least 1, at most 65536, got 0"),
        ({"train.batch_size": 2.5}, "train.batch_size: expected a whole number, at least 1, at most 65536, got 2.5"),
        ({"train.batch_size": True}, "got true"),
        ({"train.max_steps": []}, "train.max_steps: expected a whole number, at least 1, at most 1000000000, or null"),
        ({"train.lr": 0}, "train.lr: expected a number, above 0, at most 100, got 0"),
        ({"train.lr": float("nan")}, "train.lr: expected a number, above 0, at most 100, got NaN"),
        ({"data.max_flow": float("inf")}, "got Infinity"),
        ({"train.fast_mode": "yes"}, 'train.fast_mode: expected true or false, got "yes"'),
        ({"train.supernet_mode": "unfair"}, "expected one of strict_fairness, expectation_fairness, sandwich, got"),
        ({"data.root": ""}, "data.root: expected text of 1 to 1024 characters"),
        (
            {"data.root": "a\nb"},
            "data.root: expected text of 1 to 1024 characters, without control characters, or null",
        ),
        ({"data.root": "a\0b"}, "data.root: expected text"),
        ({"data.root": "a\ud800b"}, r'got "a\ud800b"'),
        ({"data.synthetic.height": 100}, "data.synthetic.height 100 is smaller than network.height 180"),
        ({"train.supernet_mode": "expectation_fairness"}, "set train.execution to sequential"),
        ({"data.root": "x", "train.output_dir": "x"}, "data.root x and train.output_dir x lie in one another"),
        ({"data.root": "x/y/z", "train.output_dir": "x"}, "data.root x/y/z and train.output_dir x lie in one another"),
        ({"data.root": "x", "train.output_dir": "x/y"}, "data.root x and train.output_dir x/y lie in one another"),
        ({"data.root": "x", "workflow.output_dir": "x/y"}, "expected neither to lie where the other is written"),
        (
            {"data.root": "outputs/supernet/runs/gate3_trace"},
            "data.root outputs/supernet/runs/gate3_trace and workflow",
        ),
    ],
)
def test_wrong_values_are_refused_with_key_and_remedy(overrides, words):
    with pytest.raises(UserError) as error:
        resolve_config(SMALL, overrides)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("command line") or SMALL in str(error.value)


@pytest.mark.parametrize(
    ("of_file", "given", "alone"),
    [
        ("source: synthetic, root: scenes", {"data.root": "/typo"}, "data.root"),
        ("source: synthetic", {"data.root": "/typo"}, "data.root"),
        ("source: folder, root: /mine", {"data.source": "synthetic"}, "data.source"),
        ("source: folder, root: /mine", {"data.source": "synthetic", "data.root": "/other"}, None),
        ("source: synthetic, root: scenes", {"data.source": "synthetic", "data.root": "/other"}, None),
        ("source: synthetic, root: scenes", {"data.source": "synthetic"}, None),
        ("source: synthetic, root: scenes", {"data.root": "scenes"}, None),
        ("source: synthetic, root: scenes", {"data.source": "folder", "data.root": "/mine"}, None),
        ("source: folder, root: /mine", {"data.root": "/other"}, None),
        ("source: folder", {"data.source": "synthetic"}, None),
    ],
)
def test_scenes_are_generated_only_where_root_and_source_were_named_together(tmp_path, of_file, given, alone):
    path = tmp_path / "config.yaml"
    path.write_text(f"data: {{{of_file}}}\n")
    if alone is None:
        resolve_config(path, given)
        return
    with pytest.raises(
        UserError, match=rf"^command line: {alone} is given alone: does .* hold your own data, or .*data_root="
    ):
        resolve_config(path, given)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--set", "data.root=/typo"], "data.root is given alone"),
        (["--data_root", "/mine", "--set", "data.source=synthetic"], "data_root /mine means data.source folder"),
        (["--data_root", "/mine", "--set", "data.root=/other"], "data_root /mine means data.root /mine"),
        (["--data_root", ""], "data.root: expected text"),
    ],
)
def test_a_command_refuses_a_root_without_a_source_and_two_of_either(flags, words):
    with pytest.raises(UserError, match=words):
        main(["--config", SMALL, "--dry_run", *flags])


def test_all_faults_come_at_once(tmp_path):
    path = tmp_path / "faulty.yaml"
    path.write_text(
        "seed: 1\nseed: 2\n3: 4\ntrain: {batch_size: 0, lr: !!float 1, patience: 3}\nnonsense: [1]\n"
        "data: {source: synthetic, synthetic: {width: 100}}\n"
    )
    with pytest.raises(UserError) as error:
        resolve_config(path, {"train.execution": "masked"})
    train_keys = ", ".join(key.removeprefix("train.") for key in schema_leaves() if key.startswith("train."))
    assert str(error.value).split("; ") == [
        f"{path}: not valid YAML at line 2, column 1: key 'seed' is given twice",
        f"{path}: not valid YAML at line 3, column 1: expected a name as key, got 3",
        f"{path}: not valid YAML at line 4, column 28: the tag 'tag:yaml.org,2002:float' is not allowed",
        "write a plain value",
        f"{path}: unknown key train.patience",
        f"train has {train_keys}",
        f"{path}: unknown key nonsense",
        "there are seed, target, network, data, train, eval, fast_mode, selection, retrain, deploy, workflow",
        'command line: train.execution: expected one of fused, sequential, got "masked"',
        f"{path}: train.batch_size: expected a whole number, at least 1, at most 65536, got 0",
        f"{path}: data.synthetic.width 100 is smaller than network.width 240",
        "expected at least as much",
    ]


def test_of_very_many_faults_the_first_are_told_and_the_others_counted(tmp_path):
    path = tmp_path / "unknown.yaml"
    path.write_text("".join(f"k{number}: 1\n" for number in range(7000)))
    began = time.process_time()
    with pytest.raises(UserError, match=r"unknown key k49; .*; and 6950 more$"):
        resolve_config(path, {})
    assert time.process_time() - began < 10


def test_every_number_of_the_schema_has_a_largest_value():
    for key, leaf in schema_leaves().items():
        kinds = leaf.get("type", [])
        assert "maximum" in leaf or not {"integer", "number"} & set([kinds] if isinstance(kinds, str) else kinds), key
        assert "maxLength" in leaf or "string" not in kinds, key


def test_the_same_number_written_otherwise_is_the_same_config(tmp_path):
    path = tmp_path / "numbers.yaml"
    path.write_text("seed: 42.0\ndata: {flow_scale: 5, max_flow: 5e1}\ntrain: {num_epochs: 2e2, lr: 0.0001}\n")
    config = resolve_config(path, {})
    assert config.hash == resolve_config(None, {}).hash
    assert type(config["seed"]) is int
    assert type(config["data.flow_scale"]) is float


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {lr: 1e-4, lr: 2e-4}", "at line 1, column 19: key 'lr' is given twice"),
        ("train: {lr: 1e-4}\ntrain.lr: 2e-4", "train.lr is given twice, once with its section and once without"),
        ("train: [1, 2", "not valid YAML at line"),
        ("- a list", "expected a mapping"),
        ("seed: !!python/object/apply:os.system ['touch pwned']", "python/object/apply:os.system' is not allowed"),
        ("__use_yte__: true", "unknown key __use_yte__"),
        ("seed: &many [1, 2]\ntrain: [*many, *many]", "the alias *many refers to a list or a mapping; write it out"),
        ("train: &self {lr: *self}", "the alias *self refers to a list or a mapping"),
        ("seed: " + "[" * 5000, "nested deeper than 20 levels"),
        ("seed: \0", "special characters are not allowed"),
        ("# " + "x" * (1 << 16), "longer than 64 KiB"),
    ],
)
def test_wrong_files_are_refused_by_name(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        resolve_config(path, {})
    assert str(path) in str(error.value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["wrong.yaml"]


def test_an_alias_of_a_single_value_is_fine(tmp_path):
    path = tmp_path / "alias.yaml"
    path.write_text("train: {batch_size: &b 4}\neval: {batch_size: *b}\n")
    assert resolve_config(path, {})["eval.batch_size"] == 4


def test_a_file_of_100_mb_is_refused_at_once_and_with_little_memory(tmp_path):
    path = tmp_path / "huge.yaml"
    with open(path, "wb") as file:
        for _ in range(100):
            file.write(b"key: 1\n" * 150_000)
    assert path.stat().st_size > 100_000_000
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(UserError, match="longer than 64 KiB"):
        resolve_config(path, {})
    assert time.process_time() - began < 1
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.slow
def test_the_longest_and_densest_file_is_read_in_bounded_memory(tmp_path):
    path = tmp_path / "dense.yaml"
    path.write_text("a: [" + "1," * 32_700 + "]")
    tracemalloc.start()
    with pytest.raises(UserError, match="unknown key a"):
        resolve_config(path, {})
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("no_such_space", "no file"),
        ("blocks: []\nname: a/../b\nreference: []", "does not fit schemas/search_space.schema.json"),
        ("name: x\nblocks:\n- {name: EB0, kind: depth, options: [1, 99]}\nreference: [0]", "99 is greater than"),
        ("name: x\nblocks:\n- {name: Nowhere, kind: depth, options: [1]}\nreference: [0]", "Nowhere is no stage"),
        ("name: x\nblocks:\n- {name: EB0, kind: kernel, options: [3]}\nreference: [0]", "EB0 is of kind depth"),
        ("name: x\nblocks:\n- {name: EB0, kind: depth, options: [1, 2, 3]}\nreference: [0]", "too few for 4 distinct"),
        ("name: x\nblocks:\n- {name: EB0, kind: depth, options: [1]}\nreference: [1]", "is not an arch code"),
    ],
)
def test_a_dry_run_refuses_a_search_space_that_no_run_could_use(tmp_path, capsys, space, words):
    """The pool is made of whole cycles, so its size is a multiple of theirs; a space too small for four is refused."""
    name = space
    if "\n" in space:
        (tmp_path / "space.yaml").write_text(space)
        name = str(tmp_path / "space.yaml")
    with pytest.raises(UserError) as error:
        main(["--config", SMALL, "--dry_run", "--set", f"network.search_space={name}"])
    assert words in str(error.value)
    assert capsys.readouterr().out == ""


def test_numbers_are_read_as_people_write_them():
    assert parse_assignment("train.lr=1e-4") == ("train.lr", 1e-4)
    assert parse_assignment("train.max_epochs=null") == ("train.max_epochs", None)
    for text in ("yes", "2020-01-01", "1:30", "0x10", "1_000"):
        assert parse_assignment(f"data.root={text}") == ("data.root", text)
    assert parse_assignment("seed=010") == ("seed", 10)
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
    assert out.splitlines()[-2].startswith("config hash ")
    assert out.splitlines()[-1].startswith("target grove_vision_ai_v2: fits, about 591 of 1,432 KiB")


def settings_dataclasses():
    """Every class of the package that has a field annotated with a key."""
    found = []
    for path in sorted((ROOT / "edgeflownas").rglob("*.py")):
        names = [
            node.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ClassDef) and "Annotated[" in ast.unparse(node)
        ]
        if names:
            module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            found += [getattr(module, name) for name in names]
    return found


def python_type(leaf):
    """What a valid value of a leaf of the schema is in Python."""
    kinds = leaf["type"] if isinstance(leaf.get("type"), list) else [leaf.get("type", "string")]
    types = {
        "integer": int,
        "number": float,
        "boolean": bool,
        "string": str,
        "null": type(None),
        "object": dict[str, Any],
    }
    return functools.reduce(operator.or_, (types[kind] for kind in kinds))


def test_every_field_of_a_view_is_a_key_of_the_schema_of_that_type():
    views = settings_dataclasses()
    assert {view.__name__ for view in views} >= {"TrainSettings", "DataSettings", "NetworkSettings", "DeviceSettings"}
    leaves = schema_leaves() | schema_leaves(STUDIES_SCHEMA)
    for view in views:
        hints = get_type_hints(view)
        for name, key in view_keys(view).items():
            assert hints[name] == python_type(leaves[key]), f"{view.__name__}.{name}"


def test_a_view_has_the_values_in_force():
    config = resolve_config(SMALL, {"train.lr": 1})
    settings = config.view(TrainSettings)
    assert (settings.lr, settings.max_epochs, settings.num_epochs) == (1.0, None, 10)
    assert {name: getattr(settings, name) for name in view_keys(TrainSettings)} == {
        name: config[key] for name, key in view_keys(TrainSettings).items()
    }


def test_the_keys_of_studies_have_defaults_and_are_no_keys_of_a_training():
    assert study_settings({}) == StudySettings(
        **{"size": "laptop", "fidelity_size": "small", "ablation_seeds": 2, "ablation_steps": 1000},
        **{"fidelity_subnets": 16, "fidelity_seeds": 2, "fidelity_epochs": 10, "fidelity_cycles": 64},
    )
    assert study_settings({"learning.size": "full"}).size == "full"
    assert schema_leaves().keys().isdisjoint(schema_leaves(STUDIES_SCHEMA))
    with pytest.raises(UserError) as told:
        resolve_config(SMALL, {"learning.size": "full"})
    assert str(told.value) == (
        "command line: unknown key learning.size; it is a study's, and given to Snakemake: "
        "--config 'learning={size: …}'"
    )


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"learning.size": "huge"}, 'command line: learning.size: expected one of small, laptop, full, got "huge"'),
        (
            {"fidelity.seeds": 0},
            "command line: fidelity.seeds: expected a whole number, at least 1, at most 100",
        ),
        (
            {"ablation.seeds": True},
            "command line: ablation.seeds: expected a whole number, at least 2, at most 100",
        ),
        ({"learning.sise": "full"}, "command line: unknown key learning.sise; did you mean learning.size?"),
        ({"learning": "full"}, 'command line: learning is a section with its own keys, got "full"'),
    ],
)
def test_a_fault_in_a_study_s_settings_is_one_line(overrides, words):
    with pytest.raises(UserError) as told:
        study_settings(overrides)
    assert str(told.value).startswith(words)
    assert "\n" not in str(told.value)
