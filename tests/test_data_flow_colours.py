"""The colour wheel is Middlebury's."""

import numpy as np
import pytest

from edgeflownas.data.flow_colours import colour_wheel, flow_colours, wheel_picture


def test_the_wheel_has_the_published_colours() -> None:
    wheel = colour_wheel()
    assert wheel.shape == (55, 3)
    # First colour of each of the six stretches of colorcode.cpp, and the last one of all.
    corners = {
        0: (255, 0, 0),
        15: (255, 255, 0),
        21: (0, 255, 0),
        25: (0, 255, 255),
        36: (0, 0, 255),
        49: (255, 0, 255),
    }
    for index, colour in corners.items():
        assert tuple(wheel[index]) == colour
    assert tuple(wheel[54]) == (255, 0, 43)


@pytest.mark.parametrize(
    ("flow", "colour"),
    [
        ((0.0, 0.0), (255, 255, 255)),
        ((10.0, 0.0), (255, 0, 0)),  # to the right: red
        ((-10.0, 0.0), (0, 209, 255)),  # to the left: half-way round, in the stretch from cyan to blue
        ((5.0, 0.0), (255, 127, 127)),  # half as long: half as saturated
        ((20.0, 0.0), (191, 0, 0)),  # longer than the radius: darkened
    ],
)
def test_known_vectors_have_their_published_colours(flow: tuple[float, float], colour: tuple[int, ...]) -> None:
    assert tuple(flow_colours(np.array(flow), 10.0)) == colour


def test_the_legend_shows_the_directions_as_the_pictures_do() -> None:
    legend = wheel_picture(101)
    assert legend.shape == (101, 101, 4)
    assert tuple(legend[50, 50, :3]) == (255, 255, 255)
    assert legend[50, 0, 3] == 255
    assert legend[0, 0, 3] == 0  # outside the circle
    right, down = legend[50, 98], legend[98, 50]
    assert right[0] > 240
    assert right[1] < 20
    np.testing.assert_array_equal(down[:3], flow_colours(np.array([0.0, 96 / 101]), 1.0))
