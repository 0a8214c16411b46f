"""The smallest run that still goes through everything: 45×60 pixels, base width 4, 5 steps an epoch."""

import json
from pathlib import Path

import pandas as pd

TINY = {
    "network.height": 45,
    "network.width": 60,
    "network.init_neurons": 4,
    "train.batch_size": 2,
    "train.steps_per_epoch": 5,
    "eval.batch_size": 2,
    "eval.max_samples": 3,
}

EPOCHS = ("--num_epochs", "5")


def tiny_flags(data_root: Path, run: Path, *more: str) -> list[str]:
    """Flags of `train_supernet` or `supernet_eval` for the tiny run."""
    settings = [flag for key, value in TINY.items() for flag in ("--set", f"{key}={value}")]
    return [*settings, "--data_root", str(data_root), "--output_dir", str(run), *more]


def trace_of(run: Path) -> list[dict]:
    """The lines of a run's trace."""
    return [json.loads(line) for line in (run / "trace.jsonl").read_text().splitlines()]


def history_of(run: Path) -> pd.DataFrame:
    """A run's history without the columns that are a clock's."""
    history = pd.read_csv(run / "eval_epe_history.csv")
    return history.drop(columns=[name for name in history if name.startswith("seconds")])
