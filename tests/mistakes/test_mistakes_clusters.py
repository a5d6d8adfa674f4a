"""Mistakes around jobs end with one message, before anything is sent, and leave no files."""

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lightning_meta.cli import main
from support.mistakes import ends_with_one_message
from support.runs import write_yaml

FIT = "-- fit --config sinusoid-maml.yaml --trainer.accelerator cpu"
TUNE = "-- tune --config sinusoid-maml.yaml --config pbt_inner_lr_shots.yaml --trainer.accelerator cpu"
PROFILES = {
    "k8s": {"image": "registry.example.org/x:1", "ray_version": "2.60.0"},
    "secret": {"environment": {"AZURE_STORAGE_CONNECTION_STRING": "AccountKey=x"}},
    "five": {"image": 5},
    "soon": {"image": "x", "grace_seconds": "soon"},
    "list": {"setup": "module load cuda"},
}
SECRETS = ("DB_PASS", "SSHPASS", "MYSQL_PWD", "AUTH_HEADER", "BEARER", "JWT", "SESSION_COOKIE", "SENTRY_DSN")
MISTAKES: list[tuple[str, list[str]]] = [
    (f"submit local --memory 1G {FIT}", ["--memory is 1G", "local limits no memory"]),
    (f"submit local --cpus-per-task 1 {FIT}", ["--cpus-per-task is 1", "local reserves no cores"]),
    (f"submit local --max-restarts 3 {FIT}", ["--max-restarts is 3", "local restarts no job"]),
    (f"submit local --nodes 2 {FIT}", ["--nodes is 2", "local is one machine"]),
    (
        f"submit local {FIT} --model.scheduler torch.optim.lr_scheduler.ExponentialLR --model.scheduler.gamma -1",
        ["ExponentialLR makes the outer learning rate -"],
    ),
    (f"submit local --time soon {FIT}", ["--time is 'soon'"]),
    (f"submit ray --max-restarts 3 {FIT}", ["--max-restarts is 3", "Ray restarts no job"]),
    (f"submit ray --nodes 4 {TUNE}", ["--nodes is 4: leave it out, as a search spreads its trials", "--search.cpus"]),
    (f"submit ray --memory 1G {TUNE}", ["--memory is 1G: leave it out, as a search spreads its trials"]),
    (f"submit kubernetes --profile k8s --max-restarts 3 {TUNE}", ["nothing restarts a RayJob", "backoff_limit"]),
    (
        f"submit kubernetes --profile k8s --gpus-per-node 8 {TUNE} --search.gpus 0",
        ["no trial would use", "--search.gpus 1"],
    ),
    (f"submit slurm --gpus-per-node 8 {TUNE} --search.gpus=0", ["no trial would use", "--search.gpus 1"]),
    (f"submit kubernetes --profile five {FIT}", ["image is 5: give text"]),
    (f"submit kubernetes --profile soon {FIT}", ["grace_seconds is 'soon': give a whole number"]),
    (f"submit local --profile list {FIT}", ["setup is 'module load cuda': give a list"]),
    (f"submit local --profile secret {FIT}", ["AZURE_STORAGE_CONNECTION_STRING looks like a secret"]),
    ("submit local -- compare a.ckpt --token=hush-hush", ["--token looks like a secret"]),
    ("submit local -- compare a.ckpt --api-key hush-hush", ["--api-key looks like a secret"]),
    (f"submit local {FIT} --trainer.logger.init_args.comment=Bearer\\ abcdefghij", ["looks like a secret"]),
    *((f"submit local --env {name}=hush {FIT}", [f"{name} looks like a secret"]) for name in SECRETS),
    ("jobs status nothing", ["'nothing' is not a job", "jobs list"]),
    ("jobs status twice", ["2 jobs have the name twice: give one by its folder", "twice-1, twice-0"]),
    ("jobs logs half", ["half/job.json cannot be read"]),
    ("jobs status stranger", ["'cloud' is not a back end", "slurm"]),
    ("jobs status list", ["list/process.json is not what a job writes there"]),
]


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with jobs whose records are broken, or a stranger's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    monkeypatch.setenv("LIGHTNING_META_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("LIGHTNING_META_PROFILES", write_yaml(tmp_path / "profiles.yaml", PROFILES))
    facts = {
        "id": "x",
        "backend": "local",
        "name": "x",
        "command": [],
        "workdir": "/",
        "when": "2026-11-30T00:00:00+0000",
    }
    add("half", '{"id": "half", "na')
    add("deep", "[" * 100_000)
    add("control", json.dumps({**facts, "id": "\x1b[2J"}))
    add("kind", json.dumps({**facts, "command": {"a": 1}}))
    add("stranger", json.dumps({**facts, "id": "stranger", "backend": "cloud"}))
    add("list", json.dumps({**facts, "id": "list"}), process="[1, 2]")
    for i in range(2):
        when = f"2026-11-30T00:00:0{i}+0000"
        add(f"twice-{i}", json.dumps({**facts, "id": f"twice-{i}", "name": "twice", "when": when}))
    return tmp_path


