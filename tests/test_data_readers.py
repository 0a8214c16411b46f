"""Readers by suffix: what each takes, and what it refuses with which sentence."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.data.flow_files import UNKNOWN
from edgeflownas.data.readers import read_flow, read_frame
from edgeflownas.errors import UserError
from tests import layouts_on_disk as disk

FRAME, FLOW = disk.frame(1), disk.flow(1)


def test_a_ppm_is_read_with_comments_and_without(tmp_path: Path) -> None:
    pixels = FRAME.tobytes()
    for header in (b"P6\n64 48\n255\n", b"P6 64 48 255 ", b"P6\n# from FlyingChairs\n64 # width\n48\n255\n"):
        (tmp_path / "frame.ppm").write_bytes(header + pixels)
        np.testing.assert_array_equal(read_frame(tmp_path / "frame.ppm"), FRAME)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a binary PPM"),
        (b"P3\n64 48\n255\n" + FRAME.tobytes(), "not a binary PPM"),
        (b"P6\n64 48\n65535\n" + 2 * FRAME.tobytes(), "expected 8-bit RGB, found a largest value of 65535"),
        (b"P6\n64 48\n255\n" + FRAME.tobytes()[:-1], "truncated frame file: the header claims 64x48 pixels"),
        (b"P6\n64 48\n255\n" + FRAME.tobytes() + b"\0", "oversized frame file"),
        (b"P6\n99999 99999\n255\n", "the header claims 99999x99999 pixels"),
    ],
)
def test_a_ppm_of_another_kind_or_size_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "frame.ppm").write_bytes(content)
    with pytest.raises(UserError, match=rf"frame.ppm: {message}"):
        read_frame(tmp_path / "frame.ppm")


def test_a_pfm_is_read_from_the_top_row_with_two_of_its_channels(tmp_path: Path) -> None:
    (tmp_path / "flow.pfm").write_bytes(disk.pfm(FLOW))
    np.testing.assert_array_equal(read_flow(tmp_path / "flow.pfm"), FLOW)
    # OpenCV's reader, which leaves the third channel first.
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "flow.pfm"), cv2.IMREAD_UNCHANGED)[..., :0:-1], FLOW)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"Pf\n64 48\n-1.0\n", "expected a PFM of three channels"),
        (b"PF\n64 48\n1.0\n", "was written big-endian"),
        (b"PF\n64 48\n-0.05\n", "expected the scale -1 .little-endian., found -0.05"),
        (b"PF\n64 48\n-\n", "expected the scale -1"),
        (b"PF\n64 49\n-1.0\n", "truncated flow file"),
        (b"PF\n64 47\n-1.0\n", "oversized flow file"),
        (b"P6\n64 48\n-1.0\n", "not a PFM file"),
    ],
)
def test_a_pfm_of_another_kind_or_size_is_refused(tmp_path: Path, header: bytes, message: str) -> None:
    (tmp_path / "flow.pfm").write_bytes(header + disk.pfm(FLOW).partition(b"-1.0\n")[2])
    with pytest.raises(UserError, match=rf"flow.pfm: .*{message}"):
        read_flow(tmp_path / "flow.pfm")


def test_flow_of_kitti_has_its_unknown_pixels_marked(tmp_path: Path) -> None:
    known = np.zeros(disk.SIZE, bool)
    known[20:, ::2] = True
    (tmp_path / "flow.png").write_bytes(disk.kitti_png(FLOW, known))
    flow = read_flow(tmp_path / "flow.png")
    np.testing.assert_array_equal(flow[known], FLOW[known])
    assert (flow[~known] == UNKNOWN).all()


def test_a_png_that_is_no_flow_of_kitti_is_refused(tmp_path: Path) -> None:
    (tmp_path / "flow.png").write_bytes(disk.png(FRAME))
    with pytest.raises(UserError, match=r"flow.png: expected 16-bit RGB, found 8 bit, 3 channel"):
        read_flow(tmp_path / "flow.png")
    (tmp_path / "flow.png").write_bytes(disk.png(np.full((*disk.SIZE, 3), 700, np.uint16)))
    with pytest.raises(UserError, match=r"flow.png: its third channel holds 700; expected 0"):
        read_flow(tmp_path / "flow.png")


def test_a_jpeg_is_read_as_rgb_and_refused_when_it_is_cut_or_grey(tmp_path: Path) -> None:
    path = tmp_path / "frame.JPG"
    smooth = cv2.resize(FRAME[:4, :5], (64, 48), interpolation=cv2.INTER_CUBIC)
    content = cv2.imencode(".jpg", smooth[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    path.write_bytes(content)
    assert np.abs(read_frame(path).astype(int) - smooth).mean() < 5
    path.write_bytes(content[:-20])
    with pytest.raises(UserError, match=r"frame.JPG: truncated JPEG: it has no end"):
        read_frame(path)
    path.write_bytes(cv2.imencode(".jpg", smooth[..., 0])[1].tobytes())
    with pytest.raises(UserError, match=r"frame.JPG: expected 8-bit RGB, found 8 bit, 1 channel"):
        read_frame(path)
    path.write_bytes(disk.png(FRAME))
    with pytest.raises(UserError, match=r"frame.JPG: not a JPEG file"):
        read_frame(path)


def test_a_file_of_an_unknown_kind_is_refused_by_its_suffix(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"frame.webp: expected one of .png, .ppm, .jpg, .jpeg, found .webp; convert"):
        read_frame(tmp_path / "frame.webp")
    with pytest.raises(UserError, match=r"flow.mat: expected one of .flo, .pfm, .png, found .mat"):
        read_flow(tmp_path / "flow.mat")
