"""Places that cannot be written to: one line with path, reason and remedy, and exit code 2."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeflownas.artifacts import PROJECT_ROOT, write_atomic, write_json
from edgeflownas.errors import (
    CannotWrite,
    UserError,
    make_folder,
    require_writable,
    require_writable_folder,
    run_command,
    writing,
)
from edgeflownas.locks import take_lock
from tests.handmade_runs import make_config, make_run

DEFAULT_CONFIG = str(PROJECT_ROOT / "config" / "config.yaml")
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
NOBODY = 65534
DENIED = "Permission denied"
ASK = "give a path that you may write to, or ask its owner"


def without_privileges() -> None:
    """Root writes and reads where nobody may; the process that follows does not."""
    if os.getuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def make_foreign(folder: Path) -> Path:
    """Give a folder and all in it to somebody else; everybody may read there."""
    for path in (folder, *folder.rglob("*")):
        if os.getuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    """Another user's folder, with a file in it."""
    folder = tmp_path / "somebody's"
    folder.mkdir()
    (folder / "file").touch()
    yield make_foreign(folder)
    folder.chmod(0o755)


def run(*words: str, cwd: Path | None = None) -> tuple[int, str, str]:
    """Exit code, output and the one line that a command said of its fault."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=without_privileges,
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr, done.stderr
    assert len(errors) == 1, done.stderr
    return done.returncode, done.stdout, errors[0]


@pytest.mark.parametrize(
    "words",
    [
        ("edgeflownas.nas.fair_sampler", "--cycles", "3", "--check", "--out", "{}/check.json"),
        ("edgeflownas.nas.fair_sampler", "--cycles", "3", "--check", "--out", "{}/new/folder/check.json"),
        ("edgeflownas.nas.eval_pool", "--out", "{}/pool.json"),
        ("edgeflownas.gates", "page", "--output_dir", "{}"),
        ("edgeflownas.gates", "start", "gate1", "--output_dir", "{}/out"),
        ("edgeflownas.gates", "start", "gate1", "--output_dir", "{}/out", "--done_file", "{}/start.json"),
        ("edgeflownas.reporting.launch_scripts", "--out", "{}/launch", "--", "python", "-V"),
        (
            "edgeflownas.data.synthetic",
            *["--train", "1", "--val", "1", "--height", "48", "--width", "64", "--seed", "1"],
            "--root",
            "{}/a/b",
        ),
        ("edgeflownas.studies.single_subnet", "alone", "--arch", "000000000", "--out", "{}/space.yaml"),
        ("edgeflownas.predict", "--run_dir", "run", "0.png", "1.png", "--out", "{}/flow"),
        ("edgeflownas.reporting.flow_pictures", "--run_dir", "run", "--out", "{}/pictures"),
        ("edgeflownas.nas.space_eval", "--run_dir", "run", "--out", "{}/subnets.csv"),
        ("edgeflownas.nas.space_eval", "--run_dir", "run", "--merge", "--out", "{}/new/subnets.csv"),
        ("edgeflownas.selection.select", "--config", DEFAULT_CONFIG, "--evaluated", "here", "--out", "{}/picked"),
        ("edgeflownas.selection.select", "--config", DEFAULT_CONFIG, "--evaluated", "{}/evaluated"),
        ("edgeflownas.selection.chip_costs", "--config", DEFAULT_CONFIG, "--evaluated", "{}/evaluated"),
        (
            "edgeflownas.nas.cost",
            *["--arch", "000000000", "--h", "48", "--w", "64", "--width", "4", "--target", "arm_high_end"],
            *["--cache", "{}/costs"],
        ),
    ],
    ids=lambda words: f"{words[0].rpartition('.')[2]}-{words[-1].rpartition('/')[2]}",
)
def test_another_users_folder_is_refused_in_one_line(words: tuple[str, ...], foreign: Path, tmp_path: Path) -> None:
    code, _, line = run(*(word.format(foreign) for word in words), cwd=tmp_path)
    assert code == 2
    assert line.startswith(f"error: {foreign}/")
    assert f": cannot be written: {DENIED}" in line
    assert line.endswith(f"; {ASK}")
    assert sorted(foreign.rglob("*")) == [foreign / "file"]


def test_a_data_index_that_cannot_be_written_is_refused_in_one_line(synthetic_root, foreign: Path) -> None:
    words = ("--root", str(synthetic_root), "--out", f"{foreign}/data_index.json", "--height", "45", "--width", "60")
    code, _, line = run("edgeflownas.data.index", *words)
    assert (code, line.count(f"{foreign}/data_index.json: cannot be written: {DENIED}")) == (2, 1)


@pytest.mark.parametrize(
    "words",
    [
        ("reporting.training_report",),
        ("reporting.flow_pictures", "--samples", "1"),
        ("predict", "0.png", "1.png"),
        ("nas.space_eval",),
        ("deploy.export", "--arch", "000000000"),
    ],
    ids=lambda words: words[0],
)
def test_what_goes_into_another_users_run_is_refused_before_anything_is_computed(words, tmp_path: Path) -> None:
    make_run(tmp_path / "run", 2, make_config())
    make_foreign(tmp_path / "run")
    code, _, line = run(f"edgeflownas.{words[0]}", "--run_dir", str(tmp_path / "run"), *words[1:], cwd=tmp_path)
    assert code == 2
    assert line.startswith(f"error: {tmp_path / 'run'}/")
    assert f": cannot be written: {DENIED}" in line
    assert line.endswith(f"; {ASK}")


def test_a_closed_folder_is_one_line_for_those_who_only_look(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    (folder / "gates").mkdir(parents=True)
    make_foreign(folder)
    folder.chmod(0o700 if os.getuid() == 0 else 0)
    code, _, line = run("edgeflownas.gates", "status", "--output_dir", str(folder))
    folder.chmod(0o755)
    assert code == 2
    assert line.startswith(f"error: {folder}/")
    assert line.endswith(f": {DENIED}; {ASK}")


@pytest.mark.slow
def test_snakemake_with_another_users_output_folder_is_one_line(foreign: Path, tmp_path: Path) -> None:
    words = ("snakemake", "gate1", "--snakefile", str(PROJECT_ROOT / "Snakefile"), "--cores", "1", "--nolock")
    for folder in (foreign, foreign / "new"):
        code, _, line = run(*words, "--config", f"workflow={{output_dir: {folder}}}", cwd=tmp_path)
        assert (code, line.count(f"cannot be written: {DENIED}")) == (2, 1)
        assert line.startswith(f"error: {folder}")


def test_full_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgeflownas.nas.eval_pool"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "error: standard output: No space left on device; free space there, or give another path\n"


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A small disk that is full but for a page."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    (folder / "filler").write_bytes(b"x" * (60 << 10))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_told_with_the_path_and_leaves_the_old_file(full: Path) -> None:
    path = full / "value.json"
    write_json(path, [1])
    with pytest.raises(CannotWrite) as told:
        write_json(path, ["x" * 10_000])
    assert (
        str(told.value) == f"{path}: cannot be written: No space left on device; free space there, or give another path"
    )
    assert path.read_text() == "[\n  1\n]\n"
    assert sorted(file.name for file in full.iterdir()) == ["filler", "value.json"]


def test_a_compiler_without_space_for_its_files_is_told_in_the_same_words(full: Path, monkeypatch) -> None:
    from edgeflownas.deploy.children import run_child
    from edgeflownas.deploy.targets import load_target
    from edgeflownas.deploy.vela import compile_model

    monkeypatch.setattr("tempfile.tempdir", str(full))
    with pytest.raises(CannotWrite, match=f"{full}: cannot be written: No space left on device"):
        compile_model(b"x" * 10_000, load_target("arm_high_end"), "model")
    assert [path.name for path in full.iterdir()] == ["filler"]
    # Where the child itself finds no space, in the folder that it is given.
    program = "import tempfile; file = tempfile.TemporaryFile(); file.write(b'x' * 10_000); file.flush()"
    with pytest.raises(CannotWrite, match=f"{full}: cannot be written: No space left on device"):
        run_child([sys.executable, "-c", program], full)


def test_costs_on_a_chip_that_cannot_be_kept_are_told_in_the_same_words(full: Path, monkeypatch) -> None:
    from edgeflownas.deploy import chip_costs
    from edgeflownas.deploy.subnet import Subnet
    from edgeflownas.deploy.targets import load_target
    from edgeflownas.deploy.vela import ChipCost, Layer
    from edgeflownas.nas.search_space import load_search_space

    # The compiler's own answer to this is another test's matter.
    cost = ChipCost(1, 500.0, 26.0, 90.0, (), tuple(Layer(f"layer {number}", 1, 1.0) for number in range(200)))
    monkeypatch.setattr(chip_costs, "convert_untrained", lambda subnets, seed: iter([b""] * len(subnets)))
    monkeypatch.setattr(chip_costs, "compile_model", lambda *arguments: (b"", cost))
    subnet = Subnet(load_search_space(), (0,) * 9, 4, 45, 60, "sum")
    with pytest.raises(CannotWrite, match=r"cannot be written: No space left on device"):
        chip_costs.chip_costs([subnet], load_target("arm_high_end"), full / "cache")
    assert not [path for path in full.rglob("*") if path.suffix == ".json"]


@pytest.mark.slow
def test_a_tensorboard_log_on_a_full_disk_is_told_in_the_same_words(full: Path) -> None:
    pytest.importorskip("tensorflow")
    from edgeflownas.training.tensorboard import TensorBoardLog

    log = TensorBoardLog(full / "tensorboard", first_step=0)
    (path,) = (full / "tensorboard").iterdir()
    observed = {"losses": [1.0], "global_grad_norm_before": 1.0, "global_grad_norm_after": 1.0}
    words = "cannot be written: No space left on device; free space there"

    def fill() -> None:
        for step in range(1000):
            log.add_step(step, observed, lr=1.0)

    with pytest.raises(CannotWrite, match=f"{path}: {words}"):
        fill()


def test_a_file_where_a_folder_is_wanted_and_a_name_that_is_too_long_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, words in (
        (tmp_path / "file" / "value.json", "file: cannot be written: File exists; give another path"),
        (tmp_path / ("x" * 250), "File name too long; give a shorter name"),
    ):
        with pytest.raises(CannotWrite, match=words):
            write_json(path, 1)
    with pytest.raises(CannotWrite, match=rf"{tmp_path}/file is no folder"):
        require_writable(tmp_path / "file" / "value.json")
    for path, what in ((tmp_path / "file", "it"), (tmp_path / "file" / "folder", f"{tmp_path}/file")):
        with pytest.raises(CannotWrite, match=rf"{path}: cannot be written: {what} is no folder"):
            require_writable_folder(path)
    with pytest.raises(CannotWrite, match="file: cannot be written: File exists"):
        make_folder(tmp_path / "file")
    with pytest.raises(CannotWrite, match="folder"):
        take_lock(tmp_path / "no folder" / ".lock", "me")


def test_nothing_but_a_file_is_replaced_by_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for write in (require_writable, lambda path: write_json(path, 1)):
        with pytest.raises(CannotWrite, match="folder: cannot be written: Is a directory; give another path"):
            write(tmp_path / "folder")
        for path in (tmp_path / "pipe", Path("/dev/full")):
            with pytest.raises(CannotWrite, match=f"{path}: cannot be written: it is no regular file"):
                write(path)
    assert not os.path.isfile("/dev/full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


def test_a_mistake_within_a_write_stays_what_it_is(tmp_path: Path) -> None:
    def write(file: object) -> None:
        raise UserError("a mistake")

    with pytest.raises(UserError, match="a mistake"):
        write_atomic(tmp_path / "file", write)
    with pytest.raises(CannotWrite, match="inner"), writing(tmp_path / "outer"), writing(tmp_path / "inner"):
        raise OSError(28, "No space left on device")


def test_an_error_that_no_place_explains_keeps_its_trace() -> None:
    def main() -> int:
        raise FileNotFoundError(2, "No such file or directory", "a bug of ours")

    with pytest.raises(FileNotFoundError, match="a bug of ours"):
        run_command(main)


def test_what_can_be_written_is_let_through(tmp_path: Path) -> None:
    assert require_writable(str(tmp_path / "a/b/c.json")) == tmp_path / "a/b/c.json"
    assert require_writable("a.json") == Path("a.json")
    assert not (tmp_path / "a").exists()
    shutil.copy(__file__, tmp_path / "there")
    assert require_writable(tmp_path / "there") == tmp_path / "there"
    assert require_writable_folder(tmp_path) == tmp_path
    assert require_writable_folder(str(tmp_path / "a/b")) == tmp_path / "a/b"
