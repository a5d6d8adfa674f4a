"""Run a command on several nodes of a Ray cluster: python -m clusters.ray.run_on_nodes NODES RESOURCES COMMAND ...

This is to a Ray cluster what srun is to Slurm. The command runs once on each of NODES nodes, with RESOURCES (JSON, such as
{"CPU": 8, "GPU": 8}) reserved for it. It finds its place in NODE_RANK, MASTER_ADDR and MASTER_PORT, and Lightning starts a
process per GPU from there. What the commands print is printed here, SIGTERM is passed on to all of them, and if one fails the
others are ended and its exit status is kept.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from threading import Thread
from typing import Any

from clusters.core.job import Job
from clusters.core.setup_lines import with_setup

GROWTH, LONGEST = 600, 86400  # seconds to wait for nodes that a cluster lacks, and for nodes that are occupied
END_SECONDS = 30  # seconds for the others to end by themselves after one has failed


def spread(job: Job, more: dict[str, Any], command: list[str]) -> list[str]:
    """Return the argument list that runs a command on each of the job's nodes, after the set-up lines.

    Args:
        job: The job, with its nodes, cores and GPUs.
        more: Amounts of other resources per node.
        command: The argument list to run there.
    """
    python = [str(job.options.get("python") or "python"), "-m", "clusters.ray.run_on_nodes"]
    resources = {"CPU": job.node_cpus, "GPU": job.gpus_per_node, **more}
    return [*python, str(job.nodes), json.dumps(resources), *with_setup(command, job.setup)]


class Node:
    """An actor on a node. Its methods run at the same time: one waits for the process, another sends it a signal."""

    process: subprocess.Popen[str]

    def address(self) -> tuple[str, int]:
        """Return this node's address and a free port."""
        import ray

        with socket.socket() as server:
            server.bind(("", 0))
            return ray.util.get_node_ip_address(), server.getsockname()[1]

    def start(self, command: list[str], place: dict[str, str]) -> None:
        """Start the command, with its place among the nodes as variables."""
        # in a cluster inside a Slurm job, Lightning would take the process for a task of srun
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "errors": "replace"}
        self.process = subprocess.Popen(command, env=kept | place, start_new_session=True, text=True, **out)

    def lines(self) -> Iterator[str]:
        """Yield the lines that the process prints."""
        assert self.process.stdout
        yield from (line.rstrip("\n") for line in self.process.stdout)

    def wait(self) -> int:
        """Return the exit status as a shell gives it."""
        code = self.process.wait()
        return code if code >= 0 else 128 - code

    def signal(self, number: int) -> None:
        """Send a signal to the process and its children."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)


def main(count: int, resources: dict[str, Any], command: list[str]) -> int:
    """Run the command on all nodes, and return the first bad exit status, or 0."""
    import ray

    ray.init(log_to_driver=False, logging_level=logging.WARNING)
    nodes = gather(count, resources)
    host, port = ray.get(nodes[0].address.remote())
    place = {"MASTER_ADDR": host, "MASTER_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    ray.get([node.start.remote(command, {**place, "NODE_RANK": str(rank)}) for rank, node in enumerate(nodes)])
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    printers = [Thread(target=show, args=(rank, node), daemon=True) for rank, node in enumerate(nodes)]
    for printer in printers:
        printer.start()
    code = watch(nodes, signals)
    for printer in printers:
        printer.join(END_SECONDS)
    return code


def gather(count: int, resources: dict[str, Any]) -> list[Any]:
    """Return an actor on each of `count` nodes, with the resources reserved for it."""
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = placement_group([resources] * count, strategy="STRICT_SPREAD")
    waited, pause = 0, 10
    while not group.wait(pause):
        waited, pause = waited + pause, GROWTH
        able = sum(node["Alive"] and holds(node["Resources"], resources) for node in ray.nodes())
        print(f"waiting for {count} nodes, each with {json.dumps(resources)} free; {able} are large enough", flush=True)
        if waited > LONGEST or (waited > GROWTH and able < count):  # by then a cluster that grows has grown
            sys.exit(f"gave up after {waited // 60} minutes: ask for smaller nodes, or for fewer")
    own = {"num_cpus": resources["CPU"], "num_gpus": resources["GPU"], "max_concurrency": 3}
    places = [PlacementGroupSchedulingStrategy(group, i) for i in range(count)]
    return [ray.remote(Node).options(**own, scheduling_strategy=place).remote() for place in places]


def holds(node: dict[str, float], resources: dict[str, float]) -> bool:
    """Return whether a node has the resources."""
    return all(node.get(name, 0) >= amount for name, amount in resources.items())


def watch(nodes: list[Any], signals: list[int]) -> int:
    """Pass on the signals that this process gets, until all succeed, or one fails and the others have ended."""
    import ray
    from ray.exceptions import RayActorError

    left, code = [node.wait.remote() for node in nodes], 0
    while left and not code:
        ended, left = ray.wait(left, timeout=1)
        while signals:
            signal_nodes(nodes, signals.pop())
        try:
            code = max(ray.get(ended), default=0)
        except RayActorError as error:
            print(f"a node is gone: {error}", flush=True)
            code = 1
    for number in (signal.SIGTERM, signal.SIGKILL):
        if left:
            signal_nodes(nodes, number)
            _, left = ray.wait(left, num_returns=len(left), timeout=END_SECONDS)
    return code


def signal_nodes(nodes: list[Any], number: int) -> None:
    """Send a signal to the processes on all nodes."""
    for node in nodes:
        node.signal.remote(number)


def show(rank: int, node: Any) -> None:
    """Print the lines of a node's process, with the node's number in front."""
    import ray
    from ray.exceptions import RayActorError

    try:
        for line in node.lines.options(num_returns="streaming").remote():
            print(f"[{rank}] {ray.get(line)}", flush=True)
    except RayActorError:
        return  # `watch` reports it


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]))
