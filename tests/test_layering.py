"""The rooms: imports point one way, and nothing loads TensorFlow that does not compute with it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "edgeflownas"


def test_imports_point_one_way():
    from importlinter.cli import lint_imports

    assert lint_imports(config_filename=str(PACKAGE.parent / "pyproject.toml")) == 0


def test_the_package_imports_neither_tensorflow_nor_jax_of_its_own():
    # What TensorFlow itself reads and writes, its own engine for several devices, a setting of its own; and each
    # backend's compiler of functions.
    training = PACKAGE / "training"
    exceptions = {training / "tensorboard.py", training / "distribution.py", PACKAGE / "devices.py"}
    # The converter to LiteRT files is a part of TensorFlow.
    exceptions.add(PACKAGE / "deploy" / "converter.py")
    exceptions.add(PACKAGE / "selection" / "compiled.py")
    # TensorFlow's own list of gradients, which would keep each graph for good.
    exceptions.add(PACKAGE / "network" / "gradients.py")
    for path in set(PACKAGE.rglob("*.py")) - exceptions:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not {name.split(".")[0] for name in names} & {"tensorflow", "jax"}, path


def test_the_rooms_of_data_and_of_runs_need_no_keras():
    rooms = [path for room in ("data", "runs", "console") for path in (PACKAGE / room).rglob("*.py")]
    rooms.append(PACKAGE / "nas" / "search_space.py")
    modules = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in rooms]
    code = f"import sys, {', '.join(modules)}; print({{'keras', 'tensorflow', 'jax'}} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "set()"


def test_only_one_place_makes_a_network_of_a_configuration():
    made_in = [path.name for path in PACKAGE.rglob("*.py") if "FlowNetwork(" in path.read_text(encoding="utf-8")]
    assert made_in == ["flow_network.py"]


def test_these_rooms_take_typed_settings_and_no_values_by_key():
    files = [path for room in ("data", "network", "runs", "training") for path in (PACKAGE / room).rglob("*.py")]
    files.append(PACKAGE / "devices.py")
    by_key = re.compile(r"config\[['\"](seed|\w+\.[\w.]+)['\"]\]")
    assert [path.name for path in files if by_key.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "module",
    [
        "edgeflownas.train_supernet",
        "edgeflownas.gates.__main__",
        "edgeflownas.nas.space_eval",
        "edgeflownas.nas.supernet_eval",
        "edgeflownas.predict",
        "edgeflownas.selection.space_evaluation",
        "edgeflownas.nas.model_shape_check",
        "edgeflownas.nas.check_manifest",
        "edgeflownas.nas.cost",
        "edgeflownas.data.synthetic",
        "edgeflownas.data.index",
        "edgeflownas.runs.checkpoints",
        "edgeflownas.runs.data_index",
        "edgeflownas.training.restored",
    ],
)
def test_importing_a_command_loads_no_backend(module):
    code = f"import sys, {module}; print({{'keras', 'tensorflow', 'jax'}} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "set()"
