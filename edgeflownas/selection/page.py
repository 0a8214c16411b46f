"""What `selection.html` shows of an evaluated space, and from where its links lead."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeflownas.config import Config
from edgeflownas.errors import UserError
from edgeflownas.nas.search_space import DEFAULT_SEARCH_SPACE, load_search_space
from edgeflownas.reporting.pages import SELECTION, PageLink, page_links
from edgeflownas.reporting.selection_page import Column, SelectionView
from edgeflownas.selection.chip_tables import ChipTable
from edgeflownas.selection.selecting import MS, Selection
from edgeflownas.selection.tables import Evaluated

# Facts of an evaluation -> the config's keys of what they must be to train such a subnet alone.
NETWORK = {"init_neurons": "network.init_neurons", "height": "network.height", "width": "network.width"}


def view_of(
    evaluated: Evaluated,
    found: Selection,
    chip: ChipTable | None,
    out: Path,
    config: Config,
    config_flags: Sequence[str],
    written_by: str,
) -> SelectionView:
    """Everything that the page shows.

    Args:
        evaluated: the space.
        found: what was selected in it.
        chip: what its subnets take on a chip, if that is known.
        out: the folder that the page goes to.
        config: the configuration.
        config_flags: the flags that say which one it is, as far as training needs them.
        written_by: the command that writes the page.

    Raises:
        UserError: the configuration is of another search space.
    """
    return SelectionView(
        space=evaluated.space,
        columns=_columns(evaluated, chip),
        front_rows=found.rows.tolist(),
        pick_rows=[pick.row for pick in found.picks],
        selection=found.selection,
        front=found.front,
        commands=further_commands(evaluated, config, config_flags),
        written_by=written_by,
        pages=_pages(out.resolve()),
    )


def further_commands(evaluated: Evaluated, config: Config, config_flags: Sequence[str]) -> list[str]:
    """The commands that train a subnet alone, from scratch, as the supernet was trained.

    Where its code goes they have `@code@` (with commas) and `@digits@` (without).

    Raises:
        UserError: the configuration is of another search space.
    """
    name = config["network.search_space"]
    if load_search_space(name).facts() != evaluated.space.facts():
        raise UserError(
            f"network.search_space is {name}, but {evaluated.space.name} was evaluated, with other blocks: give the "
            "configuration of the evaluated supernet (--config, --set network.search_space=…)"
        )
    settings = [
        word
        for fact, key in NETWORK.items()
        if evaluated.facts[fact] != config[key]
        for word in ("--set", f"{key}={evaluated.facts[fact]}")
    ]
    alone = "subnets/@digits@.yaml"
    from_space = [] if name == DEFAULT_SEARCH_SPACE else ["--space", name]
    single = [
        "python",
        "-m",
        "edgeflownas.studies.single_subnet",
        "alone",
        *from_space,
        "--arch",
        "@code@",
        "--out",
        alone,
    ]
    train = ["python", "-m", "edgeflownas.train_supernet", *config_flags, *settings]
    train += ["--set", f"network.search_space={alone}", "--output_dir", "outputs/subnets/@digits@"]
    return [shlex.join(single), shlex.join(train)]


def _columns(evaluated: Evaluated, chip: ChipTable | None) -> list[Column]:
    table = evaluated.table
    on_chip = [] if chip is None else [Column(MS, "time on chip", "ms", chip.ms, digits=2)]

    def values(key: str) -> np.ndarray:
        return np.asarray(table[key].to_numpy())

    return [
        Column("epe", "EPE", "px", values("epe"), digits=4),
        Column("epe_error", "standard error of EPE", "px", values("epe_error"), digits=4),
        *(
            Column(f"outliers_{limit}px", f"> {limit} px", "%", values(f"outliers_{limit}px"), 100, 2)
            for limit in (1, 3, 5)
        ),
        Column("fl_all", "Fl-all", "%", values("fl_all"), 100, 2),
        Column("macs", "MACs", "M", values("macs"), 1e-6, 2),
        Column("params", "parameters", "", values("params")),
        *on_chip,
    ]


def _pages(out: Path) -> list[PageLink]:
    """The pages of the output directory that the page belongs to: its run's, where gate 5 publishes it, or its own."""
    runs = next((parent for parent in out.parents if parent.name == "runs"), None)
    output_dir = out if runs is None else runs.parent
    return page_links(output_dir, output_dir / SELECTION, out)
