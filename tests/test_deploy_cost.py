"""Cost on a chip: targets, Vela in its own process, results kept by digest, and the peak told before training."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from edgeflownas.artifacts import PROJECT_ROOT
from edgeflownas.config import resolve_config
from edgeflownas.deploy import chip_costs as costs
from edgeflownas.deploy.chip_costs import chip_costs
from edgeflownas.deploy.compile import main as compile_command
from edgeflownas.deploy.converter import convert_untrained
from edgeflownas.deploy.peak import estimated_peak, fit, smaller_size, smaller_width
from edgeflownas.deploy.subnet import Subnet
from edgeflownas.deploy.targets import TARGET_FOLDER, load_target
from edgeflownas.deploy.vela import compile_model
from edgeflownas.errors import UserError
from edgeflownas.gates.registry import GATES
from edgeflownas.gates.requirements import require_passable
from edgeflownas.nas.cost import main as cost_command
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.train_supernet import main as train_command
from tests.handmade_spaces import make_evaluated
from tests.spaces import eleven_block_space, small_space

SPACE = load_search_space()
SMALL = load_target("arm_deep_embedded")
# (height, width, base width, output, resize): KiB of SRAM that Vela 5.2 gave on 2026-11-26, optimised for size.
MEASURED = {
    (180, 240, 32, "sum", "exact"): 1785.125,
    (180, 240, 32, "heads", "exact"): 1727.125,
    (180, 240, 32, "sum", "subpixel"): 759.375,
    (180, 240, 32, "heads", "subpixel"): 701.375,
    (180, 240, 16, "sum", "exact"): 934.75,
    (180, 240, 8, "sum", "exact"): 590.625,
    (144, 192, 32, "sum", "exact"): 1144.625,
    (144, 192, 32, "sum", "subpixel"): 486.0,
    (160, 208, 32, "sum", "exact"): 1376.625,
    (120, 160, 48, "sum", "exact"): 1175.8125,
    (90, 130, 24, "sum", "exact"): 370.890625,
    (90, 130, 24, "sum", "subpixel"): 279.9375,
    (93, 125, 16, "sum", "exact"): 386.0,
    (93, 125, 16, "sum", "subpixel"): 386.0,
    (96, 128, 16, "sum", "exact"): 267.5625,
    (96, 128, 16, "sum", "subpixel"): 120.0,
    (96, 128, 8, "sum", "exact"): 168.0,
    (96, 128, 8, "heads", "exact"): 151.5,
    (45, 60, 4, "sum", "exact"): 26.375,
    (48, 64, 4, "sum", "subpixel"): 21.0,
}


def subnet_of(height, width, init_neurons, output="sum", resize="exact", code=(0,) * 9):
    return Subnet(SPACE, code, init_neurons, height, width, output, resize)


TINY = subnet_of(45, 60, 4)


@pytest.fixture(scope="module")
def tiny_file():
    """The int8 file of the lightest subnet, 45×60, width 4."""
    (content,) = convert_untrained([TINY], 0)
    return content


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of results of two subnets, three times asked for, and these results."""
    folder = tmp_path_factory.mktemp("kept")
    return folder, chip_costs([TINY, replace(TINY, code=(1,) * 9), TINY], SMALL, folder, workers=2)


