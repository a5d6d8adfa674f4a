"""Submitting: what is rendered, what is refused, what hostile input does, and jobs of this machine through the command line."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clusters.core import job_folder, profiles
from clusters.core.job import Job, JobError, Status
from clusters.core.setup_lines import guard
from clusters.local.backend import Local
from clusters.slurm import states
from clusters.slurm.backend import Slurm
from clusters.slurm.partitions import gpus
from support.jobs import ended, job, jobs
from support.runs import write_yaml

__all__ = ["jobs"]  # the fixture

NASTY = [
    "a b",
    "it's",
    'say "no"',
    "two\nlines",
    "x; touch executed",
    "$(touch executed)",
    "`touch executed`",
    "--",
    "*",
]
ECHO = (
    "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ), os.getcwd()], open(sys.argv[0] + '.json', 'w'))"
)


def send(what: Job) -> Status:
    """Through the local back end, to its end."""
    what.folder.mkdir(parents=True)
    rendered = Local().render(what)
    job_folder.keep_job(what, rendered)
    return ended(Local().submit(what, rendered), what.folder)


def echo(where: Path) -> str:
    """An interpreter that writes down what it was given, in place of Python."""
    path = where / "echo me"
    path.write_text(f"#!{sys.executable}\n{ECHO}\n")
    path.chmod(0o755)
    return str(path)


# what is rendered


def test_a_slurm_script_says_what_the_job_is(tmp_path: Path) -> None:
    what = job(tmp_path, nodes=2, gpus_per_node=8, cpus_per_task=4, memory="64G", time="4h", options={"account": "us"})
    head = [line.removeprefix("#SBATCH --") for line in Slurm().render(what).splitlines() if line.startswith("#SBATCH")]
    assert head == [
        *("job-name=try", "nodes=2", "ntasks-per-node=8", "gpus-per-node=8", "cpus-per-task=4", "mem=64G"),
        *("time=0-04:00:00", f"output={what.folder}/log.txt", "open-mode=append", "signal=USR1@120", "account=us"),
        *("requeue", "export=ALL"),
    ]


@pytest.mark.parametrize("command", [("fit", "--config", "x.yaml"), ("tune", "--config", "x.yaml")])
@pytest.mark.parametrize("array", [1, 3])
def test_scripts_are_shell(command: tuple[str, ...], array: int, tmp_path: Path) -> None:
    for backend in (Slurm(), Local()):
        text = backend.render(job(tmp_path, *command, array=array, seed=5))
        done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert ("SEED=5" in text) == (array > 1)


def test_master_addr_is_set_where_a_profile_asks(tmp_path: Path) -> None:
    assert "MASTER_ADDR" not in Slurm().render(job(tmp_path))
    assert "export MASTER_ADDR=10.0.0.1" in Slurm().render(job(tmp_path, options={"master_addr": "10.0.0.1"}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "a b"}, "letters, digits"),
        ({"name": "$(touch executed)"}, "letters, digits"),
        ({"name": "x\n#SBATCH --uid=0"}, "letters, digits"),
        ({"nodes": 0}, "--nodes is 0"),
        ({"memory": "much"}, "give a number and K, M, G or T"),
        ({"time": "soon"}, "give 30m, 4h"),
        ({"environment": {"A B": "1"}}, "not the name of a variable"),
        ({"environment": {"WANDB_API_KEY": "abc"}}, "looks like a secret"),
        ({"folder": Path("/tmp/x%j")}, "LIGHTNING_META_JOBS"),
        ({"folder": Path('/tmp/x"\n#SBATCH --uid=0')}, "LIGHTNING_META_JOBS"),
        ({"passthrough": ("--exclusive\n#SBATCH --uid=0",)}, "not an option of sbatch"),
        ({"passthrough": ("touch executed",)}, "not an option of sbatch"),
    ],
)
def test_what_slurm_cannot_hold_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=said):
        Slurm().render(replace(job(tmp_path), **change))


def test_gpus_of_a_node() -> None:
    assert [gpus(one) for one in ("(null)", "gpu:8", "gpu:a100:4(S:0-1),nvme:1")] == [0, 8, 4]


# what Slurm says


def test_states_are_read_from_every_form() -> None:
    """Lines as Slurm 22.05 printed them; newer accounting gives CODE:SIGNAL."""
    queue = "7|FAILED|1|768|NonZeroExitCode|\n9_0|RUNNING|0|0|None|\n9_1|PENDING|0|0|Resources|\n10|TIMEOUT|0|15|TimeLimit|\n"
    found = states.parse_queue(queue)
    assert found["7"][0][:3] == ("failed", 3, 1)
    assert [status.state for status in found["9"]] == ["running", "pending"]
    assert found["10"] == [Status("failed", 128 + 15, 0, "TIMEOUT TimeLimit")]
    found = states.parse_accounting("7|COMPLETED|0:0|2\n7.batch|FAILED|1:0|\n8|CANCELLED by 0|0:15|0\n")
    assert found["7"][0][:3] == ("succeeded", 0, 2)
    assert found["8"][0].state == "cancelled"


@pytest.mark.parametrize("text", ["", "slurm_load_jobs error", "{}", "a|b", "7|", "7|X|?|y|z|", "\0|||||"])
def test_what_cannot_be_read_is_unknown(text: str) -> None:
    found = [*states.parse_queue(text).values(), *states.parse_accounting(text).values()]
    assert states.array_state([one for some in found for one in some]).state == "unknown"


def test_a_machine_without_slurm_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JobError, match="sbatch is not on this machine"):
        Slurm().submit(job(tmp_path), "")
    with pytest.raises(JobError, match="sbatch is not on this machine"):
        Slurm().check(job(tmp_path), "")


def executable(path: Path, script: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_job_of_another_cluster_is_asked_about_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Federations need an accounting database, so that stand-ins answer here."""
    note = f'echo "$(basename "$0") $*" >> {tmp_path}/asked; '
    executable(tmp_path / "bin" / "sbatch", "echo '7;east'")
    executable(tmp_path / "bin" / "squeue", note)
    executable(tmp_path / "bin" / "sacct", note + "echo '7|COMPLETED|0:0|0'")
    executable(tmp_path / "bin" / "scancel", note)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    what = job(tmp_path)
    what.folder.mkdir(parents=True)
    assert Slurm().submit(what, "") == "7"
    assert Slurm().status("7", what.folder).state == "succeeded"
    Slurm().cancel("7", what.folder)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert {line.split()[0] for line in asked} == {"squeue", "sacct", "scancel"}
    assert all("--clusters=east" in line for line in asked)


