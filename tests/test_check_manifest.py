"""A manifest is valid as long as it and all that it names are as they were written."""

import json
from pathlib import Path

import pytest

from edgeflownas.artifacts import sha256_file, write_json
from edgeflownas.errors import UserError
from edgeflownas.gates.definitions.gate4 import rebased
from edgeflownas.nas.check_manifest import main
from edgeflownas.runs.manifest_checks import manifest_faults
from tests.handmade_runs import edit_history, edit_json, make_config, make_run


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """The manifest of a good run of five epochs."""
    make_run(tmp_path / "run", 5, make_config())
    return tmp_path / "run" / "train_manifest.json"


def redigest(manifest: Path, name: str) -> None:
    """Make the manifest agree with a changed file, so that only the file's content is at fault."""
    value = json.loads(manifest.read_text())
    path = manifest.parent / value["files"][name]["path"]
    value["files"][name] |= {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    manifest.write_text(json.dumps(value))


def test_good_run_has_no_fault(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--path", str(manifest)]) == 0
    assert "valid" in capsys.readouterr().out


def test_a_run_that_was_stopped_within_its_first_epoch_has_no_fault(manifest: Path) -> None:
    value = json.loads(manifest.read_text())
    for name in ("history", "checkpoint_best"):
        (manifest.parent / value["files"].pop(name)["path"]).unlink()
    manifest.write_text(json.dumps(value | {"best": None}))
    assert manifest_faults(manifest) == []


def test_missing_manifest_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such manifest"):
        main(["--path", str(tmp_path / "train_manifest.json")])


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/supernet_best.ckpt",
        "checkpoints/supernet_last.ckpt",
        "eval_epe_history.csv",
        "fairness_counts.json",
        "eval_pool_12.json",
        "config.json",
        "data_index.json",
    ],
)
def test_one_changed_byte_is_found(manifest: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = manifest.parent / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    assert main(["--path", str(manifest)]) == 1
    assert f"{path}: sha256" in capsys.readouterr().out


def test_missing_file_is_found(manifest: Path) -> None:
    (manifest.parent / "eval_pool_12.json").unlink()
    assert manifest_faults(manifest) == [f"{manifest.parent / 'eval_pool_12.json'}: eval_pool is missing"]


@pytest.mark.parametrize("key", sorted(["seed", "config_hash", "git_commit", "input_shape", "optimizer", "wd"]))
def test_missing_key_is_found(manifest: Path, key: str) -> None:
    value = json.loads(manifest.read_text())
    del value[key]
    manifest.write_text(json.dumps(value))
    assert f"'{key}' is a required property" in manifest_faults(manifest)[0]


def test_unequal_count_is_found(manifest: Path) -> None:
    counts = json.loads((manifest.parent / "fairness_counts.json").read_text())
    counts["counts"]["EB0"] = [21, 19, 20]
    counts["fairness_gap"] = 2
    write_json(manifest.parent / "fairness_counts.json", counts)
    redigest(manifest, "fairness_counts")
    assert manifest_faults(manifest) == [
        f"{manifest.parent / 'fairness_counts.json'}: EB0: counts [21, 19, 20], expected 20 each"
    ]


def test_wrong_gap_is_found(manifest: Path) -> None:
    edit_json(manifest.parent / "fairness_counts.json", fairness_gap=1)
    redigest(manifest, "fairness_counts")
    assert "fairness_gap 1, the counts say 0" in manifest_faults(manifest)[0]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ({"mean_epe_12": "nan"}, "mean_epe_12 is nan, not finite"),
        ({"std_epe_12": ""}, "not a number"),
        ({"clip_rate": 2.0}, "clip_rate"),
        ({"global_step": 13}, "epoch 3 ends at step 13, not 12"),
    ],
)
def test_wrong_history_is_found(manifest: Path, cell: dict[str, object], words: str) -> None:
    edit_history(manifest.parent, 3, **cell)
    redigest(manifest, "history")
    assert any(words in fault for fault in manifest_faults(manifest)), manifest_faults(manifest)


def test_lost_epoch_is_found(manifest: Path) -> None:
    history = manifest.parent / "eval_epe_history.csv"
    history.write_text("".join(history.read_text().splitlines(keepends=True)[:-1]))
    redigest(manifest, "history")
    assert "4 rows, the manifest says epochs_done 5" in manifest_faults(manifest)[0]


def test_checkpoint_of_another_epoch_is_found(manifest: Path) -> None:
    best, last = (manifest.parent / f"checkpoints/supernet_{name}.ckpt" for name in ("best", "last"))
    last.write_bytes(best.read_bytes())
    redigest(manifest, "checkpoint_last")
    assert "its epoch is 4, the manifest says 5" in manifest_faults(manifest)[0]


def test_strict_asks_for_a_commit_and_an_own_end(manifest: Path) -> None:
    assert ["stopped_because is max_epochs" in fault for fault in manifest_faults(manifest, strict=True)] == [True]
    segment = json.loads(manifest.read_text())["segments"][0] | {"git_commit": None, "git_dirty": None}
    edit_json(manifest, git_commit=None, git_dirty=None, segments=[segment])
    assert "git_commit is null" in manifest_faults(manifest, strict=True)[0]


def test_published_manifest_names_the_run_from_where_it_stands(manifest: Path, tmp_path: Path) -> None:
    published = tmp_path / "train_manifest.json"
    schema = "train_manifest.schema.json"
    write_json(published, rebased(json.loads(manifest.read_text()), Path("run"), beside=()), schema=schema)
    assert manifest_faults(published) == []


def test_changed_published_counts_are_found_beside_the_published_manifest(manifest: Path, tmp_path: Path) -> None:
    published = tmp_path / "train_manifest.json"
    counts = tmp_path / "fairness_counts.json"
    counts.write_bytes((manifest.parent / "fairness_counts.json").read_bytes())
    write_json(published, rebased(json.loads(manifest.read_text()), Path("run"), beside={"fairness_counts.json"}))
    assert manifest_faults(published) == []
    edit_json(counts, fairness_gap=1)
    assert str(counts) in manifest_faults(published)[0]