def a_target(folder, **changes):
    """A target file like arm_deep_embedded, with changes."""
    values = yaml.safe_load((TARGET_FOLDER / "arm_deep_embedded.yaml").read_text()) | changes
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def test_shipped_targets_are_whole():
    names = sorted(path.stem for path in TARGET_FOLDER.glob("*.yaml"))
    assert names == ["arm_deep_embedded", "arm_high_end", "grove_vision_ai_v2"]
    grove = load_target("grove_vision_ai_v2")
    assert (grove.accelerator, grove.clock_mhz, grove.sram_kib) == ("ethos-u55-64", 400, 1432)
    assert all(load_target(name).ini_path.is_file() for name in names)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"system_config": "Ethos_U65_High_End"}, "of an Ethos-U65, accelerator is ethos-u55-128"),
        ({"system_config": "My_Board"}, "My_Board is not in .*Deep_Embedded.*another device"),
        ({"memory_mode": "My_Mode"}, "memory_mode My_Mode is not in"),
        ({"clock_mhz": 400}, "clock_mhz is 400, but .* core_clock 200e6"),
        ({"vela_ini": "none.ini"}, r"vela_ini .*none.ini cannot be read: No such file"),
        ({"accelerator": "ethos-u55-512"}, "ethos-u55-512"),
        ({"sram_kib": 0}, "sram_kib"),
        ({"sram": 5}, "sram"),
    ],
)
def test_a_target_that_is_not_one_is_refused(tmp_path, changes, words):
    with pytest.raises(UserError, match=words):
        load_target(a_target(tmp_path, **changes))


def test_an_unknown_target_is_refused_with_those_that_exist():
    with pytest.raises(UserError, match=r"no file .*known targets: arm_deep_embedded, arm_high_end"):
        load_target("esp32")


@pytest.mark.parametrize(("case", "kib"), MEASURED.items())
def test_the_peak_is_what_vela_gives(case, kib):
    assert estimated_peak(subnet_of(*case))[0] / 1024 == pytest.approx(kib, abs=0.02)


@pytest.mark.slow
def test_vela_still_gives_these_peaks_for_every_code_without_an_operator_on_the_cpu():
    subnets = [subnet_of(*case, code=code) for case in [*MEASURED][-8:] for code in ((0,) * 9, (2,) * 9)]
    for subnet, content in zip(subnets, convert_untrained(subnets, 0), strict=True):
        cost = compile_model(content, SMALL, "subnet")[1]
        assert cost.cpu_operators == ()
        assert cost.sram_kib == pytest.approx(estimated_peak(subnet)[0] / 1024, rel=0.02)


@pytest.mark.slow
def test_int16_activations_need_twice_the_sram_and_no_cpu():
    for resize in ("exact", "subpixel"):
        subnet = replace(subnet_of(96, 128, 16, "sum", resize), precision="int16x8")
        (content,) = convert_untrained([subnet], 0)
        cost = compile_model(content, SMALL, "subnet")[1]
        assert cost.cpu_operators == ()
        assert cost.sram_kib == pytest.approx(estimated_peak(subnet)[0] / 1024, abs=0.02)


def test_the_estimate_needs_no_particular_search_space(tmp_path):
    space = eleven_block_space(tmp_path)
    assert estimated_peak(replace(subnet_of(180, 240, 32), space=space, code=space.reference))[0] == 1785.125 * 1024


def test_what_does_not_fit_names_a_size_and_a_width_that_do():
    grove = load_target("grove_vision_ai_v2")
    too_large = subnet_of(180, 240, 32)
    fault = fit(too_large, grove).fault
    assert "about 1,785 KiB" in fault
    assert "network.height 160 and network.width 208 fit, or network.init_neurons 24 fits, or deploy.resize" in fault
    assert "deploy.resize subpixel fits with 759 KiB" in fault
    assert fit(subnet_of(160, 208, 32), grove).fault is None
    assert fit(subnet_of(176, 240, 32), grove).fault is not None
    assert fit(subnet_of(180, 240, 24), grove).fault is None
    assert fit(subnet_of(180, 240, 26), grove).fault is not None
    assert fit(replace(too_large, resize="subpixel"), grove).fault is None
    assert (smaller_size(too_large, 10), smaller_width(too_large, 10)) == (None, None)


