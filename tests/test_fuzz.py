"""Hostile input to the readers: a result or a UserError, soon, and in little memory; never another exception.

All of it together stays within a minute; `FUZZ_EXAMPLES=100000 pytest tests/test_fuzz.py` searches for longer.
"""

import io
import resource
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgeflownas.artifacts import canonical_json
from edgeflownas.config import parse_assignment, resolve_config
from edgeflownas.config_schema import schema_leaves
from edgeflownas.errors import UserError
from edgeflownas.nas.arch_codec import format_code, parse_code
from edgeflownas.nas.search_space import SEARCH_SPACE_FOLDER, load_search_space
from edgeflownas.runs.checkpoints import load_checkpoint, read_header, save_checkpoint
from tests.fuzzing import archive_of, array_of, examples

SPACE = load_search_space()
CONFIG = Path("config/config.yaml").read_bytes()
SPACE_FILE = (SEARCH_SPACE_FOLDER / "edgeflow_9x3.yaml").read_bytes()
MEMORY_MB = 200
# Pieces that mean something to a parser of YAML.
YAML_TOKENS = [
    *(
        b"!!python/object/apply:os.system ",
        b"!!float ",
        b"&a ",
        b"*a",
        b"<<: ",
        b"? ",
        b": ",
        b"- ",
        b"[",
        b"]",
        b"{",
        b"}",
    ),
    *(
        b"|\n",
        b">\n",
        b"---\n",
        b"...\n",
        b"%YAML 1.1\n",
        b"\t",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"'",
        b'"',
        b'"\\ud800"',
        b"#",
    ),
    *(b"1e999", b".nan", b"-1", b"9" * 400, b"true", b"null", b"2020-01-01", b"1:30", b"0o7", b"\xe2\x80\xa8", b"\r"),
]

fuzzed = settings(
    max_examples=examples(300),
    deadline=5000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A place for hostile bytes."""
    return tmp_path / "hostile"


@contextmanager
def little_memory() -> Iterator[None]:
    """The process needs at most so much more memory than it ever did."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_MB * 1024


def refused_or(read: Callable[[], Any]) -> Any:
    """What `read` returns, or None where it refuses; a refusal is one line that can be printed."""
    try:
        return read()
    except UserError as error:
        refusal = str(error)
    assert refusal.isprintable()
    return None


def damaged(original: bytes, tokens: list[bytes]) -> st.SearchStrategy[bytes]:
    """`original` with a few pieces cut out, doubled or replaced by tokens or noise."""
    place = st.integers(0, len(original))
    piece = st.one_of(st.sampled_from(tokens), st.binary(max_size=8), st.just(b""))
    edit = st.tuples(place, st.integers(0, 40), piece)

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        content = original
        for start, length, new in edits:
            content = content[:start] + new + content[start + length :]
        return content

    return st.lists(edit, min_size=1, max_size=5).map(apply)


codes = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789,[]- ٣²", max_size=40),
    st.lists(st.integers(-1, 3), max_size=12).map(format_code),
)


@fuzzed
@given(codes)
def test_any_text_is_an_arch_code_of_the_space_or_refused(text: str) -> None:
    code = refused_or(lambda: parse_code(text, SPACE))
    if code is not None:
        assert len(code) == len(SPACE.blocks)
        assert all(digit in range(len(block.options)) for digit, block in zip(code, SPACE.blocks, strict=True))
        assert parse_code(format_code(code), SPACE) == code


@fuzzed
@given(
    content=st.one_of(damaged(CONFIG, YAML_TOKENS), st.lists(st.sampled_from(YAML_TOKENS)).map(b"".join), st.binary())
)
def test_any_file_is_a_config_that_can_be_hashed_or_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with little_memory():
        config = refused_or(lambda: resolve_config(file, {}))
    if config is not None:
        canonical_json(config.values)
        assert len(config.hash) == 64


scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers(), max_size=2)),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


