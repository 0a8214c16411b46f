"""The search spaces that ship, and the one that the docs write."""

import re
from pathlib import Path

import pytest

from edgeflownas.artifacts import PROJECT_ROOT
from edgeflownas.nas.eval_pool import eval_pool
from edgeflownas.nas.fair_sampler import add_counts, empty_counts, fair_cycle
from edgeflownas.nas.search_space import SEARCH_SPACE_FOLDER, SearchSpace, load_search_space
from edgeflownas.nas.space_eval import main as evaluate
from edgeflownas.network.cost import subnet_cost
from edgeflownas.runs.records import read_history, subnet_epes
from edgeflownas.selection.tables import TABLE, read_evaluated
from edgeflownas.selection.tree import Tree
from edgeflownas.train_supernet import main as train
from tests.tiny import tiny_flags

SHIPPED = sorted(path.stem for path in SEARCH_SPACE_FOLDER.glob("*.yaml"))


def of_the_docs(folder: Path) -> SearchSpace:
    page = (PROJECT_ROOT / "docs" / "search_spaces.md").read_text(encoding="utf-8")
    path = folder / "my_space.yaml"
    path.write_text(re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)[0])
    return load_search_space(str(path))


def test_two_spaces_ship():
    assert SHIPPED == ["edgeflow_11", "edgeflow_9x3"]
    eleven = load_search_space("edgeflow_11")
    assert (len(eleven.blocks), eleven.size, eleven.cycle_length) == (11, 23328, 6)


@pytest.mark.parametrize("name", [*SHIPPED, "docs"])
def test_every_digit_is_ordered_from_light_to_heavy_and_every_cycle_is_fair(name, tmp_path):
    space = of_the_docs(tmp_path) if name == "docs" else load_search_space(name)
    for digit, block in enumerate(space.blocks):
        code = list(space.reference)
        macs = []
        for option in range(len(block.options)):
            code[digit] = option
            macs.append(subnet_cost(space, tuple(code), 180, 240, 32)["macs"])
        assert macs == sorted(set(macs)), block
    counts = empty_counts(space)
    add_counts(counts, fair_cycle(space, 42, 7), space)
    assert all(len(set(of_block)) == 1 for of_block in counts.values())
    assert eval_pool(space).shape == (4, space.cycle_length, len(space.blocks))


def test_the_tree_branches_before_the_first_shared_layer():
    tree = Tree(load_search_space("edgeflow_11"), 32, 180, 240)
    assert (len(tree.subtrees), tree.name_of(tree.subtrees[5]), tree.nodes()) == (27, "012", 16794)
    # What the docs say of it.
    assert tree.macs(0, 1) / 1e12 == pytest.approx(2.7, abs=0.05)
    assert Tree(load_search_space(), 32, 180, 240).macs(0, 1) / 1e12 == pytest.approx(0.9, abs=0.05)


@pytest.mark.slow
def test_all_subnets_of_the_eleven_blocks_and_the_pool_as_the_run_evaluated_it(synthetic_root, tmp_path):
    run = tmp_path / "run"
    flags = ("--num_epochs", "1", "--set", "network.search_space=edgeflow_11")
    assert train(tiny_flags(synthetic_root, run, *flags)) == 0
    assert evaluate(["--run_dir", str(run), "--out", str(tmp_path / TABLE), "--quiet"]) == 0
    table = read_evaluated(tmp_path).table.set_index("code")
    assert len(table) == table.index.nunique() == 23328
    pool = subnet_epes(read_history(run / "eval_epe_history.csv")[-1])
    assert len(pool) == 24
    for code, epe in pool.items():
        assert table.loc[code, "epe"] == pytest.approx(epe, abs=1e-5)
