"""The command `python -m tests.chaos`: kill a small training at seeded moments, resume it, compare the outcome."""

import argparse
import shutil
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

from edgeflownas.config import resolve_config
from edgeflownas.data.synthetic import SyntheticParameters, generate
from edgeflownas.devices import prepare_backend
from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, CheckFailed, run_command
from edgeflownas.training.checkpoints import read_header
from edgeflownas.training.run_directory import RunDirectory
from tests.chaos.comparison import broken_files, differences_between
from tests.chaos.moments import TIMED, Kill, draw_kill
from tests.chaos.runs import Ended, train
from tests.spaces import small_space
from tests.tiny import TINY, tiny_flags

EPOCHS = 3
STEPS_PER_EPOCH = TINY["train.steps_per_epoch"]
CHECKPOINT_EVERY = 2
# The kills of one history; those while publishing come last, because only a finished run publishes.
KILLS = (
    *("a step", "a step", "an evaluation", "writing a checkpoint", "writing a checkpoint"),
    *("keeping the one before", "between best and last", "resuming", "publishing", "publishing"),
)


class Chaos:
    """Histories of a small training: one that is left alone, and others that are killed again and again."""

    def __init__(self, folder: Path, seed: int, minutes: float) -> None:
        self.folder = folder
        self.random = Random(seed)
        self.deadline = time.monotonic() + 60 * minutes
        self.hits: Counter[str] = Counter()
        self.data = folder / "data"
        self.space = small_space(folder)
        generate(self.data, SyntheticParameters(train=7, val=3, height=48, width=64, seed=3, max_motion=8))
        self.reference = folder / "uninterrupted"
        # Once for how long things take, which is not the same with the first trace of the graph.
        times = self._train(self.reference).step_times
        gaps = [later - earlier for earlier, later in pairwise(times)]
        evaluations = gaps[STEPS_PER_EPOCH - 1 :: STEPS_PER_EPOCH]
        self.typical_seconds = {"a step": sorted(gaps)[len(gaps) // 2], "an evaluation": min(evaluations)}

    def history(self, number: int, kills: int) -> tuple[int, list[str]]:
        """Kill one training `kills` times, let it end, and compare.

        Returns:
            The kills made (fewer if the time is up), and what differs from the run that was left alone.
        """
        run = RunDirectory(self.folder / f"history {number}")
        made = 0
        faults: list[str] = []
        for moment in self._moments(kills):
            if time.monotonic() > self.deadline:
                break
            before = _step(run)
            if moment == "resuming" and not before:
                moment = "writing a checkpoint"
            kill = draw_kill(moment, self.random)
            ended = self._train(run.path, kill)
            if not ended.killed:
                # It came to its end before the moment that was drawn; publishing can still be interrupted.
                kill = draw_kill("publishing", self.random)
                ended = self._train(run.path, kill)
            made += 1
            self.hits[kill.moment] += 1
            how = f"{kill.delay:.0%} of its time" if kill.moment in TIMED else f"{kill.calls} calls"
            place = f"from step {before}, {len(ended.step_times)} steps made, last checkpoint then at {_step(run)}"
            print(f"history {number} kill {made}: {kill.moment}, {how} into it; {place}", flush=True)
            faults += [f"after kill {made}: {fault}" for fault in broken_files(run)]
        self._train(run.path)
        return made, faults + differences_between(run.path, self.reference)

    def _moments(self, kills: int) -> list[str]:
        """Which kills, in which order: those of `KILLS`, shuffled, and the last ones while publishing."""
        publishing = min(KILLS.count("publishing"), max(1, kills // 4))
        moments = self.random.sample([moment for moment in KILLS if moment != "publishing"], kills - publishing)
        return moments + ["publishing"] * publishing

    def _train(self, run: Path, kill: Kill | None = None) -> Ended:
        flags = ["--debug_trace", "--max_epochs", str(EPOCHS), "--resume", "auto", "--lr", "1e-3"]
        flags += ["--set", f"train.checkpoint_every_steps={CHECKPOINT_EVERY}"]
        flags += ["--set", f"network.search_space={self.space}"]
        log = self.folder / "printed.log"
        after, wait = 0, 0.0
        if kill and kill.moment in TIMED:
            # An evaluation follows the last step of an epoch.
            after = STEPS_PER_EPOCH - _step(RunDirectory(run)) % STEPS_PER_EPOCH
            after = after if kill.moment == "an evaluation" else kill.occurrence + (kill.occurrence == after)
            wait = kill.delay * self.typical_seconds[kill.moment]
        ended = train(tiny_flags(self.data, run, *flags), log, kill, after, wait)
        if not ended.killed and ended.exit_code != EXIT_DONE:
            raise CheckFailed(f"the training in {run} ended with {ended.exit_code}: {log.read_text()[-2000:]}")
        return ended


def _step(run: RunDirectory) -> int:
    """Where a run continues."""
    return int(read_header(run.last)["global_step"]) if run.last.is_file() else 0


def main() -> int:
    """Make the kills and print where each hit; the last line is the outcome."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the moments (%(default)s)")
    parser.add_argument("--minutes", type=float, default=60, metavar="N", help="no kill after so long (%(default)s)")
    parser.add_argument("--folder", type=Path, help="an empty folder to work in, kept; without it a temporary one")
    arguments = parser.parse_args()
    began = time.monotonic()
    # Imported before the first fork, and not one operation computed: threads do not survive a fork.
    prepare_backend(resolve_config(None, {}))
    import edgeflownas.training.trainer  # noqa: F401

    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="edgeflownas-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    survived = made = histories = 0
    try:
        chaos = Chaos(folder, arguments.seed, arguments.minutes)
        print(f"uninterrupted: {EPOCHS * STEPS_PER_EPOCH} steps, {time.monotonic() - began:.0f} s", flush=True)
        while made < arguments.kills and time.monotonic() < chaos.deadline:
            histories += 1
            kills, faults = chaos.history(histories, min(len(KILLS), arguments.kills - made))
            made += kills
            survived += 0 if faults else kills
            print(f"history {histories}: {'; '.join(faults) or 'bit-identical to the uninterrupted run'}", flush=True)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)
    hits = ", ".join(f"{moment} {count}" for moment, count in chaos.hits.most_common())
    seconds = time.monotonic() - began
    print(f"{survived} of {arguments.kills} survived in {histories} histories, {seconds:.0f} s: {hits}")
    return EXIT_DONE if survived == arguments.kills else EXIT_CHECK_FAILED


if __name__ == "__main__":
    run_command(main)
