"""Wait until a Ray cluster has all its nodes: python -m clusters.slurm.wait_for_ray ADDRESS NODES HEAD_PID.

Ends with status 1 and what is missing where the head dies, or after five minutes. Ray's own client may wait for ever for a head
that is not there, so that it runs in a process of its own.
"""

import os
import socket
import subprocess
import sys
import time
from tempfile import TemporaryFile
from typing import IO

PATIENCE = 300.0  # seconds
COUNT = """
import sys, time, ray
address, nodes = sys.argv[1], int(sys.argv[2])
ray.init(address=address, logging_level="ERROR", log_to_driver=False)
there = 0
while there < nodes:
    there = sum(node["Alive"] for node in ray.nodes())
    print(there, flush=True)
    time.sleep(0.5)
"""


def main(address: str, nodes: int, head: int) -> None:
    """Return when all nodes are there; SystemExit with a message where they do not come."""
    end = time.monotonic() + PATIENCE
    with TemporaryFile() as said:
        count = None
        try:
            while count is None or count.poll() != 0:
                if not alive(head):
                    sys.exit(f"the head of the Ray cluster at {address} has ended: see ray-head-*.txt beside this log")
                if time.monotonic() > end:
                    sys.exit(missing(address, nodes, last(said)))
                if (count is None or count.poll() is not None) and listening(address):
                    count = subprocess.Popen([sys.executable, "-c", COUNT, address, str(nodes)], stdout=said)
                time.sleep(0.5)
        finally:
            if count is not None:
                count.kill()
                count.wait()
    print(f"{nodes} of {nodes} nodes have joined the Ray cluster at {address}", flush=True)


def missing(address: str, nodes: int, there: int) -> str:
    """What keeps the cluster from being whole."""
    if not there:
        return (
            f"the head of the Ray cluster at {address} gives no answer within {PATIENCE:g} seconds: see ray-head-*.txt"
        )
    within = f"within {PATIENCE:g} seconds: see ray-workers-*.txt"
    return f"{there} of {nodes} nodes have joined the Ray cluster at {address} {within}"


def last(said: IO[bytes]) -> int:
    """How many nodes were counted last."""
    said.seek(0)
    lines = said.read().split()
    return int(lines[-1]) if lines else 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((host, int(port))) == 0


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
