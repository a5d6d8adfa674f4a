"""A run whose disk is full, or whose folder cannot be written to: one message, no half of a file, earlier checkpoints whole."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from lightning_meta.cli import main
from lightning_meta.core import InputError
from lightning_meta.training.checkpoint import WholeFiles, read
from support.disks import disk, disks_possible, fill
from support.mistakes import ends_with_one_message

FIT = "fit --config sinusoid-maml.yaml --data.epoch_batches 3 --data.val_episodes 4 --data.meta_batch 4"
FIT += " --trainer.max_epochs 4 --trainer.accelerator cpu --trainer.enable_progress_bar false --trainer.logger.save_dir"
pytestmark = [
    pytest.mark.skipif(not disks_possible(), reason="needs a machine that lets us mount"),
    pytest.mark.usefixtures("no_type_checker", "recwarn"),
]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 1 MB."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    with ExitStack() as stack:
        yield disk(stack, tmp_path / "small", megabytes=1)


def leave(small: Path, room: int) -> None:
    """Fill the disk up to so many bytes."""
    ballast = fill(small)
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - room)


@pytest.mark.parametrize("room", [200_000, 60_000, 20_000, 4096, 0])
def test_a_checkpoint_is_written_whole_or_not_at_all(room: int, small: Path) -> None:
    path = small / "checkpoints" / "last.ckpt"
    WholeFiles().save_checkpoint({"state_dict": {}, "step": 1}, path)
    leave(small, room)
    more = {"state_dict": {f"w{i}": torch.rand(1000) for i in range(100)}, "step": 2}
    with pytest.raises(InputError, match=r"cannot write .*last.ckpt \(No space left on device\): make room"):
        WholeFiles().save_checkpoint(more, path)
    assert read(path)["step"] == 1
    assert [one.name for one in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("room", [0, 32_768, 65_536, 102_400])
def test_a_fit_ends_in_one_message(room: int, small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The disk is full before there is an event file, before the first checkpoint, and after it."""
    leave(small, room)
    with pytest.raises(SystemExit) as ended:
        main([*FIT.split(), "small/runs"])
    said = capfd.readouterr().err
    assert ended.value.code == 2
    assert "Traceback" not in said
    assert "Exception in thread" not in said
    (message,) = [line for line in said.splitlines() if line.startswith("lightning-meta: error:")]
    assert "small/runs/sinusoid-maml" in message
    assert "No space left on device" in message
    assert not list(small.rglob("*.partial*"))
    for path in small.rglob("*.ckpt"):
        read(path)


def test_results_that_could_not_be_kept_are_not_worked_for(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main([*FIT.split(), "small/runs"])
    capfd.readouterr()
    leave(small, 0)
    test = f"test {FIT.removeprefix('fit ')} small/runs --ckpt_path best"
    said = ends_with_one_message(
        test, ["meta_test_1way_10shot.json", "No space left on device", "make room"], small, capfd
    )
    assert "mse" not in said


def test_a_place_that_takes_no_runs_is_told_before_any_work(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (small / "file").write_text("")
    ends_with_one_message(f"{FIT} small/file", ["small/file", "is a file", "choose another folder"], small, capfd)
    ends_with_one_message(f"{FIT} small/file/runs", ["is a file"], small, capfd)
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    ends_with_one_message(f"{FIT} small/runs", ["small/runs", "choose a folder that can be written to"], small, capfd)
