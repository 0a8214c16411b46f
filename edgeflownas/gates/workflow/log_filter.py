"""Messages of Snakemake that nobody needs to read, because the gates say it better."""

import logging
import re

_NOISE = re.compile(
    r"Select jobs to execute\.\.\.|Execute \d+ jobs\.\.\.|Using shell: .*|Complete log\(s\): .*"
    r"|Assuming unrestricted shared filesystem usage\.|Shutting down, this might take some time\."
    r"|Exiting because a job execution failed\. .*|(WorkflowError:\s+)?At least one job did not complete successfully\."
)
_JOB_FAILED = re.compile(r"(RuleException:\s+)?CalledProcessError in file .*", re.DOTALL)


class LogFilter(logging.Filter):
    """A filter of Snakemake's logger: drops what `--quiet` cannot, and holds back that a command failed.

    `held` is what was held back: to be shown if no gate says why.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether Snakemake may print it now."""
        message = record.getMessage().strip()
        if _JOB_FAILED.fullmatch(message):
            self.held.append(message)
            return False
        return not _NOISE.fullmatch(message)
