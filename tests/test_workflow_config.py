"""What a user types after `snakemake --config` reaches the commands as typed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.config import parse_assignment, resolve_config
from edgeflownas.errors import UserError
from edgeflownas.gates.registry import GATES
from edgeflownas.gates.workflow.plan import WorkflowPlan, config_overrides, lock_output_dir, plan_workflow, yaml_text


def test_data_root_stands_for_a_folder_and_stays_text() -> None:
    typed = ["snakemake", "gate4", "--config", "data_root=007"]
    assert config_overrides({"data_root": 7}, typed) == {"data.source": "folder", "data.root": "007"}


def test_data_root_with_shell_words_stays_text() -> None:
    root = "a; touch pwned"
    assert config_overrides({"data_root": root}, [f"--config=data_root={root}"])["data.root"] == root


@pytest.mark.parametrize("data", [{"source": "synthetic"}, {"root": "/other"}])
def test_data_root_beside_another_root_or_source_is_refused_in_either_order(data: dict) -> None:
    entries = {"data_root": "/mine", "data": data}
    for names in (list(entries), list(reversed(entries))):
        with pytest.raises(UserError, match=r"data_root /mine means data\.\w+ .*, but data\.\w+ is given as .*, too"):
            config_overrides({name: entries[name] for name in names}, ["snakemake"])


def test_nested_values_are_read_as_yaml_and_flattened() -> None:
    typed = ["--config", "train={batch_size: 2, lr: 1e-4}", "seed=7"]
    entries = {"train": {"batch_size": "2", "lr": "1e-4"}, "seed": 7}
    assert config_overrides(entries, typed) == {"train.batch_size": 2, "train.lr": 1e-4, "seed": 7}


def test_entries_of_a_profile_are_read_as_far_as_snakemake_left_them() -> None:
    assert config_overrides({"train": {"batch_size": "2"}}, ["snakemake"]) == {"train.batch_size": 2}


@given(st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False)))
def test_every_value_survives_the_command_line(value: object) -> None:
    assert parse_assignment(f"data.root={yaml_text(value)}") == ("data.root", value)


def test_what_is_accepted_for_one_call_reaches_no_other_command() -> None:
    overrides = {"train.accept_changed_code": True, "seed": 7}
    plan = WorkflowPlan("file.yaml", overrides, resolve_config(None, overrides), {}, frozenset(), frozenset(), {}, {})
    assert plan.config_flags(train__lr=0.5) == ["--config", "file.yaml", "--set", "seed=7", "--set", "train.lr=0.5"]


def test_several_config_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="takes one file, got 2"):
        plan_workflow([tmp_path / "a.yaml", tmp_path / "b.yaml"], {}, tmp_path / "c.yaml", main=True)


def test_jobs_see_the_plan_of_the_main_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Set first, so that what planning puts into the environment is undone afterwards.
    for variable in ("EDGEFLOWNAS_PLAN", "EDGEFLOWNAS_OWNER"):
        monkeypatch.setenv(variable, "")
    config = tmp_path / "config.yaml"
    config.write_text(f"workflow: {{output_dir: {tmp_path / 'out'}}}\n")
    planned = plan_workflow([config], {"seed": 3}, config, main=True)
    assert planned.triggers == dict.fromkeys((gate.name for gate in GATES), 1)
    (tmp_path / "out/gates/gate1/attempts/0001").mkdir(parents=True)
    assert plan_workflow([], {}, config, main=False) == planned


def test_what_is_typed_for_studies_is_theirs_and_makes_no_gate_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("EDGEFLOWNAS_PLAN", "EDGEFLOWNAS_OWNER"):
        monkeypatch.setenv(variable, "")
    config = tmp_path / "config.yaml"
    config.write_text(f"workflow: {{output_dir: {tmp_path / 'out'}}}\n")
    entries = {"learning": {"size": "full"}, "ablation": "3", "seed": 3}
    planned = plan_workflow([config], entries, config, main=True)
    assert planned.study_overrides == {"learning.size": "full", "ablation": 3}
    assert planned.overrides == {"seed": 3}
    assert plan_workflow([], {}, config, main=False) == planned


def test_an_output_folder_belongs_to_one_run_at_a_time(tmp_path: Path) -> None:
    import subprocess
    import sys

    words = (
        "import sys; from pathlib import Path; from edgeflownas.gates.workflow.plan import lock_output_dir\n"
        "from edgeflownas.errors import run_command\n"
        "run_command(lambda: (lock_output_dir(Path(sys.argv[1])), 0)[1])"
    )
    holder = lock_output_dir(tmp_path)
    again = subprocess.run([sys.executable, "-c", words, str(tmp_path)], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "is in use by process" in again.stderr
    holder.close()
    subprocess.run([sys.executable, "-c", words, str(tmp_path)], check=True)
