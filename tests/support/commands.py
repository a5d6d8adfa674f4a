"""Commands run in this process: Lightning is imported once for many of them."""

import shlex
from pathlib import Path

import pytest

from lightning_meta.cli import main

SINES = "--config sinusoid-maml.yaml"
FEW = (
    " --data.meta_batch 2 --data.epoch_batches 3 --data.val_episodes 4 --data.test_episodes 4 --trainer.accelerator cpu"
)
FEW += " --trainer.enable_progress_bar false --trainer.log_every_n_steps 1 --model.learner.init_args.test_steps 1"
SINES += FEW


class Commands:
    """Runs `lightning-meta COMMAND` in a folder and tells what it printed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
        self.folder, self.capfd = folder, capfd
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", ["lightning-meta"])

    def __call__(self, command: str) -> str:
        self.capfd.readouterr()
        main(shlex.split(command))
        printed = self.capfd.readouterr()
        return printed.out + printed.err

    def refused(self, command: str) -> str:
        """The one message of a command that ends with status 2."""
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(command))
        printed = self.capfd.readouterr()
        assert ended.value.code == 2, printed.err
        (message,) = (line for line in printed.err.splitlines() if line.startswith("lightning-meta: error:"))
        return message


def line(said: str, label: str) -> str:
    """Return the text after a label that a command printed once, such as next:."""
    (found,) = (one.partition(":")[2].strip() for one in said.splitlines() if one.startswith(f"{label}:"))
    return found
