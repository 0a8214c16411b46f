"""Which source files determine the numbers of a training run: found by following imports from the trainer's command.

A new file is part of it as soon as it is imported; only those in `ONLY_TELL` are not.
"""

import ast
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path

from edgeflownas.artifacts import PROJECT_ROOT, sha256_file

PACKAGE = "edgeflownas"
TRAINING_COMMAND = f"{PACKAGE}/train_supernet.py"
# What a run prints, logs and records. No computed number depends on it, so it may change during a run; what only these
# files import is not followed either.
ONLY_TELL = (
    f"{PACKAGE}/deploy/peak.py",
    f"{PACKAGE}/parsers.py",
    f"{PACKAGE}/provenance.py",
    f"{PACKAGE}/runs/manifest.py",
    f"{PACKAGE}/runs/monitor.py",
    f"{PACKAGE}/training/tensorboard.py",
    f"{PACKAGE}/console/printer.py",
)


_MAY_IMPORT = (ast.stmt, ast.excepthandler, ast.match_case)


def training_source(root: Path = PROJECT_ROOT) -> dict[str, str]:
    """SHA-256 of every source file that determines what a training run computes, by its path below `root`."""
    return {path: sha256_file(root / path) for path in sorted(reached_from([TRAINING_COMMAND], root))}


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """`path: changed`, `new` or `gone` for every source file whose digest differs."""
    words = []
    for path in sorted(before.keys() | now.keys()):
        if path not in now:
            words.append(f"{path}: gone")
        elif path not in before:
            words.append(f"{path}: new")
        elif before[path] != now[path]:
            words.append(f"{path}: changed")
    return words


def reached_from(
    files: Iterable[str], root: Path = PROJECT_ROOT, without: Collection[str] = ONLY_TELL, nested: bool = True
) -> set[str]:
    """These files of the package and all that they import, anywhere in their text; paths below `root`.

    Args:
        files: where to begin, as paths below `root`.
        root: the folder that holds the package.
        without: files that are left out, and not followed.
        nested: whether imports within functions are followed, too, which run only when the function does.
    """
    reached: set[str] = set()
    waiting = list(files)
    while waiting:
        path = waiting.pop()
        if path not in reached and path not in without:
            reached.add(path)
            waiting += _imports(root / path, root, nested)
    return reached


def _imports(path: Path, root: Path, nested: bool) -> frozenset[str]:
    """The package's own files that one of them imports."""
    names = _imported_names(path.read_bytes(), str(path), nested)
    return frozenset().union(*(_files_of(name, root) for name in names if name.split(".")[0] == PACKAGE))


@cache
def _imported_names(text: bytes, where: str, nested: bool) -> frozenset[str]:
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(text, filename=where)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not nested:
            continue
        # Imports are statements, and no expression contains one.
        waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, _MAY_IMPORT)]
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where}: relative imports are not followed"
            # `from package import module` names a module, `from module import name` a name within one.
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


@cache
def _files_of(name: str, root: Path) -> frozenset[str]:
    """What Python runs to import a dotted name: the packages on the way, and the module."""
    parts = name.split(".")
    ways = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    candidates = [path for way in ways for path in (f"{way}/__init__.py", f"{way}.py")]
    return frozenset(path for path in candidates if (root / path).is_file())
