"""`selection.html` in a browser: its numbers are the table's, and what one clicks and types does what it says."""

import csv
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from edgeflownas.errors import UserError
from edgeflownas.gates.lifecycle.page import write_page
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.search_space import SearchSpace, load_search_space
from edgeflownas.reporting.pages import rebased_page
from edgeflownas.selection.front import front_rows
from edgeflownas.selection.select import main as select
from edgeflownas.selection.selecting import code_of, row_of
from edgeflownas.selection.tables import Evaluated, read_evaluated
from edgeflownas.studies.single_subnet import main as single_subnet
from edgeflownas.train_supernet import main as train_supernet
from tests.browser import did, screenshot, width_on_phone
from tests.handmade_spaces import handmade_epes, make_chip_costs, make_evaluated
from tests.spaces import eleven_block_space, small_space

CONFIG = ("--config", "config/config.yaml", "--set", "target=null")
CHIP = ("--config", "config/config.yaml", "--set", "target=arm_high_end")
EVIL = '</script><script>alert("1")</script>'
# What a person does, for scripts on the page.
HANDS = """
  const type = (id, value, event = "input") => {
    byId(id).value = value;
    byId(id).dispatchEvent(new Event(event));
  };
  const press = (key) => marks.dispatchEvent(new KeyboardEvent("keydown", { key }));
  const point = (kind, x, y, pointerType = "touch") => {
    const box = marks.getBoundingClientRect();
    marks.dispatchEvent(new PointerEvent(kind, { clientX: box.left + x, clientY: box.top + y, pointerType }));
  };
  const text = (id) => byId(id).textContent;
"""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory's long run with the 9-block space evaluated, its page written and the provenance page."""
    output_dir = tmp_path_factory.mktemp("outputs")
    folder = output_dir / "runs" / "supernet" / "selection"
    make_evaluated(folder)
    write_page(output_dir)
    flags = ["--set", "selection.budget=4.5", "--set", "selection.picks='1,1,1,1,1,1,1,1,1 222222222'"]
    assert select([*CONFIG, "--evaluated", str(folder), *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def page(evaluated: Path) -> Path:
    """The page."""
    return evaluated / "selection.html"


@pytest.fixture(scope="module")
def table(evaluated: Path) -> Evaluated:
    """What it is a page of."""
    return read_evaluated(evaluated)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser may write."""
    return tmp_path_factory.mktemp("chromium")


def codes_where(table: Evaluated, **digits: set[int]) -> int:
    """How many subnets have one of these digits in each of these blocks."""
    places = [block.name for block in table.space.blocks]
    codes = table.table["code"]
    return sum(all(int(code[places.index(name)]) in wanted for name, wanted in digits.items()) for code in codes)


def test_page_holds_the_numbers_of_every_subnet(page: Path, table: Evaluated, scratch: Path) -> None:
    found = did(
        page,
        scratch,
        """const rows = [0, 1, 4711, 12000, size - 1];
        const sums = space.columns.map(({ key, values }) => [key, values.reduce((sum, value) => sum + value, 0)]);
        const some = space.columns.map(({ key, values }) => [key, rows.map((row) => values[row])]);
        return { size, codes: rows.map(codeOf), sums: Object.fromEntries(sums), some: Object.fromEntries(some) };""",
    )
    rows = [0, 1, 4711, 12000, 19682]
    assert found["size"] == 19683
    assert found["codes"] == [",".join(table.table["code"][row]) for row in rows]
    assert set(found["sums"]) == set(table.table.columns) - {"code", "on_front"}
    for key, total in found["sums"].items():
        exact = key in ("epe", "macs", "params")
        assert found["some"][key] == pytest.approx(list(table.table[key][rows]), rel=0 if exact else 1e-7, abs=0)
        assert total == pytest.approx(table.table[key].sum(), rel=1e-12 if exact else 1e-6)


def test_front_on_the_page_is_the_published_one_and_in_other_axes_what_they_say(
    page: Path, table: Evaluated, scratch: Path
) -> None:
    script = """
      const first = [fronts.whole, space.front];
      type("across", "params", "change");
      type("up", "fl_all", "change");
      return [...first, fronts.whole, text("legend")];"""
    shown, published, other, legend = did(page, scratch, HANDS + script)
    assert shown == published == front_rows(table.table["macs"], table.table["epe"]).tolist()
    single = table.table["fl_all"].to_numpy().astype(np.float32)
    assert other == front_rows(table.table["params"].to_numpy(), single).tolist()
    assert "front in these axes" in legend


def test_filter_finds_what_pandas_finds(page: Path, table: Evaluated, scratch: Path) -> None:
    words = ["EB0=1 H2=3x3", "h2=3X3,7 EB0=#2", "H2=#0,#1 h2=5x5,7x7", "000021222", "0,0,0,0,2,1,2,2,*", "front", ""]
    words += ["front H2Out=7x7", "EB0=1 EB0=2"]
    script = f"return {json.dumps(words)}.map((words) => (type('filter', words), text('found')));"
    found = did(page, scratch, HANDS + script)
    marked = table.table[table.table["on_front"]]["code"]
    counts = [codes_where(table, EB0={0}, H2={0}), codes_where(table, H2={0, 2}, EB0={2}), codes_where(table, H2={1})]
    counts += [1, 3, len(marked), 19683, sum(code[8] == "2" for code in marked), 0]
    assert found == [f"{count:,} of 19,683" for count in counts]


def test_wrong_filters_are_told_and_change_nothing(page: Path, scratch: Path) -> None:
    words = ["EB9=1", "H2=9x9", "0000", "00002122x", "000021223", "nonsense", "H2="]
    script = f"""
      type("filter", "EB0=1");
      return {json.dumps(words)}.map((words) => {{
        type("filter", words);
        return [text("found"), byId("filter").getAttribute("aria-invalid"), state.matched.reduce((a, b) => a + b)];
      }});"""
    found = did(page, scratch, HANDS + script)
    assert found[0][0] == "no block EB9: there are EB0, EB1, DB0, DB1, H0Out, H1, H1Out, H2, H2Out"
    assert found[1][0] == "H2 has no 9x9: it has 3x3, 5x5, 7x7, or by digit #0, #1, #2"
    assert found[2][0] == "0000: expected BLOCK=OPTION, front, or a code of 9 digits with * for any"
    assert found[4][0] == "000021223: H2Out has digits 0 to 2"
    assert {answer[1] for answer in found} == {"true"}
    assert {answer[2] for answer in found} == {6561}


def test_click_shows_a_subnet_its_numbers_and_the_way_to_the_front(page: Path, table: Evaluated, scratch: Path) -> None:
    row = row_of((2, 2, 0, 1, 0, 0, 1, 0, 1), table.space)
    script = f"""
      const row = {row};
      type("filter", codeOf(row));
      point("pointerdown", at.x[row] + 3, at.y[row] - 4);
      point("pointerup", at.x[row] + 3, at.y[row] - 4);
      const blocks = [...document.querySelectorAll("select[data-block]")].map((select) => select.value).join("");
      return [state.chosen, text("code"), blocks, text("numbers"), text("against"), text("commands"), text("said")];"""
    chosen, code, blocks, numbers, against, commands, said = did(page, scratch, HANDS + script)
    assert (chosen, code, blocks) == (row, "2,2,0,1,0,0,1,0,1", "220100101")
    subnets = table.table
    epe, cost = subnets["epe"].to_numpy(), subnets["macs"].to_numpy()
    assert f"EPE{epe[row]:.4f} ± {subnets['epe_error'][row]:.4f} px" in numbers
    assert f"MACs{cost[row] / 1e6:.2f} million" in numbers
    assert f"rank by EPE{int((epe < epe[row]).sum()) + 1:,} of 19,683" in numbers
    better = int(((epe < epe[row]) & (cost <= cost[row])).sum())
    front = front_rows(cost, epe)
    distance = ((epe[front] - epe[row]) / np.ptp(epe)) ** 2 + ((cost[front] - cost[row]) / np.ptp(cost)) ** 2
    near = front[distance.argmin()]
    assert f"{better:,} subnets are better in both" in against
    assert f"nearest point of the front is {format_code(code_of(near, table.space))}" in against
    assert f"EPE−{epe[row] - epe[near]:.4f} px (−{100 * (1 - epe[near] / epe[row]):.1f}%)" in against
    wanted, labels = code_of(near, table.space), [["1", "2", "3"]] * 4 + [["3x3", "5x5", "7x7"]] * 5
    for block, old, new, names in zip(table.space.blocks, (2, 2, 0, 1, 0, 0, 1, 0, 1), wanted, labels, strict=True):
        assert (f"{block.name} {names[old]} → {names[new]}" in against) == (old != new)
    assert said.startswith(f"2,2,0,1,0,0,1,0,1: {epe[row]:.4f} px, {cost[row] / 1e6:.2f} million MACs")
    assert "220100101" in commands


def test_commands_of_a_subnet_can_be_typed(
    page: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = 'choose(rowOf([0, 0, 0, 0, 2, 1, 2, 2, 2])); return text("commands");'
    first, second = did(page, scratch, HANDS + script).split(" &&\n")
    shutil.copytree("config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    python, _, module, *words = shlex.split(first)
    assert (python, module) == ("python", "edgeflownas.studies.single_subnet")
    monkeypatch.setattr(sys, "argv", [module, *words])
    assert single_subnet() == 0
    python, _, module, *words = shlex.split(second)
    assert (python, module) == ("python", "edgeflownas.train_supernet")
    capsys.readouterr()
    assert train_supernet([*words, "--dry_run", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)["values"]
    alone = load_search_space(values["network.search_space"])
    assert [block.options for block in alone.blocks] == [(1,), (1,), (1,), (1,), (7,), (5,), (7,), (7,), (7,)]
    # Of the evaluated supernet's size, which is not the config's.
    assert (values["network.init_neurons"], values["network.height"], values["network.width"]) == (4, 45, 60)
    assert values["train.output_dir"] == "outputs/subnets/000021222"
    assert "selection.budget" not in second


def test_keys_go_along_the_front_and_up_and_down(page: Path, table: Evaluated, scratch: Path) -> None:
    script = """
      const at = (key) => (press(key), state.chosen);
      const ends = [at("Home"), at("ArrowLeft"), at("ArrowRight"), at("ArrowRight"), at("End"), at("ArrowRight")];
      choose(5000);
      const joined = at("ArrowRight");
      choose(5000);
      const ranks = [at("ArrowUp"), at("ArrowUp"), at("ArrowDown"), at("ArrowDown"), at("ArrowDown")];
      type("filter", "H2Out=3x3");
      const filtered = [at("Home"), at("End"), at("ArrowDown")];
      return { ends, joined, ranks, filtered, said: text("said") };"""
    found = did(page, scratch, HANDS + script)
    epe, cost = table.table["epe"].to_numpy(), table.table["macs"].to_numpy()
    front = front_rows(cost, epe).tolist()
    assert found["ends"] == [front[0], front[0], front[1], front[2], front[-1], front[-1]]
    assert found["joined"] == front[int(np.abs(cost[front] - cost[5000]).argmin())]
    order = np.argsort(epe, kind="stable").tolist()
    here = order.index(5000)
    assert found["ranks"] == [order[here + step] for step in (1, 2, 1, 0, -1)]
    some = np.flatnonzero([code[8] == "0" for code in table.table["code"]])
    part = some[front_rows(cost[some], epe[some])]
    assert found["filtered"][:2] == [part[0], part[-1]]
    # Nothing that the filter finds is better than the end of its front.
    assert found["filtered"][2] == part[-1]


def test_keys_and_buttons_and_frames_zoom(page: Path, scratch: Path) -> None:
    script = """
      const spans = () => ["x", "y"].map((axis) => state.view[axis][1] - state.view[axis][0]);
      const all = spans();
      press("+");
      const closer = spans();
      const held = toX(column("across").values[state.chosen]);
      press("0");
      const back = spans();
      byId("zoom-front").click();
      const front = spans(), shown = space.front.every((row) => inside(at.x[row], at.y[row]));
      byId("zoom-all").click();
      marks.setPointerCapture = () => {};
      const [left, right, high, low] = [fromX(200), fromX(300), fromY(100), fromY(250)];
      point("pointerdown", 200, 100, "mouse");
      point("pointermove", 300, 250, "mouse");
      point("pointerup", 300, 250, "mouse");
      const frame = [state.view.x, state.view.y];
      return { all, closer, back, front, shown, frame, wanted: [[left, right], [low, high]] };"""
    found = did(page, scratch, HANDS + script)
    assert found["closer"] == pytest.approx([0.6 * span for span in found["all"]])
    assert found["back"] == pytest.approx(found["all"])
    assert found["front"][1] <= found["all"][1]
    assert found["shown"]
    for axis in (0, 1):
        # Pointer places are whole pixels of a canvas some hundred wide.
        assert found["frame"][axis] == pytest.approx(found["wanted"][axis], abs=0.01 * found["all"][axis])


def test_options_and_links_choose_subnets(page: Path, table: Evaluated, scratch: Path) -> None:
    script = """
      choose(0);
      const select = document.querySelectorAll("select[data-block]")[7];
      select.value = "2";
      select.dispatchEvent(new Event("change"));
      const changed = text("code");
      const picks = [...document.querySelectorAll(".pick > button")].map((button) => (button.click(), text("code")));
      const roles = [...byId("roles").children].map((role) => role.textContent);
      document.querySelector('[data-filter="H2=3x3"]').click();
      document.querySelector("#front-table tbody tr:nth-child(3) button").click();
      const marked = document.querySelectorAll("tr.chosen").length;
      return { changed, picks, roles, filter: text("found"), third: state.chosen, marked };"""
    found = did(page, scratch, HANDS + script)
    assert found["changed"] == "0,0,0,0,0,0,0,2,0"
    selection = json.loads((page.parent / "selection.json").read_text())
    assert found["picks"] == [pick["code"] for pick in selection["picks"]]
    # The last one that the user named is the heaviest, which is the most accurate here.
    assert found["roles"] == ["on the front", "most accurate", "named"]
    assert found["filter"] == "6,561 of 19,683"
    assert found["third"] == front_rows(table.table["macs"], table.table["epe"])[2]
    assert found["marked"] == 1


def test_front_is_sortable_and_downloads_as_it_is_in_the_table(page: Path, table: Evaluated, scratch: Path) -> None:
    script = """
      const saved = [];
      HTMLAnchorElement.prototype.click = function () { saved.push(this.download, this.href.split(":")[0]); };
      byId("save-front").click();
      const front = csvOf(space.front);
      type("filter", "00000000*");
      byId("save-found").click();
      const table = byId("front-table");
      const sorted = [1, 7].map((index) => {
        table.tHead.rows[0].cells[index].querySelector("button").click();
        return [...table.tBodies[0].rows].map((row) => row.cells[index].dataset.value);
      });
      return { saved, front, some: csvOf([...allRows].filter(matches)), sorted };"""
    found = did(page, scratch, HANDS + script)
    assert found["saved"] == ["pareto_front.csv", "blob", "found_subnets.csv", "blob"]
    rows = list(csv.DictReader(found["front"].splitlines()))
    marked = table.table[table.table["on_front"]].sort_values("macs")
    assert [row["code"] for row in rows] == list(marked["code"])
    for key in ("epe", "macs", "params"):
        assert [float(row[key]) for row in rows] == list(marked[key])
    for key in ("epe_error", "outliers_3px", "fl_all"):
        assert [float(row[key]) for row in rows] == pytest.approx(list(marked[key]), rel=1e-6)
    assert [row["code"] for row in csv.DictReader(found["some"].splitlines())] == [
        "000000000",
        "000000001",
        "000000002",
    ]
    assert found["sorted"][0] == sorted(found["sorted"][0], key=float)
    assert found["sorted"][1] == sorted(found["sorted"][1], key=float)


def test_everything_that_one_can_use_has_a_name(page: Path, scratch: Path) -> None:
    script = """
      const all = (query) => [...document.querySelectorAll(query)];
      const named = (element) =>
        element.labels?.length || element.getAttribute("aria-label") || element.textContent.trim();
      const used = all("button, select, input, [tabindex='0']");
      const ids = all("[id]").map((element) => element.id);
      const refers = ["aria-labelledby", "aria-describedby"].flatMap((name) =>
        all(`[${name}]`).flatMap((element) => element.getAttribute(name).split(" ")));
      const unnamed = used.filter((element) => !named(element)).map((element) => element.outerHTML);
      const twice = ids.filter((id, place) => ids.indexOf(id) !== place);
      const lost = refers.filter((id) => !byId(id));
      const label = marks.getAttribute("aria-label");
      return { used: used.length, unnamed, twice, lost, label, reach: marks.tabIndex };"""
    found = did(page, scratch, script)
    assert found["used"] > 60
    assert (found["unnamed"], found["twice"], found["lost"]) == ([], [], [])
    assert found["label"] == "EPE against MACs of 19,683 subnets"
    assert found["reach"] == 0


def test_page_scrolls_nothing_sideways_on_a_phone(page: Path, scratch: Path) -> None:
    assert width_on_phone(page.read_text(), scratch) == 390


def test_page_needs_no_network_and_is_no_larger_than_its_numbers_need(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert "default-src 'none'" in text
    # 19,683 × (one of 8 bytes, seven of 4) in base64, and the rest.
    assert 19_683 * 36 * 4 / 3 < len(text) < 19_683 * 36 * 4 / 3 + 150_000


def test_page_is_in_the_navigation_of_its_output_directory(page: Path) -> None:
    output_dir = page.parents[3]

    def navigation(text: str) -> list[str]:
        nav = re.search(r'<nav class="pages".*?</nav>', text, re.DOTALL)
        assert nav
        return re.findall(r"<(?:a|b) [^>]*>[^<]+", nav[0])

    assert navigation(page.read_text()) == [
        '<a href="../../../provenance.html">Provenance',
        '<b aria-current="page">Selection',
    ]
    # As gate 5 publishes it.
    (output_dir / "selection.html").write_text(rebased_page(page.read_text(), page.parent, output_dir))
    assert navigation((output_dir / "selection.html").read_text())[0] == '<a href="provenance.html">Provenance'
    write_page(output_dir)
    assert navigation((output_dir / "provenance.html").read_text())[-1] == '<a href="selection.html">Selection'


@pytest.fixture(scope="module")
def on_chip(evaluated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same space selected from by milliseconds on a chip, which are made by hand."""
    folder = tmp_path_factory.mktemp("on_chip")
    make_chip_costs(evaluated, folder, *CHIP)
    budget = ("--set", "selection.budget=25")
    assert select([*CHIP, *budget, "--evaluated", str(evaluated), "--chip", str(folder), "--out", str(folder)]) == 0
    return folder


def test_with_a_target_the_page_is_of_milliseconds(on_chip: Path, table: Evaluated, scratch: Path) -> None:
    script = """
      const [first, budget] = [[fronts.whole, space.front], space.budget];
      choose(fronts.whole[1]);
      return { first, budget, across: state.across, ms: columns.get("ms").values[7], numbers: text("numbers"),
        against: text("against"), said: text("said"), legend: text("legend") };"""
    found = did(on_chip / "selection.html", scratch, HANDS + script)
    ms = pd.read_csv(on_chip / "chip_costs.csv")["ms"].to_numpy()
    front = front_rows(ms, table.table["epe"].to_numpy()).tolist()
    assert found["first"] == [front, front]
    assert front != front_rows(table.table["macs"].to_numpy(), table.table["epe"].to_numpy()).tolist()
    assert (found["across"], found["budget"], found["ms"]) == ("ms", 25, ms[7])
    assert f"time on chip{ms[front[1]]:.2f} ms" in found["numbers"]
    assert f"{ms[front[1]]:.2f} ms on chip, on the front" in found["said"]
    assert "on the front of EPE and time on chip" in found["legend"]
    assert "time on chip" in found["against"]
    page = (on_chip / "selection.html").read_text()
    assert "arm_high_end at 500 MHz, int8, by Vela" in page
    assert "at most 26 of 4,096 KiB of SRAM" in page
    assert f"{ms[front[0]]:.2f} ms, {1000 / ms[front[0]]:.1f} frames per second" in page


def test_with_a_target_the_page_fits_a_phone(on_chip: Path, scratch: Path) -> None:
    assert width_on_phone((on_chip / "selection.html").read_text(), scratch) == 390


def test_milliseconds_that_were_edited_or_are_of_another_evaluation_are_refused(
    evaluated: Path, on_chip: Path, tmp_path: Path
) -> None:
    chip = tmp_path / "chip"
    shutil.copytree(on_chip, chip)
    make_evaluated(tmp_path / "other", samples=4)
    with pytest.raises(UserError, match="is of another evaluation of a search space"):
        select([*CHIP, "--evaluated", str(tmp_path / "other"), "--chip", str(chip)])
    flags = ["--evaluated", str(evaluated), "--chip", str(chip), "--out", str(tmp_path)]
    with pytest.raises(UserError, match="of target arm_high_end with other values of resize than"):
        select([*CHIP, *flags, "--set", "deploy.resize=subpixel"])
    with pytest.raises(UserError, match="other values of chip than the configuration's target arm_deep_embedded"):
        select([*CHIP, *flags, "--set", "target=arm_deep_embedded"])
    with pytest.raises(UserError, match="--chip needs a target"):
        select([*CHIP, *flags, "--set", "target=null"])
    with pytest.raises(UserError, match=r"target is arm_high_end, so costs are milliseconds .* compute them: "):
        select([*CHIP, "--evaluated", str(evaluated)])
    costs = chip / "chip_costs.csv"
    costs.write_text(costs.read_text().replace("000021222", "000021221", 1))
    with pytest.raises(UserError, match=r"chip_costs.csv: was changed since it was computed"):
        select([*CHIP, *flags])
    costs.unlink()
    with pytest.raises(UserError, match=r"chip_costs.csv: is missing"):
        select([*CHIP, *flags])


def test_a_few_subnets_far_away_do_not_flatten_the_plot(tmp_path: Path, scratch: Path) -> None:
    epes = handmade_epes(load_search_space(), 4)
    epes[100:150] *= 1e6
    make_evaluated(tmp_path, sample_epes=epes)
    assert select([*CONFIG, "--evaluated", str(tmp_path)]) == 0
    script = """
      const [start, outside] = [state.view.y[1], text("legend")];
      byId("zoom-all").click();
      return [start, outside, state.view.y[1], text("legend")];"""
    start, outside, everything, legend = did(tmp_path / "selection.html", scratch, HANDS + script)
    assert start < 20 < 1e6 < everything
    # The 50, and the part of the others that the hundredth that was cut off holds besides them.
    assert 50 <= int(re.search(r"(\d+) outside the plot", outside)[1]) <= 200
    assert "outside" not in legend


@pytest.mark.parametrize("size", ["small", "eleven_blocks", "one"])
def test_page_of_any_space_opens(size: str, tmp_path: Path, scratch: Path) -> None:
    file = tmp_path / f"{size}.yaml"
    if size == "eleven_blocks":
        eleven_block_space(tmp_path)
    elif size == "small":
        small_space(tmp_path)
    else:
        file.write_text(
            re.sub(r"\[(\d)[\d, ]*\]", r"[\1]", small_space(tmp_path).read_text()).replace("[0]", str([0] * 9))
        )
    space = load_search_space(str(file))
    make_evaluated(tmp_path, space=space, samples=1 if size == "one" else 4)
    assert select([*CONFIG, "--set", f"network.search_space={file}", "--evaluated", str(tmp_path)]) == 0
    script = """
      press("Home");
      return [size, text("code"), text("found"), text("against"), text("commands"), fronts.whole.length];"""
    count, code, found, against, commands, front = did(tmp_path / "selection.html", scratch, HANDS + script)
    assert (count, found) == (space.size, f"{space.size:,} of {space.size:,}")
    assert len(code.split(",")) == len(space.blocks)
    # Named once: the subnet's own space, and not the one that it is from.
    assert commands.count("network.search_space=") == 1
    assert front >= 1
    assert against == "It is the whole front." or "on the front" in against


def test_whatever_names_hold_is_text(tmp_path: Path, scratch: Path) -> None:
    make_evaluated(tmp_path)
    facts: dict[str, Any] = json.loads((tmp_path / "space_eval.json").read_text())
    facts["search_space"]["name"] = facts["device"] = facts["checkpoint"]["path"] = EVIL
    (tmp_path / "space_eval.json").write_text(json.dumps(facts))
    assert select([*CONFIG, "--evaluated", str(tmp_path)]) == 0
    text = (tmp_path / "selection.html").read_text()
    assert text.count("<script") == 2
    assert text.count("&lt;script&gt;") >= 3
    assert did(tmp_path / "selection.html", scratch, "return space.name;") == EVIL


def test_another_space_in_the_config_is_refused(evaluated: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="but edgeflow_9x3 was evaluated, with other blocks: give the configuration"):
        select([*CONFIG, "--set", f"network.search_space={small_space(tmp_path)}", "--evaluated", str(evaluated)])


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_plot_is_drawn_light_and_dark_without_a_word_on_the_console(page: Path, scratch: Path, dark: bool) -> None:
    picture = scratch / f"dark_{dark}.png"
    screenshot(page, picture, height=1500, dark=dark)
    image = cv2.imread(str(picture))
    assert image is not None
    assert (image[5, 5].mean() < 100) == dark
    # Thousands of pixels of the cloud's blue, and the orange of the picks.
    blue, green, red = (image[..., channel].astype(int) for channel in range(3))
    assert int(((blue > red + 30) & (blue > green)).sum()) > 20_000
    assert int(((red > blue + 100) & (red > 180)).sum()) > 500


def test_page_knows_one_validation_sample_from_several(tmp_path: Path) -> None:
    space: SearchSpace = load_search_space()
    make_evaluated(tmp_path, sample_epes=handmade_epes(space, 1))
    assert select([*CONFIG, "--evaluated", str(tmp_path)]) == 0
    text = (tmp_path / "selection.html").read_text()
    assert "on 1 validation sample." in text
    assert "A single validation sample tells nothing about others" in text
    assert "Winner" not in text
    assert pd.read_csv(tmp_path / "subnets.csv").shape[0] == space.size
