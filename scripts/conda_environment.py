"""Write environment.yml, for users of conda, from requirements.lock: `python scripts/conda_environment.py`.

Conda brings Python, and pip the packages, in the locked versions.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# For users of conda: `conda env create -f environment.yml && conda activate tf_work_hpc`, then
# `pip install --no-deps --no-build-isolation -e .`. Written by scripts/conda_environment.py from requirements.lock.
name: tf_work_hpc
channels: [conda-forge, nodefaults]
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def environment(lock: str) -> str:
    """The text of environment.yml that goes with the text of a lock: its packages, versions and markers."""
    packages = re.findall(r"^([A-Za-z0-9][^\\\n]*?)\s*\\?$", lock, flags=re.MULTILINE)
    return HEADER + "".join(f"      - {_quoted(package)}\n" for package in packages)


def _quoted(package: str) -> str:
    return f'"{package}"' if ";" in package else package


if __name__ == "__main__":
    (ROOT / "environment.yml").write_text(environment((ROOT / "requirements.lock").read_text()))
