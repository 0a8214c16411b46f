"""Other search spaces: one as unlike the first as the design foresees, with stem choices and 2-option heads, and one
that is small, for trainings whose outcome does not depend on the space."""

from pathlib import Path

from edgeflownas.nas.search_space import SearchSpace, load_search_space

ELEVEN_BLOCKS = """
name: eleven_blocks
blocks:
  - {name: E0, kind: kernel, options: [3, 5, 7]}
  - {name: E1, kind: kernel, options: [3, 5]}
  - {name: EB0, kind: depth, options: [1, 2, 3]}
  - {name: EB1, kind: depth, options: [1, 2]}
  - {name: DB0, kind: depth, options: [1, 2]}
  - {name: DB1, kind: depth, options: [1, 2, 3]}
  - {name: H0Out, kind: kernel, options: [3, 5]}
  - {name: H1, kind: kernel, options: [3, 5]}
  - {name: H1Out, kind: kernel, options: [3, 5]}
  - {name: H2, kind: kernel, options: [3, 5]}
  - {name: H2Out, kind: kernel, options: [3, 5]}
reference: [0, 1, 0, 1, 0, 2, 1, 0, 1, 0, 1]
"""


SMALL = """
name: small
blocks:
  - {name: EB0, kind: depth, options: [1, 2]}
  - {name: EB1, kind: depth, options: [1]}
  - {name: DB0, kind: depth, options: [1]}
  - {name: DB1, kind: depth, options: [1, 2]}
  - {name: H0Out, kind: kernel, options: [3, 5]}
  - {name: H1, kind: kernel, options: [3]}
  - {name: H1Out, kind: kernel, options: [3]}
  - {name: H2, kind: kernel, options: [3]}
  - {name: H2Out, kind: kernel, options: [3, 5]}
reference: [0, 0, 0, 0, 1, 0, 0, 0, 1]
"""


def small_space(folder: Path) -> Path:
    """Write the small space into a folder: 16 subnets, fair cycles of 2 paths, half the time to build its graph."""
    path = folder / "small.yaml"
    path.write_text(SMALL)
    return path


def eleven_block_space(folder: Path) -> SearchSpace:
    """Write the space into a folder and load it by path; its fair cycles have 6 paths."""
    path = folder / "eleven_blocks.yaml"
    path.write_text(ELEVEN_BLOCKS)
    return load_search_space(str(path))
