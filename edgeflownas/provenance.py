"""Where and from what an attempt was run: git, host, device, versions. Read only, never the environment's secrets."""

import getpass
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import PROJECT_ROOT

LOCK_FILE = PROJECT_ROOT / "requirements.lock"
# The variables that can change a result, and no others: an environment holds secrets.
RESULT_VARIABLES = (
    "KERAS_BACKEND",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "JAX_PLATFORMS",
    "JAX_ENABLE_X64",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "XLA_FLAGS",
    "TF_XLA_FLAGS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_DETERMINISTIC_OPS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
)
# The packages that compute, by the names of their distributions; not those that only draw, record or run commands. A
# backend's own packages count if it is in use.
BACKEND_PACKAGES = {
    "tensorflow": ("tensorflow",),
    "jax": ("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin"),
}
NETWORK_PACKAGES = (
    *(name for names in BACKEND_PACKAGES.values() for name in names),
    *("keras", "numpy", "nvidia-cublas", "nvidia-cublas-cu12", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
)
IMAGE_PACKAGES = (
    *("opencv-python-headless", "opencv-python"),
    *("opencv-contrib-python-headless", "opencv-contrib-python"),
)
COMPUTING_PACKAGES = (*NETWORK_PACKAGES, *IMAGE_PACKAGES)
# What converts and compiles a subnet for a chip, under any backend, and what runs the converted file here.
CHIP_PACKAGES = ("tensorflow", "keras", "ethos-u-vela")
LITERT_PACKAGES = ("ai-edge-litert",)
VERDICT_PACKAGES = tuple(dict.fromkeys((*COMPUTING_PACKAGES, *CHIP_PACKAGES, *LITERT_PACKAGES)))


def collect_provenance() -> dict[str, Any]:
    """Git state, host, versions, Slurm job and result-changing variables of this process, as a JSON value."""
    return {
        "git": git_state(),
        "host": host(),
        "versions": package_versions(),
        "slurm": {"job_id": os.environ.get("SLURM_JOB_ID"), "node": os.environ.get("SLURMD_NODENAME")},
        "user": _user(),
        "environment": {name: os.environ[name] for name in RESULT_VARIABLES if name in os.environ},
    }


def git_state(root: Path = PROJECT_ROOT) -> dict[str, Any]:
    """Commit, branch and whether tracked or new files differ from it; `why` says why one of them is null, if one is."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        # A copy without git may be inside another repository, which tracks none of its files.
        if not _git(root, "ls-files"):
            raise _GitSilent("the git repository around it tracks none of its files")
    except _GitSilent as silence:
        return {"commit": None, "branch": None, "dirty": None, "why": str(silence)}
    branch = _git(root, "rev-parse", "--abbrev-ref", "HEAD")
    try:
        return {"commit": commit, "branch": branch, "dirty": bool(_git(root, "status", "--porcelain"))}
    except _GitSilent as silence:
        return {"commit": commit, "branch": branch, "dirty": None, "why": str(silence)}


def git_words(git: Mapping[str, Any]) -> str:
    """A git state in words, in one line."""
    why = git.get("why") or "not in a git repository"
    if git["commit"] is None:
        return f"commit not known: {why}"
    changes = f"changes not known: {why}" if git["dirty"] is None else "dirty" if git["dirty"] else "clean"
    return f"commit {git['commit']} on {git['branch']}, {changes}"


def dirty_diff(root: Path = PROJECT_ROOT, shown: Collection[str] = ()) -> str:
    """The difference between the working tree and its commit, as `git apply` takes it.

    New files named in `shown` (paths below `root`) are part of it; others are only named, because their content may be
    confidential.
    """
    plain = ("diff", "--no-color", "--no-ext-diff", "--binary")
    try:
        parts = [_git(root, *plain, "HEAD")]
        new = _git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
        # Exit code 1 means that the two differ, as expected.
        parts += [
            _git(root, *plain, "--no-index", "--", "/dev/null", name, success=(0, 1)) for name in new if name in shown
        ]
    except _GitSilent as silence:
        return f"# not known: {silence}\n"
    parts += [f"# not in git, not shown: {name}" for name in new if name and name not in shown]
    return "".join(f"{part}\n" for part in parts if part)


class _GitSilent(Exception):
    """Git failed; the message says why."""


def _git(root: Path, *words: str, success: Collection[int] = (0,)) -> str:
    """The output of git for the checkout in `root`, even if another user owns it: this code runs anyway."""
    command = ["git", "--no-optional-locks", "-c", f"safe.directory={root.resolve()}", "-C", str(root), *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, errors="replace", env=os.environ | {"LC_ALL": "C"}
        )
    except OSError as error:
        raise _GitSilent(f"git cannot be run: {error.strerror}") from None
    if done.returncode not in success:
        lines = done.stderr.splitlines()
        reason = next((line for line in lines if line.startswith("fatal: ")), lines[-1] if lines else "no reason given")
        raise _GitSilent(reason.removeprefix("fatal: "))
    return done.stdout.rstrip("\n")


def host() -> dict[str, Any]:
    """Name, system, processor, cores, memory (MiB) and GPUs (name, memory, driver) of this machine."""
    return {
        "name": socket.gethostname(),
        "system": platform.platform(),
        "os": _operating_system(),
        "cpu": _first_match(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo")) or platform.processor(),
        "cores": os.cpu_count(),
        "memory_mb": _memory_mb(),
        "gpus": _gpus(),
    }


def package_versions() -> dict[str, str]:
    """Python's version, those of the locked packages (without a lock file: of this package's requirements) and of the
    packages that a verdict may depend on.
    """
    if LOCK_FILE.is_file():
        names = re.findall(r"^([A-Za-z0-9_.-]+)==", LOCK_FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    else:
        requirements = importlib.metadata.requires("edgeflownas") or []
        names = [re.split(r"[^A-Za-z0-9_.-]", line)[0] for line in requirements if "extra ==" not in line]
    return {
        "python": platform.python_version(),
        **versions_of({*names, *VERDICT_PACKAGES}),
    }


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed, by name."""
    versions = {}
    for name in sorted(names):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def that_compute(
    versions: Mapping[str, str], backend: str | None, packages: Collection[str] = COMPUTING_PACKAGES
) -> dict[str, str]:
    """Those of `versions` whose package computes under this backend."""
    idle = {name for other, names in BACKEND_PACKAGES.items() if other != backend for name in names}
    return {name: version for name, version in versions.items() if name in packages and name not in idle}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, in a container
        return f"uid {os.getuid()}"


def _operating_system() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    except OSError:
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


def _first_match(pattern: str, path: Path) -> str | None:
    try:
        match = re.search(pattern, path.read_text(encoding="utf-8"))
    except OSError:
        return None
    return match[1].strip() if match else None


def _memory_mb() -> int | None:
    kibibytes = _first_match(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo"))
    return int(kibibytes) // 1024 if kibibytes else None


def _gpus() -> list[str]:
    if not shutil.which("nvidia-smi"):
        return []
    names = _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return names.splitlines() if names else []
