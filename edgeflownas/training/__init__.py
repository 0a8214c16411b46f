"""Training and judging the supernet: losses, metrics, trainer, evaluation, checkpoints."""
