"""Checkpoints: what is written is read back, what is damaged is refused by name, the old file survives a failure."""

import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest

from edgeflownas.errors import UserError
from edgeflownas.runs import checkpoints
from edgeflownas.runs.checkpoints import load_checkpoint, read_header, save_checkpoint

HEADER = {"epoch": 3, "global_step": 90, "progress": {"z": 1, "a": [0.1, None]}}


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {"weights.E0": rng.normal(size=(7, 7, 6, 8)).astype(np.float32), "optimizer.0": np.int32(90)}


def test_arrays_and_header_come_back_with_bits_and_order(tmp_path, arrays):
    path = tmp_path / "supernet_last.ckpt"
    save_checkpoint(path, HEADER, arrays)
    loaded = load_checkpoint(path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
        assert loaded.arrays[name].dtype == array.dtype
    assert json.dumps(loaded.header["progress"]) == json.dumps(HEADER["progress"])
    assert read_header(path) == loaded.header
    assert [file.name for file in tmp_path.iterdir()] == ["supernet_last.ckpt"]


@pytest.mark.parametrize("position", [0.05, 0.2, 0.4, 0.6, 0.8, 0.95])
def test_one_flipped_bit_in_the_content_is_found(tmp_path, arrays, position):
    path = tmp_path / "supernet_last.ckpt"
    save_checkpoint(path, HEADER, arrays)
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"supernet_last\.ckpt"):
        load_checkpoint(path)


@pytest.mark.parametrize("damage", ["empty", "half", "no archive", "another archive", "missing"])
def test_what_is_not_a_checkpoint_is_refused_by_name(tmp_path, arrays, damage):
    path = tmp_path / "supernet_last.ckpt"
    save_checkpoint(path, HEADER, arrays)
    content = path.read_bytes()
    if damage == "another archive":
        with open(path, "wb") as file:
            np.savez(file, a=np.zeros(3))
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "no archive": b"x" * 1000}[damage])
    with pytest.raises(UserError, match=r"supernet_last\.ckpt"):
        load_checkpoint(path)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, arrays, monkeypatch):
    path = tmp_path / "supernet_last.ckpt"
    save_checkpoint(path, HEADER, arrays)
    before = path.read_bytes()

    def full_disk(file, **_):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.np, "savez", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {**HEADER, "epoch": 4}, arrays)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["supernet_last.ckpt"]


@pytest.mark.parametrize("claim", ["an array of 4 TiB", "a member of 4 GiB"])
def test_claimed_sizes_are_checked_before_memory_is_taken(tmp_path, arrays, claim):
    path = tmp_path / "supernet_last.ckpt"
    save_checkpoint(path, HEADER, arrays)
    content = path.read_bytes()
    if claim == "an array of 4 TiB":
        with zipfile.ZipFile(path, "w") as archive:
            member = io.BytesIO()
            np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)})
            archive.writestr("header.npy", member.getvalue() + b"\0" * 100)
    else:
        name = content.rindex(b"weights.E0.npy")
        # The sizes stand 26 bytes before the name of an entry of the central directory.
        path.write_bytes(content[: name - 26] + b"\xfe\xff\xff\xff" * 2 + content[name - 18 :])
    tracemalloc.start()
    with pytest.raises(UserError, match=r"supernet_last\.ckpt: damaged.*(reshape|claims to hold 4\d{9} bytes)"):
        load_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(content)


def test_nothing_that_is_pickled_is_read(tmp_path):
    path = tmp_path / "supernet_last.ckpt"
    with open(path, "wb") as file:
        np.savez(file, header=np.array([{"format": checkpoints.FORMAT}], dtype=object))
    with pytest.raises(UserError, match="damaged checkpoint"):
        load_checkpoint(path)
