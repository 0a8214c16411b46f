"""Textures of generated scenes: their range, their scales, and what a frame of half the size could not show."""

import numpy as np
import pytest

from edgeflownas.data.textures import fractal, random_texture

HEIGHT, WIDTH = 96, 128


def along_rows(noise: np.ndarray, distance: int) -> float:
    """Correlation of pixels that lie `distance` apart in a row."""
    return float(np.corrcoef(noise[:, :-distance, 0].ravel(), noise[:, distance:, 0].ravel())[0, 1])


@pytest.mark.parametrize("seed", range(4))
def test_noise_has_mean_0_and_deviation_1_and_forgets_itself_beyond_its_coarsest_cell(seed: int) -> None:
    noise = fractal(np.random.default_rng(seed), HEIGHT, WIDTH, 3, coarsest=24)
    assert (noise.shape, noise.dtype) == ((HEIGHT, WIDTH, 3), np.float32)
    np.testing.assert_allclose(noise.mean(axis=(0, 1)), 0, atol=1e-3)
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert along_rows(noise, 1) > 0.95
    assert 0.5 < along_rows(noise, 6) < 0.75
    assert abs(along_rows(noise, 48)) < 0.3
    # Channels are drawn apart.
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.3


def test_coarser_noise_remembers_farther() -> None:
    fine, coarse = (fractal(np.random.default_rng(0), HEIGHT, WIDTH, 1, coarsest=size) for size in (3, 48))
    assert along_rows(fine, 12) < 0.1
    assert along_rows(coarse, 12) > 0.5


@pytest.mark.parametrize("seed", range(8))
def test_a_texture_has_contrast_everywhere_and_nothing_finer_than_half_resolution_shows(seed: int) -> None:
    texture = random_texture(np.random.default_rng(seed), HEIGHT, WIDTH)
    assert texture.shape == (HEIGHT, WIDTH, 3)
    assert 0 <= texture.min() < texture.max() <= 255
    grey = texture.mean(axis=2)
    quarters = grey.reshape(2, HEIGHT // 2, 2, WIDTH // 2).std(axis=(1, 3))
    assert quarters.min() > 5
    # Over a quarter of a cycle a pixel is what half the resolution cannot show.
    power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
    rows, columns = np.abs(np.fft.fftfreq(HEIGHT)), np.abs(np.fft.fftfreq(WIDTH))
    finer = np.maximum.outer(rows, columns) > 0.25
    assert power[finer].sum() < 0.015 * power.sum()


def test_a_texture_is_a_function_of_its_generator() -> None:
    one, again, other = (random_texture(np.random.default_rng(seed), 40, 56) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).mean() > 10
