"""Jobs on a real Slurm of two nodes, through the command line as a user would."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.runs import curve, write_yaml
from support.slurm_here import missing, slurm
from support.slurm_user import PROFILES, User

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(missing()), reason=missing() or "all there")]

SLOW = {"class_path": "support.runs.Slow", "init_args": {"seconds": [0.02, 0.06]}}


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    folder = tmp_path_factory.mktemp("slurm")
    with slurm(folder / "slurm") as cluster:
        yield User(cluster, folder)


def test_five_preemptions_of_uneven_processes_change_nothing(user: User) -> None:
    """The first by a job of higher priority, the others by its signal. One process is three times as slow as the other."""
    job = user.submit("--profile", "low", "--nodes", "2", *user.fit("stopped", [SLOW]))
    run, log = user.run("stopped", job), Path(job["folder"], "log.txt")
    for i in range(5):
        user.cluster.wait(lambda i=i: trained(run, i + 1), 75, log)
        if i == 0:
            user.cluster("sbatch", "-p", "high", "-N2", "-c4", "--output=/dev/null", "--wrap", "true")
        else:
            user.cluster("scancel", "--signal=USR1", job["id"])
        user.cluster.wait(lambda i=i: log.read_text().count("stopping on a signal") > i, 20, log)
    whole = user.submit("--profile", "here", "--nodes", "2", *user.fit("whole", []))
    followed = user("jobs", "logs", "-f", job["id"])  # until the job ends
    assert followed.count("preempted: requeued") == 5, followed
    assert followed.count("Restored all states") == 5
    status = user.status(job["id"])
    assert (status["state"], status["exit_code"], status["restarts"]) == ("succeeded", 0, 5)
    user.cluster.wait(lambda: user.cluster.state(whole["id"]) == "COMPLETED", 60)
    undisturbed = curve(user.run("whole", whole), "meta_train/loss")
    assert len(undisturbed) == 3 * 80
    assert curve(run, "meta_train/loss") == undisturbed


def test_a_signal_before_training_requeues(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's scontrol is still there when Slurm, asked by it to requeue the job, signals all of the job."""
    busy = tmp_path / "scontrol"
    busy.write_text(f'#!/bin/sh\n{shutil.which("scontrol")} "$@" && sleep 1\n')
    busy.chmod(0o755)
    monkeypatch.setitem(user.environment, "PATH", f"{tmp_path}:{os.environ['PATH']}")
    job = user.submit("--profile", "here", "--max-restarts", "1", *user.fit("early", []))
    log = Path(job["folder"], "log.txt")
    for i in range(2):
        user.cluster.wait(lambda i=i: log.is_file() and log.read_text().count("job ") > i, 30, log)
        user.cluster.wait(lambda: "batch" in user.cluster("scontrol", "listpids", job["id"]), 10)
        time.sleep(0.5)
        user.cluster("scancel", "--signal=USR1", job["id"])
    user.cluster.wait(lambda: "giving up" in log.read_text(), 30, log)
    assert "preempted: requeued" in log.read_text()
    assert "stopping on a signal" not in log.read_text()
    user.cluster.wait(lambda: user.cluster.state(job["id"]) == "FAILED", 10)


def trained(run: Path, processes: int) -> bool:
    """Return whether this number of processes, one after the other, have written points of the run's curve."""
    files = sorted(run.glob("events*"), key=lambda path: path.stat().st_mtime_ns)
    return len(files) >= processes and files[-1].stat().st_size > 300


def test_status_and_logs_while_it_runs_and_cancel_for_good(user: User) -> None:
    queued = user.submit("--profile", "here", "--sbatch=--hold", *user.fit("queued", []))
    job = user.submit("--profile", "here", *user.fit("endless", [], batches=100_000))
    assert user.status(queued["id"])["state"] == "pending"
    run = user.run("endless", job)
    user.cluster.wait(lambda: bool(list(run.glob("events*"))), 60, Path(job["folder"], "log.txt"))
    assert user.status(job["id"])["state"] == "running"
    assert "MAML, 41 parameters" in user("jobs", "logs", job["id"])
    for each in (queued, job):
        user("jobs", "cancel", each["id"])
    user.cluster.wait(lambda: user.cluster.state(job["id"]) == "CANCELLED", 30)
    assert [user.status(each["id"])["state"] for each in (queued, job)] == ["cancelled", "cancelled"]
    assert "requeued" not in Path(job["folder"], "log.txt").read_text()


def test_a_job_that_fails_says_why_and_with_which_code(user: User) -> None:
    hostile = "a b;$(touch executed)'\"\n`touch executed`"
    job = user.submit(
        "--name",
        "fails",
        "--sbatch=--comment=two words; $(touch executed)",
        "--",
        "compare",
        hostile,
        "--on",
        "sinusoid",
    )
    told = user("jobs", "logs", "-f", job["id"])
    assert "lightning-meta: error:" in told
    assert "$(touch executed)" in told
    status = user.status(job["id"], status=1)
    assert (status["state"], status["exit_code"]) == ("failed", 2)
    assert not (user.folder / "executed").exists()
    assert "Comment=two words; $(touch executed)" in user.cluster("scontrol", "show", "job", job["id"])


