"""Ray Jobs on a real cluster with a token: a job's whole life."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clusters.core.job import ExistingJob, Job, JobError, Status
from clusters.ray.backend import RayJobs
from support.ray_head import ROOT, Head, job, ray_head

pytest.importorskip("ray")
HOSTILE = ("a b", "'", '"', ";touch touched;", "$(touch touched)", "$HOME", "`touch touched`", "x\ny", "\\", "--")
ECHO = "import json, sys; print(json.dumps(sys.argv[1:]))"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    pytest.importorskip("aiohttp_cors", reason="needs ray[default]")
    with ray_head(tmp_path_factory.mktemp("head")) as running:
        yield running


@pytest.fixture
def cluster(head: Head, monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    """The cluster as this shell's, with its token; Ray reads both once, and is told to forget them."""
    from ray._private.authentication_test_utils import reset_auth_token_state

    with monkeypatch.context() as patch:
        patch.delenv("RAY_AUTH_TOKEN", raising=False)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(head.token))
        patch.setenv("RAY_API_SERVER_ADDRESS", head.address)
        reset_auth_token_state()
        yield head
    reset_auth_token_state()


def submit(asked: Job) -> str:
    return RayJobs().submit(asked, RayJobs().render(asked))


def existing(asked: Job) -> ExistingJob | None:
    return RayJobs().find_existing(asked, RayJobs().render(asked))