# set-up lines

FAIL = ["true", "nosuchcmd && true"], ["nosuchcmd | cat"], ["if true; then", "nosuchcmd", "fi"], ["x=$(nosuchcmd)"]
PASS = (
    ["[ -f nowhere ] && true"],
    ["false || true"],
    ["for i in 1 2; do", "[ $i = 3 ] || true", "done"],
    ["cat <<E", "x", "E"],
)


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize(("setup", "fails"), [*((lines, True) for lines in FAIL), *((lines, False) for lines in PASS)])
def test_a_set_up_line_that_fails_in_any_part_ends_the_script(
    setup: list[str], fails: bool, depth: int, tmp_path: Path
) -> None:
    text = "\n".join([*guard(setup, depth), "echo went on"])
    script = tmp_path / "script"
    script.write_text(text)
    done = subprocess.run(
        ["bash", str(script)] if depth else ["bash", "-c", text], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "went on" in done.stdout) == ((1, False) if fails else (0, True)), done.stderr
    assert ("failed with status 127" in done.stderr) == fails


@pytest.mark.parametrize(
    "line", ["export X=$(nosuchcmd)", "true; export A=1 X=`nosuchcmd`", "declare -x X=$(nosuchcmd)"]
)
def test_a_set_up_line_that_would_hide_a_failure_is_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"give two lines, X=\.\.\."):
        Local().render(job(tmp_path, setup=(line,)))


