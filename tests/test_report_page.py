"""`report.html` in a browser: it sorts, filters and flicks, fits a phone, and its links and numbers lead somewhere."""

import json
import re
from pathlib import Path

import cv2
import pytest

from edgeflownas.gates.lifecycle.evaluation import evaluate_gate
from edgeflownas.gates.lifecycle.page import write_page
from edgeflownas.reporting.training_report import write_report
from tests.browser import did, screenshot, width_on_phone
from tests.handmade_gates import make_evidence
from tests.handmade_runs import edit_json, make_config, make_run

EVIL = '<script>alert("1")</script>'


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory after gate 4 passed, with its provenance page."""
    output_dir = tmp_path_factory.mktemp("outputs")
    evidence = make_evidence("gate4", output_dir)
    assert evaluate_gate(evidence.gate, evidence.attempt, output_dir)["status"] == "passed"
    write_page(output_dir)
    return output_dir


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser may write."""
    return tmp_path_factory.mktemp("chromium")


def test_tables_sort_by_every_column_both_ways(published: Path, scratch: Path) -> None:
    script = """
      const table = document.getElementById("subnet-table");
      const text = (cell) => cell.dataset.value ?? cell.textContent;
      const column = (index) => [...table.tBodies[0].rows].map((row) => text(row.cells[index]));
      return [...table.tHead.rows[0].cells].map((head, index) => {
        head.querySelector("button").click();
        const up = [head.ariaSort, column(index)];
        head.querySelector("button").click();
        return [...up, head.ariaSort, column(index)];
      });"""
    columns = did(published / "report.html", scratch, script)
    assert len(columns) == 9
    for number, (first, up, second, down) in enumerate(columns):
        assert (first, second) == ("ascending", "descending")
        values = up if number == 1 else [float(value) for value in up]
        assert values == sorted(values)
        assert (down if number == 1 else [float(value) for value in down]) == sorted(values, reverse=True)


def test_filter_shows_the_subnets_with_all_of_its_words(published: Path, scratch: Path) -> None:
    script = """
      const filter = document.getElementById("filter");
      return ["EB0=3 h1=7x7", "000021222", "nothing like it", ""].map((words) => {
        filter.value = words;
        filter.dispatchEvent(new Event("input"));
        const rows = [...document.querySelectorAll("#subnet-table tbody tr")].filter((row) => row.checkVisibility());
        return [rows.map((row) => row.cells[1].textContent), document.getElementById("found").textContent];
      });"""
    some, one, none, everything = did(published / "report.html", scratch, script)
    assert some[0]
    assert all(code[0] == "2" and code.split(",")[5] == "2" for code in some[0])
    assert one == [["0,0,0,0,2,1,2,2,2"], "1 of 12"]
    assert none == [[], "0 of 12"]
    assert len(everything[0]) == 12


def test_pictures_are_there_and_flick_between_true_and_predicted(published: Path, scratch: Path) -> None:
    script = """
      const viewer = document.querySelector(".viewer"), large = viewer.querySelector(".large"), seen = [];
      const small = (view) => viewer.querySelector(`label[data-view="${view}"] img:not([hidden])`);
      const look = (view) => seen.push([viewer.querySelector("figcaption").textContent, large.src === small(view).src]);
      look("predicted flow");
      viewer.querySelector(".flick").click(); look("true flow");
      viewer.querySelector(".flick").click(); look("predicted flow");
      viewer.querySelector('label[data-view="error"] input').click(); look("error");
      const choice = document.getElementById("subnet");
      choice.selectedIndex = 2; choice.dispatchEvent(new Event("change")); look("error");
      const images = [...document.images];
      const broken = images.filter((image) => !image.complete || !image.naturalWidth).length;
      return [seen, images.length, broken, document.querySelectorAll(".figures svg").length];"""
    seen, images, broken, figures = did(published / "report.html", scratch, script)
    # Handmade: subnet k is off by k + 1 px everywhere, so the first is the best, and shown first.
    assert seen == [
        ["predicted flow: mean error 1.00 px", True],
        ["true flow: true flow", True],
        ["predicted flow: mean error 1.00 px", True],
        ["error: mean 1.00 px", True],
        ["error: mean 3.00 px", True],
    ]
    # Per sample: the large one, two legends, two frames, the true flow, and three of each of three subnets.
    assert (images, broken, figures) == (2 * (1 + 2 + 3 + 9), 0, 7)


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_page_is_drawn_light_and_dark_without_a_word_on_the_console(published: Path, scratch: Path, dark: bool) -> None:
    picture = scratch / f"dark_{dark}.png"
    screenshot(published / "report.html", picture, height=4000, dark=dark)
    image = cv2.imread(str(picture))
    assert image.shape == (4000, 1280, 3)
    assert (image[5, 5].mean() < 100) == dark


def test_page_scrolls_nothing_sideways_on_a_phone(published: Path, scratch: Path) -> None:
    assert width_on_phone((published / "report.html").read_text(), scratch) == 390


def test_page_needs_no_network(published: Path) -> None:
    text = re.sub(r'xmlns(:xlink)?="[^"]*"', "", (published / "report.html").read_text())
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize("page", ["report.html", "runs/gate4/report.html", "provenance.html"])
def test_every_link_leads_somewhere_wherever_the_page_stands(published: Path, page: str) -> None:
    hrefs = re.findall(r'<a [^>]*href="([^"#]+)"', (published / page).read_text())
    assert hrefs
    for href in hrefs:
        assert (published / page).parent.joinpath(href).is_file(), href


def test_pages_share_one_navigation(published: Path) -> None:
    def navigation(page: str) -> list[str]:
        nav = re.search(r'<nav class="pages".*?</nav>', (published / page).read_text(), re.DOTALL)
        assert nav
        return re.findall(r"<(?:a|b) [^>]*>[^<]+", nav[0])

    assert navigation("report.html") == [
        '<a href="provenance.html">Provenance',
        '<b aria-current="page">Report of the short run',
    ]
    assert navigation("runs/gate4/report.html")[0] == '<a href="../../provenance.html">Provenance'
    assert navigation("provenance.html") == [
        '<b aria-current="page">Provenance',
        '<a href="report.html">Report of the short run',
    ]


def test_whatever_the_records_hold_is_text(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_run(run, 5, make_config(), trace=False)
    device = json.loads((run / "train_manifest.json").read_text())["device"]
    versions = {"keras": EVIL, "numpy": "2", "python": "3"}
    edit_json(run / "train_manifest.json", device=device | {"name": EVIL}, versions=versions)
    write_report(run)
    text = (run / "report.html").read_text()
    assert text.count("<script") == 1
    assert text.count("&lt;script&gt;") == 2
