"""Training and evaluating the supernet: losses, metrics, trainer, evaluation, checkpoints."""
