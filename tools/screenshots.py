"""Pictures of the documentation site and of TensorBoard, taken by a headless Chromium.

    python tools/screenshots.py site OUT                # every page of the site
    python tools/screenshots.py tensorboard OUT RUNS    # scalars, images and HParams of the runs below RUNS

Needs `chromium` or `google-chrome` on the PATH (Debian: apt install chromium), and for `site` the extra `docs`.
"""

import argparse
import http.server
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DASHBOARDS = ("timeseries", "scalars", "images", "hparams")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that prints nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def take(browser: str, address: str, path: Path, seconds: int = 5, size: str = "1600,1200") -> None:
    """Write a picture of a page, after its scripts had some seconds."""
    options = ["--headless", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium refuses its sandbox to root
    options += [f"--virtual-time-budget={1000 * seconds}", f"--screenshot={path}", address]
    subprocess.run([browser, *options], check=True, capture_output=True, timeout=120)
    print(path)


@contextmanager
def site() -> Iterator[tuple[str, list[str]]]:
    """Build the site and serve it; its address and pages."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "-d", folder], cwd=ROOT, check=True)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        pages = sorted(str(page.relative_to(folder)) for page in Path(folder).rglob("*.html"))
        yield f"http://127.0.0.1:{server.server_port}", [page for page in pages if page != "404.html"]
        server.shutdown()


@contextmanager
def tensorboard(runs: str) -> Iterator[str]:
    """Serve TensorBoard; its address.

    Raises:
        SystemExit: If it does not answer within a minute.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", runs, "--port", str(port), "--load_fast=false"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/data/runs", timeout=5).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"TensorBoard of {runs} does not answer: try `{' '.join(command)}`") from None
                time.sleep(0.5)
        time.sleep(5)  # it reads the event files after its first answer
        yield address
        server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("site", "tensorboard"))
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("runs", nargs="?", default="runs", help="folder of runs (default: runs)")
    given = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit(
            "no browser: neither chromium nor google-chrome is on the PATH; on Debian, apt install chromium"
        )
    given.out.mkdir(parents=True, exist_ok=True)
    if given.what == "site":
        with site() as (address, pages):
            for page in pages:
                take(browser, f"{address}/{page}", given.out / f"{page.removesuffix('.html').replace('/', '_')}.png")
    else:
        with tensorboard(given.runs) as address:
            for name in DASHBOARDS:
                take(browser, f"{address}/?darkMode=false#{name}", given.out / f"{name}.png", seconds=20)


if __name__ == "__main__":
    main()
