"""The command that trains the supernet."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from edgeflownas.command_line import add_config_flags, add_data_root_flag, config_from_flags
from edgeflownas.config import Config
from edgeflownas.console.printer import Printer, Verbosity
from edgeflownas.deploy.peak import FitSettings, fit_of
from edgeflownas.errors import EXIT_DONE, EXIT_INTERRUPTED, UserError, run_command
from edgeflownas.nas.eval_pool import eval_pool
from edgeflownas.nas.search_space import initial_weights_facts, load_search_space
from edgeflownas.network.stages import network_stages
from edgeflownas.parsers import command_parser, print_json
from edgeflownas.source_code import training_source
from edgeflownas.stopping import stop_requests

EXAMPLES = (
    "--config config/config.yaml --dry_run",
    "--config config/config.yaml --max_epochs 3",
    "--config config/config.yaml --resume --max_epochs 5",
    "--config config/supernet_fc2_180x240.yaml --data_root /data/FlyingChairs2",
)

# Flags that set the key of the same name in the config's section `train`.
TRAIN_FLAGS = (
    "gpu_device",
    "num_epochs",
    "max_epochs",
    "max_steps",
    "batch_size",
    "lr",
    "supernet_mode",
    "execution",
    "output_dir",
    "debug_trace",
    "fast_mode",
    "accept_changed_code",
)


def _parser() -> argparse.ArgumentParser:
    description = "Train the weight-sharing supernet by fair cycles."
    parser = command_parser("edgeflownas.train_supernet", description, EXAMPLES)
    add_config_flags(parser)
    add = parser.add_argument
    add("--gpu_device", type=int, metavar="N", help="index of the GPU; without a GPU the CPU is used")
    add("--num_epochs", type=int, metavar="N", help="length of the run and of the learning-rate schedule")
    add("--max_epochs", type=int, metavar="N", help="stop after this many epochs, schedule unchanged")
    add("--max_steps", type=int, metavar="N", help="stop after this many steps, schedule unchanged")
    add("--batch_size", type=int, metavar="N", help="pairs per step")
    add("--lr", type=float, metavar="RATE", help="initial learning rate")
    add("--supernet_mode", choices=("strict_fairness", "expectation_fairness", "sandwich"), help="how paths are drawn")
    add("--execution", choices=("fused", "sequential"), help="a cycle as one graph, or path after path (less memory)")
    add("--seed", type=int, metavar="N", help="seed of weights, cycles, order and crops")
    add_data_root_flag(parser)
    add("--output_dir", metavar="FOLDER", help="the run directory")
    add("--debug_trace", action="store_true", default=None, help="write trace.jsonl, one line per step")
    add("--fast_mode", action="store_true", default=None, help="short epochs, as in the config's section fast_mode")
    add("--dry_run", action="store_true", help="print the final config and where each value came from; build nothing")
    add("--json", action="store_true", help="with --dry_run: print it as one JSON value, for programs")
    add(
        "--resume",
        nargs="?",
        const="required",
        choices=("required", "auto", "same"),
        help="continue from the run directory's last checkpoint; auto: or start if there is none; same: or start anew "
        "if it is of another config, other data or other training source",
    )
    add(
        "--accept_changed_code",
        action="store_true",
        default=None,
        help="with --resume: continue although the source that trained the checkpoint has changed",
    )
    verbosity = parser.add_mutually_exclusive_group()
    verbosity.add_argument("--quiet", action="store_true", help="print nothing but what goes wrong")
    verbosity.add_argument("--verbose", action="store_true", help="print a line for every step")
    return parser


def _config(arguments: argparse.Namespace) -> Config:
    flags: dict[str, Any] = {f"train.{key}": getattr(arguments, key) for key in TRAIN_FLAGS}
    flags["seed"] = arguments.seed
    config = config_from_flags(arguments, flags)
    # Read the search space here, so that a dry run also finds its faults.
    space = load_search_space(config["network.search_space"])
    network_stages(space, config["network.init_neurons"])
    eval_pool(space)
    return config


def print_config(config: Config) -> None:
    """Print every key with its value and origin, and the hash."""
    width = max(len(key) for key in config.values)
    values = {key: json.dumps(value) for key, value in config.values.items()}
    value_width = max(len(value) for value in values.values())
    for key, value in values.items():
        print(f"{key:{width}}  {value:{value_width}}  # {config.origins[key]}")
    print(f"config hash {config.hash}")


def train(config: Config, resume: str | None, verbosity: Verbosity) -> int:
    """Train as `config` says and write a complete run directory.

    Args:
        config: the resolved configuration.
        resume: None to start a new run, 'required' to continue, 'auto' to continue if there is something to continue,
            'same' to continue if that is the same run.
        verbosity: how much it prints.

    Raises:
        UserError: anything that the user can fix.
    """
    from edgeflownas.devices import check_backend, check_device, prepare_backend
    from edgeflownas.runs.data_index import find_index
    from edgeflownas.runs.initial_checkpoint import read_initial_weights, recorded_initial_weights
    from edgeflownas.runs.recovery import holds_same_run
    from edgeflownas.runs.run_directory import RunDirectory, run_identity

    check_backend(config)
    run = RunDirectory(config["train.output_dir"])
    resuming = resume is not None and bool(run.checkpoints)
    if resume == "required" and not resuming:
        raise UserError(f"{run.last}: nothing to resume; start without --resume, or correct --output_dir")
    if not resuming:
        run.refuse_foreign_folder()
    space = load_search_space(config["network.search_space"])
    index = find_index(config, run.data_index if resuming else None)
    initial = recorded_initial_weights(config, run) if resuming else initial_weights_facts(config)
    identity = run_identity(config, space, index["digest"], initial)
    if resume == "same":
        resuming = resuming and holds_same_run(run, identity, training_source())
    begin_with = None if resuming else read_initial_weights(config, space)

    prepare_backend(config)

    # From here on the backend is imported, which takes ten seconds and more.
    from edgeflownas.artifacts import write_json
    from edgeflownas.nas.eval_pool import pool_report
    from edgeflownas.runs.manifest import write_counts, write_manifest
    from edgeflownas.training.distribution import distribution_facts
    from edgeflownas.training.run_data import RunData
    from edgeflownas.training.trainer import Trainer

    printer = Printer(verbosity)
    data = RunData(config, index)
    device = check_device(config)
    with run.claimed(fresh=not resuming) as aside, stop_requests() as stop:
        if aside:
            printer.print(f"an earlier run in {run.path} was moved to {aside}")
        trainer = Trainer(config, space, data, run, printer, stop, device, identity)
        with trainer.told_when_it_fails():
            if resuming:
                trainer.resume()
            elif begin_with is not None:
                trainer.begin_with(begin_with)
            write_json(run.data_index, data.index, schema="data_index.schema.json")
            run.write_config(config)
            write_json(run.eval_pool(trainer.pool_names), pool_report(space), schema="eval_pool.schema.json")
            reason = trainer.train()
            state = trainer.state
            write_counts(run, trainer.settings.supernet_mode, space, state)
            write_manifest(
                run,
                config,
                trainer.pool_names,
                data.index,
                data.steps_per_epoch,
                state,
                trainer.model.optimizer.facts(),
                distribution_facts(config, trainer.replicas),
                device,
                trainer.segments,
                reason,
            )
            trainer.ended(reason)
    printer.print(f"stopped at step {state.global_step} ({reason}); run directory {run.path}")
    if reason == "interrupted":
        printer.print("continue with the same command and --resume")
        return EXIT_INTERRUPTED
    return EXIT_DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.train_supernet`."""
    arguments = _parser().parse_args(argv)
    config = _config(arguments)
    if config["train.tensorboard"]:
        from edgeflownas.training.tensorboard import require_tensorboard

        require_tensorboard()
    if arguments.dry_run:
        if arguments.json:
            print_json(config.resolved())
        else:
            print_config(config)
            if fit := fit_of(config.view(FitSettings)):
                print(fit.line())
        return EXIT_DONE
    if arguments.json:
        raise UserError("--json goes with --dry_run; a run's results are in its run directory")
    return train(config, arguments.resume, "quiet" if arguments.quiet else "verbose" if arguments.verbose else "normal")


if __name__ == "__main__":
    run_command(main)
