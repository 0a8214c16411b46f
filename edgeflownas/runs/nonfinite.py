"""A step whose loss or gradient is not finite: what is recorded about it, and how it is reported."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.nas.arch_codec import format_code


def nonfinite_finding(
    step: int, codes: np.ndarray, observed: Mapping[str, Any], samples: Sequence[str]
) -> dict[str, Any]:
    """Arch codes, samples and losses of such a step, as an entry of `nonfinite.json`.

    Args:
        step: index of the fair cycle.
        codes: (paths, blocks) arch codes of its paths.
        observed: what `TrainingModel.train_cycle` gave.
        samples: names of the samples of its batch.

    Raises:
        RuntimeError: the optimizer made an update nevertheless.
    """
    if observed["optimizer_step"]:
        raise RuntimeError(f"step {step} made an update although {observed} is not finite")
    return {
        "step": step,
        "codes": [format_code(code) for code in codes],
        "losses": [str(loss) for loss in observed["losses"]],
        "global_grad_norm": str(observed["global_grad_norm_before"]),
        "samples": list(samples),
    }


def in_words(finding: Mapping[str, Any]) -> str:
    """A finding in a sentence."""
    return (
        f"step {finding['step']}: loss or gradient is not finite (losses {', '.join(finding['losses'])}; arch codes "
        f"{' '.join(finding['codes'])}; samples {', '.join(finding['samples'])})"
    )


def epes_in_words(results: Sequence[Mapping[str, Any]], previous: Path) -> str:
    """Which subnets' EPE is not finite, and what may help; `previous` is the checkpoint before the last one."""
    codes = " ".join(result["code"] for result in results if not np.isfinite(result["epe"]))
    before = f"; those before this epoch's last steps are in {previous}" if previous.is_file() else ""
    return (
        f"the EPE of these subnets is not finite: {codes}. The weights have grown too large; a smaller train.lr may "
        f"help{before}"
    )


def without_nonfinite(observed: Mapping[str, Any]) -> dict[str, Any]:
    """With null for what is not finite, as strict JSON has no number for it."""

    def number(value: float) -> float | None:
        return value if np.isfinite(value) else None

    return {
        name: [number(item) for item in value] if isinstance(value, list) else number(value)
        for name, value in observed.items()
    }
