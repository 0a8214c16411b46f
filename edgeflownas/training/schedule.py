"""The learning rate as a pure function of the step."""

import math


def learning_rate(step: int, total_steps: int, initial: float, warmup_steps: int = 0) -> float:
    """Cosine decay from `initial` to 0 at `total_steps` (Loshchilov & Hutter, arXiv:1608.03983, no restarts).

    The first `warmup_steps` steps rise linearly to it (Goyal et al., arXiv:1706.02677, section 2.2). `total_steps`
    comes from `num_epochs` alone, so a run that stops earlier and is resumed keeps its rates.
    """
    cosine = 0.5 * initial * (1.0 + math.cos(math.pi * min(step, total_steps) / total_steps))
    return cosine * min(1.0, (step + 1) / (warmup_steps + 1))