def test_gate_1_refuses_what_cannot_fit_and_the_dry_run_says_so(tmp_path, capsys):
    sizes = {"network.init_neurons": 32, "network.height": 180, "network.width": 240}
    values = {**sizes, "target": "grove_vision_ai_v2"}
    with pytest.raises(UserError, match=r"gate1 is refused: at 180×240 .* network.height 160 and network.width 208"):
        require_passable(GATES[:1], resolve_config(None, values), tmp_path / "none")
    require_passable(GATES[:1], resolve_config(None, {**values, "network.width": 160}), tmp_path / "none")
    with pytest.raises(UserError, match="target 'esp32': no file"):
        require_passable(GATES[:1], resolve_config(None, {**values, "target": "esp32"}), tmp_path / "none")
    arena = a_target(tmp_path, sram_kib=0.1)
    with pytest.raises(UserError, match="no size and no width fits: choose another target"):
        require_passable(GATES[:1], resolve_config(None, {**values, "target": arena}), tmp_path / "none")
    flags = [flag for key, value in values.items() for flag in ("--set", f"{key}={value}")]
    assert train_command(["--dry_run", *flags]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("target grove_vision_ai_v2: at 180×240")


@pytest.mark.slow
def test_results_are_kept_by_digest_and_damaged_ones_made_again(kept, tmp_path, monkeypatch):
    folder, first = kept
    assert first[0] == first[2] != first[1]
    assert first[0].cycles < first[1].cycles
    assert len([*folder.iterdir()]) == 2
    shutil.copytree(folder, tmp_path / "kept")

    class ConvertedAgain(Exception):
        pass

    def convert(*arguments):
        raise ConvertedAgain

    monkeypatch.setattr(costs, "convert_untrained", convert)
    assert chip_costs([TINY], SMALL, tmp_path / "kept") == first[:1]
    with pytest.raises(ConvertedAgain):
        chip_costs([TINY], load_target("arm_high_end"), tmp_path / "kept")
    for old, new in (('"cycles": 1', '"cycles": 2'), ("}", "")):
        for path in (tmp_path / "kept").iterdir():
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new, 1))
        with pytest.raises(ConvertedAgain):
            chip_costs([TINY], SMALL, tmp_path / "kept")


@pytest.mark.slow
def test_what_ends_the_compilations_loses_none_that_is_done(tiny_file, tmp_path, monkeypatch):
    subnets = [replace(TINY, code=(digit,) * 9) for digit in range(3)]
    asked, ended = [], []

    def convert(some, seed):
        asked.append(len(some))
        try:
            yield tiny_file
            while not [*tmp_path.glob("*.json")]:
                time.sleep(0.05)
            raise KeyboardInterrupt
        finally:
            ended.append("converter")

    monkeypatch.setattr(costs, "convert_untrained", convert)
    for left in (3, 2):
        with pytest.raises(KeyboardInterrupt):
            chip_costs(subnets, SMALL, tmp_path, workers=2)
        assert (asked.pop(), ended.pop()) == (left, "converter")
    assert len([*tmp_path.glob("*.json")]) == 2


@pytest.mark.slow
def test_a_killed_command_goes_on_from_what_was_compiled(tmp_path):
    make_evaluated(tmp_path, load_search_space(str(small_space(tmp_path))))
    flags = ["--set", "target=arm_high_end", "--evaluated", str(tmp_path), "--cache", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "edgeflownas.selection.chip_costs", *flags]

    def run(then):
        with subprocess.Popen(command, cwd=PROJECT_ROOT, stderr=subprocess.PIPE, text=True) as child:
            while child.poll() is None and then and len([*(tmp_path / "cache").glob("*.json")]) < then[0]:
                time.sleep(0.05)
            if then:
                child.send_signal(then[1])
            said = child.communicate()[1]
            return child.returncode, int(re.search(r"compiling (\d+) subnets", said)[1])

    assert run((3, signal.SIGKILL)) == (-signal.SIGKILL, 16)
    code, left = run((6, signal.SIGTERM))
    assert (code, left <= 13) == (3, True)
    assert not [*tmp_path.glob("chip_costs.*")]
    code, rest = run(None)
    assert (code, rest < left) == (0, True)
    assert pd.read_csv(tmp_path / "chip_costs.csv")["compiled"].all()


