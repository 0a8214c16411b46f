"""What all pages share: one navigation, one look (`page.css.jinja`), and everything shown is escaped."""

import base64
import hashlib
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from edgeflownas.console.durations import duration

PROVENANCE, REPORT, REPORT_MARKDOWN = "provenance.html", "report.html", "supernet_training_report.md"
SELECTION, DELIVERY = "selection.html", "deploy.html"
# The run whose report gate 4 publishes as `<output_dir>/report.html`.
SHORT_RUN = "gate4"
# The pages of an output directory, if they were written.
PAGES = (
    ("Provenance", Path(PROVENANCE)),
    ("Report of the short run", Path(REPORT)),
    ("Report of the long run", Path("runs/supernet") / REPORT),
    ("Selection", Path(SELECTION)),
    ("Delivery to the chip", Path(DELIVERY)),
)


@dataclass(frozen=True)
class Script:
    """A page's script, and its digest for the page's own policy (`script-src 'sha256-…'`): no other script runs."""

    text: Markup
    digest: str


@dataclass(frozen=True)
class PageLink:
    """An entry of the navigation; `href` is relative to the page that shows it, None for that page itself."""

    label: str
    href: str | None


def page_links(output_dir: Path, here: Path, folder: Path) -> list[PageLink]:
    """The pages of an output directory that are there.

    Args:
        output_dir: where gates publish.
        here: the page that is about to be drawn.
        folder: what the links are relative to.
    """
    links = []
    for label, path in PAGES:
        page = output_dir / path
        if page == here:
            links.append(PageLink(label, None))
        elif page.is_file():
            links.append(PageLink(label, quote(Path(os.path.relpath(page, folder)).as_posix())))
    return links


def render(template: str, **values: Any) -> str:
    """A page from its template."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"moment": _moment, "duration": _duration, "size": _size, "link": quote}
    return environment.get_template(template).render(values)


def page_script(*files: str) -> Script:
    """One script of several files of this folder."""
    text = "\n".join((Path(__file__).parent / file).read_text(encoding="utf-8") for file in files)
    return Script(Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())


def rebased_page(page: str, drawn_for: Path, now_in: Path) -> str:
    """A page whose links were relative to one folder, for reading it in another."""
    way = Path(os.path.relpath(drawn_for, now_in))

    def rebase(link: re.Match[str]) -> str:
        return f'href="{Path(os.path.normpath(way / link[1])).as_posix()}"'

    return re.sub(r'href="([^"#:]+)"', rebase, page)


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")


def _duration(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds, tenths=True)


def _size(count: float) -> str:
    """`813 B`, `9.0 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
