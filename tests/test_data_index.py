import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.artifacts import sha256_file, validate, write_json
from edgeflownas.data.changes import check_unchanged
from edgeflownas.data.flow_files import read_flow, write_flow
from edgeflownas.data.index import SCHEMA, build_index, indexed_samples, load_index
from edgeflownas.data.inspection import BLOCK_BYTES, inspect_sample
from edgeflownas.data.journal import JOURNAL_FILE
from edgeflownas.data.layouts.flying_chairs2 import sample_of
from edgeflownas.data.png_files import SIGNATURE
from edgeflownas.data.samples import Sample
from edgeflownas.errors import UserError

CROP = (40, 56)


@pytest.fixture
def root(synthetic_root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(synthetic_root, tmp_path / "copy"))


def test_the_zero_flow_epe_is_the_mean_length_of_the_clipped_flow(synthetic_root: Path, tmp_path: Path) -> None:
    flow = np.zeros((400, 400, 2), np.float32)  # more than is looked at in one go
    assert flow.nbytes > BLOCK_BYTES
    flow[:2, :2] = [[[3, 4], [300, 0]], [[40, 40], [-60, 1e9]]]
    flow[-1, -1] = [0, -7]
    sample = sample_of(tmp_path, "0000001")
    for path in sample.files[:2]:
        cv2.imwrite(str(path), np.zeros((400, 400, 3), np.uint8))
    write_flow(sample.files[2], flow)
    entry = inspect_sample(sample, [], CROP, 50.0)
    assert entry["zero_flow_epe"] == pytest.approx((5 + 50 + (40 + 50) * 2**0.5 + 7) / (400 * 400), rel=1e-6)
    assert entry["clipped_pixels"] == 2
    assert entry["sha256"] == [sha256_file(path) for path in sample.files]


def test_an_index_lists_every_sample_with_its_sizes_and_digests(root: Path, tmp_path: Path) -> None:
    index = build_index(root, CROP)
    write_json(tmp_path / "data_index.json", index, SCHEMA)
    assert load_index(tmp_path / "data_index.json") == index
    assert {split: part["count"] for split, part in index["splits"].items()} == {"train": 7, "val": 3}
    entry = index["splits"]["train"]["samples"][2]
    assert (entry["name"], entry["height"], entry["width"]) == ("0000002", 48, 64)
    assert entry["bytes"][2] == 12 + 48 * 64 * 8
    flow = read_flow(root / "train" / "0000002-flow_01.flo")
    assert entry["zero_flow_epe"] == pytest.approx(np.hypot(flow[..., 0], flow[..., 1]).mean(), rel=1e-5)
    epes = [sample["zero_flow_epe"] for sample in index["splits"]["train"]["samples"]]
    assert index["splits"]["train"]["zero_flow_epe"] == pytest.approx(np.mean(epes))
    assert indexed_samples(index, "val") == [sample_of(root / "val", f"{i:07d}") for i in range(3)]


def test_the_digest_is_that_of_the_bytes_and_not_of_place_time_or_threads(root: Path, tmp_path: Path) -> None:
    digest = build_index(root, CROP, workers=1)["digest"]
    moved = Path(shutil.move(root, tmp_path / "elsewhere"))
    for file in moved.rglob("*.png"):
        os.utime(file, (1, 1))
    assert build_index(moved, CROP, workers=3)["digest"] == digest
    flow = read_flow(moved / "val" / "0000000-flow_01.flo")
    flow[0, 0, 0] += 1
    write_flow(moved / "val" / "0000000-flow_01.flo", flow)
    assert build_index(moved, CROP)["digest"] != digest


def small_images(sample: Sample) -> None:
    for path in sample.files[:2]:
        cv2.imwrite(str(path), np.zeros((50, 50, 3), np.uint8))
    write_flow(sample.files[2], np.zeros((50, 50, 2)))


def truncated_flow(sample: Sample) -> None:
    sample.files[2].write_bytes(sample.files[2].read_bytes()[:-8])


def oversized_flow(sample: Sample) -> None:
    sample.files[2].write_bytes(sample.files[2].read_bytes() + b"\0")


def wrong_magic(sample: Sample) -> None:
    sample.files[2].write_bytes(b"HEIP" + sample.files[2].read_bytes()[4:])


