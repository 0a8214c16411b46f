"""What the studies read of a run directory, and how they note where their numbers come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import read_json
from edgeflownas.runs.pool_names import mean_epe, names_in
from edgeflownas.runs.records import read_history, subnet_epes


@dataclass(frozen=True)
class Run:
    """A finished run: its manifest and its history, the last row of which is what it reached."""

    path: Path
    manifest: dict[str, Any]
    history: list[dict[str, float]]

    @property
    def last(self) -> dict[str, float]:
        """The history's last row."""
        return self.history[-1]

    @property
    def ratio(self) -> float:
        """Mean EPE of the pool after the last epoch over the zero-flow EPE: 1 is what predicting no motion gives."""
        return float(mean_epe(self.last)) / self.last["zero_flow_epe"]

    @property
    def subnet_ratios(self) -> dict[str, float]:
        """The same for each subnet of the pool, by its digits."""
        return {digits: epe / self.last["zero_flow_epe"] for digits, epe in subnet_epes(self.last).items()}

    def record(self) -> dict[str, Any]:
        """Where and how the numbers came to be, with the curve: JSON values for a study's report."""
        names = names_in(self.last)
        keys = ("config_hash", "git_commit", "git_dirty", "backend", "global_step", "seed")
        return {
            "run": str(self.path),
            **{key: self.manifest[key] for key in keys},
            "device": self.manifest["device"]["name"],
            "seconds": round(sum(row["seconds"] for row in self.history), 1),
            "ratio": self.ratio,
            "curve": [
                {
                    "global_step": int(row["global_step"]),
                    "ratio": mean_epe(row) / row["zero_flow_epe"],
                    **{name: row[name] for name in (names.std_epe, names.noise_epe)},
                    "clip_rate": row["clip_rate"],
                }
                for row in self.history
            ],
        }


def read_run(path: Path) -> Run:
    """Read a run directory.

    Raises:
        UserError: a file is missing or does not fit its schema.
    """
    manifest = read_json(path / "train_manifest.json", schema="train_manifest.schema.json")
    return Run(path, manifest, read_history(path / "eval_epe_history.csv"))
