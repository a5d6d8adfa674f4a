"""Writing replaces files only, never a device or a link, and reading waits for no pipe."""

import json
import os
from pathlib import Path

import pytest

from datamodules.reading.shard_file import ShardFile
from lightning_meta.core import InputError
from lightning_meta.core.files import check_writable, whole
from lightning_meta.evaluation.contestants import validation
from support.commands import SINES, Commands
from support.mistakes import ends_with_one_message

pytestmark = pytest.mark.usefixtures("recwarn", "no_type_checker")


@pytest.fixture
def do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path, monkeypatch, capfd)


def test_what_a_link_leads_to_is_written_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file.csv").write_text("old")
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "there" / "file.csv")
    with whole(link) as aside:
        aside.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "there" / "file.csv").read_text() == "new"


@pytest.mark.parametrize("kind", ["pipe", "device", "circle", "nowhere"])
def test_what_is_no_file_stays_as_it_is(kind: str, tmp_path: Path) -> None:
    path = {"device": Path("/dev/null"), "nowhere": Path("/proc/x/y.csv")}.get(kind, tmp_path / "place")
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "circle":
        path.symlink_to(path)
        path = path / "file.csv"
    before = path.lstat().st_mode if path.exists() else None
    with pytest.raises(InputError, match="cannot write"):
        check_writable(path)
    with pytest.raises(InputError, match="cannot write"), whole(path) as aside:
        aside.write_text("x")
    assert (path.lstat().st_mode if path.exists() else None) == before


def test_a_pipe_in_the_place_of_a_shard_or_a_curve_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.csv")
    os.mkfifo(tmp_path / "events.out.tfevents.1.x")
    (tmp_path / "checkpoints").mkdir()
    assert validation(tmp_path / "checkpoints" / "best.ckpt") == []
    with pytest.raises(InputError, match="bytes long"):
        ShardFile(tmp_path / "metrics.csv", 10)


@pytest.mark.parametrize("content", [b"step,meta_val/accuracy\nx,y\n", b"\377\376", b"step\n1\n", b'"', b""])
def test_a_curve_that_cannot_be_read_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "metrics.csv").write_bytes(content)
    assert validation(tmp_path / "checkpoints" / "best.ckpt") == []


@pytest.mark.slow
def test_a_result_that_cannot_be_read_is_kept_beside_the_new_one(do: Commands, tmp_path: Path) -> None:
    do(f"fit {SINES} --trainer.max_epochs 1")
    run = tmp_path / "runs" / "sinusoid-maml" / "version_0"
    for command, name in (("test", "meta_test"), ("validate", "meta_val")):
        do(f"{command} {SINES} --ckpt_path best")
        (result,) = run.glob(f"{name}_*.json")
        mse = json.loads(result.read_text())["scores"]["mse"]
        for damaged in ("{", "[]", "\0"):
            result.write_text(damaged)
            do(f"{command} {SINES} --ckpt_path best")
            assert json.loads(result.read_text())["scores"]["mse"] == mse
        assert {path.read_text() for path in run.glob(f"{name}_*.?.json")} == {"{", "[]", "\0"}


def test_a_folder_in_the_place_of_a_result_is_told_before_the_work(
    do: Commands, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    do(f"fit {SINES} --trainer.max_epochs 1")
    run = tmp_path / "runs" / "sinusoid-maml" / "version_0"
    do(f"test {SINES} --ckpt_path best")
    (result,) = run.glob("meta_test_*.json")
    result.unlink()
    result.mkdir()
    capfd.readouterr()
    said = ends_with_one_message(f"test {SINES} --ckpt_path best", [result.name, "is a folder"], run, capfd)
    assert "mse" not in said


@pytest.mark.parametrize("content", [b"\377\376x", b"a: [", b"x"])
def test_a_damaged_configuration_of_a_run_is_kept_and_ends_no_training(
    content: bytes, do: Commands, tmp_path: Path
) -> None:
    do(f"fit {SINES} --trainer.max_epochs 1")
    run = tmp_path / "runs" / "sinusoid-maml" / "version_0"
    (run / "config.yaml").write_bytes(content)
    do(f"fit {SINES} --trainer.max_epochs 2 --ckpt_path last")
    (kept,) = run.glob("config.until_step_*.yaml")
    assert kept.read_bytes() == content
