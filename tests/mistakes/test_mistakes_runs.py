"""Mistakes with runs, their folders and their checkpoints: one message each, and no file is touched."""

from pathlib import Path

import pytest

from support.commands import SINES, Commands
from support.mistakes import ends_with_one_message

RUN = "runs/sinusoid-maml/version_0"
OTHER = SINES.replace("sinusoid-maml.yaml", "sinusoid.yaml --config cnp.yaml").replace(
    "--model.learner.init_args.test_steps 1", ""
)
MISTAKES = {
    f"fit {SINES} --ckpt_path runs": ["runs is a folder without checkpoints/last.ckpt", "a run's folder"],
    f"test {SINES} --ckpt_path nowhere": ["no checkpoint at nowhere"],
    f"test {SINES} --ckpt_path runs/sinusoid-maml": ["without checkpoints/best.ckpt"],
    f"validate {SINES}": ["validate needs a checkpoint"],
    f"test {SINES} --ckpt_path best --trainer.default_root_dir other/name --trainer.logger false": [
        "no best checkpoint below other/name"
    ],
    f"fit {SINES} --ckpt_path last --trainer.logger.init_args.save_dir elsewhere": [
        "no last checkpoint below elsewhere/sinusoid-maml"
    ],
    f"fit {SINES} --ckpt_path {RUN} --model.optimizer SGD": ["model.optimizer is SGD, was Adam", "start a new run"],
    f"fit {SINES} --ckpt_path {RUN} --model.optimizer.init_args.amsgrad true": ["amsgrad", "max_exp_avg_sq"],
    f"fit {SINES} --ckpt_path {RUN} --model.optimizer.init_args.lr -1": [
        "outer optimizer",
        "Invalid learning rate: -1",
    ],
    f"fit {SINES} --ckpt_path {RUN} --model.optimizer.init_args.lr 1e39": ["outer optimizer cannot step", "overflow"],
    f"fit {SINES} --ckpt_path {RUN} --data.shots 3": ["data.shots is 3, was 10"],
    f"fit {SINES} --ckpt_path {RUN}/checkpoints/best.ckpt --data.seed 3": ["data.seed is 3, was 0"],
    f"fit {SINES} --config fomaml.yaml --ckpt_path {RUN}": ["cannot continue", "model.learner.first_order"],
    f"fit {OTHER} --ckpt_path {RUN}": ["of another learner, MAML, than CNP"],
    f"fit {SINES} --trainer.logger.init_args.version 0": [f"{RUN} holds a run already", f"--ckpt_path {RUN}"],
    f"fit {SINES} --trainer.logger.init_args.save_dir taken": ["taken", "is a file", "choose another folder"],
    f"fit {SINES} --trainer.logger.init_args.name {'n' * 300}": ["choose a shorter name"],
    f"fit {SINES} --config {RUN}/confg.yaml": [f"Did you mean {RUN}/config.yaml"],
    f"fit {SINES} --config ./mine/tsk.yaml": ["Did you mean mine/task.yaml"],
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a file where a folder might be, and a task file."""
    folder = tmp_path_factory.mktemp("runs_place")
    (folder / "taken").write_text("")
    (folder / "mine").mkdir()
    (folder / "mine/task.yaml").write_text("data: {}")
    return folder


@pytest.mark.usefixtures("no_type_checker", "recwarn")
@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_with_runs_ends_with_one_message(
    command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    do = Commands(workplace, monkeypatch, capfd)
    if not Path(RUN).exists():
        do(f"fit {SINES} --trainer.max_epochs 1")
        capfd.readouterr()
    ends_with_one_message(command, MISTAKES[command], workplace, capfd)
