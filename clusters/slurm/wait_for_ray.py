"""Wait until a Ray cluster has all its nodes: python -m clusters.slurm.wait_for_ray ADDRESS NODES HEAD_PID.

HEAD_PID is the process of the cluster's head. The program ends with status 1 and a message if the head dies, or after five
minutes. Ray's own client may wait for ever for a missing head, so it runs in a process of its own.
"""

import os
import socket
import subprocess
import sys
import time
from tempfile import TemporaryFile
from typing import IO

JOIN_SECONDS = 300.0  # seconds
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
    """Return when all nodes are there; raise SystemExit with a message if they do not come."""
    end = time.monotonic() + JOIN_SECONDS
    with TemporaryFile() as counts:
        count = None
        try:
            while count is None or count.poll() != 0:
                if not process_exists(head):
                    sys.exit(f"the head of the Ray cluster at {address} has ended: see ray-head-*.txt beside this log")
                if time.monotonic() > end:
                    sys.exit(missing_nodes(address, nodes, last_count(counts)))
                if (count is None or count.poll() is not None) and is_listening(address):
                    count = subprocess.Popen([sys.executable, "-c", COUNT, address, str(nodes)], stdout=counts)
                time.sleep(0.5)
        finally:
            if count is not None:
                count.kill()
                count.wait()
    print(f"{nodes} of {nodes} nodes have joined the Ray cluster at {address}", flush=True)


def missing_nodes(address: str, nodes: int, there: int) -> str:
    """Return what is missing of the cluster."""
    if not there:
        return f"the head of the Ray cluster at {address} gives no answer within {JOIN_SECONDS:g} seconds: see ray-head-*.txt"
    within = f"within {JOIN_SECONDS:g} seconds: see ray-workers-*.txt"
    return f"{there} of {nodes} nodes have joined the Ray cluster at {address} {within}"


def last_count(counts: IO[bytes]) -> int:
    """Return the number of nodes that was counted last."""
    counts.seek(0)
    lines = counts.read().split()
    return int(lines[-1]) if lines else 0


def process_exists(pid: int) -> bool:
    """Return whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_listening(address: str) -> bool:
    """Return whether something listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((host, int(port))) == 0


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
