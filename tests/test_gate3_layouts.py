"""Gate 3 and an evaluation on a tiny data set in each layout: index, training, resume, masks, and every criterion."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgeflownas.artifacts import read_json
from edgeflownas.config import resolve_config
from edgeflownas.data.index import main as make_index
from edgeflownas.gates.criteria import evaluate_criteria, reasons
from edgeflownas.gates.gate import Context
from edgeflownas.gates.lifecycle.attempts import next_attempt
from edgeflownas.gates.lifecycle.evidence import Evidence
from edgeflownas.gates.registry import find_gate
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.nas.supernet_eval import main as evaluate
from edgeflownas.train_supernet import main as train
from tests import layouts_on_disk as disk
from tests.spaces import small_space

MODULES: dict[str, Callable[[Sequence[str]], int]] = {
    "edgeflownas.train_supernet": train,
    "edgeflownas.nas.supernet_eval": evaluate,
    "edgeflownas.data.index": make_index,
}

PASSES = {
    "sintel": {"clean", "final"},
    "flying_things3d": {"frames_cleanpass", "frames_finalpass"},
    "flying_things3d_subset": {"image_clean", "image_final"},
}


def collection(folder: Path) -> disk.Made:
    """Trained on FlyingChairs and Sintel, evaluated on the first, and besides on KITTI."""
    for name in ("flying_chairs", "sintel", "kitti"):
        disk.WRITERS[name](folder / name)
    (folder / "sets.yaml").write_text(
        "train: [{root: flying_chairs, weight: 2}, {root: sintel, passes: clean}]\n"
        "val: [{root: flying_chairs}, {root: kitti}]\n"
    )
    return disk.Made({})


@pytest.mark.slow
@pytest.mark.parametrize("layout", [*disk.WRITERS, "collection"])
def test_gate_3_passes_and_subnets_are_evaluated(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate, out = find_gate("gate3"), tmp_path / "out"
    (disk.WRITERS | {"collection": collection})[layout](tmp_path / "data")
    root = str(tmp_path / "data") + ("/sets.yaml" if layout == "collection" else "")
    file = tmp_path / "tiny.yaml"
    file.write_text(
        f"network: {{init_neurons: 4, height: 45, width: 60, search_space: {small_space(tmp_path)}}}\n"
        f"data: {{root: {root}, layout: {layout}}}\n"
        "train: {num_epochs: 6, batch_size: 2, steps_per_epoch: 4, lr: 1e-3}\n"
        "eval: {batch_size: 2, max_samples: 3}\n"
    )
    config = resolve_config(file, {})
    context = Context(
        config=config,
        space=load_search_space(str(tmp_path / "small.yaml")),
        output_dir=str(out),
        config_flags=["--config", str(file)],
        data_flags=["--config", str(file), "--set", f"data.index={out}/data_index.json"],
        long_run=[],
        long_run_resources={},
    )
    size = ["--height", "45", "--width", "60"]
    assert make_index(["--root", root, "--layout", layout, *size, "--out", f"{out}/data_index.json"]) == 0
    attempt = next_attempt(out, gate.name)
    for command in gate.commands:
        capsys.readouterr()
        _, module, *flags = command.words(context)
        assert MODULES[module](flags) == 0
        path = attempt.log_path(command.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(capsys.readouterr()))
    findings = [*evaluate_criteria(gate.criteria, Evidence(gate, attempt, out, config))]
    assert all(finding["passed"] for finding in findings), reasons(findings)
    assert len(findings) == len(gate.criteria)

    run = out / "runs/gate3_epochs"
    name, tested = ("kitti", tmp_path / "data/kitti") if layout == "collection" else (layout, tmp_path / "data")
    flags = ["--config", str(file), "--output_dir", str(run), "--out", str(tmp_path / "eval.json")]
    assert evaluate([*flags, "--val", f"{name}:{tested}", "--arch", "0,0,0,0,1,0,0,0,1"]) == 0
    (found,) = read_json(tmp_path / "eval.json", "supernet_eval.schema.json")["sets"]
    (subnet,) = found["subnets"]
    assert found["layout"] == name
    assert {row["pass"] for row in subnet["rows"]} == PASSES.get(name, {"all"})
    assert {"all", "s0-10"} <= {row["pixels_of"] for row in subnet["rows"]}
    if layout == "collection":
        rows = (run / "eval_epe_history_kitti.csv").read_text().splitlines()
        assert len(rows) == 1 + 5
