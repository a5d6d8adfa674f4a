"""The parser's refusals: one message of a line or two, with the key, what came and what is legal."""

import shlex
from pathlib import Path

import pytest

from lightning_meta.cli import main
from lightning_meta.config.listing import list_configs

pytestmark = pytest.mark.usefixtures("no_type_checker", "recwarn")  # Lightning warns of what we then refuse

S, W = "fit --config sinusoid-maml.yaml", "fit --config point_robot.yaml --config rl2.yaml"
T = "tune --config sinusoid-maml.yaml --config search/random_inner_lr_shots.yaml"
G = "fit --config glyphs.yaml --config protonet.yaml"
BACKBONE = "--model.learner.init_args.backbone"
LINEAR, FROZEN = "class_path: torch.nn.Linear", "class_path: lightning_meta.nn.Frozen"
STOP = "pytorch_lightning.callbacks.EarlyStopping"
PARSER = ("NestedArg", "Namespace", "Subtypes", "Traceback", "jsonargparse", "typing.", "<class")
WRONG = {
    f"{S} --data.shots many": ["data.shots is many", "an int or [int, int]"],
    f"{S} --data.shots 1.5": ["data.shots is 1.5", "an int"],
    f"{S} --data.shots [1,2,3]": ["data.shots is [1, 2, 3]", "[int, int]"],
    f"{S} --data.shots null": ["data.shots is null", "an int"],
    f"{S} --data 5": ["data is 5", "LightningDataModule"],
    f"{S} --data nowhere.X": ["data: Python finds no module 'nowhere'", "PYTHONPATH"],
    f"{S} --data datamodules.sinusoid.Sinus": ["has no 'Sinus'", "Did you mean Sinusoid"],
    f"{S} --data torch.nn.Linear": ["data: torch.nn.Linear is no LightningDataModule"],
    f"{S} --data.init_args 7": ["data.init_args is 7", "arguments of Sinusoid"],
    f"{S} --data.world own.Wind": ["Sinusoid has no argument 'world'"],
    f"{G} --data.sources '{{a: {{rot: x}}}}'": [
        "data.sources.a: ImageSource has no argument 'rot'",
        "Did you mean root",
    ],
    f"{G} --data.sources '{{a: shards/x}}'": ["data.sources.a is shards/x: give it keys", "root, weight, roots"],
    f"{G} --data.sources.a.weight 2": ["data.sources.a.root must be given"],
    f"{G} --data.sources.a.root x --data.sources.a.weight much": ["data.sources.a.weight is much", "a float"],
    f"{G} --data.sources.a.root x": ["data.sources is not given yet", "--data.sources '{a: {root: x}}'"],
    f"{W} --data.world nowhere.Wind": ["data.world: Python finds no module 'nowhere'", "PYTHONPATH"],
    f"{W} --data.world lightning_meta.envs.PointRobo": ["data.world", "Did you mean PointRobot"],
    f"{W} --data.world.init_args.horizom 3": ["PointRobot has no argument 'horizom'", "Did you mean horizon"],
    f"{S} --model 3": ["model is 3", "learner, optimizer"],
    f"{S} --model.lerner x": ["model has no key 'lerner'", "Did you mean learner"],
    f"{S} --model.learner MAMLL": ["model.learner is MAMLL", "Did you mean MAML"],
    f"{S} --model.learner lightning_meta.core.FewShotLearner": ["model.learner", "is abstract"],
    f"{S} --model.learner.init_args.batch_stats tail": ["model.learner.batch_stats is tail", "running"],
    f"{S} --model.learner.init_args.inner_lr high": ["model.learner.inner_lr is high", "a float"],
    f"{S} {BACKBONE} 3": ["model.learner.backbone is 3", "a Module"],
    f"{S} {BACKBONE}.sizes many": ["model.learner.backbone.sizes is many", "a list of int"],
    f"{S} {BACKBONE}.sizes [1,a]": ["model.learner.backbone.sizes[1] is a", "an int"],
    f"{S} {BACKBONE}.init_args.sizes.x 3": ["model.learner.backbone.sizes is", "a list of int"],
    f"{S} {BACKBONE} torch.optim.Adam": ["torch.optim.Adam is no Module"],
    f"{S} {BACKBONE} torch.nn.Linear": ["model.learner.backbone.in_features must be given"],
    f"{S} {BACKBONE} '{{{LINEAR}, init_args: [1, 2]}}'": ["backbone.init_args is [1, 2]", "arguments of Linear"],
    f"{S} {BACKBONE} '{{{LINEAR}, args: [1]}}'": ["has 'args'", "nothing beside them"],
    f"{S} {BACKBONE} '{{{FROZEN}, init_args: {{backbone: {{class_path: torch.nn.Conv2dd}}}}}}'": [
        "model.learner.backbone.backbone",
        "Did you mean Conv2d",
    ],
    f"{S} {BACKBONE} '{{{FROZEN}, init_args: {{backbone: {{{LINEAR}, init_args: {{in_features: a, out_features: 3}}}}}}}}'": [
        "model.learner.backbone.backbone.in_features is a",
        "an int",
    ],
    f"{S} {BACKBONE} fails_inside.Net": ["fails_inside cannot be imported", "it imports not_there"],
    f"{S} {BACKBONE} fails_itself.Net": ["fails_itself cannot be imported: ZeroDivisionError"],
    f"{S} {BACKBONE} functions.unannotated {BACKBONE}.widht 3": ["has no argument 'widht'", "Did you mean width"],
    f"{S} --model.optimizer torch.optim.Adamm": ["model.optimizer", "Did you mean Adam?"],
    f"{S} --model.optimizer.lr high": ["model.optimizer.lr is high", "a float"],
    f"{S} --model.optimizer.momentum 0.9": ["Adam has no argument 'momentum'", "Choose from lr"],
    f"{S} --model.optimizer.params 3": ["Adam has no argument 'params'", "Choose from lr"],
    f"{S} --model.optimizer torch.nn.Linear": ["torch.nn.Linear is no Optimizer"],
    f"{S} --model.scheduler 4": ["model.scheduler is 4", "LRScheduler"],
    f"{S} --model.scheduler torch.optim.lr_scheduler.StepLR": ["model.scheduler.step_size must be given"],
    f"{S} --model.scheduler torch.optim.lr_scheduler.ReduceLROnPlateau": ["ReduceLROnPlateau waits for a score"],
    f"{S} --trainer 3": ["trainer is 3", "keys"],
    f"{S} --trainer.max_epochs many": ["trainer.max_epochs is many", "an int or null"],
    f"{S} --trainer.precision 17": ["trainer.precision is 17", "bf16-mixed"],
    f"{S} --trainer.logger pytorch_lightning.loggers.WandbLogger": ["trainer.logger", "pip install wandb"],
    f"{S} --trainer.logger MLFlowLogger": ["trainer.logger", "pip install mlflow"],
    f"{S} --trainer.logger WandbLoger": ["trainer.logger is WandbLoger", "Did you mean WandbLogger"],
    f"{S} --trainer.logger+=pytorch_lightning.loggers.CometLogger": ["trainer.logger[1]", "pip install comet-ml"],
    f"{S} --trainer.callbacks 3": ["trainer.callbacks is 3", "Callback"],
    f"{S} --trainer.callbacks+={STOP}": [".monitor must be given"],
    f"{S} --trainer.callbacks '[{{class_path: {STOP}, init_args: {{monitor: x, patience: many}}}}]'": [
        "trainer.callbacks[0].patience is many",
        "an int",
    ],
    f"{S} --trainer.callbacks '[{{class: {STOP}}}]'": ["trainer.callbacks[0] has 'class'", "`class_path`"],
    f"{S} --trainer.plugins 3": ["trainer.plugins is 3"],
    f"{S} --print_config --data.shotz 3": ["no argument 'shotz'", "Did you mean shots"],
    f"{T} --search 3": ["search is 3", "space"],
    f"{T} --search.trials many": ["search.trials is many", "an int"],
    f"{T} --search.space 3": ["search.space is 3", "a dict"],
    f"{T} --search.start [3]": ["search.start[0] is 3", "a dict"],
    f"{T} --search.scheduler 3": ["search.scheduler is 3", "null"],
    "fit --config protonet.yaml --data.shots 5": ["no task is given"],
    "fit --config glyphs.yaml --model.learner.init_args.x 3": ["no learner is given"],
    "fit --config glyphs.yaml --config protonet.yaml --data.root [a,b]": ['data.root is ["a", "b"]', "text"],
    f"{S} --config twice.yaml": ["twice.yaml is not YAML: line 2", "the key data is there twice"],
    f"{S} --config tab.yaml": ["tab.yaml is not YAML: line 2", "not with tabs"],
    f"{S} --config colon.yaml": ["trainer is max_epochs:5", "a space is missing after the colon"],
    f"{S} --config words.yaml": ["words.yaml is", "a space is missing after a colon"],
    f"{S} --config list.yaml": ["list.yaml is a list", "keys such as"],
    f"{S} --config empty.yaml": ["empty.yaml is empty", "keys such as"],
    f"{S} --config null.yaml": ["data.shots is null"],
    f"{S} --config folder": ["folder is a folder", "folder/task.yaml"],
    f"{S} --config folder/tsk.yaml": ["no configuration 'folder/tsk.yaml'", "Did you mean folder/task.yaml?"],
    "configs nope": ["no configuration 'nope'"],
    "configs --all": ["no option --all"],
    "--version extra": ["--version takes nothing more"],
    "shards wrte": ["'wrte'", "write"],
    "jobs lst": ["'lst'", "list"],
    "submit slrm -- fit": ["'slrm'", "slurm"],
    "adapt": ["ckpt must be given"],
}
FILES = {
    "twice.yaml": "data: {init_args: {shots: 1}}\ndata: {init_args: {shots: 2}}\n",
    "tab.yaml": "trainer:\n\tmax_epochs: 3\n",
    "colon.yaml": "trainer:\n  max_epochs:5\n",
    "words.yaml": "max_epochs:5\n",
    "list.yaml": "- trainer\n",
    "empty.yaml": "",
    "null.yaml": "data:\n  init_args:\n    shots:\n",
    "folder/task.yaml": "trainer: {max_epochs: 1}\n",
    "fails_inside.py": "import not_there\n",
    "fails_itself.py": "1 / 0\n",
    "functions.py": "from torch import nn\n\n\ndef unannotated(width=8):\n    return nn.Linear(1, width)\n",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("command", WRONG)
def test_a_complaint_is_a_line_or_two_with_the_key_what_came_and_what_is_legal(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command))
    (message,) = capfd.readouterr().err.split("lightning-meta: error: ")[1:]
    assert ended.value.code == 2
    assert len(message) <= 400
    assert len(message.splitlines()) <= 2
    for part in WRONG[command]:
        assert part in message
    for part in PARSER:
        assert part not in message
    assert not list(place.glob("runs*"))


def test_a_module_beside_a_command_that_does_not_look_there_is_told_of(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (place / "my_world.py").write_text("class Wind: ...\n")
    with pytest.raises(SystemExit):
        main(shlex.split(f"{W} --data.world my_world.Wind"))
    assert "my_world lies in this folder, where it does not look; put PYTHONPATH=." in capfd.readouterr().err


def test_configs_are_listed_in_columns_and_printed_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    named = [line for line in list_configs().splitlines() if line.startswith("  ")]
    assert all(".yaml  " in line or line.endswith(".yaml") for line in named)
    main(["configs", "maml.yaml"])
    assert "class_path: lightning_meta.learners.MAML" in capsys.readouterr().out
