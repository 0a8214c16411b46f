"""The optimizer: Adam with L2 in the gradient, a bound on its norm that holds, and what it saw."""

import keras
import numpy as np
import pytest
from keras import ops

from edgeflownas.training.optimizer import FlatAdam, head_rate


def variables_of(*shapes):
    """Variables named as the network names them: kernels, then one batch-norm scale."""
    rng = np.random.default_rng(0)
    names = [f"EB0.option{index}.conv.kernel" for index in range(len(shapes) - 1)] + ["EB0.norm.gamma"]
    return [
        keras.Variable(rng.normal(size=shape).astype(np.float32), name=name)
        for name, shape in zip(names, shapes, strict=True)
    ]


def gradients_of(variables, scale, seed=1):
    rng = np.random.default_rng(seed)
    return [ops.convert_to_tensor(scale * rng.normal(size=v.shape).astype(np.float32)) for v in variables]


def built(variables, **settings):
    owners = [*range(len(variables) - 1), None]
    defaults = {"learning_rate": 1e-3, "weight_decay": 0.0, "clip_norm": 5.0, "option_of": owners}
    optimizer = FlatAdam(**{**defaults, "options": len(owners) - 1, **settings})
    optimizer.build(variables)
    return optimizer


def test_the_clipped_norm_stays_below_its_bound_after_rounding():
    variables = variables_of((700, 1000), (300, 1000), (50,))
    for seed in range(20):
        optimizer = built(variables)
        optimizer.apply(gradients_of(variables, 3.0, seed), variables)
        before, after = ops.convert_to_numpy(optimizer.global_norms)
        assert before > 2900
        assert 5.0 * (1 - 2e-6) <= after <= 5.0 * (1 + 1e-6)


def test_a_small_gradient_is_not_touched():
    variables = variables_of((7, 5), (3,))
    optimizer = built(variables)
    gradients = gradients_of(variables, 0.01)
    optimizer.apply(gradients, variables)
    before, after = ops.convert_to_numpy(optimizer.global_norms)
    expected = np.sqrt(sum(np.square(np.asarray(gradient)).sum() for gradient in gradients))
    assert before == after == pytest.approx(expected, rel=1e-6)


