"""A user's own data by class path: the documented task distribution, and a plain data module of episodes."""

import inspect
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

import datamodules
from datamodules import Episodes, SinusoidTasks, Tasks
from lightning_meta.config.lightning_cli import parse
from lightning_meta.config.merge import combine
from lightning_meta.core import InputError
from support.runs import run

pytestmark = pytest.mark.usefixtures("recwarn")  # of Lightning's and jsonargparse's
SHORT = "--trainer.max_epochs 1 --trainer.enable_progress_bar false --trainer.accelerator cpu"
MLP = {"class_path": "lightning_meta.nn.MLP", "init_args": {"sizes": [1, 8]}}


def example_files() -> list[str]:
    """The code blocks in the docstring of Tasks: a Python file and a task file."""
    lines = (inspect.getdoc(Tasks) or "").splitlines()
    blocks = itertools.groupby(lines, lambda line: line.startswith(" " * 8) or not line)
    texts = ["\n".join(line[8:] for line in block).strip() for is_code, block in blocks if is_code]
    return [f"{text}\n" for text in texts if text]


@pytest.mark.slow
def test_the_documented_task_distribution_trains_and_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, task = example_files()
    (tmp_path / "my_tasks.py").write_text(code)
    (tmp_path / "lines.yaml").write_text(task)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    configs = "--config lines.yaml --config maml.yaml"
    run(tmp_path, f"fit {configs} {SHORT} --data.epoch_batches 2 --data.val_episodes 4 --data.tasks.steepest 2.5")
    options = "--data.test_episodes 4 --data.tasks.steepest 2.5 --ckpt_path best"
    assert "mse" in run(tmp_path, f"test {configs} {SHORT} {options}")
    (result,) = (tmp_path / "runs/lines-maml/version_0").glob("meta_test*.json")
    protocol = json.loads(result.read_text())["protocol"]
    assert (protocol["data"], protocol["shots"]) == ("Lines(steepest=2.5)", 5)


class Scaled(SinusoidTasks):
    def __init__(self, scale: float = 1.0, weights: tuple[float, ...] = ()):
        self.scale, self.weights = scale, weights


def test_what_is_judged_on_names_the_settings_of_the_tasks() -> None:
    one, same, other, long = (Episodes(Scaled(*given)) for given in ((1.0,), (1.0,), (2.0,), (1.0, (0.5, 0.5))))
    assert one.source == "Scaled(scale=1.0, weights=" + one.source.rpartition("=")[2]
    assert one.judged_on == same.judged_on
    assert len({each.judged_on for each in (one, other, long)}) == 3
    assert one.outputs == 1


def config(data: str, **learner: Any) -> dict[str, Any]:
    spec = {"class_path": "lightning_meta.learners.MAML", "init_args": {"backbone": MLP} | learner}
    return combine([]) | {"model": {"learner": spec}, "data": {"class_path": data}}


@pytest.mark.parametrize("data", ["datamodules.sinusoid.Sinusoid", "plain_data.Plain"])
@pytest.mark.parametrize("on_the_command_line", [False, True])
def test_the_users_number_of_outputs_wins(data: str, on_the_command_line: bool) -> None:
    rest = ["--model.learner.init_args.outputs", "3"] if on_the_command_line else []
    cli = parse("fit", config(data, **({} if on_the_command_line else {"outputs": 3})), rest)
    assert cli.model.learner.network.outputs == 3
    assert cli.model.hparams["learner"]["init_args"]["outputs"] == 3


def test_a_plain_data_module_needs_the_number_of_outputs() -> None:
    message = "Plain has no attribute 'outputs', which MAML needs: give --model.learner.init_args.outputs"
    with pytest.raises(InputError, match=message):
        parse("fit", config("plain_data.Plain"), [])


@pytest.mark.slow
def test_a_plain_data_module_trains_and_tests(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text(json.dumps(config("plain_data.Plain", outputs=1)))
    run(tmp_path, f"fit --config plain.yaml {SHORT}")
    assert "mse" in run(tmp_path, f"test --config plain.yaml {SHORT} --ckpt_path best")


def test_every_public_name_is_offered() -> None:
    for name in datamodules.__all__:
        assert getattr(datamodules, name).__doc__, name
    assert set(datamodules._MODULE_OF) == set(datamodules.__all__)
    with pytest.raises(AttributeError, match="no attribute 'write_tars'"):
        _ = datamodules.write_tars
