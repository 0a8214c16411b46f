"""The learning rate as a pure function of the step."""

import math


def cosine_lr(step: int, total_steps: int, initial: float) -> float:
    """Cosine decay from `initial` at step 0 to 0 at `total_steps` (Loshchilov & Hutter, arXiv:1608.03983, no restarts).

    `total_steps` comes from `num_epochs` alone, so a run that stops earlier and is resumed keeps its rates.
    """
    return 0.5 * initial * (1.0 + math.cos(math.pi * min(step, total_steps) / total_steps))
