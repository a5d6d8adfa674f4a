"""A backbone that trains can be loaded again, whatever the types of its arguments; what cannot is refused before training."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import nn
from torch.testing import assert_close

import users_arguments
from hostile import saved
from lightning_meta.cli import main
from lightning_meta.core import InputError
from lightning_meta.learners import MAML, ProtoNet
from lightning_meta.nn.build import build
from lightning_meta.nn.undisturbed import loadable, undisturbed
from lightning_meta.training import load
from lightning_meta.training.trust import FUNCTIONS, KNOWN, Trust
from support.episodes import separable_episode
from support.mistakes import ends_with_one_message
from users_arguments import Kind

pytestmark = [pytest.mark.usefixtures("no_type_checker"), pytest.mark.filterwarnings("ignore")]
LINEAR = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 8, "out_features": 8}}
LIST = {"class_path": "torch.nn.ModuleList", "init_args": {"modules": [LINEAR]}}
DICT = {"class_path": "torch.nn.ModuleDict", "init_args": {"modules": {"last": LINEAR}}}
CASES = [
    "Activated",
    "Activated --b.act torch.nn.functional.gelu",
    "Unannotated --b.act torch.relu",
    "Activated --b.act users_arguments.double",
    "Unannotated",
    "Normed",
    "Normed --b.norm torch.nn.LayerNorm",
    "Normed --b.norm users_arguments.norm_of",
    "OfClass",
    "OfClass --b.norm torch.nn.LayerNorm",
    "Forwards",
    "Forwards --b.norm torch.nn.LayerNorm",
    "Typed",
    'Typed --b.kind LARGE --b.kinds [SMALL,LARGE] --b.some [1,2] --b.settings.scale 3 --b.by_number {"1":[2,3]}',
    "Typed --b.settings.inner.kind LARGE --b.settings.inner.where x --b.place x --b.pair.high 7 --b.sizes [1,2]",
    "Orthogonal",
    "Compiled",
]


def described(text: str) -> tuple[nn.Module, dict[str, Any]]:
    """A backbone as the command line makes it, and its description as `fit` keeps it."""
    name, *rest = text.split(" ")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--b", type=nn.Module)
    config = parser.parse_args([f"--b=users_arguments.{name}", *rest])
    return parser.instantiate_classes(config)["b"], yaml.safe_load(parser.dump(config))["b"]


def kept(place: Path, backbone: nn.Module, spec: dict[str, Any]) -> Path:
    weights = {f"learner.backbone.{name}": w for name, w in backbone.state_dict().items()}
    learner = {"class_path": "lightning_meta.learners.ProtoNet", "init_args": {"backbone": spec}}
    return saved(place, learner, state_dict=weights)


@pytest.mark.parametrize("text", CASES)
def test_what_trains_is_loaded(text: str, tmp_path: Path) -> None:
    backbone, spec = described(text)
    path, x = kept(tmp_path, backbone, spec), torch.rand(3, 1, 28, 28)
    found = load(path, trust=["users_arguments"]).backbone
    assert_close(found(x), backbone.eval()(x), rtol=0, atol=0)
    with pytest.raises(InputError, match="not on the list"):
        load(path)


def test_arguments_are_what_their_annotations_say(tmp_path: Path) -> None:
    text = "Typed --b.kind LARGE --b.kinds [SMALL] --b.some [1] --b.settings.inner.sizes [4] --b.text x"
    backbone, spec = described(text)
    found = load(kept(tmp_path, backbone, spec), trust=["users_arguments"]).backbone
    assert found.seen == backbone.seen
    assert found.seen[:4] == (Kind.LARGE, [Kind.SMALL], (784, 8), {1})


def test_lists_and_dictionaries_of_modules_are_loaded(tmp_path: Path) -> None:
    spec = {"class_path": "users_arguments.Parts", "init_args": {"parts": LIST, "named": DICT}}
    backbone, x = build(spec), torch.rand(3, 1, 28, 28)
    found = load(kept(tmp_path, backbone, spec), trust=["users_arguments"]).backbone
    assert_close(found(x), backbone(x), rtol=0, atol=0)


def test_a_path_is_never_passed_on(tmp_path: Path) -> None:
    """Neither one of an argument nor one in a dataclass, though they do not look like paths."""
    backbone, spec = described("Typed")
    spec["init_args"]["place"] = "secret"
    spec["init_args"]["settings"]["inner"]["where"] = "secret"
    with pytest.warns(UserWarning, match="is left out: no file is read"):
        found = load(kept(tmp_path, backbone, spec), trust=["users_arguments"]).backbone
    assert found.seen[6].inner.where == Path("nowhere")
    path = kept(tmp_path, backbone, described("Typed")[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(path, trust=["users_arguments"])


@pytest.mark.parametrize(
    ("named", "why"),
    {
        "os.system": "os is never trusted",
        "torch.load": "torch is never trusted",
        "torch.fx.graph_module.reduce_graph_module": "torch is never trusted",
        "users_arguments.F.relu": "no function and no class",
        "users_arguments.dataclasses.make_dataclass": "no function and no class",
        "users_arguments.parametrizations": "no function and no class",
        "users_arguments.Own": "comes from users_backbones",
        "evil.function": "add --trust evil",
        "a b": "not the path of a function",
    }.items(),
)
@pytest.mark.parametrize("argument", ["Activated.act", "OfClass.norm"])
def test_an_argument_names_no_function_that_is_not_trusted(named: str, why: str, argument: str, tmp_path: Path) -> None:
    kind, name = argument.split(".")
    backbone, spec = described(kind)
    spec["init_args"][name] = named
    with pytest.raises(InputError, match=why):
        load(kept(tmp_path, backbone, spec), trust=["users_arguments"])


def test_a_class_on_the_list_is_given_no_function() -> None:
    spec = {"class_path": "torch.nn.GELU", "init_args": {"approximate": "torch.nn.functional.relu"}}
    found = build(spec, Trust().find, Trust().name)
    assert found.approximate == "torch.nn.functional.relu"
    assert not set(FUNCTIONS) & set(KNOWN)
    assert {path.partition(".")[0] for path in FUNCTIONS} == {"torch"}


def test_a_trusted_class_asks_for_no_more_than_its_weights(tmp_path: Path) -> None:
    backbone = users_arguments.Wide()
    spec = {"class_path": "users_arguments.Wide", "init_args": {"width": 10**8}}
    with pytest.raises(InputError, match="more than 16 GiB"):
        load(kept(tmp_path, backbone, spec), trust=["users_arguments"])
    spec["init_args"]["width"] = 9
    with pytest.raises(InputError, match="do not go together"):
        load(kept(tmp_path, backbone, spec), trust=["users_arguments"])


@pytest.mark.parametrize("make", [ProtoNet, lambda b: MAML(b, 3, vectorize="loop")])
def test_weights_that_a_pass_makes_are_found_and_taken_back(make: Any) -> None:
    learner, episode = make(users_arguments.Late(36)), separable_episode(2, 3, 1, 1, (1, 6, 6))
    before = list(learner.state_dict())
    with pytest.raises(InputError, match="Late makes or changes position"), undisturbed(learner), loadable(learner):
        learner.adapt(episode.support)(episode.query.x)
    assert list(learner.state_dict()) == before


MISTAKES = {
    "Late": ["Late makes or changes position", "in __init__"],
    "nothing": ["nothing returned None: a backbone is a torch Module"],
}


@pytest.mark.parametrize("backbone", MISTAKES)
@pytest.mark.parametrize("learner", ["protonet", "maml"])
def test_what_cannot_be_loaded_is_refused_before_training(
    backbone: str, learner: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    command = f"fit --config glyphs.yaml --config {learner}.yaml --trainer.accelerator cpu"
    command += f" --model.learner.init_args.backbone users_arguments.{backbone}"
    ends_with_one_message(command, MISTAKES[backbone], workplace, capfd)


@pytest.mark.parametrize("backbone", ["Activated", "Compiled"])
def test_fit_then_adapt(
    backbone: str, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    command = f"fit --config glyphs.yaml --config protonet.yaml --data.root {workplace / 'shards' / 'glyphs'}"
    command += " --trainer.max_epochs 1 --data.epoch_batches 2 --data.val_episodes 2 --trainer.accelerator cpu"
    main([*command.split(), "--model.learner.init_args.backbone", f"users_arguments.{backbone}"])
    (path,) = tmp_path.glob("runs/*/version_0/checkpoints/best.ckpt")
    images = f"--support {workplace / 'try' / 'support'} --query {workplace / 'try' / 'query'}"
    main(["adapt", "--ckpt", str(path), *images.split(), "--trust", "users_arguments"])
    assert (tmp_path / "predictions.csv").read_text().count("\n") == 1 + len(
        list((workplace / "try" / "query").iterdir())
    )
    assert "images, 3 classes" in capfd.readouterr().out
