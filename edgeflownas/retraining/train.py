"""The command that trains one pick of a selection alone, by the ordinary trainer; one that was cut short continues."""

from collections.abc import Sequence
from pathlib import Path

from edgeflownas.command_line import add_config_flags, add_data_root_flag, config_from_flags
from edgeflownas.errors import EXIT_DONE, run_command
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.nas.single_subnet import write_space_of_one
from edgeflownas.parsers import command_parser
from edgeflownas.retraining.picks import picks_of, read_selection
from edgeflownas.retraining.settings import RUN, RetrainSettings, own_config, run_directory, space_file
from edgeflownas.selection.select import SELECTION

OUTPUTS = Path("outputs/supernet")
SELECTED, RUNS = OUTPUTS / SELECTION, OUTPUTS / "runs" / RUN
SUPERNET = OUTPUTS / "runs/supernet/checkpoints/supernet_best.ckpt"


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.retraining.train`."""
    parser = command_parser(
        "edgeflownas.retraining.train",
        "Train one pick of a selection alone, as the config's section retrain says.",
        ("--pick 1", "--pick 2 --set retrain.init=scratch --set retrain.set.train.num_epochs=50 --out runs/scratch"),
    )
    add_config_flags(parser)
    add_data_root_flag(parser)
    add = parser.add_argument
    add(
        "--pick",
        type=int,
        required=True,
        metavar="N",
        help="which one, from 1: the first of retrain.subnets, and so on",
    )
    add("--selection", type=Path, default=SELECTED, metavar="FILE", help="the selection (%(default)s)")
    add("--supernet", type=Path, default=SUPERNET, metavar="FILE", help="the supernet's checkpoint (%(default)s)")
    add("--out", type=Path, default=RUNS, metavar="FOLDER", help="where the picks' run directories are (%(default)s)")
    arguments = parser.parse_args(argv)
    config = config_from_flags(arguments, {})
    space = load_search_space(config["network.search_space"])
    settings = config.view(RetrainSettings)
    picks = picks_of(read_selection(arguments.selection), space, settings.subnets)
    if arguments.pick > len(picks):
        many = f"{len(picks)} different subnet{'s' if len(picks) > 1 else ''}"
        print(f"there is no pick {arguments.pick} to train: {arguments.selection} has picked {many}")
        return EXIT_DONE
    pick = picks[arguments.pick - 1]
    print(f"pick {pick.number}, {pick.role}: {format_code(pick.code)}, {pick.epe:.4f} px in the supernet", flush=True)
    write_space_of_one(space_file(arguments.out, pick), space, pick.code)
    own = own_config(config, pick, arguments.out, arguments.supernet)

    from edgeflownas.train_supernet import train

    print(f"trained in {run_directory(arguments.out, pick)}, from {settings.init} weights", flush=True)
    return train(own, resume="same", verbosity="normal")


if __name__ == "__main__":
    run_command(main)
