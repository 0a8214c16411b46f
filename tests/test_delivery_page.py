"""`deploy.html` shows what was delivered, in one file that a browser opens without complaint."""

import json
import re
from pathlib import Path

import cv2
import pytest

from edgeflownas.artifacts import read_json
from edgeflownas.deploy.bundle import read_golden
from edgeflownas.errors import UserError
from edgeflownas.reporting.delivery_page import main, read_exported, sample_views
from tests.browser import screenshot, width_on_phone
from tests.handmade_gates import make_evidence
from tests.handmade_runs import edit_json


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory with what the commands of gate 7 left."""
    out = tmp_path_factory.mktemp("delivered")
    make_evidence("gate7", out)
    return out


@pytest.fixture(scope="module")
def page(delivered: Path) -> Path:
    return delivered / "runs/gate7/deploy.html"


def test_page_holds_the_numbers_of_every_subnet(delivered: Path, page: Path) -> None:
    text = page.read_text()
    picks = read_json(delivered / "runs/gate6/retrained.json")["picks"]
    assert len(picks) == 3
    for pick in picks:
        facts = read_json(delivered / "runs/gate7" / pick["run"] / "export.json")
        for key in ("float", "quantised"):
            assert f'<td class="num">{facts["epe"][key]:.4f}</td>' in text
        for words in (pick["role"], pick["code"], "2.5</td>", "400.0</td>", "90</td>", "250,000", "80.0%"):
            assert words in text
    assert text.count("<details") == 3
    assert "E0_option0" in text


def test_flow_is_shown_as_the_golden_vectors_have_it(delivered: Path) -> None:
    retrained = read_json(delivered / "runs/gate6/retrained.json")
    exported = read_exported(retrained, delivered / "runs/gate7")
    # All have the same sample, so its frames and true flow are shown once.
    (view,) = sample_views(exported)
    assert [picture.title for picture in view.given] == ["frame 1", "frame 2", "true flow"]
    assert [code for code, _ in view.rows] == [pick["code"] for pick in retrained["picks"]]
    (sample,) = read_golden(exported[0].folder, exported[0].facts)
    assert [picture.title for picture in view.rows[0][1]] == ["float", "int8", "difference"]
    assert view.rows[0][1][2].words == "mean 0.00 px"
    assert sample.pictures().shape == (45, 64, 6)


def test_page_needs_no_network_no_script_and_fits_a_phone(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//", text) == []
    assert "<script" not in text
    assert width_on_phone(text, tmp_path) == 390


@pytest.mark.parametrize("dark", [False, True])
def test_page_is_drawn_light_and_dark_without_a_word_on_the_console(page: Path, tmp_path: Path, dark: bool) -> None:
    screenshot(page, tmp_path / "page.png", dark=dark)
    pixels = cv2.imread(str(tmp_path / "page.png"))
    assert pixels.shape[:2] == (2000, 1280)
    assert (pixels[5, 5].mean() < 60) == dark
    assert pixels.std() > 20


def test_links_lead_to_the_files_and_the_other_pages(delivered: Path, page: Path, tmp_path: Path) -> None:
    beside = tmp_path / "beside.html"
    (tmp_path / "selection.html").touch()
    flags = ["--retrained", delivered / "runs/gate6/retrained.json", "--exported", delivered / "runs/gate7"]
    assert main([*map(str, flags), "--selected", str(delivered), "--out", str(beside)]) == 0
    text = beside.read_text()
    hrefs = re.findall(r'<a href="([^"#]+)"|class="mono" href="([^"]+)"', text)
    ways = [one or other for one, other in hrefs]
    assert "selection.html" in ways
    assert all((tmp_path / way).exists() for way in ways)


def test_what_was_not_exported_or_for_no_chip_is_told(delivered: Path, tmp_path: Path) -> None:
    retrained = read_json(delivered / "runs/gate6/retrained.json")
    with pytest.raises(UserError, match=f"subnet {retrained['picks'][0]['code']} is not exported there"):
        read_exported(retrained, tmp_path)
    folder = tmp_path / "000"
    folder.mkdir()
    facts = read_json(delivered / "runs/gate7" / retrained["picks"][0]["run"] / "export.json")
    (folder / "export.json").write_text(json.dumps({key: value for key, value in facts.items() if key != "chip"}))
    with pytest.raises(UserError, match="exported without a target"):
        read_exported(retrained, tmp_path)


def test_what_names_hold_is_text(delivered: Path, tmp_path: Path) -> None:
    evil = "<b>knee</b>"
    retrained = tmp_path / "retrained.json"
    retrained.write_text((delivered / "runs/gate6/retrained.json").read_text())
    picks = read_json(retrained)["picks"]
    edit_json(retrained, picks=[picks[0] | {"role": evil}, *picks[1:]])
    flags = ["--retrained", retrained, "--exported", delivered / "runs/gate7", "--selected", delivered]
    assert main([*map(str, flags), "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert evil not in text
    assert "&lt;b&gt;knee" in text