@fuzzed
@given(st.dictionaries(st.one_of(st.sampled_from(sorted(schema_leaves())), st.text(max_size=12)), scalars, max_size=6))
def test_any_values_make_a_config_or_are_refused_by_key(overrides: dict[str, Any]) -> None:
    config = refused_or(lambda: resolve_config(None, overrides))
    if config is not None:
        assert all(config[key] == value for key, value in overrides.items())
        canonical_json(config.values)


@fuzzed
@given(
    st.one_of(st.text(), st.lists(st.sampled_from(YAML_TOKENS)).map(lambda parts: b"".join(parts).decode("latin-1")))
)
def test_any_assignment_is_a_value_or_refused(text: str) -> None:
    refused_or(lambda: parse_assignment(text))
    refused_or(lambda: parse_assignment(f"data.root={text}"))


@fuzzed
@given(content=damaged(SPACE_FILE, YAML_TOKENS))
def test_any_file_is_a_search_space_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(content)
    space = refused_or(lambda: load_search_space(str(path)))
    if space is not None:
        assert parse_code(format_code(space.reference), space) == space.reference


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small valid checkpoint."""
    path = tmp_path_factory.mktemp("checkpoint") / "good.ckpt"
    arrays = {"weights.a": np.ones((3, 2), np.float32), "optimizer.0": np.int32(5)}
    save_checkpoint(path, {"epoch": 1, "global_step": 5}, arrays)
    return path.read_bytes()


@fuzzed
@given(data=st.data())
def test_any_change_to_a_checkpoint_is_refused_or_leaves_its_arrays(
    checkpoint: bytes, file: Path, data: st.DataObject
) -> None:
    content = data.draw(
        damaged(checkpoint, [b"PK\x03\x04", b"PK\x01\x02", b"\x93NUMPY", b"\xff" * 4, b"\0" * 4, b"'O'", b"9" * 9])
    )
    file.write_bytes(content)
    with little_memory():
        found = refused_or(lambda: load_checkpoint(file))
        refused_or(lambda: read_header(file))
    if found is not None:
        np.testing.assert_array_equal(found.arrays["weights.a"], np.ones((3, 2), np.float32))


array_headers = st.builds(
    "{{'descr': {!r}, 'fortran_order': {}, 'shape': {}, }}".format,
    st.sampled_from(["<f4", "|u1", "|O", "<U9", "V1000000000", "<f999", "", ["a", "<f4"]]),
    st.sampled_from(["True", "False", "None"]),
    st.sampled_from(
        ["(1000000000000,)", "(-1,)", "(3, 2)", "()", "(0, 99999999999999999999)", "3", "(2**40,)", "(True,)"]
    ),
)


@st.composite
def hostile_archives(draw: st.DrawFn) -> bytes:
    """Archives whose members have a NumPy header that promises too much, or one that is well and holds bad JSON."""
    content = io.BytesIO()
    compression = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))
    names = ["header.npy", "weights.a.npy", "header", "../../pwned.npy", "/pwned.npy"]
    texts = ["{}", "NaN", "[" * 100_000, "9" * 5000, '{"format": "edgeflownas-checkpoint-1"}', "\0"]
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name in draw(st.lists(st.sampled_from(names), max_size=4)):
            body = io.BytesIO()
            if draw(st.booleans()):
                np.save(body, np.frombuffer(draw(st.sampled_from(texts)).encode(), np.uint8))
            else:
                header = draw(st.one_of(array_headers.map(str.encode), st.binary(max_size=60))) + b"\n"
                version = draw(st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"]))
                body.write(array_of(header, version))
            archive.writestr(name, body.getvalue())
    return content.getvalue()


@fuzzed
@given(content=hostile_archives())
@example(content=archive_of(b"(\n"))  # NumPy passes it on to `tokenize`, which has an error of its own.
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_any_archive_of_arrays_is_refused_in_little_memory(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with little_memory(), pytest.raises(UserError):
        load_checkpoint(file)
    assert [entry.name for entry in file.parent.iterdir()] == ["hostile"]
