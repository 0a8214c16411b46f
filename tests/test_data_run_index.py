"""The index that a run trains by: built, taken over, or refused, before the backend is loaded."""

import json
import os
import shutil
from pathlib import Path

import pytest

from edgeflownas.artifacts import read_json, write_json
from edgeflownas.config import Config, resolve_config
from edgeflownas.data.generated import MARKER
from edgeflownas.data.index import SCHEMA
from edgeflownas.data.journal import JOURNAL_FILE
from edgeflownas.data.layouts.flying_chairs2 import sample_of
from edgeflownas.data.samples import Sample
from edgeflownas.errors import UserError
from edgeflownas.reporting.training_report import write_report
from edgeflownas.runs.data_index import find_index
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.train_supernet import main
from tests.tiny import TINY, tiny_flags

EXCLUDE = {"on_bad_sample": "exclude", "max_bad_fraction": 0.2}


@pytest.fixture
def root(synthetic_root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(synthetic_root, tmp_path / "copy"))


def config_of(root: Path, **data: object) -> Config:
    """The tiny run on `root`, with these keys of the section data."""
    places = {"data.root": str(root), "train.output_dir": str(root.parent / "run")}
    return resolve_config(None, {**TINY, **places, **{f"data.{key}": value for key, value in data.items()}})


def written(index: dict, path: Path) -> str:
    write_json(path, index, SCHEMA)
    return str(path)


def cut_flow(sample: Sample) -> None:
    sample.files[2].write_bytes(sample.files[2].read_bytes()[:-8])


def test_a_run_without_an_index_builds_one_and_leaves_nothing_beside_it(root: Path) -> None:
    index = find_index(config_of(root))
    assert {split: part["count"] for split, part in index["splits"].items()} == {"train": 7, "val": 3}
    assert list((root.parent / "run").iterdir()) == []


def test_a_build_that_was_refused_is_gone_on_with_in_the_run_directory(root: Path, capsys) -> None:
    cut_flow(sample_of(root / "train", "0000004"))
    with pytest.raises(UserError, match=r"train 0000004: 0000004-flow_01.flo: truncated"):
        find_index(config_of(root))
    assert [path.name for path in (root.parent / "run").iterdir()] == [JOURNAL_FILE]
    RunDirectory(root.parent / "run").refuse_foreign_folder()  # it is ours: the next start takes it
    find_index(config_of(root, **EXCLUDE))
    assert "continuing an interrupted build that had inspected 9 samples" in capsys.readouterr().out


def test_a_changed_file_stops_a_run_that_brings_its_index(root: Path) -> None:
    path = written(find_index(config_of(root)), root.parent / "index.json")
    find_index(config_of(root, index=path))
    cut_flow(sample_of(root / "val", "0000001"))
    for config, earlier in ((config_of(root, index=path), None), (config_of(root), Path(path))):
        with pytest.raises(UserError, match=r"not what was indexed: .*0000001-flow_01.flo: has \d+ bytes, was indexed"):
            find_index(config, earlier)


def test_a_new_time_alone_stops_nothing(root: Path) -> None:
    path = written(find_index(config_of(root)), root.parent / "index.json")
    for file in root.rglob("*.png"):
        os.utime(file, (5, 5))
    find_index(config_of(root, index=path))


def test_an_index_of_a_looser_policy_is_refused(root: Path) -> None:
    cut_flow(sample_of(root / "train", "0000004"))
    path = written(find_index(config_of(root, **EXCLUDE)), root.parent / "index.json")
    find_index(config_of(root, index=path, **EXCLUDE))
    with pytest.raises(UserError, match=r"1 bad sample\(s\): train 0000004"):
        find_index(config_of(root, index=path))
    with pytest.raises(UserError, match=r"train: 1 of 7 samples are bad \(14.3%\), and .* allows 1.0%"):
        find_index(config_of(root, index=path, on_bad_sample="exclude"))
    index = json.loads(Path(path).read_text()) | {"allow_copies": True}
    with pytest.raises(UserError, match=r"allows copies, data.allow_copies does not"):
        find_index(config_of(root, index=written(index, root.parent / "copies.json"), **EXCLUDE))


