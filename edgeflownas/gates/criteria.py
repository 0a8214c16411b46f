"""What a criterion is, and how it is evaluated."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from edgeflownas.errors import UserError


@dataclass(frozen=True)
class Finding:
    """What a criterion observed and expected, as text for the table, and whether it holds.

    `warning` is what a person should know although it holds.
    """

    observed: str
    expected: str
    passed: bool
    warning: str = ""


Evidenced = TypeVar("Evidenced")


@dataclass(frozen=True)
class Criterion(Generic[Evidenced]):
    """A claim about a gate's artifacts, the predicate that checks it, and the commands whose results it checks.

    `remedy` is for a claim that can fail although nothing is broken: which keys of the configuration may be the cause.
    `when` says of what it is no claim at all, and is left out.
    """

    sentence: str
    check: Callable[[Evidenced], Finding]
    commands: tuple[str, ...] = ()
    remedy: str = ""
    when: Callable[[Evidenced], bool] = lambda evidence: True

    def finding(self, found: Finding) -> dict[str, Any]:
        """What was found, as a JSON value; with the remedy if the criterion fails."""
        return {
            "sentence": self.sentence,
            "observed": found.observed,
            "expected": found.expected,
            "passed": found.passed,
            "commands": list(self.commands),
            **({"remedy": self.remedy} if self.remedy and not found.passed else {}),
            **({"warning": found.warning} if found.warning and found.passed else {}),
        }


def same(observed: Any, expected: Any) -> Finding:
    """Passes if the two are equal."""
    return Finding(str(observed), str(expected), observed == expected)


def none_of(faults: Sequence[str], looked_at: str) -> Finding:
    """Passes if something was checked and no fault was found."""
    if faults:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        return Finding("; ".join(faults[:3]) + more, f"{looked_at}, no fault", False)
    return Finding(f"{looked_at}, no fault", f"{looked_at}, no fault", True)


def evaluate_criteria(criteria: Sequence[Criterion[Evidenced]], evidence: Evidenced) -> Iterator[dict[str, Any]]:
    """Each criterion's finding as a JSON value, once decided; unreadable or missing evidence fails its criterion."""
    for criterion in criteria:
        if not criterion.when(evidence):
            continue
        try:
            finding = criterion.check(evidence)
        except UserError as error:
            finding = Finding(str(error), "readable evidence", False)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
            finding = Finding(f"evidence of another shape: {error!r}", "readable evidence", False)
        yield criterion.finding(finding)


def warnings(findings: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a person should know although every criterion holds."""
    return [finding["warning"] for finding in findings if "warning" in finding]


def reasons(findings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why a gate, a run or a study did not pass: a line per criterion that failed, with its possible cause."""
    return [
        f"{finding['sentence']}: observed {finding['observed']}; expected {finding['expected']}"
        + (f". {finding['remedy']}" if "remedy" in finding else "")
        for finding in findings
        if not finding["passed"]
    ]
