"""The studies: their statistics, their criteria on runs made by hand, and the data they make."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.artifacts import PROJECT_ROOT, read_json, write_json
from edgeflownas.config import resolve_config
from edgeflownas.data.flow_files import write_flow
from edgeflownas.data.index import build_index
from edgeflownas.data.layouts.flying_chairs2 import list_samples
from edgeflownas.data.samples import read_sample
from edgeflownas.errors import UserError
from edgeflownas.gates.criteria import evaluate_criteria
from edgeflownas.nas.ranking import agreement, attainable_tau, ceiling, kendall_tau, spearman_rho
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.nas.single_subnet import space_of_one
from edgeflownas.network.cost import subnet_cost
from edgeflownas.runs.checkpoints import load_checkpoint, save_checkpoint
from edgeflownas.studies.ablation import compare
from edgeflownas.studies.fidelity import draw_scatter, fidelity_report, regret
from edgeflownas.studies.learning import CRITERIA, Evidence, colour_difference
from edgeflownas.studies.overfit_set import make_overfit_set, write_sample
from edgeflownas.studies.rows import read_rows, trains
from edgeflownas.studies.runs import Run, read_run
from edgeflownas.studies.single_subnet import choose, spread
from tests import layouts_on_disk as disk
from tests.handmade_runs import SPACE, edit_history, initial_kernels, make_config, make_run


def test_tau_and_rho_are_those_of_the_textbook() -> None:
    # One exchanged pair of neighbours among four: 5 concordant pairs, 1 discordant; sum of squared differences 2.
    assert kendall_tau([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)
    assert spearman_rho([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert kendall_tau([1, 2, 3], [5, 5, 5]) is None
    assert kendall_tau([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)  # one of six pairs the other way round
    assert kendall_tau([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / (2 * 3) ** 0.5)  # a tie is not an order
    assert kendall_tau([1, 1], [1, 2]) is None


def test_agreement_finds_the_subnet_that_is_ranked_worst() -> None:
    found = agreement([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [6.0, 2.0, 3.0, 4.0, 5.0, 1.0])
    assert found.tau == pytest.approx((6 - 9) / 15)
    assert (found.rank_error, found.worst) == (5.0, 0)
    low, high = found.tau_interval
    assert -1.0 <= low < found.tau < high <= 1.0


def test_a_perfect_ranking_has_an_interval_of_ones() -> None:
    found = agreement([1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0])
    assert (found.tau, found.tau_interval, found.rho, found.rank_error) == (1.0, (1.0, 1.0), 1.0, 0.0)


def test_the_ceiling_is_the_mean_tau_between_seeds() -> None:
    assert ceiling([[1.0, 2.0, 3.0]]) is None
    # 1 between the first two seeds, -1 between either of them and the third.
    assert ceiling([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]]) == pytest.approx(-1 / 3)


@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0])
def test_the_attainable_tau_is_that_of_the_truth_with_measurements(noise: float) -> None:
    rng = np.random.Generator(np.random.Philox(0))
    truth = rng.standard_normal(2000)
    measured = truth + noise * rng.standard_normal(2000)
    expected = attainable_tau(float(measured.std(ddof=1)), noise)
    assert kendall_tau(truth, measured) == pytest.approx(expected, abs=0.02)


def test_no_tau_is_attainable_where_all_differences_are_noise() -> None:
    assert attainable_tau(0.01, 0.02) == 0.0
    assert attainable_tau(0.0, 0.0) == 0.0


@pytest.mark.parametrize("table", ["ablation", "fidelity"])
def test_each_row_of_a_table_is_a_config(table: str) -> None:
    rows = read_rows(PROJECT_ROOT / f"config/{table}.yaml")
    hashes = {resolve_config(PROJECT_ROOT / "config/learning_small.yaml", row).hash for row in rows.values()}
    assert len(hashes) == len(rows)


def test_a_row_that_only_changes_the_evaluation_needs_no_training() -> None:
    assert not trains({})
    assert not trains({"eval.max_samples": 12, "eval.bn_recal_batches": 1})
    assert trains({"eval.max_samples": 12, "train.lr": 1e-4})


def test_an_ablation_calls_better_only_what_exceeds_twice_the_noise_of_seeds() -> None:
    rows = {"base": [0.30, 0.32], "near": [0.31, 0.33], "far": [0.20, 0.22], "bad": [0.50, 0.52]}
    error, table = compare(rows)
    # The median of a squared normal deviate is 0.4549.
    assert error == pytest.approx(0.02 / np.sqrt(2) / np.sqrt(0.4549), rel=1e-3)
    assert [line["verdict"] for line in table] == ["same", "same", "better", "worse"]
    assert [line["difference"] for line in table] == pytest.approx([0.0, 0.01, -0.10, 0.20])
    # One seed that does not learn makes its own row worse, and hides nothing of the others.
    assert compare({**rows, "late": [0.30, 1.00]})[0] == pytest.approx(error)


def test_subnets_are_spread_over_cost_and_error() -> None:
    # Two groups of cost with six errors each: of both the best and the worst.
    macs = [cost + extra for cost in (100, 200, 300, 400) for extra in (0, 1, 2)]
    epes = [2.0, 1.0, 1.4, 5.0, 6.0, 5.5, 0.9, 0.1, 0.5, 3.0, 3.1, 3.2]
    assert spread(macs, epes, 4) == [1, 4, 7, 11]
    taken = spread(macs, epes, 8)
    assert len(set(taken)) == 8
    assert [macs[place] for place in taken] == sorted(macs[place] for place in taken)
    assert {epes.index(min(epes)), epes.index(max(epes))} <= set(taken)
    assert sorted(spread(macs, epes, 12)) == list(range(12))
    with pytest.raises(UserError, match="is 13; 12 were evaluated, so raise"):
        spread(macs, epes, 13)


def test_subnets_are_chosen_from_what_a_supernet_says(tmp_path: Path) -> None:
    codes = ["0,0,0,0,0,0,0,0,0", "1,1,1,1,1,1,1,1,1", "2,2,2,2,2,2,2,2,2", "0,0,0,0,2,1,2,2,2"]
    row = {"epe_error": 0.1, "outliers_1px": 1, "outliers_3px": 1, "outliers_5px": 1, "fl_all": 1, "bn_shift": 0}
    subnets = [
        {"code": code, "epe": epe, "bn_recal_batches": 8, **row} for code, epe in zip(codes, range(4), strict=True)
    ]
    content = {
        "checkpoint": {"path": "a", "sha256": "0" * 64, "epoch": 1, "global_step": 1, "config_hash": "0" * 64},
        "config_hash": "0" * 64,
        **{"bn_recal_batches": 8, "samples": 3, "zero_flow_epe": 5, "mean_epe": 1, "std_epe": 1, "noise_epe": 1},
        "subnets": subnets,
    }
    write_json(tmp_path / "evaluated.json", content)
    assert choose(tmp_path / "evaluated.json", SPACE, 2) == ["000000000", "000021222"]
    # The lightest first, the heaviest last.
    assert choose(tmp_path / "evaluated.json", SPACE, 4) == ["000000000", "000021222", "111111111", "222222222"]


def test_a_subnet_alone_costs_what_it_costs_within_the_supernet(tmp_path: Path) -> None:
    code = (0, 1, 2, 0, 0, 1, 2, 1, 0)
    path = tmp_path / "alone.yaml"
    path.write_text(json.dumps(space_of_one(SPACE, code)))
    alone = load_search_space(str(path))
    assert alone.size == 1
    assert subnet_cost(alone, (0,) * 9, 96, 128, 16) == subnet_cost(SPACE, code, 96, 128, 16)


def test_fidelity_ranks_by_the_mean_over_seeds(tmp_path: Path) -> None:
    codes = ["0,0,0,0,0,0,0,0,0", "1,1,1,1,1,1,1,1,1", "2,2,2,2,2,2,2,2,2"]
    alone = {(0, 1): 3.0, (0, 2): 5.0, (1, 1): 3.5, (1, 2): 3.5, (2, 1): 1.0, (2, 2): 1.5}
    for (digit, seed), epe in alone.items():
        run = tmp_path / f"{str(digit) * 9}_seed{seed}"
        make_run(run, 1, make_config(seed=seed), trace=False)
        edit_history(run, 1, mean_epe_12=epe)
    evaluation = {
        "subnets": [{"code": code, "epe": epe} for code, epe in zip(codes, [9.0, 8.0, 7.0], strict=True)],
        "zero_flow_epe": 12.0,
        "config_hash": "a",
        "checkpoint": {"global_step": 7, "config_hash": "b"},
        **{"std_epe": 0.8, "noise_epe": 0.1, "samples": 4, "bn_recal_batches": 8},
    }
    report = fidelity_report({"strict": evaluation}, tmp_path, [1, 2], "edgeflow_9x3")
    # Alone: 4.0, 3.5 and 1.25 px on average, in the supernet's order; seed 1 exchanges the first two.
    assert report["agreement"]["strict"]["tau"] == 1.0
    assert report["ceiling_tau"] == pytest.approx(1 / 3)
    assert report["agreement"]["strict"]["regret"] == 0.0
    # From seed 1 to 2 they change by 2, 0 and 0.5 px; by 0.833 on average, which ranks none of them.
    apart = np.array([2.0, 0.0, 0.5]) - 2.5 / 3
    assert report["alone"]["error"] == pytest.approx(np.sqrt(np.sum(2 * (apart / 2) ** 2) / 2 / 2))
    deviation = np.std([4.0, 3.5, 1.25], ddof=1)
    assert report["alone"]["attainable_tau"] == pytest.approx(attainable_tau(deviation, report["alone"]["error"]))
    assert report["agreement"]["strict"]["tau_first"] == 1.0
    assert report["alone"]["spread"] == pytest.approx(2.75)
    assert report["steps"] == {"alone": 4, "strict": 7}
    assert report["config_hash"] == {"strict": "b"}
    assert [subnet["alone_epe"] for subnet in report["subnets"]] == [[3.0, 5.0], [3.5, 3.5], [1.0, 1.5]]
    assert draw_scatter(report).startswith("<svg")


def test_regret_is_what_the_pick_loses_against_the_best() -> None:
    assert regret([3.0, 1.0, 2.0], np.array([2.0, 2.5, 4.0])) == {"regret": 0.5, "regret_share": 0.25}
    assert regret([1.0, 1.0], np.array([3.0, 3.0])) == {"regret": 0.0, "regret_share": 0.0}


def test_the_overfit_set_has_crops_to_train_on_and_the_same_with_swapped_frames(
    synthetic_root: Path, tmp_path: Path
) -> None:
    make_overfit_set(synthetic_root, tmp_path / "memory", pairs=3, crop=(32, 40))
    frame_0, frame_1, flow = (part[8:40, 12:52] for part in read_sample(list_samples(synthetic_root, "train")[0]))
    for split, expected in (("train", (frame_0, frame_1, flow)), ("val", (frame_1, frame_0, flow))):
        samples = list_samples(tmp_path / "memory", split)
        assert len(samples) == 3
        for part, wanted in zip(read_sample(samples[0]), expected, strict=True):
            np.testing.assert_array_equal(part, wanted)
    # Not the same pairs twice: an index takes both splits.
    assert build_index(tmp_path / "memory", (32, 40))["splits"]["val"]["count"] == 3


def test_the_overfit_set_is_refused_where_something_is_or_pairs_are_missing(
    synthetic_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="has 7 pairs, 8 are needed"):
        make_overfit_set(synthetic_root, tmp_path / "a", pairs=8, crop=(32, 40))
    with pytest.raises(UserError, match="is 48x64 pixels, smaller than the crop 64x64"):
        make_overfit_set(synthetic_root, tmp_path / "b", pairs=1, crop=(64, 64))
    with pytest.raises(UserError, match="is not empty"):
        make_overfit_set(synthetic_root, synthetic_root, pairs=1, crop=(32, 40))


def test_the_overfit_set_is_made_of_any_layout_whose_flow_is_known(tmp_path: Path) -> None:
    for name in ("flying_chairs", "kitti"):
        disk.WRITERS[name](tmp_path / name)
    make_overfit_set(tmp_path / "flying_chairs", tmp_path / "memory", pairs=2, crop=(32, 40))
    (_, second) = list_samples(tmp_path / "memory", "train")
    assert second.name == "00002"
    np.testing.assert_array_equal(read_sample(second)[0], disk.frame(4)[8:40, 12:52])
    with pytest.raises(UserError, match=r"000000_10.png: flow is not known everywhere in the crop"):
        make_overfit_set(tmp_path / "kitti", tmp_path / "other", pairs=2, crop=(32, 40))


def test_the_overfit_set_is_replaced_whole_or_not_at_all(synthetic_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    make_overfit_set(synthetic_root, out, pairs=3, crop=(32, 40))
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    # The second pair is too small, after the first one was written.
    other = tmp_path / "other"
    shutil.copytree(synthetic_root, other)
    write_sample(list_samples(other, "train")[1], *(part[:20] for part in read_sample(list_samples(other, "train")[1])))
    with pytest.raises(UserError, match="smaller than the crop"):
        make_overfit_set(other, out, pairs=3, crop=(32, 40), replace=True)
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before
    make_overfit_set(synthetic_root, out, pairs=2, crop=(45, 60), replace=True)
    assert len(list_samples(out, "train")) == 2
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_colours_agree_along_the_true_flow_only() -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 255, size=(40, 60, 3), dtype=np.uint8)
    # The picture moves 3 px to the right and 2 px down.
    frame_0, frame_1 = scene[5:35, 5:55], scene[3:33, 2:52]
    flow = np.tile(np.float32([3, 2]), (30, 50, 1))
    assert colour_difference(frame_0, frame_1, flow) == 0.0
    for wrong in (flow[..., ::-1], -flow, 0 * flow):
        assert colour_difference(frame_0, frame_1, np.ascontiguousarray(wrong)) > 50


@pytest.fixture
def learned(synthetic_root: Path, tmp_path: Path) -> Evidence:
    """Runs that have learned what is asked: 0.2 of zero flow on the pairs, and a swapped EPE of 1.5 of zero flow."""
    make_overfit_set(synthetic_root, tmp_path / "memory", pairs=3, crop=(45, 60))
    run = tmp_path / "memorise"
    make_run(run, 5, make_config(), trace=False)
    write_json(run / "data_index.json", build_index(tmp_path / "memory", (45, 60)))
    memorise = read_run(run)
    for column in memorise.last:
        if column.startswith("epe_") or column == "mean_epe_12":
            memorise.last[column] = 1.8
    memorise.last["clip_rate"] = 0.04
    codes = [",".join(digits) for digits in memorise.subnet_ratios]
    transfer = [
        {"samples": 6, "mean_epe": 5.0, "zero_flow_epe": 6.0},
        {"samples": 2, "mean_epe": 9.0, "zero_flow_epe": 10.0},
    ]
    return Evidence(memorise, {"subnets": [{"code": code, "epe": 13.5} for code in codes]}, memorise, transfer)


def test_runs_that_learned_meet_every_criterion(learned: Evidence) -> None:
    assert [finding for finding in evaluate_criteria(CRITERIA, learned) if not finding["passed"]] == []


def with_last(**changes: float) -> Callable[[Evidence], Evidence]:
    """Change the last row of the memorising run alone."""

    def change(evidence: Evidence) -> Evidence:
        run = evidence.memorise
        history = [*run.history[:-1], run.last | changes]
        return dataclasses.replace(evidence, memorise=Run(run.path, run.manifest, history))

    return change


def with_swapped(epe: float) -> Callable[[Evidence], Evidence]:
    """Change the EPE of the first subnet on swapped pairs."""

    def change(evidence: Evidence) -> Evidence:
        first, *others = evidence.swapped["subnets"]
        return dataclasses.replace(evidence, swapped={"subnets": [first | {"epe": epe}, *others]})

    return change


def with_generalise(ratio: float) -> Callable[[Evidence], Evidence]:
    """Change how well the other run did on held-out scenes."""

    def change(evidence: Evidence) -> Evidence:
        run = evidence.generalise
        row = run.last | {"mean_epe_12": ratio * run.last["zero_flow_epe"]}
        return dataclasses.replace(evidence, generalise=Run(run.path, run.manifest, [row]))

    return change


def with_rise(rise: float) -> Callable[[Evidence], Evidence]:
    """Let the error on held-out scenes rise at the end, by as many pixels."""

    def change(evidence: Evidence) -> Evidence:
        run = evidence.generalise
        last = run.last | {"noise_epe_12": 0.02}
        history = [last | {"mean_epe_12": last["mean_epe_12"] - rise}, last]
        return dataclasses.replace(evidence, generalise=Run(run.path, run.manifest, 3 * history))

    return change


def with_clipping(evidence: Evidence) -> Evidence:
    """Let the clip act on more than outliers at the end of the run on scenes."""
    run = evidence.generalise
    return dataclasses.replace(evidence, generalise=Run(run.path, run.manifest, [run.last | {"clip_rate": 0.12}]))


def with_one_left_behind(evidence: Evidence) -> Evidence:
    """Let one subnet do badly on held-out scenes."""
    run = evidence.generalise
    row = run.last | {"epe_222222222": 0.66 * run.last["zero_flow_epe"]}
    return dataclasses.replace(evidence, generalise=Run(run.path, run.manifest, [row]))


def with_initial_weights(evidence: Evidence) -> Evidence:
    """Put back the weights that training began with."""
    run = evidence.memorise
    checkpoint = run.path / "checkpoints/supernet_last.ckpt"
    loaded = load_checkpoint(checkpoint)
    kernels = {f"weights.{name}": kernel for name, kernel in initial_kernels(make_config()).items()}
    save_checkpoint(checkpoint, loaded.header, loaded.arrays | kernels)
    return evidence


def with_transposed_flow(evidence: Evidence) -> Evidence:
    """Exchange u and v in the data, as a reader would that takes them in the wrong order."""
    root = evidence.memorise.path.parent / "memory"
    for sample in list_samples(root, "train"):
        write_flow(sample.files[2], read_sample(sample)[2][..., ::-1])
    write_json(evidence.memorise.path / "data_index.json", build_index(root, (45, 60)))
    return evidence


@pytest.mark.parametrize(
    ("change", "sentence", "observed"),
    [
        (with_last(mean_epe_12=2.8), "the pool has memorised the pairs", "2.800 px, 0.311 of zero flow 9.000 px"),
        (with_last(epe_222222222=3.6), "each of its subnets has", "worst 0.400 (222222222) of 12"),
        (with_clipping, "at its end the clip acts on outliers only", "0.12 of the last epoch's steps; 0.04 where"),
        (with_swapped(1.9), "swapping the frames of a memorised pair changes the flow", "by at least 0.01 to 1.30"),
        (with_generalise(0.56), "the pool predicts the flow of scenes that it has not seen", "0.560 of zero flow on"),
        (with_one_left_behind, "so does each of its subnets", "worst 0.660 (222222222) of 12"),
        (with_rise(0.05), "its error there does not rise over the last third", "0.050 px above its lowest"),
        (with_initial_weights, "every option's weights have moved", "EB0 option 0 by 0"),
        (with_transposed_flow, "the flow of the pairs leads to the same colours: u before v", ""),
    ],
)
def test_runs_that_did_not_learn_fail_by_the_criterion_that_says_so(
    learned: Evidence, change: Callable[[Evidence], Evidence], sentence: str, observed: str
) -> None:
    failed = [finding for finding in evaluate_criteria(CRITERIA, change(learned)) if not finding["passed"]]
    assert [finding["sentence"].startswith(sentence) for finding in failed] == [True]
    assert failed[0]["observed"].startswith(observed)


def test_what_the_weights_do_on_other_data_is_stated_over_all_pairs(learned: Evidence) -> None:
    findings = {finding["sentence"]: finding["observed"] for finding in evaluate_criteria(CRITERIA, learned)}
    assert findings["the same weights on the data of the gates"] == "0.857 of zero flow 7.000 px on 8 pairs"


@pytest.mark.slow
def test_snakemake_learning_ends_with_1_and_a_report_when_nothing_was_learned(tmp_path: Path) -> None:
    sizes = ["network={init_neurons: 4, height: 48, width: 64}", "train={num_epochs: 1, steps_per_epoch: 2}"]
    scenes = "data={synthetic: {train: 6, val: 1, height: 100, width: 132}}"
    command = [sys.executable, "-m", "snakemake", "learning", "--snakefile", str(PROJECT_ROOT / "Snakefile")]
    run = subprocess.run(
        [*command, "--profile", str(PROJECT_ROOT / "local"), "--config", *sizes, scenes],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "learning FAILED: outputs/supernet/learning.json" in run.stdout
    report = read_json(tmp_path / "outputs/supernet/learning.json", schema="learning.schema.json")
    verdicts = {finding["sentence"]: finding["passed"] for finding in report["criteria"]}
    assert verdicts["the pool has memorised the pairs"] is False
    assert verdicts["every option's weights have moved"] is True
    assert [len(report[name]["curve"]) for name in ("memorise", "generalise")] == [1, 1]
    assert not list((tmp_path / "outputs/supernet/done").glob("learning_judge/*"))
