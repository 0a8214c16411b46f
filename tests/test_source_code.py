"""Which source files decide the numbers of a training run: whatever is imported, but what only tells."""

import re
import subprocess
import sys
from pathlib import Path

from edgeflownas.artifacts import PROJECT_ROOT
from edgeflownas.gates.lifecycle.sources import NO_GATE, depends_on
from edgeflownas.gates.registry import find_gate
from edgeflownas.source_code import ONLY_TELL, reached_from, training_source


def test_all_that_decides_a_number_is_found():
    found = training_source()
    for path in ("devices", "training/losses", "training/optimizer", "network/layers", "data/png_files", "config"):
        assert f"edgeflownas/{path}.py" in found
    for path in (*ONLY_TELL, "edgeflownas/console/terminal.py", "edgeflownas/runs/timing.pyc"):
        assert path not in found


def test_gate_3_depends_on_all_of_it():
    assert [path for path in training_source() if not depends_on(find_gate("gate3"), path)] == []


def test_what_only_tells_is_there_and_would_be_reached():
    assert set(ONLY_TELL) <= reached_from(["edgeflownas/train_supernet.py"], without=())


def test_a_new_import_is_followed_wherever_it_is_written(tmp_path: Path):
    texts = {
        "train_supernet.py": "def main():\n    from edgeflownas.room import new\n",
        "room/__init__.py": "",
        "room/new.py": "import edgeflownas.deep\nfrom edgeflownas.console.printer import Printer\n",
        "deep.py": "from numpy import array\n",
        "console/printer.py": "import edgeflownas.console.terminal\n",
        "console/terminal.py": "",
        "nobody.py": "",
    }
    for path, text in texts.items():
        (tmp_path / "edgeflownas" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "edgeflownas" / path).write_text(text)
    before = training_source(tmp_path)
    assert list(before) == [
        f"edgeflownas/{path}" for path in ("deep.py", "room/__init__.py", "room/new.py", "train_supernet.py")
    ]
    (tmp_path / "edgeflownas/deep.py").write_text("x = 2\n")
    after = training_source(tmp_path)
    assert [path for path in after if after[path] != before[path]] == ["edgeflownas/deep.py"]


def test_no_module_is_imported_in_a_way_that_is_not_followed():
    for path in training_source():
        text = (PROJECT_ROOT / path).read_text()
        assert "import_module" not in text
        assert "__import__" not in text


def test_gate_1_depends_on_all_that_its_dry_run_imports():
    command = [sys.executable, "-X", "importtime", "-m", "edgeflownas.train_supernet", "--dry_run"]
    said = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stderr
    modules = re.findall(r"\|\s*(edgeflownas[\w.]*)$", said, flags=re.MULTILINE)
    # What the printer, which no verdict depends on, imports for itself is left out.
    names = [f"{name.replace('.', '/')}.py" for name in modules if ".console" not in name]
    paths = [path for path in names if (PROJECT_ROOT / path).is_file()]
    assert len(paths) > 10
    assert [path for path in paths if path not in NO_GATE and not depends_on(find_gate("gate1"), path)] == []
