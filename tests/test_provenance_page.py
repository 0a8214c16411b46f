"""`provenance.html` shows every gate and attempt, escaped, in one file that a browser opens without complaint."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import pytest

from edgeflownas.gates.__main__ import main
from edgeflownas.gates.lifecycle import page
from edgeflownas.gates.lifecycle.evaluation import evaluate_gate
from edgeflownas.gates.registry import GATES
from tests.browser import open_page, require_chromium, screenshot, width_on_phone
from tests.handmade_gates import make_evidence
from tests.handmade_runs import OVERRIDES

EVIL = '<script>alert("1")</script>'


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """Gates 1 and 2 passed, gate 3 failed and then interrupted, gate 4 and the long run never run."""
    for name in ("gate1", "gate2"):
        evidence = make_evidence(name, tmp_path)
        assert evaluate_gate(evidence.gate, evidence.attempt, tmp_path)["status"] == "passed"
    failed = make_evidence("gate3", tmp_path)
    (failed.run("gate3_trace") / "trace.jsonl").write_text("")
    evaluate_gate(failed.gate, failed.attempt, tmp_path)
    make_evidence("gate3", tmp_path)
    return tmp_path


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.hrefs += [values["href"] or ""] if tag == "a" else []
        self.ids += [values["id"] or ""] if "id" in values else []


def links(text: str) -> _Links:
    """Links and anchors of a page."""
    parser = _Links()
    parser.feed(text)
    return parser


def test_page_shows_every_gate_attempt_and_state(chain: Path) -> None:
    text = page.write_page(chain).read_text()
    for gate in GATES:
        assert f'<section id="{gate.name}"' in text
    states = re.findall(r'class="badge state">\S+ ([a-z ]+)<', text)
    assert states == ["passed", "passed", "interrupted", *["never run"] * 5]
    assert "2 of 7 gates are up to date; gate 3 is interrupted, gate 4 is never run, gate 5 is never run" in text
    assert text.index('<section id="gate4"') < text.index('<section id="supernet"') < text.index('<section id="gate5"')
    for anchor in ("gate1-attempt-1", "gate3-attempt-1", "gate3-attempt-2"):
        assert f'id="{anchor}"' in text
    assert "refused while gate3, gate4 is not up to date" in text
    assert "every step ran each path forward and backward, and the optimizer once" in text


def test_every_link_of_the_page_leads_somewhere(chain: Path) -> None:
    found = links(page.write_page(chain).read_text())
    assert len(found.hrefs) > 20
    for href in found.hrefs:
        assert href[1:] in found.ids if href.startswith("#") else (chain / href).is_file(), href


def test_page_needs_no_network_and_no_script(chain: Path) -> None:
    text = page.write_page(chain).read_text()
    assert not re.search(r"https?:|<script|@import|url\(", text)
    assert "default-src 'none'" in text


def test_whatever_the_records_hold_is_text(chain: Path) -> None:
    attempt = chain / "gates/gate3/attempts/0002"
    start = json.loads((attempt / "start.json").read_text())
    start["provenance"] |= {"user": EVIL, "invocation": EVIL, "git": {"commit": EVIL, "branch": EVIL, "dirty": True}}
    start |= {"changes": [EVIL], "source_files": {EVIL: "0" * 64}}
    start["config"] |= {"path": EVIL, "values": {EVIL: EVIL}}
    (attempt / "start.json").write_text(json.dumps(start))
    (attempt / "dirty.diff").write_text(f"+{EVIL}\n")
    command = json.loads((attempt / "commands/01_trace.json").read_text())
    (attempt / "commands/01_trace.json").write_text(json.dumps(command | {"name": EVIL, "argv": [EVIL]}))
    text = page.write_page(chain).read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 10
    assert "%3Cscript%3E" in text


def test_damaged_attempt_is_shown_with_its_reason_beside_the_others(chain: Path) -> None:
    (chain / "gates/gate3/attempts/0001/start.json").write_text("{")
    text = page.write_page(chain).read_text()
    assert "Its records cannot be read" in text
    assert 'id="gate3-attempt-2"' in text


def test_page_is_drawn_by_whatever_ends_or_begins_an_attempt(tmp_path: Path) -> None:
    shared = ["--output_dir", str(tmp_path)]
    settings = [word for key, value in OVERRIDES.items() for word in ("--set", f"{key}={value}")]
    drawn = tmp_path / "provenance.html"
    main(["start", "gate1", *shared, *settings])
    assert "gate1-attempt-1" in drawn.read_text()
    drawn.unlink()
    main(["abandon", "gate1", *shared])
    assert "interrupted" in drawn.read_text()
    main(["start", "gate1", *shared, *settings])
    main(["record", "gate1", "help", *shared, "--", "python", "-c", "exit(9)"])
    assert "help ended with exit code 9" in drawn.read_text()
    evidence = make_evidence("gate2", tmp_path)
    main(["judge", "gate2", *shared])
    assert f"gate2-attempt-{evidence.attempt.number}" in drawn.read_text()
    drawn.unlink()
    assert main(["page", *shared]) == 0
    assert drawn.is_file()


def test_page_that_cannot_be_drawn_fails_no_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*anything: object) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr(page, "render_page", fail)
    make_evidence("gate1", tmp_path)
    assert main(["judge", "gate1", "--output_dir", str(tmp_path)]) == 0
    assert "provenance.html could not be drawn: RuntimeError('no ink')" in capsys.readouterr().err


@pytest.mark.slow
def test_browser_shows_every_gate_and_its_console_stays_empty(
    chain: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scratch = tmp_path_factory.mktemp("chromium")
    drawn = page.write_page(chain)
    shown = open_page(drawn, scratch, "--dump-dom")
    for gate in GATES:
        assert f'<section id="{gate.name}"' in shown
    assert shown.count('<details class="attempt') == 4
    for dark in (False, True):
        picture = scratch / f"dark_{dark}.png"
        screenshot(drawn, picture, dark=dark)
        image = cv2.imread(str(picture))
        assert image is not None
        assert image.shape == (2000, 1280, 3)
        assert image.std() > 10
        assert (image[5, 5].mean() < 100) == dark


def test_browser_scrolls_nothing_sideways_on_a_phone(chain: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    scratch = tmp_path_factory.mktemp("chromium")
    # Every fold open: what is hidden must fit too.
    text = page.write_page(chain).read_text().replace("<details ", "<details open ")
    assert width_on_phone(text, scratch) == 390


def test_an_error_on_the_console_would_be_noticed(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('oh')</script>")
    require_chromium()
    with pytest.raises(AssertionError, match="oh"):
        open_page(bad, tmp_path, "--dump-dom")
