import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.data.flow_files import read_flow, write_flow
from edgeflownas.errors import UserError


def random_flow(height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 20, (height, width, 2)).astype(np.float32)


def test_a_written_flow_is_read_back_identically_by_us_and_by_opencv(tmp_path: Path) -> None:
    flow = random_flow()
    write_flow(tmp_path / "a.flo", flow)
    assert (tmp_path / "a.flo").stat().st_size == 12 + 5 * 7 * 8
    for read in (read_flow(tmp_path / "a.flo"), cv2.readOpticalFlow(str(tmp_path / "a.flo"))):
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, flow)


def test_the_first_channel_is_the_x_displacement(tmp_path: Path) -> None:
    (tmp_path / "a.flo").write_bytes(b"PIEH" + struct.pack("<iiffff", 2, 1, 1.5, -2.0, 3.0, 4.0))
    flow = read_flow(tmp_path / "a.flo")
    assert flow.shape == (1, 2, 2)
    assert flow[0, 0].tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"PIEX" + struct.pack("<ii", 1, 1) + bytes(8), "found 'PIEX'"),
        (b"PIEH" + b"\0\0", "expected a header of 12 bytes, found 6"),
        (b"PIEH" + struct.pack("<ii", 2, 2) + bytes(31), "truncated .* 2x2 pixels, so 44 bytes .* found 43"),
        (b"PIEH" + struct.pack("<ii", 2, 2) + bytes(33), "oversized .* found 45"),
        (b"PIEH" + struct.pack("<ii", 0, 2), "claims 0x2 pixels"),
        (b"PIEH" + struct.pack("<ii", 2, -1), "claims 2x-1 pixels"),
        (b"PIEH" + struct.pack("<ii", 2**31 - 1, 1), "a width and a height of 1 to 16384"),
        (b"PIEH" + struct.pack("<ii", 65536, 32768), "claims 65536x32768 pixels"),
        (b"PIEH" + struct.pack("<ii", 16384, 16384), "at most 33554432 pixels"),
        (b"PIEH" + struct.pack("<ii", 8192, 4096), "truncated .* 268435468 bytes were expected, found 12"),
    ],
)
def test_a_broken_flow_file_is_refused_with_its_name_and_what_was_found(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "broken.flo"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"broken.flo: .*{message}"):
        read_flow(path)


def test_a_missing_flow_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.flo: .*No such file"):
        read_flow(tmp_path / "none.flo")


def test_only_height_width_2_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 2\), got \(4, 5\)"):
        write_flow(tmp_path / "a.flo", np.zeros((4, 5)))
    assert not (tmp_path / "a.flo").exists()