def ended(id: str, folder: Path, seconds: float = 120) -> Status:
    status = RayJobs().status(id, folder)
    end = time.monotonic() + seconds
    while status.state in ("pending", "running") and time.monotonic() < end:
        time.sleep(0.3)
        status = RayJobs().status(id, folder)
    return status


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_hostile_words_arrive_and_a_job_like_one_that_is_there_is_that_one(tmp_path: Path) -> None:
    ray, asked = RayJobs(), job(tmp_path, "python", "-c", ECHO, *HOSTILE, name="hostile")
    (asked.workdir / "mine.yaml").write_text("x")
    id = submit(asked)
    assert id == "hostile"
    again = replace(asked, folder=tmp_path / "jobs" / "again")
    assert existing(again)
    assert ended(id, asked.folder)[:2] == ("succeeded", 0)
    assert json.loads(list(ray.logs(id, asked.folder))[-1]) == list(HOSTILE)
    assert existing(again) == (id, "succeeded")
    for change in ({"command": ("fit",)}, {"environment": {"A": "1"}}, {"config": "seed: 1\n"}):
        assert existing(replace(again, **change)) is None, "a run of its own"
    (asked.workdir / "mine.yaml").write_text("y")
    assert existing(again) is None, "other files, another run"
    assert not list(tmp_path.rglob("touched"))


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_failure_keeps_its_exit_code_and_its_text(tmp_path: Path) -> None:
    code = (
        "import os, pathlib; print(os.environ['A'], *pathlib.Path().iterdir(), flush=True); raise SystemExit('no such')"
    )
    asked = job(tmp_path, "python", "-c", code, name="fails", environment={"A": "$(x) '"}, setup=("echo 'set up'",))
    (asked.workdir / "mine.yaml").write_text("x")
    id = submit(asked)
    status = ended(id, asked.folder)
    assert status[:2] == ("failed", 1)
    again = replace(asked, folder=tmp_path / "jobs" / "again")
    assert existing(again) is None, "what has failed may run again"
    assert RayJobs().statuses([(id, asked.folder), ("none", asked.folder)])[0] == status
    assert "exit code 1" in status.detail
    said = list(RayJobs().logs(id, asked.folder))
    assert said[-2:] == ["$(x) ' mine.yaml", "no such"]
    assert "set up" in said, "somewhere before, where Ray's own lines are"


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_logs_are_followed_and_a_stop_leaves_time_for_a_checkpoint(tmp_path: Path) -> None:
    """Ray's own time between SIGTERM and SIGKILL is 3 seconds; this one takes 6 to save."""
    saved = tmp_path / "saved"
    code = f"""
import os, pathlib, signal, sys, time
def save(*_):
    time.sleep(6)
    pathlib.Path({str(saved)!r}).write_text(os.environ["LIGHTNING_META_PREEMPTIBLE"])
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
for i in range(1000):
    print("step", i, flush=True)
    time.sleep(0.2)
"""
    asked = job(tmp_path, "python", "-c", code, name="stops", options={"stop_seconds": 60})
    ray = RayJobs()
    id = submit(asked)
    lines = ray.logs(id, asked.folder, follow=True)
    seen = [line for line in (next(lines) for _ in range(30)) if line.startswith("step")]
    assert seen[:3] == ["step 0", "step 1", "step 2"]
    assert ray.status(id, asked.folder).state == "running"
    ray.cancel(id, asked.folder)
    assert list(lines)[-1] == "saved"
    assert ended(id, asked.folder).state == "cancelled"
    assert saved.read_text() == "1"


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_real_meta_training_on_two_nodes(tmp_path: Path) -> None:
    options = "--config sinusoid-maml.yaml --trainer.max_epochs 1 --data.epoch_batches 5 "
    options += "--data.meta_batch 4 --data.val_episodes 4 --trainer.num_nodes 2 --trainer.strategy ddp"
    quick = "--trainer.accelerator cpu --trainer.enable_progress_bar false --trainer.logger.init_args.save_dir"
    asked = job(tmp_path, "fit", *options.split(), *quick.split(), str(tmp_path / "my runs"), name="sines", nodes=2)
    id = submit(asked)
    said = list(RayJobs().logs(id, asked.folder, follow=True))
    assert ended(id, asked.folder, 300)[:2] == ("succeeded", 0), said
    assert "[1] Initializing distributed: GLOBAL_RANK: 1, MEMBER: 2/2" in said
    assert list(tmp_path.glob("my runs/*/*/checkpoints/last.ckpt"))


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_where_one_node_fails_the_other_is_ended(tmp_path: Path) -> None:
    code = f"""
import os, pathlib, sys, time
pathlib.Path({str(tmp_path)!r}, os.environ["NODE_RANK"]).write_text(str(os.getpid()))
while len(list(pathlib.Path({str(tmp_path)!r}).glob("[01]"))) < 2:
    time.sleep(0.1)
if os.environ["NODE_RANK"] == "1":
    sys.exit(*sys.argv[1:])
time.sleep(1000)
"""
    hostile = "no $(touch touched)\n'such'"
    asked = job(tmp_path, "python", "-c", code, hostile, name="half", nodes=2, setup=("echo 'set up'",))
    id = submit(asked)
    assert ended(id, asked.folder)[:2] == ("failed", 1)
    said = list(RayJobs().logs(id, asked.folder))
    assert [line for line in said if line.startswith("[1]")] == ["[1] set up", "[1] no $(touch touched)", "[1] 'such'"]
    assert not Path("/proc", (tmp_path / "0").read_text()).exists()
    assert not list(tmp_path.rglob("touched"))


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_an_unknown_job_and_no_cluster_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ask in (RayJobs().status, RayJobs().cancel, lambda *where: list(RayJobs().logs(*where))):
        with pytest.raises(JobError, match="none does not exist"):
            ask("none", tmp_path)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    with pytest.raises(JobError, match=r"the Ray cluster at http://127.0.0.1:1 gives no answer"):
        RayJobs().status("none", tmp_path)


@pytest.mark.ray
def test_without_a_token_the_message_says_how_to_give_one(head: Head, tmp_path: Path) -> None:
    """In a process of its own, for Ray reads the mode only once."""
    code = f"""
from pathlib import Path
from clusters.core.job import Job, JobError
from clusters.ray.backend import RayJobs
where = Path({str(tmp_path)!r})
try:
    job = Job("any", ("fit",), where / "job", where, options={{"address": {head.address!r}}})
    RayJobs().submit(job, RayJobs().render(job))
except JobError as error:
    print(error)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    for mode in ("disabled", "token"):
        given = {**environment, "RAY_AUTH_MODE": mode}
        done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True)
        assert f"the Ray cluster at {head.address} does not let you in" in done.stdout, done.stderr
        assert "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH=FILE" in done.stdout
