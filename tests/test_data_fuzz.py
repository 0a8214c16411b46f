"""Whatever bytes a data set holds, reading it ends in the data or in a UserError, soon and in little memory."""

import contextlib
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeflownas.data.flow_files import LARGEST_KNOWN, read_flow, write_flow
from edgeflownas.data.inspection import inspect_sample
from edgeflownas.data.layouts.flying_chairs2 import sample_of
from edgeflownas.data.readers import read_flow as read_any_flow
from edgeflownas.data.readers import read_frame
from edgeflownas.data.samples import Sample, read_sample
from edgeflownas.errors import UserError
from tests import layouts_on_disk as disk
from tests.fuzzing import examples

MEMORY_BOUND = 64 * 2**20
SECONDS_PER_FILE = 2000  # ms, hypothesis's deadline; a file here takes less than 5

SIDES = st.integers(1, 9)
SIZES = st.tuples(SIDES, SIDES)
FLOWS = SIZES.flatmap(lambda size: arrays(np.float32, (*size, 2), elements=st.floats(width=32)))
FRAMES = SIZES.flatmap(lambda size: arrays(np.uint8, (*size, 3)))
INT32 = st.integers(-(2**31), 2**31 - 1)


@pytest.fixture(autouse=True, scope="module")
def bounded_memory() -> Iterator[None]:
    """The process's peak while these tests run is no more than MEMORY_BOUND above what it had before."""
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back
    before = peak_bytes()
    yield
    assert peak_bytes() - before < MEMORY_BOUND


def peak_bytes() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def flo(width: int, height: int, pixels: bytes) -> bytes:
    return b"PIEH" + struct.pack("<ii", width, height) + pixels


def png(frame: np.ndarray) -> bytes:
    return cv2.imencode(".png", frame[..., ::-1])[1].tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@st.composite
def damaged(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """A file after up to 4 changes: bytes overwritten, cut out, put in, or the end lost."""
    content = bytearray(draw(originals))
    for _ in range(draw(st.integers(1, 4))):
        begin, end = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        kind = draw(st.sampled_from(["overwrite", "cut", "insert", "truncate"]))
        if kind == "truncate":
            del content[begin:]
        elif kind == "cut":
            del content[begin : min(end, begin + 8)]
        else:
            new = draw(st.binary(min_size=1, max_size=8))
            content[begin : begin + (len(new) if kind == "overwrite" else 0)] = new
    return bytes(content)


@settings(max_examples=examples(150), deadline=SECONDS_PER_FILE)
@given(flow=FLOWS)
def test_any_flow_comes_back_with_every_bit(folder: Path, flow: np.ndarray) -> None:
    write_flow(folder / "any.flo", flow)
    assert read_flow(folder / "any.flo").tobytes() == flow.tobytes()


@settings(max_examples=examples(600), deadline=SECONDS_PER_FILE)
@given(
    content=st.one_of(
        st.binary(max_size=64),
        st.builds(flo, INT32, INT32, st.binary(max_size=64)),
        damaged(SIZES.map(lambda size: flo(*size, bytes(8 * size[0] * size[1])))),
    )
)
def test_no_flow_file_gives_anything_but_its_bytes_or_a_user_error(folder: Path, content: bytes) -> None:
    (folder / "any.flo").write_bytes(content)
    with contextlib.suppress(UserError):
        flow = read_flow(folder / "any.flo")
        assert flow.tobytes() == content[12:]
        assert flow.shape == (*struct.unpack("<ii", content[4:12])[::-1], 2)


@settings(max_examples=examples(400), deadline=SECONDS_PER_FILE)
@given(
    content=st.one_of(
        st.binary(max_size=64),
        damaged(FRAMES.map(png)),
        # Whole chunks of any sizes and pixels: only the decoder can tell.
        st.builds(
            lambda width, height, kind, data: b"".join(
                [
                    b"\x89PNG\r\n\x1a\n",
                    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *kind)),
                    chunk(b"IDAT", zlib.compress(data)),
                    chunk(b"IEND", b""),
                ]
            ),
            st.one_of(SIDES, st.integers(0, 2**32 - 1)),
            st.one_of(SIDES, st.integers(0, 2**32 - 1)),
            st.one_of(st.just((8, 2, 0, 0, 0)), st.tuples(*[st.integers(0, 17)] * 5)),
            st.binary(max_size=300),
        ),
    )
)
def test_no_image_file_gives_anything_but_a_frame_or_a_user_error(folder: Path, content: bytes) -> None:
    (folder / "any.png").write_bytes(content)
    with contextlib.suppress(UserError):
        frame = read_frame(folder / "any.png")
        width, height = struct.unpack(">II", content[16:24])
        assert (frame.shape, frame.dtype) == ((height, width, 3), np.uint8)


SUFFIXES = {
    ".pfm": FLOWS.map(disk.pfm),
    ".png": st.tuples(FLOWS, st.booleans()).map(
        lambda drawn: disk.kitti_png(np.clip(np.nan_to_num(drawn[0]), -500, 500), np.full(drawn[0].shape[:2], drawn[1]))
    ),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=examples(400), deadline=SECONDS_PER_FILE)
@given(content=st.data())
def test_no_file_of_the_other_flow_formats_gives_anything_but_a_field_or_a_user_error(
    folder: Path, suffix: str, content: st.DataObject
) -> None:
    path = folder / f"any{suffix}"
    path.write_bytes(content.draw(st.one_of(st.binary(max_size=64), SUFFIXES[suffix], damaged(SUFFIXES[suffix]))))
    with contextlib.suppress(UserError):
        flow = read_any_flow(path)
        assert (flow.ndim, flow.shape[2], flow.dtype) == (3, 2, np.float32)
        assert flow.flags.c_contiguous


