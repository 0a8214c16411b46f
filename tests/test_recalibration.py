"""The table of recalibration: a run's pool judged with more and fewer batches, against what the run itself found."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from edgeflownas.artifacts import read_json
from edgeflownas.errors import UserError
from edgeflownas.runs.records import read_history, subnet_epes
from edgeflownas.studies.recalibration import main


@pytest.mark.slow
def test_the_table_repeats_the_run_and_ranks_against_the_most_batches(
    whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "recalibration.json"
    before = (whole_run / "checkpoints" / "supernet_last.ckpt").read_bytes()
    assert main(["--run_dir", str(whole_run), "--batches", "8", "0", "1", "8", "--out", str(out)]) == 0
    report = read_json(out, schema="recalibration.schema.json")
    assert [row["batches"] for row in report["rows"]] == [0, 1, 8]
    none, one, eight = report["rows"]

    # The run judged with 8 batches: the same weights, batches and samples give the same numbers.
    last = read_history(whole_run / "eval_epe_history.csv")[-1]
    assert (report["global_step"], report["zero_flow_epe"]) == (25, last["zero_flow_epe"])
    assert [eight[key] for key in ("mean_epe", "std_epe", "noise_epe")] == [
        last[key] for key in ("mean_epe_12", "std_epe_12", "noise_epe_12")
    ]
    assert {code.replace(",", ""): epe for code, epe in eight["epe"].items()} == subnet_epes(last)

    most = list(eight["epe"].values())
    for row in report["rows"]:
        epes = list(row["epe"].values())
        assert row["epe"].keys() == eight["epe"].keys()
        assert (row["mean_epe"], row["std_epe"]) == pytest.approx((np.mean(epes), np.std(epes)))
        assert row["tau"] == pytest.approx(kendalltau(epes, most).statistic)
    assert eight["tau"] == pytest.approx(1, abs=1e-12)
    assert (none["bn_shift"], one["bn_shift"]) == (None, None)
    assert 0 < eight["bn_shift"] < 1
    # Mean 0 and variance 1 are nobody's statistics.
    assert none["mean_epe"] != pytest.approx(eight["mean_epe"], rel=0.01)
    assert one["mean_epe"] != pytest.approx(eight["mean_epe"], rel=0.01)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:2] == ["0", f"{none['mean_epe']:.5g}"]
    assert (whole_run / "checkpoints" / "supernet_last.ckpt").read_bytes() == before


def test_fewer_batches_than_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--batches: expected 0 or more, got -1"):
        main(["--run_dir", str(tmp_path), "--batches", "4", "-1"])