def flow_with_nan(sample: Sample) -> None:
    flow = read_flow(sample.files[2])
    flow[3, 4, 1] = np.nan
    flow[5, 6, 0] = np.inf
    write_flow(sample.files[2], flow)


def flow_with_unknown_pixels(sample: Sample) -> None:
    flow = read_flow(sample.files[2])
    flow[10:30, 10:30] = 1e10
    flow[0, 0, 1] = -1.0001e9
    write_flow(sample.files[2], flow)


def big_endian_flow(sample: Sample) -> None:
    content = sample.files[2].read_bytes()
    sample.files[2].write_bytes(np.frombuffer(content, "<u4").astype(">u4").tobytes())


def big_endian_flow_with_the_right_magic(sample: Sample) -> None:
    big_endian_flow(sample)
    sample.files[2].write_bytes(b"PIEH" + sample.files[2].read_bytes()[4:])


def other_flow_size(sample: Sample) -> None:
    write_flow(sample.files[2], np.zeros((48, 63, 2)))


def flow_size_of_2_to_31_pixels(sample: Sample) -> None:
    sample.files[2].write_bytes(b"PIEH" + struct.pack("<ii", 65536, 32768) + sample.files[2].read_bytes()[12:])


def flow_of_zeros(sample: Sample) -> None:
    write_flow(sample.files[2], np.zeros((48, 64, 2)))


def other_frame_size(sample: Sample) -> None:
    cv2.imwrite(str(sample.files[1]), np.zeros((48, 65, 3), np.uint8))


def broken_image(sample: Sample) -> None:
    sample.files[1].write_bytes(b"not a picture")


def empty_image(sample: Sample) -> None:
    sample.files[0].write_bytes(b"")


def truncated_image(sample: Sample) -> None:
    sample.files[0].write_bytes(sample.files[0].read_bytes()[:-20])


