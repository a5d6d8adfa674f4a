"""Every wait for somebody else has an end and a message."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from clusters.core import timeouts
from clusters.core.job import JobError
from clusters.core.timeouts import call_within, lines_while
from clusters.kubernetes import client
from clusters.kubernetes.client import Kubectl, connect
from clusters.ray import client as ray
from clusters.ray.backend import RayJobs
from clusters.slurm import client as slurm
from clusters.slurm import wait_for_ray
from clusters.slurm.backend import Slurm


@pytest.fixture
def silent() -> Iterator[str]:
    """An address where somebody listens and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_ray_cluster_that_does_not_answer(silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(ray, "TIMEOUT", 0.5)
    (tmp_path / "ray.json").write_text(f'{{"address": "http://{silent}"}}')
    for ask in (RayJobs().status, RayJobs().cancel, lambda *where: list(RayJobs().logs(*where, follow=True))):
        with pytest.raises(JobError, match=f"the Ray cluster at http://{silent} gives no answer within 0.5 seconds"):
            ask("x", tmp_path)
    found = RayJobs().statuses([("x", tmp_path), ("y", tmp_path)])
    assert [status.state for status in found] == ["unknown", "unknown"]


def test_a_kubernetes_that_does_not_answer(silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kubernetes")
    settings = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://{silent}"}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    api = connect(None)
    monkeypatch.setattr(client, "CALL_SECONDS", 0.5)
    with pytest.raises(JobError, match=r"Kubernetes gives no answer within 0\.5 seconds"):
        api.get("job", "a", "b")


@pytest.mark.parametrize("program", ["kubectl", "squeue"])
def test_a_program_that_does_not_end(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / program).write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(client, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(slurm, "TIMEOUT", 0.5)
    with pytest.raises(JobError, match=f"{program} gives no answer within 0.5 seconds"):
        Kubectl(None).get("job", "a", "b") if program == "kubectl" else Slurm().status("7", tmp_path)


def test_a_head_that_ends_and_one_that_never_answers(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait_for_ray, "JOIN_SECONDS", 1.0)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with pytest.raises(SystemExit, match=f"the head of the Ray cluster at {silent} has ended: see ray-head"):
        wait_for_ray.main(silent, 2, dead.pid)
    with subprocess.Popen(["sleep", "60"]) as alive:
        for address in (silent, "127.0.0.1:1"):
            with pytest.raises(SystemExit, match=f"at {address} gives no answer within 1 seconds"):
                wait_for_ray.main(address, 2, alive.pid)
        alive.kill()


def test_a_stream_is_left_when_there_is_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "SILENCE", 0.05)
    asked = iter([True, True, False])

    def lines() -> Iterator[str]:
        yield "one"
        time.sleep(60)

    assert list(lines_while(lines(), lambda: next(asked))) == ["one"]

    def gone() -> bool:
        raise JobError("nobody there")

    with pytest.raises(JobError, match="nobody there"):
        list(lines_while(lines(), gone))
    with pytest.raises(ZeroDivisionError):
        call_within(5, "a division", lambda: 1 / 0)
