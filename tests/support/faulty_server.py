"""An HTTP server for shards, and what can go wrong with one."""

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Fault = Callable[["Handler"], bool]  # whether it answered in its own way


class Handler(SimpleHTTPRequestHandler):
    """Serves files and parts of them, and what goes wrong: `faults` has a list of faults for a file's name, taken in turn."""

    faults: dict[str, list[Fault]]
    asked: Counter[str]
    sent: Counter[str]
    whole_only: list[bool]

    def do_GET(self) -> None:
        name = Path(self.path).name
        self.asked[name] += 1
        faults = self.faults.get(name, [])
        if faults and faults.pop(0)(self):
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and not self.whole_only and Path(self.translate_path(self.path)).is_file():
            self.send_part(name, int(asked[1]), int(asked[2]) + 1)
        else:
            super().do_GET()

    def send_part(self, name: str, first: int, last: int) -> None:
        data = Path(self.translate_path(self.path)).read_bytes()
        part = data[first:last]
        self.sent[name] += len(part)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_: Any) -> None:
        pass


def unavailable(handler: Handler) -> bool:
    handler.send_error(503)
    return True


def dropped(handler: Handler) -> bool:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def cut_off(handler: Handler) -> bool:
    """Half of what it promised."""
    data = Path(handler.translate_path(handler.path)).read_bytes()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True
    return True


def altered(handler: Handler) -> bool:
    """Another byte, as a bad proxy would send it."""
    data = bytearray(Path(handler.translate_path(handler.path)).read_bytes())
    data[len(data) // 2] ^= 1
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
    return True


def slow(handler: Handler) -> bool:  # noqa: ARG001
    time.sleep(0.3)
    return False


def silent(handler: Handler) -> bool:  # noqa: ARG001  a server that hangs
    time.sleep(1.5)
    return True


class Server:
    """A shard set behind HTTP.

    faults: faults to come, by the name of a file.  asked: requests, by the name of a file.  sent: bytes of parts that were
    sent, by the name of a file.  whole_only: not empty if the server gives files only whole.
    """

    def __init__(self, root: Path, port: int):
        self.root, self.url = root, f"http://127.0.0.1:{port}/{root.name}"
        self.faults: dict[str, list[Fault]] = {}
        self.asked, self.sent = Counter[str](), Counter[str]()
        self.whole_only: list[bool] = []


@contextmanager
def serving(root: Path) -> Iterator[Server]:
    """A server of the folder that a set is in."""
    handler = type("OfThis", (Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(root.parent))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        server = Server(root, http.server_port)
        for name in ("faults", "asked", "sent", "whole_only"):
            setattr(handler, name, getattr(server, name))
        yield server
        http.shutdown()
        thread.join()
