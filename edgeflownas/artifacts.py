"""Reading, writing and digesting artifacts: atomic, strict JSON, validated by the schemas in `schemas/`."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import jsonschema_rs

from edgeflownas.errors import UserError, make_folder, refuse_no_file, writing

PROJECT_ROOT = Path(__file__).resolve().parents[1]
SCHEMA_FOLDER = PROJECT_ROOT / "schemas"
TEMPORARY = ".tmp"


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, no NaN. Digests are taken of this."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(value: Any) -> str:
    """Hex digest of a JSON value's canonical text."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: Path | str) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path | str, write: Callable[[BinaryIO], None], keep: Path | None = None) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it over `path`.

    Readers see the old file or the new one, never a part. A failed write leaves the old file. `keep` is another name
    in the same folder: the old file is kept there once the new one is complete.

    Raises:
        CannotWrite: the system refuses; the message is for the user.
    """
    path = Path(path)
    make_folder(path.parent)
    with writing(path):
        refuse_no_file(path)
        _replace(path, write, keep)


def _replace(path: Path, write: Callable[[BinaryIO], None], keep: Path | None) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        if keep is not None and path.exists():
            _name_also(path, keep)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove_unfinished(folder: Path) -> None:
    """Remove temporary files that killed processes left in `folder` and below."""
    for unfinished in folder.rglob(f".*{TEMPORARY}"):
        with writing(unfinished):
            unfinished.unlink(missing_ok=True)


def put_aside(path: Path, why: str) -> Path:
    """Rename a file or folder to `<name>.<why>.<number>`, with the first number that is free.

    Returns:
        Its new path.
    """
    number = 1
    while (free := path.with_name(f"{path.name}.{why}.{number}")).exists():
        number += 1
    return path.rename(free)


def _name_also(path: Path, other: Path) -> None:
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:  # a file system without hard links: for a moment there is only the other name
        os.replace(path, other)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write bytes atomically."""

    def write(file: BinaryIO) -> None:
        file.write(content)

    write_atomic(path, write)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any, schema: str | None = None) -> None:
    """Write strict JSON (no NaN tokens) atomically, after validating it against `schemas/<schema>`."""
    if schema is not None:
        validate(value, schema, where=str(path))
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str, schema: str | None = None) -> Any:
    """Read JSON and validate it against `schemas/<schema>`.

    Raises:
        UserError: the file is missing, is not strict JSON, or does not fit its schema.
    """
    try:
        value = parse_json(Path(path).read_text(encoding="utf-8"), where=str(path))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    if schema is not None:
        validate(value, schema, where=str(path))
    return value


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse strict JSON: no NaN or Infinity, and no number that overflows to one.

    Raises:
        UserError: `text` is anything else.
    """
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error})") from error


def _finite(token: str) -> float:
    value = float(token)
    if not math.isfinite(value):
        raise ValueError(f"{token} is no number of JSON")
    return value


def load_schema(name: str) -> dict[str, Any]:
    """The schema `schemas/<name>` (JSON Schema 2020-12)."""
    schema: dict[str, Any] = json.loads((SCHEMA_FOLDER / name).read_text(encoding="utf-8"))
    return schema


def validate(value: Any, schema: str, where: str) -> None:
    """Check a JSON value against `schemas/<schema>`.

    Raises:
        UserError: with one clause per fault, each naming the key path.
    """
    if _schema_check(schema)(value):
        return
    import jsonschema

    errors = sorted(jsonschema.Draft202012Validator(load_schema(schema)).iter_errors(value), key=lambda e: e.json_path)
    if errors:
        faults = "; ".join(f"{error.json_path}: {error.message}" for error in errors[:10])
        raise UserError(f"{where}: does not fit schemas/{schema}: {faults}")


def schema_check(schema: dict[str, Any]) -> Callable[[Any], bool]:
    """A function that is true of the JSON values that fit `schema` (JSON Schema 2020-12), by jsonschema-rs.

    It takes a hundredth of the time of `jsonschema`, which matters for a long list of samples. If it finds a fault,
    `jsonschema` decides: it words the faults, and reads patterns as Python does.
    """
    validator = jsonschema_rs.Draft202012Validator(schema)

    def fits(value: Any) -> bool:
        try:
            return validator.is_valid(value)
        except ValueError:  # something that JSON cannot hold
            return False

    return fits


@cache
def _schema_check(schema: str) -> Callable[[Any], bool]:
    return schema_check(load_schema(schema))