def test_the_update_is_adams_with_l2_on_kernels_only():
    ours, theirs = variables_of((7, 5), (3,)), variables_of((7, 5), (3,))
    mine, keras_adam = built(ours, weight_decay=0.1, clip_norm=1e9), keras.optimizers.Adam(1e-3)
    for step in range(3):
        gradients = gradients_of(ours, 1.0, step)
        mine.apply(gradients, ours)
        keras_adam.apply([gradients[0] + 0.1 * theirs[0], gradients[1]], theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_decoupled_decay_takes_its_share_of_the_kernel_off_whatever_the_gradient():
    without, with_decay = variables_of((7, 5), (3,)), variables_of((7, 5), (3,))
    plain, decaying = built(without), built(with_decay, weight_decay=0.1, decoupled=True)
    kernel, gradients = np.array(without[0]), gradients_of(without, 1.0)
    plain.apply(gradients, without)
    decaying.apply(gradients, with_decay)
    np.testing.assert_allclose(
        np.array(without[0]) - np.array(with_decay[0]), 1e-3 * 0.1 * kernel, rtol=2e-2, atol=1e-7
    )
    np.testing.assert_array_equal(without[1], with_decay[1])
    np.testing.assert_array_equal(plain.global_norms, decaying.global_norms)


@pytest.mark.parametrize("decoupled", [False, True])
def test_each_variable_moves_by_the_rate_times_its_own_factor(decoupled):
    plain, scaled = variables_of((7, 5), (6, 2), (3,)), variables_of((7, 5), (6, 2), (3,))
    before = [np.array(variable) for variable in plain]
    same = built(plain, weight_decay=0.1, decoupled=decoupled)
    different = built(scaled, weight_decay=0.1, decoupled=decoupled, rates=[1.0, 0.25, 1.0])
    same.apply(gradients_of(plain, 1.0), plain)
    different.apply(gradients_of(scaled, 1.0), scaled)
    for start, a, b, factor in zip(before, plain, scaled, [1.0, 0.25, 1.0], strict=True):
        np.testing.assert_allclose(np.array(b) - start, factor * (np.array(a) - start), rtol=1e-3, atol=1e-8)


def test_a_step_moves_a_heads_output_as_far_whatever_its_kernel():
    """Adam's first step moves each weight by its rate; over equal inputs the moves add up."""
    moved = {}
    for size in (3, 5, 7):
        variables = variables_of((size, size, 8, 4), (3,))
        kernel = np.array(variables[0])
        optimizer = built(variables, rates=[head_rate(variables[0].shape), 1.0])
        optimizer.apply([ops.ones(variables[0].shape), ops.zeros((3,))], variables)
        moved[size] = (kernel - np.array(variables[0])).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(moved[3], 1e-3 * 9 * 8, rtol=1e-3)
    np.testing.assert_allclose(moved[5], moved[3], rtol=1e-3)
    np.testing.assert_allclose(moved[7], moved[3], rtol=1e-3)


def test_several_passes_make_one_update_with_their_mean_gradient():
    once, thrice = variables_of((7, 5), (3,)), variables_of((7, 5), (3,))
    single, accumulating = built(once, weight_decay=0.1), built(thrice, weight_decay=0.1, passes=3)
    for update in range(2):
        passes = [gradients_of(once, 1.0, 10 * update + index) for index in range(3)]
        single.apply([sum(parts) / 3 for parts in zip(*passes, strict=True)], once)
        for index, gradients in enumerate(passes):
            assert int(accumulating.iterations) == update
            accumulating.apply(gradients, thrice)
            assert int(accumulating.iterations) == update + (index == 2)
    for a, b in zip(once, thrice, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    np.testing.assert_allclose(single.global_norms, accumulating.global_norms, rtol=1e-5)


def test_it_sees_which_options_received_a_gradient():
    variables = variables_of((2, 2), (2, 2), (3,))
    optimizer = built(variables, weight_decay=1.0)
    gradients = gradients_of(variables, 1.0)
    optimizer.apply([gradients[0], ops.zeros((2, 2)), gradients[2]], variables)
    seen = ops.convert_to_numpy(optimizer.option_gradients)
    assert seen[0] == pytest.approx(np.square(np.asarray(gradients[0])).sum(), rel=1e-6)
    assert seen[1] == 0.0


def test_a_missing_gradient_is_an_error():
    variables = variables_of((2, 2), (3,))
    with pytest.raises(ValueError, match="every trainable variable must receive a gradient"):
        built(variables).apply([None, ops.zeros((3,))], variables)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_gradient_that_is_not_finite_touches_nothing(passes):
    variables = variables_of((7, 5), (3,))
    optimizer = built(variables, weight_decay=0.1, passes=passes)
    for _ in range(passes):
        optimizer.apply(gradients_of(variables, 1.0), variables)
    before = [ops.convert_to_numpy(v) for v in (*variables, optimizer.moment_1, optimizer.moment_2)]
    bad = gradients_of(variables, 1.0)
    optimizer.apply([bad[0] * np.nan, bad[1]], variables)
    for _ in range(passes - 1):
        optimizer.apply(bad, variables)
    after = [ops.convert_to_numpy(v) for v in (*variables, optimizer.moment_1, optimizer.moment_2)]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(optimizer.iterations) == 1
    assert not np.isfinite(ops.convert_to_numpy(optimizer.global_norms)[0])


@pytest.mark.parametrize("weightless", [0, 1, 2])
def test_an_option_without_weights_receives_nothing_wherever_it_stands(weightless):
    variables = variables_of((2, 2), (2, 2), (3,))
    owners = [option for option in range(3) if option != weightless]
    optimizer = built(variables, option_of=[*owners, None], options=3)
    optimizer.apply(gradients_of(variables, 1.0), variables)
    seen = ops.convert_to_numpy(optimizer.option_gradients)
    assert optimizer.weightless.tolist() == [option == weightless for option in range(3)]
    assert (seen == 0.0).tolist() == optimizer.weightless.tolist()