def test_an_index_for_another_largest_flow_or_crop_is_refused_or_built_again(root: Path) -> None:
    path = written(find_index(config_of(root)), root.parent / "index.json")
    with pytest.raises(UserError, match=r"was built for other settings: max_flow: 50.0 -> 1.0; build it again"):
        find_index(config_of(root, index=path, max_flow=1.0))
    again = find_index(config_of(root, max_flow=1.0), Path(path))
    assert again["max_flow"] == 1.0
    assert again["splits"]["val"]["zero_flow_epe"] < read_json(path)["splits"]["val"]["zero_flow_epe"]
    index = read_json(path) | {"crop": [46, 60]}
    with pytest.raises(UserError, match=r"other settings: crop: \[46, 60\] -> \[45, 60\]"):
        find_index(config_of(root, index=written(index, root.parent / "larger.json")))


def test_what_an_index_does_not_list_and_has_changed_is_a_warning(root: Path, capsys) -> None:
    cut_flow(sample_of(root / "train", "0000004"))
    index = find_index(config_of(root, **EXCLUDE))
    path = written(index, root.parent / "index.json")
    cut_flow(sample_of(root / "train", "0000004"))
    (root / "train" / "0000009-img_0.png").touch()
    assert find_index(config_of(root, index=path, **EXCLUDE)) == index
    warnings = capsys.readouterr().err.splitlines()
    assert [line.partition("copy: ")[2] for line in warnings] == [
        "train 0000004 was left out as bad, and has changed since; build the index again to use it",
        "train has 1 new sample(s), such as 0000009; build the index again to use it",
    ]


def test_a_run_on_generated_scenes_takes_those_of_its_config_or_none(root: Path) -> None:
    scenes = {"synthetic.train": 7, "synthetic.val": 3, "synthetic.height": 48, "synthetic.width": 64}
    scenes["synthetic.max_motion"] = 8
    config = config_of(root, source="synthetic", **scenes, **{"synthetic.seed": 3})
    assert find_index(config)["generated"]
    with pytest.raises(UserError, match=r"copy: was generated with other parameters \(seed is 3, wanted 7\)"):
        find_index(config_of(root, source="synthetic", **scenes))
    (root.parent / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: the synthetic data set is not there yet; generate it with"):
        find_index(config_of(root.parent / "empty", source="synthetic", **scenes))
    (root / MARKER).unlink()
    with pytest.raises(UserError, match=r"copy: holds files that were not generated .*give data_root=\S+copy"):
        find_index(config)
    assert not find_index(config_of(root))["generated"]


def test_what_an_index_leaves_out_is_a_warning_whether_it_is_built_or_taken_over(root: Path, capsys) -> None:
    (root / "val" / "notes.txt").touch()
    path = written(find_index(config_of(root)), root.parent / "index.json")
    built = capsys.readouterr().err
    assert built == f"WARNING: {root}: val: 1 file(s) belong to no sample and are not used: notes.txt\n"
    find_index(config_of(root, index=path))
    assert capsys.readouterr().err == built


@pytest.mark.slow
def test_samples_left_out_are_listed_in_manifest_and_report(root: Path, tmp_path: Path) -> None:
    cut_flow(sample_of(root / "train", "0000004"))
    (root / "val" / "notes.txt").touch()
    flags = [flag for key, value in EXCLUDE.items() for flag in ("--set", f"data.{key}={value}")]
    run = tmp_path / "run"
    assert main(tiny_flags(root, run, *flags, "--max_steps", "1")) == 0
    (sample,) = read_json(run / "train_manifest.json", "train_manifest.schema.json")["data"]["rejected"]
    assert (sample["split"], sample["name"]) == ("train", "0000004")
    (path,) = [path for path in write_report(run) if path.suffix == ".md"]
    report = path.read_text()
    assert "1 samples were left out of the data; they are listed below" in report
    assert "- Data: val: 1 file(s) belong to no sample and are not used: notes.txt." in report
    assert "- The data are generated" in report
    assert "- Only 2 of the 6 training pairs were seen." in report
    assert f"## Samples left out\n\n- train 0000004: {sample['reason']}\n" in report
