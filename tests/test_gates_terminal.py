"""What a person reads of a gate on the terminal: the table, what to type next, and no noise of Snakemake's."""

import io
import logging

import pytest

from edgeflownas.console.terminal import GREEN, is_live, painted
from edgeflownas.gates.lifecycle.reports import next_command, table_head, table_row
from edgeflownas.gates.workflow.log_filter import LogFilter

FINDING = {
    "sentence": "20 random subnets give 45×60, 90×120 and 180×240, and nothing that is not finite",
    "observed": "20 subnets, no fault",
    "expected": "20 subnets, no fault",
    "passed": True,
}


@pytest.mark.parametrize("columns", [50, 80, 124, 300])
def test_a_row_fits_the_terminal_and_keeps_every_word(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = table_row(FINDING)
    assert max(map(len, text.splitlines())) <= min(columns, 124)
    assert text.startswith("✓ 20 random")
    assert sorted(text[1:].split()) == sorted(
        f"{FINDING['sentence']} {FINDING['observed']} {FINDING['expected']}".split()
    )
    # Columns stand below their heads.
    assert text.splitlines()[0].index("20 subnets") == table_head().index("observed")


@pytest.mark.parametrize(
    ("gate", "typed", "following"),
    [
        ("gate1", "snakemake gate1 --profile local", "snakemake gate2 --profile local"),
        ("gate1", "snakemake gate4 --profile local", None),
        ("gate4", "snakemake gate4 --profile local", "snakemake supernet --profile local"),
        ("gate4", "snakemake --profile slurm", "snakemake supernet --profile slurm"),
        ("gate3", "snakemake --profile slurm", None),
        ("gate2", "snakemake --config 'data_root=/my data' gate2", "snakemake gate3 --config 'data_root=/my data'"),
        ("gate2", None, "snakemake gate3"),
        ("gate1", "snakemake gate1 --forceall --profile local", "snakemake gate2 --profile local"),
        ("gate1", "snakemake gate1 -R gate1_help gate1_judge -f --cores 2", "snakemake gate2 --cores 2"),
        ("gate3", "snakemake gate3 --until=gate3_judge -F -n", "snakemake gate4 -n"),
        ("gate1", "snakemake -R gate1_help gate2 --profile local", None),
    ],
)
def test_the_next_command_follows_from_what_was_typed(gate, typed, following):
    # Without an invocation, one gate was judged by hand.
    assert next_command(gate, typed) == following


def said(*messages: str) -> tuple[list[str], list[str]]:
    """What of Snakemake's messages is shown, and what is held back."""
    stream, quieting = io.StringIO(), LogFilter()
    logger = logging.Logger("snakemake of a test")
    logger.addHandler(logging.StreamHandler(stream))
    logger.addFilter(quieting)
    for message in messages:
        logger.error(message)
    return stream.getvalue().splitlines(), quieting.held


def test_snakemakes_words_about_a_failed_command_are_held_back_and_everything_unknown_is_shown():
    failed = "RuleException:\nCalledProcessError in file \"rules/gates.smk\", line 45:\nCommand 'x' returned 1."
    shown, held = said(
        "Select jobs to execute...",
        "Execute 3 jobs...",
        failed,
        "Exiting because a job execution failed. Look above for error messages",
        "WorkflowError:\nAt least one job did not complete successfully.",
        "MissingOutputException in rule gate1_judge",
        "Complete log(s): /tmp/snakemake.log",
    )
    assert shown == ["MissingOutputException in rule gate1_judge"]
    assert held == [failed]


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "live", "colours"),
    [
        (Terminal(), {"TERM": "xterm"}, True, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        (Terminal(), {"TERM": "dumb"}, False, False),
        (Terminal(), {}, False, False),
        (Terminal(), {"TERM": "xterm", "SLURM_JOB_ID": "7"}, False, False),
        (io.StringIO(), {"TERM": "xterm"}, False, False),
    ],
)
def test_only_a_terminal_that_can_gets_control_characters(stream, environment, live, colours):
    assert is_live(stream, environment) is live
    assert painted("✓", GREEN, stream, environment) == ("\x1b[32m✓\x1b[0m" if colours else "✓")