def test_what_slurm_knows_is_refused_before(user: User) -> None:
    fit = user.fit("refused", [])
    said = user("submit", "slurm", "--sbatch=--hold", "--gpus-per-node", "2", *fit, status=2)
    assert "--gpus-per-node is 2: give at most 0" in said
    assert "--nodes is 4: give at most 2" in user("submit", "slurm", "--nodes", "4", *fit, status=2)
    partition = {**PROFILES, "wrong": {"partition": "lwo"}}
    write_yaml(user.folder / "profiles.yaml", partition)
    assert "partition is 'lwo', which does not exist: choose from high, low, main" in user(
        "submit", "slurm", "--profile", "wrong", *fit, status=2
    )


def test_an_array_runs_with_other_seeds(user: User) -> None:
    job = user.submit("--array", "2", "--profile", "here", *user.fit("seeds", [], batches=2))
    user("jobs", "logs", "-f", job["id"])
    assert user.status(job["id"])["state"] == "succeeded"
    runs = [user.run("seeds", job).with_name(f"{Path(job['folder']).name}-{i}") for i in range(2)]
    curves = [curve(run, "meta_train/loss") for run in runs]
    assert len(curves[0]) == len(curves[1]) == 6
    assert curves[0] != curves[1]


@pytest.mark.skipif(shutil.which("sacct") is None, reason="no sacct")
def test_a_job_that_slurm_has_forgotten_is_in_accounting_or_unknown(user: User) -> None:
    job = user.submit("--", "compare", "nothing.ckpt")
    user("jobs", "logs", "-f", job["id"])
    facts, left = Path(job["folder"], "job.json"), Path(job["folder"], "exit-0")
    facts.write_text(facts.read_text().replace(f'"id": "{job["id"]}"', '"id": "999999"'))
    Path(job["folder"], "ended.json").unlink(missing_ok=True)
    assert user.status("999999", status=1)["exit_code"] == 2, "which the script has left"
    left.unlink()
    Path(job["folder"], "ended.json").unlink()
    assert user.status("999999")["state"] == "unknown"
    assert "Slurm has forgotten the job 999999" in user("jobs", "logs", "-f", "999999", status=2)


def test_a_file_that_is_edited_while_the_job_waits_changes_nothing(user: User) -> None:
    command = user.fit("edited", [], batches=2)
    job = user.submit("--profile", "here", "--sbatch=--hold", *command)
    Path(command[-1]).write_text("trainer: {max_epochs: 0}\n")
    user.cluster("scontrol", "release", job["id"])
    user("jobs", "logs", "-f", job["id"])
    assert user.status(job["id"])["state"] == "succeeded"
    assert len(curve(user.run("edited", job), "meta_train/loss")) == 3 * 2


def test_a_set_up_line_that_fails_ends_the_job(user: User) -> None:
    setup = [
        "set -u",
        "module() { false; true; }; module load a",
        "module load cuda; nosuchmodule load cuda",
        "touch here",
    ]
    write_yaml(user.folder / "profiles.yaml", {**PROFILES, "broken": {"setup": setup}})
    job = user.submit("--profile", "broken", "--", "compare", "nothing.ckpt")
    said = user("jobs", "logs", "-f", job["id"])
    assert "line 3 of its set-up failed with status 127: nosuchmodule load cuda" in said
    assert "lightning-meta: error" not in said
    assert user.status(job["id"], status=1)["exit_code"] == 1
    assert not (user.folder / "here").exists()


def test_nodes_that_do_not_find_each_other_and_a_head_without_an_address_are_said(user: User) -> None:
    """Nothing resolves the names of these nodes; the first node to notice ends the job."""
    search = ("tune", "--config", "sinusoid-maml.yaml", "--config", "pbt_inner_lr_shots.yaml")
    for command, says in (
        (("--nodes", "2", *user.fit("apart", [])), "finds no address of n1, where the processes meet: set master_addr"),
        (("--", *search, "--trainer.accelerator", "cpu"), "n1 has no address, so no Ray cluster can start there"),
    ):
        job = user.submit(*command)
        assert says in user("jobs", "logs", "-f", job["id"])
        assert user.status(job["id"], status=1)["exit_code"] == 1


def test_a_test_that_meets_its_time_is_not_put_back_and_leaves_no_checkpoint(user: User) -> None:
    fitted = user.submit("--profile", "here", *user.fit("tested", [], batches=2))
    user("jobs", "logs", "-f", fitted["id"])
    best = str(user.run("tested", fitted) / "checkpoints" / "last.ckpt")
    config = str(user.folder / "tested.yaml")
    endless = ("--ckpt_path", best, "--data.test_episodes", "10000000")
    job = user.submit("--profile", "here", "--time", "1m", "--", "test", "--config", config, *endless)
    user.cluster.wait(lambda: user.cluster.state(job["id"]) == "TIMEOUT", 150, Path(job["folder"], "log.txt"))
    status = user.status(job["id"], status=1)
    assert (status["state"], status["restarts"]) == ("failed", 0)
    assert not list(user.folder.rglob("hpc_ckpt*"))