# this machine

WAITS = "trap 'echo warned' USR1; trap 'echo stopped; exit 75' TERM; while :; do sleep 0.1; done"


@pytest.mark.parametrize(("command", "said"), [("fit", ["warned", "stopped"]), ("compare", ["stopped"])])
def test_a_local_job_is_told_that_its_time_ends(command: str, said: list[str], tmp_path: Path) -> None:
    """And what can save is told before."""
    python = executable(tmp_path / "bin" / "waits", WAITS)
    ended = send(job(tmp_path, command, time="4s", options={"python": python}))
    assert ended == Status("failed", 75, detail="it met its time limit of 4 seconds")
    log = (tmp_path / "jobs" / "try-1" / "log.txt").read_text().splitlines()
    assert [line for line in log if line in ("warned", "stopped")] == said


# hostile input


def test_nothing_that_a_user_gives_is_read_by_a_shell(tmp_path: Path) -> None:
    workdir = tmp_path / "it's $(touch executed); a\nfolder"
    workdir.mkdir()
    value = "\n".join(NASTY)
    what = job(tmp_path, "fit", *NASTY, environment={"GIVEN": value}, options={"python": echo(tmp_path)})
    what = replace(what, workdir=workdir, folder=tmp_path / "jo bs $(touch executed)" / "try'1")
    assert send(what) == Status("succeeded", 0)
    arguments, environment, cwd = json.loads((tmp_path / "echo me.json").read_text())
    assert arguments == ["-m", "lightning_meta", "fit", *NASTY]
    assert (environment["GIVEN"], cwd) == (value, str(workdir))
    assert environment["LIGHTNING_META_RUN"] == "try'1"
    assert not list(tmp_path.rglob("executed"))


def test_the_slurm_script_quotes_as_well(tmp_path: Path) -> None:
    """Run with a stand-in for srun."""
    executable(tmp_path / "bin" / "srun", 'while [[ "$1" == --* ]]; do shift; done\nexec "$@"')
    what = job(tmp_path, "fit", *NASTY, environment={"GIVEN": "\n".join(NASTY)}, options={"python": echo(tmp_path)})
    what.folder.mkdir(parents=True)
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "n1"}
    environment |= {"SLURM_JOB_ID": "7"}
    subprocess.run(["bash", "-c", Slurm().render(what)], env=environment, check=True, capture_output=True)
    arguments, given, _ = json.loads((tmp_path / "echo me.json").read_text())
    assert arguments == ["-m", "lightning_meta", "fit", *NASTY]
    assert given["GIVEN"] == "\n".join(NASTY)
    assert given["LIGHTNING_META_PREEMPTIBLE"] == "1"
    assert not list(tmp_path.rglob("executed"))


def test_secrets_of_the_shell_are_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hush-hush")
    assert send(job(tmp_path, "--version")).state == "succeeded"
    assert not any("hush-hush" in path.read_text() for path in (tmp_path / "jobs").rglob("*.*"))


# profiles


def test_profiles(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="there is no file"):
        profiles.read_profile("big", Slurm())
    settings = {"big": {"partition": "a100", "setup": ["module load cuda"], "nodes": 2}, "typo": {"partion": "x"}}
    write_yaml(tmp_path / "profiles.yaml", {**settings, "kind": {"nodes": "two"}, "none": 3})
    own, more = profiles.split_settings(profiles.read_profile("big", Slurm()))
    assert (own, more) == ({"setup": ("module load cuda",), "nodes": 2}, {"partition": "a100"})
    for name, said in (
        ("bigg", "choose from big, kind, none, typo"),
        ("typo", "'partion' is not an option of slurm: did you mean partition"),
        ("kind", "nodes is 'two': give a whole number"),
        ("none", "give it keys and values"),
    ):
        with pytest.raises(JobError, match=said):
            profiles.read_profile(name, Slurm())
    (tmp_path / "profiles.yaml").write_text("a: [")
    with pytest.raises(JobError, match="not YAML"):
        profiles.read_profile("a", Slurm())