def image_with_a_flipped_bit(sample: Sample) -> None:
    content = bytearray(sample.files[0].read_bytes())
    content[len(content) // 2] ^= 4
    sample.files[0].write_bytes(content)


def grey_image(sample: Sample) -> None:
    cv2.imwrite(str(sample.files[0]), np.zeros((48, 64), np.uint8))


def transparent_image(sample: Sample) -> None:
    cv2.imwrite(str(sample.files[0]), np.zeros((48, 64, 4), np.uint8))


def image_of_16_bits(sample: Sample) -> None:
    cv2.imwrite(str(sample.files[0]), np.zeros((48, 64, 3), np.uint16))


def decompression_bomb(sample: Sample) -> None:
    """A few hundred bytes with right checksums that claim 2.7 GB of pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    rest = sample.files[0].read_bytes()[33:]
    sample.files[0].write_bytes(
        SIGNATURE + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + rest
    )


def link_to_itself(sample: Sample) -> None:
    sample.files[1].unlink()
    sample.files[1].symlink_to(sample.files[1].name)


def broken_link(sample: Sample) -> None:
    sample.files[1].unlink()
    sample.files[1].symlink_to("gone.png")


def pipe_that_nobody_writes_to(sample: Sample) -> None:
    sample.files[2].unlink()
    os.mkfifo(sample.files[2])


def copy_of_another(sample: Sample) -> None:
    original = sample_of(sample.folder, "0000000")
    for path, source in zip(sample.files, original.files, strict=True):
        shutil.copyfile(source, path)


def copy_of_a_validation_sample(sample: Sample) -> None:
    original = sample_of(sample.folder.parent / "val", "0000002")
    for path, source in zip(sample.files[:2], original.files[:2], strict=True):
        shutil.copyfile(source, path)


def missing_partner(sample: Sample) -> None:
    sample.files[0].unlink()


def folder_in_place_of_a_file(sample: Sample) -> None:
    sample.files[1].unlink()
    sample.files[1].mkdir()


FAULTS = [
    (small_images, "-img_0.png: is 50x50 pixels .height x width., smaller than the crop 40x56"),
    (truncated_flow, "-flow_01.flo: truncated flow file"),
    (oversized_flow, "-flow_01.flo: oversized flow file"),
    (wrong_magic, "-flow_01.flo: not a .flo file"),
    (flow_with_nan, "-flow_01.flo: flow is not finite at 2 of 3072 pixels"),
    (flow_with_unknown_pixels, "-flow_01.flo: flow is unknown .*1e.09.* at 401 of 3072 pixels .13.1%."),
    (
        big_endian_flow,
        "-flow_01.flo: not a .flo file: .*found 'HEIP'; it was written big-endian: write it little-endian",
    ),
    (big_endian_flow_with_the_right_magic, "-flow_01.flo: the header claims .* or 64x48 if it was written big-endian"),
    (other_flow_size, "-flow_01.flo: is 63x48 pixels, but its frame 0 is 64x48"),
    (flow_size_of_2_to_31_pixels, "-flow_01.flo: the header claims 65536x32768 pixels"),
    (flow_of_zeros, "-flow_01.flo: flow is zero everywhere"),
    (other_frame_size, "-img_1.png: is 65x48 pixels, but its frame 0 is 64x48"),
    (broken_image, "-img_1.png: not a PNG file"),
    (empty_image, "-img_0.png: the file is empty"),
    (truncated_image, "-img_0.png: truncated PNG"),
    (image_with_a_flipped_bit, "-img_0.png: damaged PNG: the checksum"),
    (grey_image, "-img_0.png: expected 8-bit RGB, found 8 bit, 1 channel"),
    (transparent_image, "-img_0.png: expected 8-bit RGB, found 8 bit, 4 channel"),
    (image_of_16_bits, "-img_0.png: expected 8-bit RGB, found 16 bit, 3 channel"),
    (decompression_bomb, "-img_0.png: the header claims 30000x30000 pixels"),
    (missing_partner, "missing 0000001-img_0.png"),
    (folder_in_place_of_a_file, "-img_1.png: cannot read the file: Is a directory"),
    (link_to_itself, "-img_1.png: cannot read the file: Too many levels of symbolic links"),
    (broken_link, "-img_1.png: cannot read the file: No such file"),
    (pipe_that_nobody_writes_to, "-flow_01.flo: not a regular file"),
    (copy_of_another, "has the frames of train 0000000: a copy"),
    (copy_of_a_validation_sample, "has the frames of val 0000002: a copy"),
]


@pytest.mark.parametrize(("damage", "reason"), FAULTS, ids=[damage.__name__ for damage, _ in FAULTS])
def test_a_bad_sample_stops_or_is_excluded_with_its_reason(
    root: Path, damage: Callable[[Sample], None], reason: str
) -> None:
    damage(sample_of(root / "train", "0000001"))
    with pytest.raises(UserError, match=rf"copy: 1 bad sample\(s\): train 0000001: .*{reason}.*on_bad_sample"):
        build_index(root, CROP)
    index = build_index(root, CROP, on_bad_sample="exclude", max_bad_fraction=1 / 7)
    validate(index, SCHEMA, where="index")
    (rejected,) = index["splits"]["train"]["rejected"]
    assert rejected["name"] == "0000001"
    assert str(root) not in rejected["reason"]
    assert index["splits"]["val"]["rejected"] == []
    assert index["splits"]["train"]["count"] == len(indexed_samples(index, "train")) == 6
    assert sample_of(root / "train", "0000001") not in indexed_samples(index, "train")


def test_all_bad_samples_of_both_splits_are_told_at_once(root: Path, tmp_path: Path) -> None:
    for number in range(7, 19):
        (root / "train" / f"{number:07d}-img_0.png").write_bytes(b"")
    truncated_flow(sample_of(root / "val", "0000002"))
    with pytest.raises(UserError, match=r"13 bad sample.*0000016: .*; and 3 more, all in (\S+)\. Fix") as caught:
        build_index(root, CROP, folder=tmp_path / "out")
    assert "0000017" not in str(caught.value)
    assert "\n" not in str(caught.value)
    lines = (tmp_path / "out" / "bad_samples.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"train {i:07d}" for i in range(7, 19)] + ["val 0000002"]


def test_no_more_than_max_bad_fraction_of_a_split_is_excluded(root: Path) -> None:
    for number in range(2):
        truncated_flow(sample_of(root / "train", f"{number:07d}"))
    index = build_index(root, CROP, on_bad_sample="exclude", max_bad_fraction=2 / 7)
    assert [len(index["splits"][split]["rejected"]) for split in ("train", "val")] == [2, 0]
    with pytest.raises(UserError, match=r"train: 2 of 7 samples are bad \(28.6%\), and .* allows 28.0% .*0000001: "):
        build_index(root, CROP, on_bad_sample="exclude", max_bad_fraction=0.28)


def test_copies_within_a_split_can_be_allowed_and_between_splits_never(root: Path) -> None:
    copy_of_another(sample_of(root / "train", "0000001"))
    assert build_index(root, CROP, allow_copies=True)["splits"]["train"]["count"] == 7
    copy_of_a_validation_sample(sample_of(root / "train", "0000002"))
    with pytest.raises(UserError, match=r"1 bad sample\(s\): train 0000002: has the frames of val 0000002"):
        build_index(root, CROP, allow_copies=True)


def test_an_unreadable_file_is_a_bad_sample_and_an_unreadable_split_is_refused(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeflownas.data.index", "--root", str(root), "--out", str(tmp_path / "i.json")]
    command += ["--height", "40", "--width", "56"]
    if os.geteuid() == 0:  # without these capabilities, permissions bind even root
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    (root / "train" / "0000001-img_0.png").chmod(0)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "train 0000001: 0000001-img_0.png: cannot read the file: Permission denied" in done.stderr
    (root / "val").chmod(0)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (root / "val").chmod(0o755)
    assert done.returncode == 2
    assert "val: the data folder has no split 'val' that can be listed (Permission denied)" in done.stderr


def test_folders_that_are_loops_of_links_are_refused(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "val")
    (root / "val").symlink_to("val")
    with pytest.raises(UserError, match=r"val: .*Too many levels of symbolic links"):
        build_index(root, CROP)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=r"loop: no such data folder .Too many levels of symbolic links"):
        build_index(tmp_path / "loop", CROP)


def test_a_build_that_was_killed_goes_on_where_it_ended(root: Path, tmp_path: Path) -> None:
    for number in range(7, 3000):
        for kind in ("img_0.png", "img_1.png", "flow_01.flo"):
            os.link(root / "train" / f"{number % 7:07d}-{kind}", root / "train" / f"{number:07d}-{kind}")
    out = tmp_path / "out" / "data_index.json"
    command = [sys.executable, "-m", "edgeflownas.data.index", "--root", str(root), "--out", str(out)]
    command += ["--height", "40", "--width", "56", "--allow_copies"]
    journal = out.parent / JOURNAL_FILE
    with subprocess.Popen(command) as killed:
        while not (journal.is_file() and journal.read_text().count("\n") > 100):
            assert killed.poll() is None
            time.sleep(0.005)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    inspected = journal.read_text().count("\n") - 1
    with open(journal, "a") as file:
        file.write('["train", {"name": "00')  # a line that the kill cut
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"continuing an interrupted build that had inspected {inspected} samples" in done.stdout
    assert load_index(out) == build_index(root, CROP, allow_copies=True)
    assert not journal.exists()


def test_a_build_goes_on_only_from_what_is_still_so(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truncated_flow(sample_of(root / "train", "0000001"))
    with pytest.raises(UserError, match="1 bad sample"):
        build_index(root, CROP, folder=tmp_path)
    shutil.copy(root / "train" / "0000000-flow_01.flo", root / "train" / "0000001-flow_01.flo")
    os.utime(root / "train" / "0000003-img_0.png", (5, 5))
    inspected = []

    def note(sample: Sample, *arguments: object) -> dict:
        inspected.append(f"{sample.folder.name} {sample.name}")
        return inspect_sample(sample, *arguments)

    monkeypatch.setattr("edgeflownas.data.index.inspect_sample", note)
    build_index(root, CROP, folder=tmp_path)
    assert sorted(inspected) == ["train 0000001", "train 0000003"]
    shutil.copy(root / "train" / "0000000-flow_01.flo", root / "train" / "0000002-flow_01.flo")
    flow_of_zeros(sample_of(root / "train", "0000001"))
    with pytest.raises(UserError):
        build_index(root, CROP, folder=tmp_path)
    inspected.clear()
    with pytest.raises(UserError):
        build_index(root, (40, 57), folder=tmp_path)  # inspected for another crop: all again
    assert len(inspected) == 10


def test_a_long_build_says_how_far_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeflownas.data.index.SECONDS_BETWEEN_REPORTS", 0)
    said: list[str] = []
    build_index(root, CROP, print_line=said.append)
    assert re.fullmatch(r"train: looked at 3 of 7 samples, \d+/s, \d+ s left", said[3])
    assert len(said) == 11
    assert said[0] == f"{root}: data.layout auto found FlyingChairs2 (flying_chairs2), by train/ and val/"


def test_a_missing_folder_and_an_empty_split_are_refused_under_either_policy(root: Path, tmp_path: Path) -> None:
    for file in (root / "val").iterdir():
        file.unlink()
    for policy in ("stop", "exclude"):
        with pytest.raises(UserError, match=r"nowhere: no such data folder"):
            build_index(tmp_path / "nowhere", CROP, on_bad_sample=policy)
        with pytest.raises(UserError, match=r"val: the split 'val' is empty"):
            build_index(root, CROP, on_bad_sample=policy)


def test_a_split_that_exclusion_empties_is_refused(root: Path) -> None:
    for number in range(3):
        truncated_flow(sample_of(root / "val", f"{number:07d}"))
    with pytest.raises(UserError, match=r"val: no usable sample is left of 3; the first, 0000000: .*truncated"):
        build_index(root, CROP, on_bad_sample="exclude", max_bad_fraction=1)


def test_a_file_that_changes_or_vanishes_after_indexing_is_noticed(root: Path) -> None:
    index = build_index(root, CROP)
    for file in root.rglob("*.flo"):
        os.utime(file, (5, 5))  # a copy has new times and old bytes
    check_unchanged(index)
    path = root / "train" / "0000003-flow_01.flo"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"0000003-flow_01.flo: has other bytes than were indexed"):
        check_unchanged(index)
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"0000003-flow_01.flo: has 24587 bytes, was indexed with 24588"):
        check_unchanged(index)
    path.unlink()
    with pytest.raises(UserError, match=r"0000003-flow_01.flo: No such file or directory.*build the index again"):
        check_unchanged(index)


def test_changes_among_samples_that_the_index_does_not_list_are_remarked(root: Path) -> None:
    truncated_flow(sample_of(root / "train", "0000001"))
    index = build_index(root, CROP, on_bad_sample="exclude", max_bad_fraction=0.2)
    assert check_unchanged(index) == []
    flow_of_zeros(sample_of(root / "train", "0000001"))
    (root / "val" / "0000003-img_0.png").write_bytes(b"")
    assert check_unchanged(index) == [
        "train 0000001 was left out as bad, and has changed since",
        "val has 1 new sample(s), such as 0000003",
    ]


def test_an_edited_index_is_refused(root: Path, tmp_path: Path) -> None:
    index = build_index(root, CROP)
    index["splits"]["train"]["samples"].pop()
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"index.json: its digest does not fit its samples"):
        load_index(tmp_path / "index.json")
    index["surprise"] = 1
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"does not fit schemas/data_index.schema.json: .*surprise"):
        load_index(tmp_path / "index.json")


def test_the_command_writes_a_whole_index_or_none(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "data_index.json"
    command = [sys.executable, "-m", "edgeflownas.data.index", "--root", str(root), "--out", str(out)]
    command += ["--height", "40", "--width", "56", "--max_flow", "50"]
    flow_with_nan(sample_of(root / "train", "0000005"))
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "train 0000005" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not out.exists()
    command += ["--on_bad_sample", "exclude", "--max_bad_fraction", "0.2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "train: 6 samples" in done.stdout
    assert "1 rejected" in done.stdout
    assert "left out: train 0000005: 0000005-flow_01.flo: flow is not finite at 2 of 3072 pixels" in done.stdout
    assert [path.name for path in out.parent.iterdir()] == ["data_index.json"]
    assert load_index(out)["splits"]["train"]["rejected"][0]["name"] == "0000005"


@pytest.mark.real_data
def test_the_real_pairs_index_cleanly(real_pairs: Path) -> None:
    index = build_index(real_pairs, (180, 240))
    assert {split: (part["count"], part["rejected"]) for split, part in index["splits"].items()} == {
        "train": (6, []),
        "val": (2, []),
    }
    assert index["splits"]["train"]["zero_flow_epe"] == pytest.approx(12.477, abs=1e-3)
    assert index["splits"]["val"]["zero_flow_epe"] == pytest.approx(6.025, abs=1e-3)
    check_unchanged(index)
