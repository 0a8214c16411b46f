"""How long tests search for a counterexample."""

import os


def examples(whole: int) -> int:
    """How many examples a test tries: `whole` in CI, a fifth of it at a desk, or what FUZZ_EXAMPLES says."""
    return int(os.environ.get("FUZZ_EXAMPLES", whole if os.environ.get("CI") else whole // 5))
