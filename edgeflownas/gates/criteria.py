"""What a criterion is, and how it is evaluated."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from edgeflownas.errors import UserError


@dataclass(frozen=True)
class Finding:
    """What a criterion observed and expected, in words for the table, and whether it is met."""

    observed: str
    expected: str
    passed: bool


Evidenced = TypeVar("Evidenced")


@dataclass(frozen=True)
class Criterion(Generic[Evidenced]):
    """A claim about a gate's artifacts, in one sentence, the predicate that looks, and the commands it looks at.

    `remedy` is for a claim that can fail where nothing is broken: which keys of the configuration may be at fault.
    """

    sentence: str
    check: Callable[[Evidenced], Finding]
    commands: tuple[str, ...] = ()
    remedy: str = ""

    def finding(self, found: Finding) -> dict[str, Any]:
        """What was found, as a JSON value; with the remedy where the criterion is not met."""
        return {
            "sentence": self.sentence,
            "observed": found.observed,
            "expected": found.expected,
            "passed": found.passed,
            "commands": list(self.commands),
            **({"remedy": self.remedy} if self.remedy and not found.passed else {}),
        }


def same(observed: Any, expected: Any) -> Finding:
    """Met when the two are equal."""
    return Finding(str(observed), str(expected), observed == expected)


def none_of(faults: Sequence[str], looked_at: str) -> Finding:
    """Met when there is no fault among what was looked at, and something was looked at."""
    if faults:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        return Finding("; ".join(faults[:3]) + more, f"{looked_at}, no fault", False)
    return Finding(f"{looked_at}, no fault", f"{looked_at}, no fault", True)


def judge_criteria(criteria: Sequence[Criterion[Evidenced]], evidence: Evidenced) -> Iterator[dict[str, Any]]:
    """Each criterion's finding as a JSON value, once decided; unreadable or missing evidence fails its criterion."""
    for criterion in criteria:
        try:
            finding = criterion.check(evidence)
        except UserError as error:
            finding = Finding(str(error), "readable evidence", False)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
            finding = Finding(f"evidence of another shape: {error!r}", "readable evidence", False)
        yield criterion.finding(finding)


def reasons(findings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why a gate, a run or a study did not pass: a line per criterion that is not met, with what may be at fault."""
    return [
        f"{finding['sentence']}: observed {finding['observed']}; expected {finding['expected']}"
        + (f". {finding['remedy']}" if "remedy" in finding else "")
        for finding in findings
        if not finding["passed"]
    ]
