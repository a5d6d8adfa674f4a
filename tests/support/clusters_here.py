"""Ray clusters on this machine, for tests: one node, or several in network namespaces of their own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from support.paths import PYTHONPATH

RAY = str(Path(sys.executable).with_name("ray"))
ENVIRONMENT = {
    **os.environ,
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": PYTHONPATH,
}


@contextmanager
def process(*command: str, log: Path, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, all of which is killed at the end."""
    with log.open("ab") as out:
        started = subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT, stdout=out, stderr=out, start_new_session=True)
    try:
        yield started
    finally:
        kill_group(started)


def kill_group(started: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()


def until(found: Callable[[], bool], seconds: float, log: Path, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait for something; what was logged, where it does not come or the process ends before."""
    end = time.monotonic() + seconds
    while not found():
        ended = process is not None and process.poll() is not None
        assert not ended, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def namespaces_possible() -> bool:
    """Return whether this machine lets us make network namespaces."""
    return (
        os.geteuid() == 0
        and shutil.which("ip") is not None
        and ip("netns", "add", "lm-try")
        and ip("netns", "del", "lm-try")
    )


def ip(*arguments: str) -> bool:
    return subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0


class Nodes:
    """Ray nodes, each in a network namespace of its own, joined by a bridge; the first holds the head and no CPU."""

    def __init__(self, stack: ExitStack, cpus: list[int], log: Path):
        self.names = [f"lm{os.getpid() % 10000}n{i}" for i in range(len(cpus))]
        self.addresses = [f"10.77.{os.getpid() % 200}.{11 + i}" for i in range(len(cpus))]
        self.stack, self.log = stack, log
        stack.callback(shutil.rmtree, f"/tmp/lm{os.getpid()}", ignore_errors=True)
        bridge = f"lm{os.getpid() % 10000}b"
        stack.callback(ip, "link", "del", bridge)
        for command in (("add", bridge, "type", "bridge"), ("set", bridge, "up")):
            assert ip("link", *command), command
        for i, (name, address) in enumerate(zip(self.names, self.addresses, strict=True)):
            outside, inside = f"{name}o", f"{name}i"
            stack.callback(ip, "netns", "del", name)
            # by hand, for the kernel lets it go with the namespace, late, and the next nodes have its name
            stack.callback(ip, "link", "del", outside)
            for command in (
                ("netns", "add", name),
                ("link", "add", outside, "type", "veth", "peer", "name", inside),
                ("link", "set", inside, "netns", name),
                ("link", "set", outside, "master", bridge),
                ("link", "set", outside, "up"),
                ("-n", name, "addr", "add", f"{address}/24", "dev", inside),
                ("-n", name, "link", "set", inside, "up"),
                ("-n", name, "link", "set", "lo", "up"),
            ):
                assert ip(*command), command
            self.start(i, cpus[i])

    def start(self, i: int, cpus: int) -> None:
        head = (
            ["--head", "--port=6379", "--include-dashboard=false", f"--temp-dir=/tmp/lm{os.getpid()}"]
            if i == 0
            else [f"--address={self.addresses[0]}:6379"]
        )
        ray = [RAY, "start", *head, f"--node-ip-address={self.addresses[i]}", f"--num-cpus={cpus}", "--block"]
        ray += ["--object-store-memory=100000000"]
        self.stack.enter_context(process(*self.inside(i), *ray, log=self.log))
        until(lambda: self.log.read_text().count("Ray runtime started") > i, 60, self.log)

    def inside(self, i: int) -> list[str]:
        return ["ip", "netns", "exec", self.names[i]]

    def pids(self, i: int, command: str) -> list[int]:
        """Processes of a node whose command line holds `command`."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.names[i]], capture_output=True, text=True, check=True
        ).stdout
        return [int(pid) for pid in listed.split() if command in command_line(int(pid))]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""
