"""Jobs of this machine, through the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from clusters.core import job_folder
from clusters.core.job import JobError, Status
from clusters.local import backend as local
from clusters.local.backend import Local
from clusters.local.processes import boot_id, start_time
from support.jobs import FIT, cli, ended, job, jobs
from support.paths import ROOT
from support.runs import lightning_meta, write_yaml

__all__ = ["jobs"]  # the fixture
OPTIONS = {"trainer.max_epochs": 1, "data.epoch_batches": 2, "data.meta_batch": 8, "data.val_tasks": 4}
AGENT = ("fit", "--config", "bandits.yaml", "--config", "rl2.yaml", "--trainer.accelerator", "cpu")
AGENT += (*(f"--{name}={value}" for name, value in OPTIONS.items()), "--trainer.enable_progress_bar=false")


@pytest.mark.slow
def test_a_job_outlives_its_shell_and_is_found_from_another(tmp_path: Path) -> None:
    line = f"{sys.executable} -m lightning_meta submit local --json -- {' '.join(FIT)} & wait"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    shell = ["setsid", "bash", "-c", line]
    sent = json.loads(subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, check=True).stdout)
    where = Path(sent["folder"])
    assert where.parent == tmp_path / "jobs"
    ended(sent["id"], where)
    status = json.loads(cli(tmp_path, "jobs", "status", "--json", sent["id"]))
    assert (status["state"], status["exit_code"]) == ("succeeded", 0)
    assert "checkpoint: runs/sinusoid-maml/" in cli(tmp_path, "jobs", "logs", "-f", sent["id"])
    assert (tmp_path / "runs" / "sinusoid-maml" / sent["id"] / "checkpoints" / "last.ckpt").is_file()
    assert "succeeded" in cli(tmp_path, "jobs", "list")
    assert {path.name for path in where.iterdir()} >= {
        "script.txt",
        "config.yaml",
        "versions.json",
        "job.json",
        "log.txt",
    }
    assert json.loads((where / "versions.json").read_text())["torch"]
    assert "max_epochs: 1" in (where / "config.yaml").read_text()


@pytest.mark.slow
def test_the_run_of_an_agent_is_a_job_as_any_other(tmp_path: Path) -> None:
    sent = json.loads(cli(tmp_path, "submit", "local", "--json", "--", *AGENT))
    assert ended(sent["id"], Path(sent["folder"])) == Status("succeeded", 0)
    assert (tmp_path / "runs" / "bandits-rl2" / sent["id"] / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
def test_dry_run_prints_and_sends_nothing(tmp_path: Path) -> None:
    write_yaml(tmp_path / "profiles.yaml", {"site": {"setup": ["module load cuda"], "environment": {"A": "b c"}}})
    said = cli(tmp_path, "submit", "local", "--profile", "site", "--dry-run", "--", *FIT)
    assert said.startswith("#!/bin/bash\n")
    assert "export A='b c'\n" in said
    assert "\nmodule load cuda\n" in said
    assert not (tmp_path / "jobs").exists()


@pytest.mark.filterwarnings("ignore")  # of the libraries, which the command keeps off the screen
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("local", "--", *FIT, "--data.shotss", "3"), "shotss"),
        (("local", "--", "fit", "--config", "sinusoid.yaml"), "no learner is given"),
        (("local", "--", *FIT, "--data.root", "nowhere"), "has no"),
        (("local", "--", *FIT, "--ckpt_path", "last"), "no last checkpoint"),
        (("local", "--gpus-per-node", "2", "--", *FIT), "meta_batch is 25"),
        (("local", "--gpus-per-node", "2", "--", *FIT, "--trainer.devices", "4"), "--trainer.devices is 4"),
        (("local", "--nodes", "2", "--", *FIT, "--data.meta_batch", "4"), "local is one machine"),
        (("local", "--sbatch=--exclusive", "--", *FIT), "--sbatch is not an option of local"),
        (("local", "--profile", "nix", "--", *FIT), "there is no file"),
        (("lokal", "--", *FIT), "invalid choice: 'lokal'"),
        (("local", "--nodse", "2", "--", *FIT), "unrecognized arguments: --nodse"),
        (("local", "--", "jobs", "list"), "cannot be submitted"),
        (("local", "--gpus-per-node", "2", "--", "compare", "a.ckpt"), "compare is one process"),
        (("ray", "--nodes", "2", "--", *FIT), "meta_batch is 25"),
        (("local", "--gpus-per-node", "2", "--", *AGENT), "4 tasks per process cannot be split into 8 minibatches"),
        (("local",), "no command is given"),
    ],
)
def test_what_would_fail_is_refused(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lightning_meta.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)  # that a run in this process may have left
    with pytest.raises(SystemExit) as ended:
        main(["submit", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "jobs").exists()
    assert "PL_GLOBAL_SEED" not in os.environ, "the check's, and none of the shell's that the job would get"


def test_an_unknown_id_says_so(tmp_path: Path) -> None:
    assert "'77' is not a job below" in cli(tmp_path, "jobs", "status", "77", status=2)


def test_cancel_ends_all_of_its_processes(tmp_path: Path) -> None:
    what = job(tmp_path, setup=("sleep 1000 & sleep 1000",))
    what.folder.mkdir(parents=True)
    rendered = Local().render(what)
    job_folder.keep_job(what, rendered)
    id = Local().submit(what, rendered)
    job_folder.record_job(what, "local", id)
    assert Local().status(id, what.folder).state == "running"
    time.sleep(0.3)
    assert lightning_meta(tmp_path, "jobs", "cancel", id).returncode == 0
    assert Local().status(id, what.folder).state == "cancelled"
    assert "sleep\0001000" not in "".join(
        path.read_text() for path in Path("/proc").glob("[0-9]*/cmdline") if _group(path) == _pid(what.folder)
    )


def _pid(where: Path) -> int:
    return json.loads((where / "process.json").read_text())["pid"]


def _group(path: Path) -> int:
    try:
        return os.getpgid(int(path.parent.name))
    except ProcessLookupError:
        return -1


def test_what_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "CANCEL_SECONDS", 0.3)
    what = job(tmp_path, setup=("trap '' TERM", "while :; do sleep 0.1; done"))
    what.folder.mkdir(parents=True)
    rendered = Local().render(what)
    job_folder.keep_job(what, rendered)
    id = Local().submit(what, rendered)
    time.sleep(0.5)
    Local().cancel(id, what.folder)
    assert Local().status(id, what.folder).state == "cancelled"


def test_a_killed_job_has_failed_and_another_process_of_its_number_is_not_it(tmp_path: Path) -> None:
    what = job(tmp_path, setup=("sleep 1000",))
    what.folder.mkdir(parents=True)
    rendered = Local().render(what)
    job_folder.keep_job(what, rendered)
    id = Local().submit(what, rendered)
    os.killpg(_pid(what.folder), signal.SIGKILL)
    assert ended(id, what.folder).state == "failed"
    facts = {"pid": os.getpid(), "started": f"{start_time(os.getpid())}0", "boot": boot_id()}
    (what.folder / "process.json").write_text(json.dumps(facts))
    assert Local().status(id, what.folder) == Status(
        "failed", detail="its processes have ended without an exit code: killed, or the machine went down"
    )


def new_folder() -> Path:
    path = next(job_folder.free_folders("x"))
    assert job_folder.make_folder(path)
    assert not job_folder.make_folder(path), "it is there already"
    return path


def test_two_jobs_of_one_second_and_of_one_id(tmp_path: Path) -> None:
    first, second = new_folder(), new_folder()
    assert first != second
    for where in (first, second):
        job_folder.record_job(replace(job(tmp_path), folder=where), "slurm", "12")
    with pytest.raises(JobError, match="2 jobs have the id 12"):
        job_folder.find_job("12")
    assert job_folder.find_job(first.name).folder == first
    with pytest.raises(JobError, match=f"2 jobs have the name try: .* the newest first: {second.name}, {first.name}"):
        job_folder.find_job("try")
    job_folder.discard_folder(second)
    assert job_folder.find_job("try").folder == first, "the only one of its name"


@pytest.mark.slow
def test_a_fit_that_meets_its_time_limit_can_go_on(tmp_path: Path) -> None:
    sent = json.loads(
        cli(tmp_path, "submit", "local", "--time", "60s", "--json", "--", *FIT, "--trainer.max_epochs=9999")
    )
    status = ended(sent["id"], Path(sent["folder"]), seconds=120)
    assert (status.state, status.detail) == ("failed", "it met its time limit of 60 seconds")
    last = f"runs/sinusoid-maml/{sent['id']}/checkpoints/last.ckpt"
    done = torch.load(tmp_path / last, weights_only=True)["global_step"]
    assert f"stopping on a signal: saved step {done} in {last}" in cli(tmp_path, "jobs", "logs", sent["id"])
    steps = ("--trainer.max_epochs=9999", f"--trainer.max_steps={done + 2}", "--ckpt_path", last)
    cli(tmp_path, *FIT, *steps)
    assert torch.load(tmp_path / last, weights_only=True)["global_step"] == done + 2
    test = [*FIT[1:], "--ckpt_path", "last"]
    sent = json.loads(cli(tmp_path, "submit", "local", "--json", "--", "test", *test))
    kept = yaml.safe_load((Path(sent["folder"]) / "config.yaml").read_text())
    assert kept["ckpt_path"] == last, "which run is the newest is known now, and may not be when a job starts"
    assert ended(sent["id"], Path(sent["folder"])).state == "succeeded"
