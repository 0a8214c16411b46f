"""What a cluster cannot give is told from sinfo's lines; and which ends of a job the long run goes on after."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgeflownas import slurm
from edgeflownas.errors import UserError
from edgeflownas.gates.lifecycle.long_run import reason_to_stop, require_cut_short
from edgeflownas.slurm import (
    JobRequest,
    Nodes,
    check_feasible,
    job_requests,
    minutes_of,
    parse_sinfo,
    refusal,
)

SINFO = """\
main*|1-00:00:00|64|256000|(null)
gpu|2-12:00:00|32|128000|gpu:a100:4(S:0-1)
gpu|2-12:00:00|48|512000|gpu:v100:2(S:0),gpu:v100:2(S:1),lscratch:100
old|infinite|16|64000|gpu:2
"""
CLUSTER = parse_sinfo(SINFO)
GATE = JobRequest("gate3", partition=None, minutes=320, cpus=8, mem_mb=16000, gpus=0)


def request(**changes: object) -> JobRequest:
    return replace(GATE, **changes)  # type: ignore[arg-type]


def test_sinfo_lines_are_read() -> None:
    assert CLUSTER[0] == Nodes("main", True, 1440, 64, 256000, {})
    assert CLUSTER[1] == Nodes("gpu", False, 3600, 32, 128000, {"a100": 4})
    assert CLUSTER[2].gpus == {"v100": 4}
    assert CLUSTER[3] == Nodes("old", False, None, 16, 64000, {"": 2})


@pytest.mark.parametrize(
    ("text", "minutes"), [("5:00", 5), ("1:00:00", 60), ("2-00:00:00", 2880), ("0:30", 0), ("infinite", None)]
)
def test_time_limits_are_minutes(text: str, minutes: int | None) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize(
    "possible",
    [
        GATE,
        request(partition="gpu", gpus=4),
        request(partition="gpu", gpus=4, gpu_model="v100"),
        request(partition="gpu", mem_mb=500000),
        request(partition="old", gpus=2, minutes=10**6),
        request(partition="main,gpu", gpus=1),
    ],
)
def test_possible_wishes_pass(possible: JobRequest) -> None:
    assert refusal(possible, CLUSTER) is None


@pytest.mark.parametrize(
    ("impossible", "words"),
    [
        (request(gpus=1), "asks for 1 GPUs on a node; the partition main has 0"),
        (request(partition="gpu", gpus=5), "asks for 5 GPUs on a node; the partition gpu has 4"),
        (request(partition="gpu", gpus=1, gpu_model="h200"), "asks for 1 GPUs of model h200 on a node"),
        (request(partition="fast"), "asks for the partition 'fast'; this cluster has gpu, main, old"),
        (request(mem_mb=300000), "asks for 300000 MB of memory; the partition main gives 256000 at most"),
        (request(cpus=65), "asks for 65 cores; the partition main gives 64 at most"),
        (request(minutes=1441), "asks for 1441 min; the partition main gives 1440 at most"),
        (request(partition="gpu", cpus=40, mem_mb=100000, gpus=1, gpu_model="a100"), "asks for 40 cores"),
        (request(partition="gpu", cpus=48, gpus=4, mem_mb=512001), "asks for 512001 MB"),
    ],
)
def test_impossible_wishes_are_refused_in_one_sentence(impossible: JobRequest, words: str) -> None:
    sentence = refusal(impossible, CLUSTER)
    assert sentence is not None
    assert sentence.startswith("gate3 ")
    assert words in sentence
    assert "\n" not in sentence


def test_each_can_be_met_but_not_on_one_node() -> None:
    nodes = [Nodes("main", True, None, 64, 1000, {}), Nodes("main", True, None, 8, 9000, {})]
    assert "no node all together" in str(refusal(request(cpus=64, mem_mb=9000), nodes))


def test_without_a_default_partition_one_must_be_named() -> None:
    assert "names no partition" in str(refusal(GATE, CLUSTER[1:]))


def test_steps_of_a_gate_share_a_job_and_their_minutes_add_up() -> None:
    light, heavy = {"mem_mb": 2000, "runtime": 10}, {"mem_mb": 16000, "runtime": 60, "gpu": 1, "gpu_model": "a100"}
    jobs = [("gate2", 1, light), ("gate2", 8, heavy), ("gate2", 8, heavy), ("data_index", 2, light)]
    assert job_requests(jobs) == [
        JobRequest("data_index", None, 10, 2, 2000, 0),
        JobRequest("gate2", None, 130, 8, 16000, 1, "a100"),
    ]


def test_where_no_slurm_answers_the_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "SINFO", ("false",))
    with pytest.raises(UserError, match="no Slurm answers here"):
        check_feasible([])
    monkeypatch.setattr(slurm, "SINFO", ("no-such-program",))
    with pytest.raises(UserError, match=r"no Slurm answers here .*--profile local"):
        check_feasible([])


def test_an_unusable_slurm_conf_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    monkeypatch.setattr(slurm, "SINFO", ("touch", str(asked)))
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    with pytest.raises(UserError, match=r"no Slurm answers here .SLURM_CONF is .*slurm.conf: No such file.*unset"):
        check_feasible([])
    assert not asked.exists()
    (tmp_path / "slurm.conf").touch()
    check_feasible([])
    assert asked.exists()


@pytest.mark.parametrize(
    ("status", "job", "state", "reason"),
    [
        ("interrupted", "7", "TIMEOUT", None),
        (None, "7", "TIMEOUT", None),  # killed before it could write its report
        (None, "7", "NODE_FAIL", None),
        ("interrupted", "7", None, None),  # Slurm has forgotten the job
        ("interrupted", "7", "CANCELLED", "ended with Slurm job 7 CANCELLED"),
        (None, "7", "OUT_OF_MEMORY", "ended with Slurm job 7 OUT_OF_MEMORY"),
        ("failed", "7", "FAILED", "failed"),
        ("failed", "7", "TIMEOUT", "failed"),
        ("interrupted", None, None, "was interrupted"),
    ],
)
def test_the_long_run_goes_on_by_itself_only_after_what_slurm_cut_short(
    status: str | None, job: str | None, state: str | None, reason: str | None
) -> None:
    assert reason_to_stop(status, job, state) == reason


def test_a_long_run_that_never_began_is_not_submitted_again(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did not start"):
        require_cut_short(tmp_path)
