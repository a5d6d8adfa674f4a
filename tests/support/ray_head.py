"""A Ray cluster of two nodes with a dashboard and a token, for tests of Ray's Jobs API."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from clusters.core.job import Job
from support.clusters_here import RAY, command_line, kill_group, until
from support.paths import ROOT

STUB = """#!{python}
# the command on the cluster's PATH; `lightning-meta python ...` is Python, for a test that cannot wait for torch
import os, sys
own = sys.argv[2:] if sys.argv[1] == "python" else ["-m", "lightning_meta", *sys.argv[1:]]
os.execv(sys.executable, [sys.executable, *own])
"""


class Head(NamedTuple):
    """A running cluster: its dashboard, and the file with its token."""

    address: str
    token: Path


def job(folder: Path, *command: str, name: str = "try", **fields: Any) -> Job:
    (folder / "work").mkdir(exist_ok=True)
    return Job(name=name, command=command, folder=folder / "jobs" / name, workdir=folder / "work", **fields)


@contextmanager
def ray_head(folder: Path) -> Iterator[Head]:
    """Start a head; at the end kill what belongs to it, and nothing else: `ray stop` would end every Ray of this user."""
    token, stub, log = folder / "token", folder / "bin" / "lightning-meta", folder / "ray.log"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    stub.parent.mkdir()
    stub.write_text(STUB.format(python=sys.executable))
    stub.chmod(0o755)
    scratch = tempfile.mkdtemp(prefix="lmj", dir="/tmp")  # short: the names of sockets are
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port")
    names += ("runtime-env-agent-port", "metrics-export-port", "ray-client-server-port", "node-manager-port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [RAY, "start", "--head", "--block", "--include-dashboard=true", f"--temp-dir={scratch}", "--num-cpus=2"]
    command += ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--disable-usage-stats"]
    command += [f"--{name}={port}" for name, port in ports.items()] + ["--min-worker-port=0", "--max-worker-port=0"]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "LIGHTNING_META_"))
    }
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "OMP_NUM_THREADS": "1"}
    here = f"{stub.parent}:{Path(sys.executable).parent}"  # as in an activated virtual environment
    environment |= {"PATH": f"{here}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    second = [
        RAY,
        "start",
        f"--address=127.0.0.1:{ports['port']}",
        "--node-ip-address=127.0.0.1",
        "--block",
        "--num-cpus=1",
    ]
    second += ["--object-store-memory=100000000", "--disable-usage-stats", "--min-worker-port=0", "--max-worker-port=0"]
    second += ["--dashboard-agent-listen-port=0"]
    with log.open("wb") as out:
        started = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
        try:
            until(lambda: listening(ports["dashboard-port"]), 120, log, started)
            until(lambda: listening(ports["dashboard-agent-listen-port"]), 120, log, started)
            joined = subprocess.Popen(second, env=environment, stdout=out, stderr=out, start_new_session=True)
            yield Head(f"http://127.0.0.1:{ports['dashboard-port']}", token)
            kill_group(joined)
        finally:
            kill_left(scratch, str(token))
            kill_group(started)
            shutil.rmtree(scratch, ignore_errors=True)


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def listening(port: int) -> bool:
    with socket.socket() as each:
        return each.connect_ex(("127.0.0.1", port)) == 0


def kill_left(*marks: str) -> None:
    """Kill what has a mark, a path that nobody else has, on its command line or in its environment, until nothing has."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        left = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if any(m in said(pid) for m in marks)]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        if not left:
            return
        time.sleep(0.2)


def said(pid: int) -> str:
    try:
        return command_line(pid) + Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return ""