def add(name: str, record: str, **more: str) -> None:
    folder = Path(os.environ["LIGHTNING_META_JOBS"], name)
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(record)
    for file, text in more.items():
        (folder / f"{file}.json").write_text(text)


@pytest.mark.filterwarnings("ignore")  # of the libraries, which the command keeps off the screen
@pytest.mark.parametrize(("command", "parts"), MISTAKES)
def test_a_mistake_ends_with_a_message(
    command: str, parts: list[str], somewhere: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ends_with_one_message(command, parts, somewhere, capfd)


def test_broken_records_are_told_of_and_hide_no_job(somewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["jobs", "list"])
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()] == ["twice-1", "twice-0", "stranger", "list"]
    for part in (
        "half/job.json cannot be read",
        "deep/job.json cannot",
        "control/job.json is not the record",
        "kind/job.json is",
    ):
        assert part in said.err
    assert "\x1b" not in said.out + said.err
    assert somewhere.exists()


@pytest.mark.filterwarnings("ignore")
def test_a_search_gets_the_gpus_that_its_job_reserves(somewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jsonschema")
    line = f"submit kubernetes --profile k8s --nodes 4 --gpus-per-node 8 --time 4h --dry-run {TUNE}"
    main(shlex.split(line))
    assert r"\n  gpus: 1.0\n" in capsys.readouterr().out
    assert somewhere.exists()


@pytest.mark.filterwarnings("ignore")
def test_a_full_disk_leaves_no_half_a_job(
    somewhere: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    small = somewhere / "small"
    small.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", small], check=False).returncode
    ):
        pytest.skip("no small disk can be mounted here")
    try:
        monkeypatch.setenv("LIGHTNING_META_JOBS", str(small / "jobs"))
        ends_with_one_message(f"submit local {FIT}", ["No space left on device", "make room"], small / "jobs", capfd)
    finally:
        subprocess.run(["umount", small], check=True)


def names(found: Any) -> list[str]:
    return list(found)


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("HF_TOKEN_PATH", "/home/me/token", False),
        ("PWD", "/home/me", False),
        ("RAY_AUTH_MODE", "token", False),
        ("KEYBOARD", "us", False),
        ("COMPASS", "north", False),
        ("PASSENGERS", "3", False),
        ("GITHUB", "ghp_abcdefghijklmnop1234", True),
        ("REDIS_PASS", "x", True),
        ("WEBHOOK", "https://x", True),
    ],
)
def test_names_and_values_of_secrets(name: str, value: str, secret: bool) -> None:
    from clusters.core.secrets import is_secret

    assert is_secret(name, value) == secret


def test_settings_that_hold_a_secret() -> None:
    from clusters.core.secrets import secret_settings

    config = {
        "logger": {"init_args": {"api_key": "abc0123456789", "image_key": "jpg-or-png", "password": None, "token": 5}},
        "callbacks": [{"auth_header": "abcdefgh"}, {"url": "https://me:pass@host/"}],
        "monitor": "meta_val/error",
    }
    assert names(secret_settings(config)) == [
        "logger.init_args.api_key",
        "callbacks[0].auth_header",
        "callbacks[1].url",
    ]
