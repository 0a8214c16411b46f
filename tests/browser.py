"""A page opened in headless Chromium: what its console says, what it shows, and a picture of it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

# No window, no profile of before, and nothing of the browser's own on the network; the console on stderr.
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)


def require_chromium() -> str:
    """The browser's path; without one the test is skipped, but in CI it fails."""
    path = shutil.which("chromium")
    if path is None:
        words = "chromium is not installed: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
    return path


def open_page(
    page: Path, scratch: Path, *action: str, width: int = 1280, height: int = 2000, dark: bool = False
) -> str:
    """Open a page and let the browser do one `action` with it, as `--dump-dom`.

    Returns:
        What the browser printed; the test fails on any line of the page's console.
    """
    command = [require_chromium(), *QUIET, f"--user-data-dir={scratch / 'profile'}", f"--window-size={width},{height}"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", *action, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    complaints = re.findall(r".*CONSOLE.*", done.stderr)
    assert not complaints, complaints
    return done.stdout


def screenshot(page: Path, picture: Path, width: int = 1280, height: int = 2000, dark: bool = False) -> None:
    """Take a picture of a page."""
    open_page(page, picture.parent, f"--screenshot={picture}", width=width, height=height, dark=dark)


def did(page: Path, scratch: Path, script: str) -> Any:
    """What a script finds out on the page, with the page's own script running under its own policy before it."""
    text = page.read_text()
    policy = re.search(r"script-src '(sha256-[^']+)'", text)
    assert policy
    probe = f"<script nonce='probe'>document.title = JSON.stringify((() => {{{script}}})());</script></body>"
    text = text.replace(policy[0], f"script-src '{policy[1]}' 'nonce-probe'").replace("</body>", probe)
    probed = scratch / "probed.html"
    probed.write_text(text)
    title = re.search(r"<title>(.*?)</title>", open_page(probed, scratch, "--dump-dom"), re.DOTALL)
    assert title
    return json.loads(title[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))


def width_on_phone(text: str, scratch: Path) -> int:
    """How wide a page is in a frame of 390 pixels, as wide as a phone, which a window cannot be."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy".*?>', "", text)
    measure = "<script>document.title = document.documentElement.scrollWidth;</script>"
    probe = "<iframe srcdoc='{}' width=390 height=900 onload='document.title = frames[0].document.title'></iframe>"
    frame = scratch / "frame.html"
    frame.write_text(probe.format((text + measure).replace("&", "&amp;").replace("'", "&#39;")))
    width = re.search(r"<title>(\d+)</title>", open_page(frame, scratch, "--dump-dom"))
    assert width
    return int(width[1])
