"""How long tests search for a counterexample, and NumPy files that nobody wrote."""

import io
import os
import zipfile


def examples(whole: int) -> int:
    """How many examples a test tries: `whole` in CI, a fifth of it at a desk, or what FUZZ_EXAMPLES says."""
    return int(os.environ.get("FUZZ_EXAMPLES", whole if os.environ.get("CI") else whole // 5))


def array_of(header: bytes, version: bytes = b"\x01\x00") -> bytes:
    """A NumPy array of 24 bytes under any header."""
    length = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + length + header + b"\0" * 24


def archive_of(header: bytes) -> bytes:
    """An archive whose only array has that NumPy header."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("header.npy", array_of(header))
    return content.getvalue()
