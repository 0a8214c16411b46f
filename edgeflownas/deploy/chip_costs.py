"""What subnets cost on a chip, compiled with untrained weights, several at a time, and kept by digest."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import PROJECT_ROOT, read_json, sha256_file, sha256_of, write_json
from edgeflownas.deploy.converter import convert_untrained, require_converter
from edgeflownas.deploy.subnet import Subnet
from edgeflownas.deploy.targets import Target
from edgeflownas.deploy.vela import ChipCost, compile_model, vela_version
from edgeflownas.errors import UserError
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.source_code import reached_from

SCHEMA = "chip_cost.schema.json"
DEFAULT_CACHE = Path("outputs/chip_costs")
SEED = 0
"""Of the untrained weights. They are compressed a little less well than trained ones: the time is up to 0.8% longer,
or 3% where flash is the bottleneck (`benchmarks/README.md`)."""


def available_cores() -> int:
    """How many processes can compute at a time here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chip_costs(
    subnets: Sequence[Subnet],
    target: Target,
    cache: Path = DEFAULT_CACHE,
    workers: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[ChipCost]:
    """What subnets cost on a target.

    Args:
        subnets: of one search space.
        target: the chip.
        cache: folder of results; those that are there are not computed again.
        workers: compilations at a time; None: as many as there are cores.
        say: called with a line before anything is compiled.

    Raises:
        UserError: Vela or TensorFlow is not installed, or Vela refuses.
    """
    workers = workers or available_cores()
    tools = _tools(target)
    paths = [cache / f"{sha256_of({**tools, 'subnet': subnet.facts()})}.json" for subnet in subnets]
    missing = list({path: subnet for path, subnet in zip(paths, subnets, strict=True) if not _kept(path)}.items())
    if missing:
        require_converter()
        say(f"compiling {len(missing)} subnets for {target.name}, {workers} at a time")
        _compile(missing, target, workers)
    found = [_kept(path) for path in paths]
    assert all(found)
    return [cost for cost in found if cost is not None]


def _compile(missing: Sequence[tuple[Path, Subnet]], target: Target, workers: int) -> None:
    """Convert subnets one after another, and compile those that are converted, several at a time.

    Each result is kept as soon as it is there: whatever ends this, the next call goes on from there.
    """
    subnets = [subnet for _, subnet in missing]
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Future[None]] = []
        try:
            for (path, subnet), content in zip(missing, convert_untrained(subnets, SEED), strict=True):
                waiting.append(pool.submit(_compile_one, path, subnet, content, target))
                _raise_of([future for future in waiting if future.done()])
            _raise_of(waiting)
        finally:
            pool.shutdown(cancel_futures=True)


def _raise_of(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        future.result()


def _compile_one(path: Path, subnet: Subnet, content: bytes, target: Target) -> None:
    cost = compile_model(content, target, f"subnet {format_code(subnet.code)}")[1]
    facts = {"code": format_code(subnet.code), "target": target.name, **cost.facts()}
    write_json(path, facts | {"sha256": sha256_of(facts)}, schema=SCHEMA)


def _kept(path: Path) -> ChipCost | None:
    """A result of earlier; a damaged one is computed again."""
    if not path.is_file():
        return None
    try:
        facts = read_json(path, schema=SCHEMA)
    except UserError:
        return None
    if facts.pop("sha256") != sha256_of(facts):
        return None
    return ChipCost.of_facts({key: value for key, value in facts.items() if key not in ("code", "target")})


def _tools(target: Target) -> dict[str, Any]:
    """Everything besides the subnet that a result depends on."""
    # Of the environment that trains, one knows no more than that TensorFlow is not there.
    packages = {name: _version(name) for name in ("tensorflow", "keras")}
    source = reached_from(["edgeflownas/deploy/converter.py", "edgeflownas/deploy/vela.py"])
    chip = {key: value for key, value in target.facts().items() if key != "flash_kib"}
    return {
        "target": chip,
        "packages": {**packages, "vela": vela_version()},
        "source": {path: sha256_file(PROJECT_ROOT / path) for path in sorted(source)},
        "seed": SEED,
    }


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(package)
    except PackageNotFoundError:
        return None
