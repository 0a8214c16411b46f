"""The tree evaluates every subnet exactly as the ordinary evaluator does."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from edgeflownas.nas.fair_sampler import complete_cycle
from edgeflownas.nas.search_space import ChoiceBlock, SearchSpace, load_search_space
from edgeflownas.network.cost import option_cost
from edgeflownas.network.flow_network import FlowNetwork
from edgeflownas.network.stages import network_stages
from edgeflownas.runs.records import METRICS
from edgeflownas.selection import tree as tree_module
from edgeflownas.selection.flow_sums import FlowSums
from edgeflownas.selection.tables import all_codes
from edgeflownas.selection.tree import Tree
from edgeflownas.selection.whole_space import SUMS, Call, SpaceEvaluator, calls_within, samples_in_chunks
from edgeflownas.training.evaluation import Batch, Evaluator
from edgeflownas.training.metrics import flow_metrics
from tests.spaces import eleven_block_space, small_space

FLOW_SCALE = 5.0
ONE_SUBNET = SearchSpace("one", (ChoiceBlock("EB0", "depth", (2,)), ChoiceBlock("H1Out", "kernel", (5,))), (0, 0))
# Nothing to choose in the trunk, so that there is no subtree but the whole.
HEADS_ALONE = SearchSpace(
    "heads", (ChoiceBlock("H0Out", "kernel", (3, 5)), ChoiceBlock("H2Out", "kernel", (3, 5, 7))), (1, 2)
)


def make_batches(height: int, width: int, batches: int, size: int, last: int | None = None) -> list[Batch]:
    """Noise in which neighbours are alike, and flow of a few pixels; of the last batch, `last` samples count."""
    rng = np.random.default_rng(batches)
    made = []
    for number in range(batches):
        coarse = rng.uniform(-1, 1, (size, height // 4 + 2, width // 4 + 2, 6)).astype(np.float32)
        frames = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
        flow = rng.normal(0, 0.6, (size, height, width, 2)).astype(np.float32)
        made.append(Batch(frames, flow, last if last and number == batches - 1 else size))
    return made


def trained_a_little(network: FlowNetwork) -> None:
    """Scales and offsets as training leaves them: no channel like another."""
    rng = np.random.default_rng(5)
    for variable in network.trainable_variables:
        if not variable.name.endswith("kernel"):
            variable.assign(np.asarray(variable) + 0.3 * rng.standard_normal(variable.shape).astype(np.float32))


@pytest.mark.parametrize(
    ("space", "height", "width", "codes"),
    [
        ("small", 45, 60, 16),
        pytest.param("edgeflow_9x3", 61, 83, 4, marks=pytest.mark.slow),
        pytest.param("eleven", 40, 56, 8, marks=pytest.mark.slow),
        (ONE_SUBNET, 33, 47, 1),
        (HEADS_ALONE, 33, 47, 6),
    ],
    ids=lambda value: value.name if isinstance(value, SearchSpace) else str(value),
)
def test_subnets_are_evaluated_as_the_ordinary_evaluator_does(
    tmp_path: Path, space: str | SearchSpace, height: int, width: int, codes: int
) -> None:
    if isinstance(space, str):
        named = {
            "small": lambda: load_search_space(str(small_space(tmp_path))),
            "eleven": lambda: eleven_block_space(tmp_path),
        }
        space = named[space]() if space in named else load_search_space(space)
    network = FlowNetwork(space, 4, seed=1)
    trained_a_little(network)
    recalibration = make_batches(height, width, 6, 2)
    validation = make_batches(height, width, 3, 2, last=1)
    tree = Tree(space, 4, height, width)
    calls: list[Call] = []
    evaluator = SpaceEvaluator(network, tree, FLOW_SCALE, calls.append)
    # Chunks of 4: three groups of two batches; five validation samples in two chunks of three, the last one filled up.
    samples = samples_in_chunks(recalibration, validation, FLOW_SCALE, chunk=4)
    assert [group.shape[:2] for group in samples.recalibration] == [(2, 2)] * 3
    assert [len(frames) for frames, _ in samples.validation] == [3, 3]
    ordinary = Evaluator(network, 4, FLOW_SCALE)

    assert samples.zero_flow_epe == ordinary.zero_flow_epe(validation)
    rng = np.random.default_rng(0)
    subtrees = [tree.subtrees[index] for index in rng.permutation(len(tree.subtrees))[:2]]
    for subtree in subtrees:
        epes, others = evaluator.evaluate(subtree, samples)
        rows = np.sort(tree.rows(subtree), axis=None)
        assert epes.shape == (len(rows), 5)
        # No two subnets are alike: nothing below holds for want of a difference.
        assert len(np.unique(epes, axis=0)) == len(rows)
        places = rng.permutation(len(rows))[: -(-codes // len(subtrees))]
        cycles = np.stack([complete_cycle(tree.code_of(int(rows[place])), space) for place in places])
        expected = ordinary.evaluate(cycles, recalibration, validation)[:: space.cycle_length]
        for place, result in zip(places, expected, strict=True):
            assert epes[place].mean(dtype=np.float64) == pytest.approx(result["epe"], abs=1e-5)
            # A pixel whose error is within rounding of a limit may count on either side.
            assert others[place] == pytest.approx([result[name] for name in METRICS[1:]], abs=1.01 / (height * width))
    # Nothing was computed more often than the tree says.
    counted = sum(
        (calls_within(tree, subtree, samples) for subtree in subtrees), start=calls_within(tree, subtrees[0], samples)
    )
    counted -= calls_within(tree, subtrees[0], samples)
    assert {call: calls.count(call) for call in set(calls)} == dict(counted)


def test_every_subnet_belongs_to_one_subtree(tmp_path: Path) -> None:
    spaces = [load_search_space(), load_search_space(str(small_space(tmp_path))), ONE_SUBNET, HEADS_ALONE]
    for space in [*spaces, eleven_block_space(tmp_path)]:
        tree = Tree(space, 4, 45, 60)
        rows = [tree.rows(subtree) for subtree in tree.subtrees]
        assert np.array_equal(np.sort(np.concatenate([of_one.ravel() for of_one in rows])), np.arange(space.size))
        codes = all_codes(space)
        assert [tree.code_of(row) for row in range(space.size)] == codes
        assert len({tree.name_of(subtree) for subtree in tree.subtrees}) == len(tree.subtrees)
        for subtree, of_one in zip(tree.subtrees, rows, strict=True):
            for at, option in zip(tree.trunk, subtree, strict=False):
                digit = tree.steps[at].stage.digit
                assert digit is None or {codes[row][digit] for row in of_one.flat} == {option}


def test_the_nine_block_space_has_27_subtrees_and_4509_nodes() -> None:
    tree = Tree(load_search_space(), 32, 180, 240)
    assert (len(tree.subtrees), tree.name_of(tree.subtrees[5]), tree.rows(tree.subtrees[0]).size) == (27, "012", 729)
    # Without the cut: 3 + 9 + 27 + 81 + 243 + 729 at the choices, 3 heads at each of 81, 243 and 729, and the stages
    # without a choice once per node above them: E0, E1, Down1, Down2, Up1, Up2.
    at_choices = 3 + 9 + 27 + 81 + 243 + 729 + 3 * (81 + 243 + 729)
    between = 1 + 1 + 3 + 9 + 27 + 81
    # The cut computes the seven stages before it once per subtree.
    assert tree.nodes() == at_choices + between + 7 * 27 - (1 + 1 + 3 + 3 + 9 + 9 + 27)


def test_multiply_accumulates_are_those_of_all_distinct_prefixes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_module, "MIN_SUBTREES", 1)
    for space in (eleven_block_space(tmp_path), load_search_space(str(small_space(tmp_path)))):
        seen: dict[tuple[int, ...], tuple[int, bool]] = {}
        for code in all_codes(space):
            prefix: tuple[int, ...] = ()
            for at, stage in enumerate(network_stages(space, 4)):
                option = 0 if stage.digit is None else code[stage.digit]
                if not stage.head:
                    prefix = (*prefix, option)
                seen[(at, option, *prefix)] = (option_cost(stage, option, 45, 60)[1], stage.head)
        tree = Tree(space, 4, 45, 60)
        assert tree.nodes() == len(seen)
        assert tree.macs(5, 7) == sum(macs * (7 if head else 12) for macs, head in seen.values())


def test_sums_of_flows_are_measured_as_flow_metrics_does(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(0, 2.5, (3, 30, 41, 2)).astype(np.float32)
    counts = (2, 1, 3, 2)
    heads = [rng.normal(0, 1.2, (count, 3, 2, 30 * 41)).astype(np.float32) for count in counts]
    # Flow of 100 px in one sample, of which 5% are more than 3 px; the predictions are near the truth.
    truth[2] *= 40
    heads[0] += truth.transpose(0, 3, 1, 2).reshape(3, 2, -1)
    sums = FlowSums(truth)
    found = sums.measure(heads)
    assert found.shape == (*counts, 3, len(METRICS))
    for combination in itertools.product(*map(range, counts)):
        total = sum(head[option].astype(np.float64) for head, option in zip(heads, combination, strict=True))
        flow = total.reshape(3, 2, 30, 41).transpose(0, 2, 3, 1).astype(np.float32)
        expected = np.asarray(flow_metrics(ops.convert_to_tensor(flow[None]), ops.convert_to_tensor(truth)))[0]
        np.testing.assert_allclose(found[combination][:, 0], expected[:, 0], rtol=1e-5)
        np.testing.assert_allclose(found[combination][:, 1:], expected[:, 1:], atol=1.01 / (30 * 41))
    # As on a GPU, where the backend sums.
    monkeypatch.setattr("edgeflownas.selection.flow_sums.gpu_visible", lambda: True)
    by_backend = FlowSums(truth).measure([ops.convert_to_tensor(head) for head in heads])
    np.testing.assert_allclose(by_backend[..., 0], found[..., 0], rtol=1e-5)
    np.testing.assert_allclose(by_backend, found, rtol=1e-5, atol=1.01 / (30 * 41))
    # All metrics are in play, and none is another.
    means = found.reshape(-1, len(METRICS)).mean(axis=0)
    assert 1 > means[1] > means[2] > means[3] > 0.1
    assert means[2] > means[4] > 0.1


def test_blocks_of_the_sums_cover_every_pixel_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 2, (1, 37, 29, 2)).astype(np.float32)
    heads = [rng.normal(0, 1, (3, 1, 2, 37 * 29)).astype(np.float32) for _ in range(3)]
    whole = FlowSums(truth).measure(heads)
    for pixels in (27, 27 * 100, 27 * 37 * 29):
        monkeypatch.setattr("edgeflownas.selection.flow_sums.BLOCK_PIXELS", pixels)
        np.testing.assert_allclose(FlowSums(truth).measure(heads), whole, rtol=1e-6)


def test_measured_seconds_cover_every_call(tmp_path: Path) -> None:
    space = load_search_space(str(small_space(tmp_path)))
    tree = Tree(space, 4, 32, 48)
    evaluator = SpaceEvaluator(FlowNetwork(space, 4, seed=1), tree, FLOW_SCALE)
    samples = samples_in_chunks(make_batches(32, 48, 2, 2), make_batches(32, 48, 2, 2), FLOW_SCALE, chunk=2)
    seconds = evaluator.seconds_per_call(samples)
    for subtree in tree.subtrees:
        calls = calls_within(tree, subtree, samples)
        assert calls.keys() <= seconds.keys()
        assert calls[SUMS, len(tree.steps), 0] == 2 * math.prod(tree.rows(subtree).shape[:-3])
    assert all(taken > 0 for taken in seconds.values())
