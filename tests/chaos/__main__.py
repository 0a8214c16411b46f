"""The command `python -m tests.chaos`: end a small training at seeded moments, resume it, compare the outcome.

It is killed, or told to stop by SIGTERM; of a stop nothing at all may be lost.
"""

import argparse
import shutil
import signal
import tempfile
import time
from collections import Counter
from itertools import cycle, pairwise
from pathlib import Path
from random import Random

from edgeflownas.config import resolve_config
from edgeflownas.data.synthetic import SyntheticParameters, generate
from edgeflownas.devices import prepare_backend
from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_INTERRUPTED, CheckFailed, run_command
from edgeflownas.runs.checkpoints import read_header
from edgeflownas.runs.run_directory import RunDirectory
from tests.chaos.comparison import broken_files, differences_between
from tests.chaos.moments import JUDGING, TIMED, Kill, draw_kill
from tests.chaos.runs import Ended, train
from tests.spaces import small_space
from tests.tiny import TINY, tiny_flags

EPOCHS = 3
STEPS_PER_EPOCH = TINY["train.steps_per_epoch"]
CHECKPOINT_EVERY = 2
KILL, STOP = signal.SIGKILL, signal.SIGTERM
# A pack of moments, drawn without replacement, and the last ones of a history, because only a run at its end has them.
PACK = (
    *((moment, KILL) for moment in ("a step", "a step", "an evaluation", "writing a checkpoint")),
    *((moment, KILL) for moment in ("writing a checkpoint", "keeping the one before", "between best and last")),
    *(("resuming", KILL), ("a step", STOP), ("an evaluation", STOP)),
    *((moment, number) for moment in JUDGING for number in (KILL, STOP)),
)
ENDINGS = (("flow samples", STOP), ("publishing", KILL), ("flow samples", KILL), ("publishing", KILL))
KILLS = 10
# After SIGTERM; Slurm kills after 30.
MOST_SECONDS = 30.0


class Chaos:
    """Histories of a small training: one that is left alone, and others that are killed again and again."""

    def __init__(self, folder: Path, seed: int, minutes: float) -> None:
        self.folder = folder
        self.random = Random(seed)
        self.deadline = time.monotonic() + 60 * minutes
        self.hits: Counter[str] = Counter()
        self.slowest_stop = 0.0
        self._pack: list[tuple[str, signal.Signals]] = []
        self._endings = cycle(ENDINGS)
        self.log = folder / "printed.log"
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
        for moment, number_of_signal in self._moments(kills):
            if time.monotonic() > self.deadline:
                break
            before = _place(run)
            if moment == "resuming" and not before[0]:
                moment = "writing a checkpoint"
            if moment == "an evaluation" and _steps_to_judging(run) == 0:
                moment = "recalibrating"
            kill = draw_kill(moment, number_of_signal, self.random)
            ended = self._train(run.path, kill)
            if not ended.struck:
                # It came to its end before the moment that was drawn, which is for the next history; publishing can
                # still be interrupted.
                if (moment, number_of_signal) in PACK:
                    self._pack.append((moment, number_of_signal))
                kill = draw_kill("publishing", KILL, self.random)
                before = _place(run)
                ended = self._train(run.path, kill)
            made += 1
            self.hits[f"{kill.moment} ({kill.number.name})"] += 1
            how = f"{kill.delay:.0%} of its time" if kill.moment in TIMED else f"{kill.calls} calls"
            place = "from step {}, {} judged, {} steps made, then step {}, {} judged".format(
                *before, len(ended.step_times), *_place(run)
            )
            print(f"history {number} kill {made}: {kill.number.name} in {kill.moment}, {how}; {place}", flush=True)
            found = broken_files(run) + self._lost(kill, ended, before, _place(run))
            faults += [f"after kill {made}: {fault}" for fault in found]
        self._train(run.path)
        return made, faults + differences_between(run.path, self.reference)

    def _lost(self, kill: Kill, ended: Ended, before: tuple[int, int], after: tuple[int, int]) -> list[str]:
        """What an end cost that it must not: by SIGTERM any step, by SIGKILL an epoch that was trained."""
        faults = []
        made = before[0] + len(ended.step_times)
        if kill.number == STOP:
            self.slowest_stop = max(self.slowest_stop, ended.seconds)
            if ended.seconds > MOST_SECONDS:
                faults.append(f"it took {ended.seconds:.0f} s to stop")
            if "Traceback" in self.log.read_text():
                faults.append("it left a trace")
        if (kill.number == STOP or kill.moment in JUDGING[1:]) and after[0] != made:
            faults.append(f"{made} steps were made, and the checkpoint is of {after[0]}")
        return faults

    def _moments(self, kills: int) -> list[tuple[str, signal.Signals]]:
        """Which kills of a history, in which order: some of the pack, and at last one or two at its end."""
        endings = min(2, max(1, kills // 4))
        drawn = []
        for _ in range(kills - endings):
            if not self._pack:
                self._pack = self.random.sample(PACK, len(PACK))
            drawn.append(self._pack.pop())
        return drawn + [next(self._endings) for _ in range(endings)]

    def _train(self, run: Path, kill: Kill | None = None) -> Ended:
        flags = ["--debug_trace", "--num_epochs", str(EPOCHS), "--resume", "auto", "--lr", "1e-3"]
        flags += ["--set", f"train.checkpoint_every_steps={CHECKPOINT_EVERY}"]
        flags += ["--set", f"network.search_space={self.space}"]
        after, wait = 0, 0.0
        if kill:
            to_judging = _steps_to_judging(RunDirectory(run))
            if kill.moment == "a step":
                after = kill.occurrence + (kill.occurrence == to_judging)
            elif kill.moment == "flow samples":
                after = EPOCHS * STEPS_PER_EPOCH - _place(RunDirectory(run))[0]
            elif kill.moment in JUDGING[:2]:
                after = to_judging or STEPS_PER_EPOCH
            elif kill.moment in ("an evaluation", *JUDGING):
                after = to_judging
            wait = kill.delay * self.typical_seconds.get(kill.moment, 0.0)
        ended = train(tiny_flags(self.data, run, *flags), self.log, kill, after, wait)
        expected = [EXIT_DONE]
        if kill and ended.struck:
            expected = [-KILL] if kill.number == KILL else [EXIT_INTERRUPTED]
        if ended.exit_code not in expected:
            raise CheckFailed(f"the training in {run} ended with {ended.exit_code}: {self.log.read_text()[-2000:]}")
        return ended


def _place(run: RunDirectory) -> tuple[int, int]:
    """Where a run continues: steps trained, epochs judged."""
    header = read_header(run.last) if run.last.is_file() else {"global_step": 0, "epoch": 0}
    return header["global_step"], header["epoch"]


def _steps_to_judging(run: RunDirectory) -> int:
    step, judged = _place(run)
    return (judged + 1) * STEPS_PER_EPOCH - step


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
            kills, faults = chaos.history(histories, min(KILLS, arguments.kills - made))
            made += kills
            survived += 0 if faults else kills
            print(f"history {histories}: {'; '.join(faults) or 'bit-identical to the uninterrupted run'}", flush=True)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)
    hits = ", ".join(f"{moment} {count}" for moment, count in chaos.hits.most_common())
    seconds = time.monotonic() - began
    print(f"SIGTERM ended it within {chaos.slowest_stop:.1f} s")
    print(f"{survived} of {arguments.kills} survived in {histories} histories, {seconds:.0f} s: {hits}")
    return EXIT_DONE if survived == arguments.kills else EXIT_CHECK_FAILED


if __name__ == "__main__":
    run_command(main)
