"""Gates, long run and launch script on a real Slurm: the same results as here, interrupted or not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflownas.runs.checkpoints import read_header
from tests.slurm.workplace import EPOCHS, Workplace, processes_of
from tests.tiny import history_of

pytestmark = pytest.mark.slow
Places = tuple[Workplace, Workplace]


def test_a_cancelled_gate_is_a_recorded_attempt_and_the_next_call_just_works(places: Places) -> None:
    cluster, _ = places
    assert cluster.cancelled is not None
    exit_code, words = cluster.cancelled
    assert exit_code == 1
    assert "gate1 interrupted" in words
    assert [report["status"] for report in cluster.attempts("gate1")] == ["interrupted", "passed"]


def test_each_gate_is_one_job_and_passes(places: Places) -> None:
    cluster, _ = places
    for gate in ("gate2", "gate3", "gate4"):
        (report,) = cluster.attempts(gate)
        assert report["status"] == "passed"
        assert len(cluster.jobs_of(gate)) == 1
    # Gate 1 again, gates 2 to 4, and the data index.
    assert len(cluster.gate_jobs) == 5
    assert processes_of(cluster.gate_jobs) == []


def test_the_script_of_the_long_run_asks_for_the_partition_that_the_gates_ran_in(places: Places) -> None:
    cluster, local = (place.outputs / "scripts/hpc/run_supernet_train.sh" for place in places)
    assert "#SBATCH --partition=main\n" in cluster.read_text()
    assert "--partition" not in local.read_text()


def test_a_data_root_that_looks_like_a_command_is_harmless(places: Places) -> None:
    assert "touch pwned" in str(places[0].data_root)
    for place in places:
        assert not list(place.root.rglob("pwned"))


def test_results_on_slurm_equal_those_on_this_machine(places: Places) -> None:
    cluster, local = places
    assert cluster.read("fair_sampler_check.json") == local.read("fair_sampler_check.json")
    assert cluster.read("fairness_counts.json") == local.read("fairness_counts.json")
    for run in ("gate3_trace", "gate3_epochs"):
        ours, theirs = (place.run_directory(run) / "trace.jsonl" for place in places)
        assert ours.read_bytes() == theirs.read_bytes()
    for run in ("gate3_trace", "gate3_epochs", "gate4"):
        ours, theirs = (place.run_directory(run) for place in places)
        assert history_of(ours).equals(history_of(theirs))
        for name in ("supernet_best.ckpt", "supernet_last.ckpt"):
            assert weights(ours, name) == weights(theirs, name)


def test_a_cancelled_long_run_is_not_submitted_again_by_itself(places: Places) -> None:
    cluster, _ = places
    run = cluster.begin("supernet")
    job = cluster.wait_for_job("supernet")
    cluster.cancel(job)
    exit_code, words = cluster.finish(run)
    assert exit_code == 1
    assert f"ended with Slurm job {job} CANCELLED; it is not submitted again by itself" in words
    assert cluster.submitted() == [job]
    assert processes_of([job]) == []


def test_the_long_run_goes_on_after_its_time_limit_to_the_weights_of_one_that_was_not_interrupted(
    places: Places,
) -> None:
    cluster, local = places
    # Gate 4's script as it is: the same long run, in one piece.
    script = local.outputs / "scripts/hpc/run_supernet_train.sh"
    whole = local.slurm("sbatch", "--parsable", str(script)).strip()
    exit_code, words = cluster.run("supernet", "--set-resources", "long_run:runtime=1")
    assert exit_code == 0, words
    jobs = cluster.submitted()
    states = [cluster.state(job) for job in jobs]
    assert states == ["TIMEOUT"] * (len(jobs) - 1) + ["COMPLETED"]
    statuses = [report["status"] for report in cluster.attempts("supernet")][-len(jobs) :]
    # The limit may also strike in the moment after the last step; then one more job finds nothing left to do.
    assert (statuses[0], statuses[-1]) == ("interrupted", "passed"), "over before its time limit? More epochs!"
    assert processes_of(jobs) == []

    assert local.wait_until_ended(whole) == "COMPLETED"
    ours, theirs = (place.run_directory("supernet") for place in places)
    history = history_of(ours)
    assert list(history["global_step"]) == [30 * epoch for epoch in range(1, EPOCHS + 1)]
    assert history.equals(history_of(theirs))
    assert weights(ours, "supernet_last.ckpt") == weights(theirs, "supernet_last.ckpt")
    assert processes_of([whole]) == []


def test_gate_5_is_a_job_per_shard_and_one_that_merges_and_judges(places: Places) -> None:
    cluster, _ = places
    # Nothing is left to do if the test above has run it.
    exit_code, words = cluster.run("supernet")
    assert exit_code == 0, words
    exit_code, words = cluster.run("gate5", config="selection={shards: 3}")
    assert exit_code == 0, words
    (report,) = cluster.attempts("gate5")
    assert report["status"] == "passed"
    folder = cluster.outputs / "gates/gate5/attempts/0001"
    records = [json.loads(path.read_text()) for path in (folder / "commands").glob("*.json")]
    job_of = {record["name"]: record["process"]["slurm_job_id"] for record in records}
    shards = {job_of[f"evaluate_{number}"] for number in (1, 2, 3)}
    after = {job_of[name] for name in ("merge", "repeat", "one_by_one", "select")}
    assert (len(shards), len(after)) == (3, 1)
    assert {*shards, *after} == set(cluster.submitted())
    # The attempt belongs to the Snakemake run, which outlives each of its jobs.
    assert json.loads((folder / "start.json").read_text())["owner"]["slurm_job_id"] is None
    assert processes_of(cluster.submitted()) == []

    # In one piece, on this machine: the same bytes.
    out = cluster.root / "in_one_piece/subnets.csv"
    command = [sys.executable, "-m", "edgeflownas.nas.space_eval", "--run_dir", str(cluster.run_directory("supernet"))]
    subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
    assert out.read_bytes() == (cluster.run_directory("gate5") / "subnets.csv").read_bytes()


def test_gates_6_and_7_are_a_job_per_pick_and_one_after_them(places: Places) -> None:
    cluster, _ = places
    # Nothing is left to do of what the test above has run.
    for stage in ("supernet", "gate5"):
        exit_code, words = cluster.run(stage)
        assert exit_code == 0, words
    # Calibrated on training samples, so evaluated on others.
    picks = "retrain={subnets: 2, must_improve: false, set: {train: {num_epochs: 2}, eval: {split: val}}}"
    exit_code, words = cluster.run("gate7", config=picks)
    assert exit_code == 0, words
    retrained = cluster.read("retrained.json")["picks"]
    folders = {pick["code"].replace(",", "") for pick in retrained}
    assert folders == {folder.name for folder in (cluster.outputs / "deploy").iterdir()}
    for gate, split, after in (("gate6", ["train"], ["merge"]), ("gate7", ["export", "repeat"], ["page"])):
        (report,) = cluster.attempts(gate)
        assert report["status"] == "passed"
        records = [
            json.loads(path.read_text())
            for path in (cluster.outputs / f"gates/{gate}/attempts/0001/commands").glob("*.json")
        ]
        job_of = {record["name"]: record["process"]["slurm_job_id"] for record in records}
        assert job_of.keys() == {*(f"{name}_{number}" for name in split for number in (1, 2)), *after}
        assert len(set(job_of.values())) == len(job_of)
    assert processes_of(cluster.submitted()) == []


@pytest.mark.parametrize(
    ("arguments", "config", "sentence"),
    [
        ([], "train={require_gpu: true}", "gate2 asks for 1 GPUs on a node; the partition main has 0"),
        (["--set-resources", "gate3_epochs:mem_mb=200000"], "", "gate3 asks for 200000 MB of memory"),
        (
            ["--default-resources", "slurm_partition=gpu"],
            "",
            "data_index asks for the partition 'gpu'; this cluster has main, short",
        ),
    ],
)
def test_what_the_cluster_lacks_is_said_before_anything_is_submitted(
    slurm: dict[str, str], data_root: Path, tmp_path: Path, arguments: list[str], config: str, sentence: str
) -> None:
    place = Workplace(tmp_path, "slurm", data_root, slurm)
    exit_code, words = place.run("gate3", *arguments, config=config)
    assert exit_code == 2
    assert f"error: nothing was submitted: {sentence}" in words
    assert "Traceback" not in words
    assert place.submitted() == []


def weights(run: Path, name: str) -> str:
    """The digest of all arrays in a checkpoint."""
    digest: str = read_header(run / "checkpoints" / name)["sha256"]
    return digest