@settings(max_examples=examples(150), deadline=SECONDS_PER_FILE)
@given(flow=FLOWS)
def test_any_flow_in_a_pfm_comes_back_with_every_bit(folder: Path, flow: np.ndarray) -> None:
    (folder / "any.pfm").write_bytes(disk.pfm(flow))
    assert read_any_flow(folder / "any.pfm").tobytes() == flow.tobytes()


IMAGES = {
    ".ppm": FRAMES.map(disk.ppm),
    ".jpg": FRAMES.map(lambda frame: cv2.imencode(".jpg", frame)[1].tobytes()),
}


@pytest.mark.parametrize("suffix", IMAGES)
@settings(max_examples=examples(400), deadline=SECONDS_PER_FILE)
@given(content=st.data())
def test_no_file_of_the_other_image_formats_gives_anything_but_a_frame_or_a_user_error(
    folder: Path, suffix: str, content: st.DataObject
) -> None:
    path = folder / f"any{suffix}"
    path.write_bytes(content.draw(st.one_of(st.binary(max_size=64), IMAGES[suffix], damaged(IMAGES[suffix]))))
    with contextlib.suppress(UserError):
        frame = read_frame(path)
        assert (frame.ndim, frame.shape[2], frame.dtype) == (3, 3, np.uint8)


@pytest.mark.parametrize("kind", ["kitti", "masked"])
@settings(max_examples=examples(300), deadline=SECONDS_PER_FILE)
@given(content=st.data())
def test_a_sample_of_partly_known_flow_that_the_index_takes_can_be_read(
    folder: Path, kind: str, content: st.DataObject
) -> None:
    known = np.zeros((4, 5), bool)
    known[1:, 2:] = True
    if kind == "kitti":
        files = {"frame_0.ppm": disk.ppm(np.full((4, 5, 3), 7, np.uint8)), "frame_1.png": WHOLE[1]}
        files["flow.png"] = disk.kitti_png(np.ones((4, 5, 2)), known)
    else:
        files = {"frame_0.png": WHOLE[0], "frame_1.jpg": cv2.imencode(".jpg", np.full((4, 5, 3), 9))[1].tobytes()}
        files |= {"flow.flo": WHOLE[2], "mask.png": disk.png(np.where(known, 0, 255).astype(np.uint8))}
    hit = content.draw(st.sampled_from([*files, ""]))
    for name, whole in files.items():
        (folder / name).write_bytes(content.draw(damaged(st.just(whole))) if name == hit else whole)
    sample = Sample(folder, "any", tuple(files))
    entry = inspect_sample(sample, [], (4, 5), 50.0, may_be_unknown=True)
    if not hit:
        assert entry["unknown_pixels"] == (~known).sum()
    if "reason" not in entry:
        flow = read_sample(sample)[2]
        assert (np.abs(flow).max(axis=-1) > LARGEST_KNOWN).sum() == entry.get("unknown_pixels", 0)


def write_sample(folder: Path, files: list[bytes]) -> Sample:
    sample = sample_of(folder, "0000001")
    for path, content in zip(sample.files, files, strict=True):
        path.write_bytes(content)
    return sample


@settings(max_examples=examples(150), deadline=SECONDS_PER_FILE)
@given(frames=st.tuples(FRAMES, FRAMES), flow=FLOWS)
def test_a_pair_of_any_pixels_comes_back_if_its_sizes_agree(
    folder: Path, frames: tuple[np.ndarray, np.ndarray], flow: np.ndarray
) -> None:
    height, width = flow.shape[:2]
    sample = write_sample(folder, [*map(png, frames), flo(width, height, flow.tobytes())])
    if {frame.shape[:2] for frame in frames} != {(height, width)}:
        with pytest.raises(UserError, match="have one size"):
            read_sample(sample)
        frames = tuple(np.resize(frame, (height, width, 3)) for frame in frames)
        sample = write_sample(folder, [*map(png, frames), flo(width, height, flow.tobytes())])
    *found, found_flow = read_sample(sample)
    assert [frame.tobytes() for frame in found] == [frame.tobytes() for frame in frames]
    assert found_flow.tobytes() == flow.tobytes()


WHOLE = [
    png(np.full((4, 5, 3), 7, np.uint8)),
    png(np.full((4, 5, 3), 9, np.uint8)),
    flo(5, 4, np.ones(40, "<f4").tobytes()),
]


@settings(max_examples=examples(300), deadline=SECONDS_PER_FILE)
@given(number=st.integers(0, 2), content=st.data())
def test_a_sample_that_the_index_takes_can_be_read(folder: Path, number: int, content: st.DataObject) -> None:
    files = WHOLE.copy()
    files[number] = content.draw(damaged(st.just(WHOLE[number])))
    sample = write_sample(folder, files)
    entry = inspect_sample(sample, [], (4, 5), 50.0)
    # What a PNG says is under checksums: none of the damage goes through. A flow has none, and may hold other numbers.
    if number < 2 and files[number] != WHOLE[number]:
        assert "reason" in entry
    if "reason" not in entry:
        assert read_sample(sample)[2].shape == (4, 5, 2)
        assert np.isfinite(read_sample(sample)[2]).all()


def test_a_chunk_that_claims_gigabytes_is_refused_before_the_decoder_believes_it(folder: Path) -> None:
    content = png(np.full((4, 5, 3), 7, np.uint8))
    place = content.index(b"IDAT") - 4
    (folder / "any.png").write_bytes(content[:place] + struct.pack(">I", 2**31 - 1) + content[place + 4 :])
    with pytest.raises(UserError, match="end within a chunk"):
        read_frame(folder / "any.png")
