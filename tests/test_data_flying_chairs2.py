import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.data.flow_files import write_flow
from edgeflownas.data.layouts.flying_chairs2 import list_samples, sample_of
from edgeflownas.data.readers import read_frame
from edgeflownas.data.samples import read_sample
from edgeflownas.errors import UserError


def test_samples_are_listed_by_name_and_other_files_are_ignored(synthetic_root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(synthetic_root, tmp_path / "copy")
    (root / "train" / "0000000-flow_10.flo").write_bytes(b"backward flow")
    (root / "train" / "notes.txt").write_text("")
    samples = list_samples(root, "train")
    assert [sample.name for sample in samples] == [f"{i:07d}" for i in range(7)]
    assert samples[2].files == tuple(
        root / "train" / f"0000002-{kind}" for kind in ("img_0.png", "img_1.png", "flow_01.flo")
    )


def test_frames_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "red.png"), red)
    assert read_frame(tmp_path / "red.png")[0, 0].tolist() == [255, 0, 0]


def test_a_missing_folder_split_or_partner_is_refused_by_path(synthetic_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such data folder .*; correct data.root"):
        list_samples(tmp_path / "nowhere", "train")
    with pytest.raises(UserError, match=r"val: the data folder has no split 'val'"):
        list_samples(tmp_path, "val")
    (tmp_path / "val").mkdir()
    with pytest.raises(UserError, match=r"val: the split 'val' is empty"):
        list_samples(tmp_path, "val")
    root = shutil.copytree(synthetic_root, tmp_path / "copy")
    (root / "train" / "0000004-img_1.png").unlink()
    with pytest.raises(UserError, match=r"train: missing 0000004-img_1.png; restore"):
        list_samples(root, "train")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 6), np.uint8), "expected 8-bit RGB, found 8 bit, 1 channel"),
        (np.zeros((4, 6, 4), np.uint8), "found 8 bit, 4 channel"),
        (np.zeros((4, 6, 3), np.uint16), "found 16 bit, 3 channel"),
    ],
)
def test_an_image_of_another_kind_is_refused_and_not_converted(tmp_path: Path, image: np.ndarray, message: str) -> None:
    cv2.imwrite(str(tmp_path / "odd.png"), image)
    with pytest.raises(UserError, match=f"odd.png: .*{message}"):
        read_frame(tmp_path / "odd.png")


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (0, "the file is empty"),
        (20, "truncated or damaged PNG header"),
        (60, "ends* within a chunk"),
        (4000, "ends* within a chunk"),
        (-1, "ends* within a chunk"),
    ],
)
def test_a_truncated_image_is_refused(synthetic_root: Path, tmp_path: Path, kept: int, message: str) -> None:
    (tmp_path / "cut.png").write_bytes((synthetic_root / "train" / "0000000-img_0.png").read_bytes()[:kept])
    with pytest.raises(UserError, match=f"cut.png: .*{message}"):
        read_frame(tmp_path / "cut.png")


def test_files_of_different_size_are_refused(synthetic_root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(synthetic_root, tmp_path / "copy")
    sample = sample_of(root / "train", "0000001")
    write_flow(sample.files[2], np.zeros((48, 60, 2)))
    with pytest.raises(UserError, match=r"0000001-flow_01.flo: is 60x48 pixels, but its frame 0 is 64x48"):
        read_sample(sample)


@pytest.mark.real_data
def test_warping_a_real_second_frame_back_by_the_flow_beats_no_flow(real_pairs: Path) -> None:
    for sample in list_samples(real_pairs, "train") + list_samples(real_pairs, "val"):
        frame_0, frame_1, flow = read_sample(sample)
        assert frame_0.shape == (384, 512, 3)
        rows, columns = np.mgrid[:384, :512].astype(np.float32)
        target = (columns + flow[..., 0], rows + flow[..., 1])
        inside = (target[0] >= 0) & (target[0] <= 511) & (target[1] >= 0) & (target[1] <= 383)
        warped = cv2.remap(frame_1, *target, cv2.INTER_LINEAR).astype(np.float32)
        with_flow = np.abs(warped - frame_0)[inside].mean()
        without = np.abs(frame_1.astype(np.float32) - frame_0)[inside].mean()
        assert with_flow < 0.7 * without


def test_nothing_but_the_pipeline_imports_keras() -> None:
    modules = [
        "changes",
        "flow_files",
        "layouts.flying_chairs2",
        "index",
        "order",
        "prefetch",
        "scenes",
        "streams",
        "synthetic",
        "textures",
    ]
    code = (
        "import sys\n"
        + "".join(f"import edgeflownas.data.{module}\n" for module in modules)
        + "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
