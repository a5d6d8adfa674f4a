"""An HTTP server for shards, and what can go wrong with one."""

import socket
import time
from collections import Counter
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

Fault = Callable[["Handler"], bool]  # whether it answered in its own way


class Handler(SimpleHTTPRequestHandler):
    """Serves files, and what goes wrong: `faults` has a list of faults for a file's name, taken in turn."""

    faults: dict[str, list[Fault]]
    asked: Counter[str]

    def do_GET(self) -> None:
        name = Path(self.path).name
        self.asked[name] += 1
        faults = self.faults.get(name, [])
        if not (faults and faults.pop(0)(self)):
            super().do_GET()

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
    """A set of six classes, a shard each, behind HTTP."""

    def __init__(self, root: Path, port: int):
        self.root, self.url = root, f"http://127.0.0.1:{port}/set"
        self.faults: dict[str, list[Fault]] = {}
        self.asked = Counter[str]()
