"""The cost model: the design's numbers hold exactly, and a built network has the same parameters."""

import json

import pytest

from edgeflownas.errors import UserError
from edgeflownas.nas.cost import main
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.network.cost import subnet_cost, supernet_params
from edgeflownas.network.stages import network_stages, size_at
from tests.spaces import eleven_block_space

SPACE = load_search_space()


@pytest.mark.parametrize(
    ("code", "params", "macs"),
    [((0,) * 9, 2_671_904, 2_006_415_360), ((2,) * 9, 6_483_232, 5_606_184_960)],
)
def test_subnets_cost_what_the_design_says(code, params, macs):
    assert subnet_cost(SPACE, code, 180, 240, 32) == {"params": params, "macs": macs}


def test_the_supernet_has_12122016_parameters():
    assert supernet_params(SPACE, 32) == 12_122_016


def test_sizes_come_back_exactly():
    assert [size_at(scale, 180, 240) for scale in range(5)] == [(180, 240), (90, 120), (45, 60), (23, 30), (12, 15)]


def test_parameters_do_not_depend_on_the_resolution_and_macs_grow_with_it():
    small, large = (subnet_cost(SPACE, (1,) * 9, h, w, 16) for h, w in ((96, 128), (384, 512)))
    assert small["params"] == large["params"]
    assert large["macs"] == 16 * small["macs"]


def test_a_block_that_is_no_stage_or_of_another_kind_is_refused(tmp_path):
    for block, words in (("{name: XY, kind: depth", "XY is no stage"), ("{name: H1, kind: depth", "of kind kernel")):
        path = tmp_path / "wrong.yaml"
        path.write_text(f"name: wrong\nblocks: [{block}, options: [1, 2]}}]\nreference: [0]\n")
        with pytest.raises(UserError, match=words):
            network_stages(load_search_space(str(path)), 8)


def test_the_command_prints_json(capsys):
    assert main(["--arch", "0,0,0,0,0,0,0,0,0", "--h", "180", "--w", "240", "--supernet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["params"] == 2_671_904
    assert report["macs"] == 2_006_415_360
    assert report["supernet_params"] == 12_122_016


def test_the_built_networks_have_the_counted_parameters(tmp_path):
    from edgeflownas.network.flow_network import FlowNetwork

    for space in (SPACE, eleven_block_space(tmp_path)):
        assert FlowNetwork(space, 6, seed=0).count_params() == supernet_params(space, 6)