@pytest.mark.slow
def test_the_same_file_compiles_to_the_same_bytes(tiny_file):
    compiled, cost = compile_model(tiny_file, SMALL, "tiny")
    assert compile_model(tiny_file, SMALL, "tiny") == (compiled, cost)
    assert cost.cpu_operators == ()
    assert cost.sram_kib == 26.375
    assert [layer.name for layer in cost.peaks] == ["H2_resize_y", "H2_resize_back", "H2_option0"]
    assert sum(layer.cycles for layer in cost.layers) == pytest.approx(cost.cycles, rel=0.05)


def test_a_damaged_file_is_told_in_a_sentence(tiny_file):
    for content, words in (
        (tiny_file[: len(tiny_file) // 3], "died of SIGSEGV, as it does of a damaged file"),
        (b"hello", "expected an int8 LiteRT file"),
        (b"", "expected an int8 LiteRT file"),
    ):
        with pytest.raises(UserError, match=words) as error:
            compile_model(content, SMALL, "model.tflite")
        assert "\n" not in str(error.value)


# TensorFlow says it of every file whose inputs are integers, calibrated as this one is or not.
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected:UserWarning")
def test_an_operator_on_the_cpu_never_looks_cheap(tmp_path, capsys):
    import keras

    from edgeflownas.deploy.converter import _converted

    frames = keras.Input((12, 15, 6), batch_size=1)
    x = keras.layers.Conv2D(6, 3, padding="same")(frames)
    x = keras.layers.Resizing(23, 30, name="resized")(x)
    model = keras.Model(frames, keras.layers.Conv2D(2, 3, padding="same")(x))
    noise = np.random.default_rng(0).integers(0, 256, (1, 12, 15, 6), dtype=np.uint8)
    (tmp_path / "cpu.tflite").write_bytes(_converted(model, noise))
    flags = ["--model", str(tmp_path / "cpu.tflite"), "--target", "arm_high_end"]
    capsys.readouterr()  # what the converter prints
    assert compile_command([*flags, "--json"]) == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["ms"], summary["fps"], summary["fits"]) == (None, None, False)
    assert summary["why_not"] == ["1 of its operators run on the CPU: ResizeBilinear in resized"]
    assert compile_command(flags) == 1
    assert "time unknown" in capsys.readouterr().out


@pytest.mark.slow
def test_the_compile_command_writes_the_file_for_another_board(tiny_file, tmp_path, capsys):
    (tmp_path / "int8.tflite").write_bytes(tiny_file)
    flags = ["--model", str(tmp_path / "int8.tflite"), "--target"]
    assert compile_command([*flags, "grove_vision_ai_v2"]) == 0
    assert "it fits" in capsys.readouterr().out
    assert (tmp_path / "int8_vela.tflite").read_bytes() != tiny_file
    assert compile_command([*flags, a_target(tmp_path, sram_kib=20)]) == 1
    assert "it needs 26 KiB, sram_kib is 20" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"none.tflite: No such file"):
        compile_command(["--model", str(tmp_path / "none.tflite"), "--target", "arm_high_end"])


@pytest.mark.slow
def test_the_cost_command_prints_the_chips_figures_as_one_value(kept, capsys):
    flags = ["--arch", "000000000", "--h", "45", "--w", "60", "--width", "4", "--cache", str(kept[0])]
    assert cost_command([*flags, "--target", "arm_deep_embedded"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["macs"] > 0
    assert report["ms"] == pytest.approx(report["cycles"] / 200e3)
    assert report["fps"] == pytest.approx(1e3 / report["ms"])
    assert report["sram_kib"] == 26.375
    assert [layer["layer"] for layer in report["peak_layers"]] == ["H2_resize_y", "H2_resize_back", "H2_option0"]
    assert (report["fits"], report["why_not"], report["cpu_operators"]) == (True, [], [])
    with pytest.raises(SystemExit):
        cost_command(["--supernet", "--target", "arm_deep_embedded"])
