"""The layouts, and which of them a folder has."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflownas.data.layouts import (
    collection,
    flying_chairs,
    flying_chairs2,
    flying_things3d,
    flying_things3d_subset,
    kitti,
    middlebury,
    sintel,
)
from edgeflownas.data.layouts.layout import Layout, require_root, what_is_there
from edgeflownas.errors import UserError

AUTO = "auto"
DEFAULT = flying_chairs2.LAYOUT
"""Whose name an index does not mention."""


def find_layout(root: Path | str, name: str, passes: str = "all") -> Layout:
    """The layout of that name, or for "auto" the one that fits what lies at the root.

    Raises:
        UserError: there is no such folder or layout, none fits, more than one does, or it has no such passes.
    """
    require_root(root)
    layout = _recognised(root) if name == AUTO else LAYOUTS.get(name)
    if layout is None:
        raise UserError(f"data.layout is {name!r}; expected {AUTO} or one of {', '.join(LAYOUTS)}")
    if passes != "all" and not layout.passes:
        raise UserError(f"{root}: {layout.title} has no passes; set data.passes to all, which is {passes!r}")
    return layout


def _recognised(root: Path | str) -> Layout:
    if os.path.isfile(root):
        if Path(root).suffix in collection.SUFFIXES:
            return LAYOUTS[collection.NAME]
        raise UserError(f"{root}: is a file; expected the folder of a data set, or a .yaml file that lists several")
    fitting = [layout for layout in LAYOUTS.values() if layout.fits(Path(root))]
    if len(fitting) > 1:
        names = " and ".join(layout.name for layout in fitting)
        raise UserError(f"{root}: looks like {names}; say which it is with data.layout, or give them folders apart")
    if not fitting:
        looked_for = "; ".join(f"{layout.title} ({layout.tree})" for layout in LAYOUTS.values())
        raise UserError(
            f"{root}: holds no data set of a known layout; looked for {looked_for}{what_is_there(Path(root))}"
        )
    return fitting[0]


def layout_of(index: Mapping[str, Any]) -> Layout:
    """The layout of the data set that an index (or the `data` of a manifest) is about."""
    return LAYOUTS[index["layout"]] if "layout" in index else DEFAULT


_FOLDERS = (flying_chairs2, flying_chairs, flying_things3d, flying_things3d_subset, sintel, kitti, middlebury)
LAYOUTS: Mapping[str, Layout] = {module.LAYOUT.name: module.LAYOUT for module in _FOLDERS} | {
    collection.NAME: collection.collection_layout(find_layout)
}
