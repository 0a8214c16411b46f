"""Resuming where the last checkpoint is damaged: it is refused by name, kept, and the newest whole one continues."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.artifacts import read_json
from edgeflownas.errors import UserError
from edgeflownas.runs.checkpoints import save_checkpoint
from edgeflownas.runs.recovery import find_checkpoint
from edgeflownas.runs.run_directory import RunDirectory

IDENTITY = {"network.init_neurons": 4, "search_space.EB0": [1, 2, 3], "train.lr": 1e-4}


def save(path: Path, step: int, keep: Path | None = None, epoch: int = 0, **identity) -> None:
    """A checkpoint at `step`, whose one weight is the step."""
    header = {"global_step": step, "epoch": epoch, "progress": {}, "identity": IDENTITY | identity}
    header |= {"segments": [{"git_commit": None}], "source_files": {"a.py": "a"}}
    save_checkpoint(path, header, {"weights.a": np.full(500, step, np.float32)}, keep)


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    """Best at step 5; last at 10, then at 12, so that the previous one is that of 10."""
    run = RunDirectory(tmp_path / "run")
    save(run.best, 5)
    save(run.last, 10, keep=run.previous)
    save(run.last, 12, keep=run.previous)
    return run


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-700])


def one_bit_flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(np.full(500, 12, np.float32).tobytes()) + 900] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def another_file(path: Path) -> None:
    shutil.copy(Path(__file__), path)


def another_archive(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, a=np.zeros(3))


def another_width(path: Path) -> None:
    save(path, 12, **{"network.init_neurons": 6})


def another_space(path: Path) -> None:
    save(path, 12, **{"search_space.EB0": [3, 5]})


def compressed(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, a=np.zeros(10**7))


DAMAGES = {
    truncated: "cut short",
    one_bit_flipped: "Bad CRC-32 for file 'weights.a.npy'",
    empty: "the file is empty",
    another_file: "another file has its name",
    another_archive: "header",
    another_width: "network.init_neurons: 6 -> 4",
    another_space: r"search_space.EB0: [3, 5] -> [1, 2, 3]",
    compressed: "compressed members",
    Path.unlink: "no such checkpoint",
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_the_newest_whole_checkpoint_continues_and_the_damaged_one_is_kept_and_recorded(run, damage, words):
    damage(run.last)
    content = run.last.read_bytes() if run.last.exists() else None
    said: list[str] = []
    checkpoint = find_checkpoint(run, IDENTITY, said.append)
    assert checkpoint.header["global_step"] == checkpoint.arrays["weights.a"][0] == 10
    assert len(said) == 1
    assert said[0].startswith(str(run.last))
    assert words in said[0]
    assert said[0].endswith("continuing from supernet_last.previous.ckpt at step 10")
    aside = run.last.with_name("supernet_last.ckpt.damaged.1")
    assert (aside.read_bytes() if aside.exists() else None) == content
    (entry,) = read_json(run.recoveries, "recoveries.schema.json")
    assert (entry["continued_from"], entry["global_step"]) == ("checkpoints/supernet_last.previous.ckpt", 10)
    (lost,) = entry["set_aside"]
    assert lost["file"] == "checkpoints/supernet_last.ckpt"
    assert lost["kept_as"] == (None if content is None else "checkpoints/supernet_last.ckpt.damaged.1")
    assert words in lost["reason"]


def test_a_second_damage_keeps_both_files_and_both_records(run):
    for _ in range(2):
        save(run.last, 12)
        truncated(run.last)
        find_checkpoint(run, IDENTITY, lambda line: None)
    assert {path.name for path in run.last.parent.glob("*.damaged.*")} == {
        "supernet_last.ckpt.damaged.1",
        "supernet_last.ckpt.damaged.2",
    }
    assert len(read_json(run.recoveries, "recoveries.schema.json")) == 2


def test_the_best_one_continues_where_it_is_the_newest_or_the_only_one(run):
    save(run.best, 11)
    truncated(run.last)
    assert find_checkpoint(run, IDENTITY, lambda line: None).header["global_step"] == 11
    truncated(run.previous)
    said: list[str] = []
    assert find_checkpoint(run, IDENTITY, said.append).header["global_step"] == 11
    assert ["no such checkpoint" in said[0], "cut short" in said[1]] == [True, True]


def test_of_a_trained_epoch_and_the_same_one_judged_the_judged_one_continues(run):
    save(run.previous, 10, epoch=1)
    save(run.best, 10, epoch=2)
    truncated(run.last)
    assert find_checkpoint(run, IDENTITY, lambda line: None).path == run.best


def test_a_whole_last_checkpoint_is_taken_and_nothing_is_said_or_written(run):
    truncated(run.previous)
    assert find_checkpoint(run, IDENTITY, pytest.fail).header["global_step"] == 12
    assert not run.recoveries.exists()


def test_where_none_is_whole_each_is_refused_with_its_reason_and_all_stay(run):
    empty(run.last)
    truncated(run.previous)
    one_bit_flipped_best = bytearray(run.best.read_bytes())
    one_bit_flipped_best[len(one_bit_flipped_best) // 2] ^= 1
    run.best.write_bytes(one_bit_flipped_best)
    with pytest.raises(UserError) as refusal:
        find_checkpoint(run, IDENTITY, pytest.fail)
    for path, words in ((run.last, "empty"), (run.previous, "cut short"), (run.best, "CRC-32")):
        assert str(path) in str(refusal.value)
        assert words in str(refusal.value)
    assert run.checkpoints == [run.last, run.previous, run.best]


def test_other_settings_are_refused_once_for_all_checkpoints(run):
    with pytest.raises(UserError) as refusal:
        find_checkpoint(run, IDENTITY | {"train.lr": 1e-3}, pytest.fail)
    assert str(refusal.value).count("train.lr: 0.0001 -> 0.001") == 1
    assert run.checkpoints == [run.last, run.previous, run.best]


def test_the_one_before_is_kept_where_the_file_system_has_no_hard_links(run, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("edgeflownas.artifacts.os.link", refuse)
    save(run.last, 14, keep=run.previous)
    truncated(run.last)
    assert find_checkpoint(run, IDENTITY, lambda line: None).header["global_step"] == 12
