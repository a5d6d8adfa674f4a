"""A checkpoint of a stranger runs no code, imports no module, and opens no file that it names (docs/trust.md)."""

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from hostile import MLP, PAYLOAD, PROTONET, TOWERS, contents, nodes, put, saved
from lightning_meta.cli import main
from lightning_meta.core import InputError
from lightning_meta.training import load
from lightning_meta.training.checkpoint import build, is_called
from lightning_meta.training.trust import KNOWN, NEVER
from support.mistakes import ends_with_one_message

pytestmark = pytest.mark.usefixtures("no_type_checker")
COLOUR = {"class_path": "lightning_meta.nn.MLP", "init_args": {"sizes": [3 * 784, 8]}}
EVIL = "evil_module"  # beside the checkpoint, where Python would find it
TAKES = {  # where a learner, and what is nested in it, may name a class
    "learner": PROTONET,
    "sequence": {
        "class_path": "lightning_meta.learners.SequenceReader",
        "init_args": {"backbone": MLP, "sequence": {"class_path": "lightning_meta.nn.LSTM"}, "outputs": 5},
    },
    "frozen": {
        "class_path": "lightning_meta.learners.ProtoNet",
        "init_args": {
            "backbone": {"class_path": "lightning_meta.nn.Frozen", "init_args": {"backbone": COLOUR, "size": 28}}
        },
    },
    "agent": {
        "class_path": "lightning_meta.rl.RL2",
        "init_args": {
            "sequence": {"class_path": "lightning_meta.nn.GRU", "init_args": {"width": 8}},
            "objective": {"class_path": "lightning_meta.rl.PPO"},
            "observations": 1,
            "actions": 2,
        },
    },
    "towers": {"class_path": "lightning_meta.learners.ProtoNet", "init_args": {"backbone": TOWERS}},
}
PLACES = [
    (name, path) for name, spec in TAKES.items() for path in nodes(spec) if (not path or path[-1] != "class_path")
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module that says when it is imported."""
    (tmp_path / f"{EVIL}.py").write_text(
        "open('PWNED', 'w')\nimport torch\nclass Net(torch.nn.Module): pass\ndef make() -> torch.nn.Module: return Net()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    return tmp_path


def images(place: Path) -> str:
    for name in ("support/a", "support/b", "query"):
        (place / name).mkdir(parents=True)
        Image.new("L", (28, 28), 7 * len(name)).save(place / name / "0.png")
    return "--support support --query query"


@pytest.mark.parametrize(
    ("name", "path"), PLACES, ids=lambda value: value if isinstance(value, str) else "/".join(map(str, value))
)
@pytest.mark.parametrize(
    "payload", [PAYLOAD, {"class_path": f"{EVIL}.Net"}, {"class_path": f"{EVIL}.make"}], ids=["fx", "class", "function"]
)
def test_code_is_not_run_from_any_place_in_a_learner(
    name: str, path: tuple[Any, ...], payload: Any, place: Path
) -> None:
    trust = ["hostile"] if name == "towers" else []
    with pytest.raises(InputError):
        load(saved(place, put(TAKES[name], path, payload)), trust=trust)
    assert not (place / "PWNED").exists()
    assert EVIL not in sys.modules


COMMANDS = [(command, nested) for command in ("adapt", "compare", "test") for nested in (False, True)]
COMMANDS += [("validate", True), ("fit", True)]


@pytest.mark.parametrize(("command", "nested"), COMMANDS)
@pytest.mark.usefixtures("recwarn")
def test_code_is_not_run_by_any_command(
    command: str, nested: bool, place: Path, shard_root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    payload = {"class_path": f"{EVIL}.Net"} if command == "validate" else PAYLOAD
    learner = put(PROTONET, ("init_args", "backbone"), payload) if nested else payload
    if nested and command in ("test", "validate", "fit"):
        learner["init_args"]["temperature"] = 3.0  # a difference, which is told and not built
    checkpoint = contents()
    hyper = dict.fromkeys(("optimizer", "scheduler", "callbacks", "logger", "data"), payload) | {"learner": learner}
    path = saved(place, learner, hyper_parameters=checkpoint["hyper_parameters"] | hyper)
    runs = f"--config glyphs.yaml --config protonet.yaml --data.root {shard_root} --ckpt_path {path} --trainer.accelerator cpu"
    runs += " --model.learner.init_args.backbone lightning_meta.nn.MLP"
    runs += " --model.learner.init_args.backbone.init_args.sizes [784,7]"
    options = {"adapt": f"--ckpt {path} {images(place)}", "compare": f"{path} --on {shard_root} --episodes 2"}
    said = {
        "fit": "was trained with other settings",
        "test": "is of another learner",
        "validate": "is of another learner",
    }
    parts = [said.get(command, "is not on the list of classes"), *([] if command == "fit" else [str(path)])]
    ends_with_one_message(f"{command} {options.get(command, runs)}", parts, place, capfd)
    assert not (place / "PWNED").exists()
    assert EVIL not in sys.modules


def test_what_the_user_trusts_is_built_and_nothing_else_is(place: Path) -> None:
    with pytest.raises(
        InputError, match=r"names 'hostile\.Towers', which is not on the list .* --trust hostile; .*\['hostile'\]"
    ):
        load(saved(place, TAKES["towers"]))
    learner = build(TAKES["towers"])
    weights = {f"learner.{name}": w for name, w in learner.state_dict().items()}
    again = load(saved(place, TAKES["towers"], state_dict=weights), trust=["hostile"])
    x = torch.rand(3, 1, 28, 28)
    assert_close(again.backbone(x), learner.backbone(x), rtol=0, atol=0)
    for other in ("hostil", "hostile2", "mistakes"):  # no prefix is enough
        with pytest.raises(InputError, match="add --trust hostile"):
            load(place / "given.ckpt", trust=[other])
    for named, why in {
        "hostile.build": "annotated to return",  # of another package, which hostile imports
        "hostile.Path": "not a torch module",
        "hostile.torch.fx.graph_module.reduce_graph_module": "not a torch module",
        f"{EVIL}.Net": f"add --trust {EVIL}",
        "torch.nn.modules.container.Sequential": "torch is never trusted",
        "torchvision.models.resnet18": "add --trust torchvision",
        "builtins.eval": "builtins is never trusted",
        "lightning_meta.nn.build.build": "lightning_meta is never trusted",
    }.items():
        with pytest.raises(InputError, match=why):
            load(saved(place, put(PROTONET, ("init_args", "backbone"), {"class_path": named})), trust=["hostile"])
    assert not (place / "PWNED").exists()


def test_a_function_that_a_trusted_package_only_imports_is_not_its_own(place: Path) -> None:
    (place / "imports_it.py").write_text("from torch.fx.graph_module import reduce_graph_module\n")
    with pytest.raises(InputError, match=r"comes from torch\.fx\.graph_module.*torch is never trusted"):
        load(saved(place, PAYLOAD | {"class_path": "imports_it.reduce_graph_module"}), trust=["imports_it"])
    backbone = PAYLOAD | {"class_path": "imports_it.reduce_graph_module"}
    with pytest.raises(InputError, match=r"comes from torch\.fx\.graph_module"):
        load(saved(place, put(PROTONET, ("init_args", "backbone"), backbone)), trust=["imports_it"])
    assert not (place / "PWNED").exists()


@pytest.mark.parametrize(
    "package", ["torch", "torch.fx", "os", "builtins", "lightning_meta", "pytorch_lightning", "", "a-b", "../x"]
)
def test_no_flag_trusts_what_runs_anything(package: str, place: Path) -> None:
    with pytest.raises(InputError, match="trust is"):
        load(saved(place, PROTONET), trust=[package])


def test_the_list_has_modules_alone() -> None:
    assert all(isinstance(kind, type) and issubclass(kind, torch.nn.Module) for kind in KNOWN.values())
    assert {path.partition(".")[0] for path in KNOWN} == {"lightning_meta", "torch"}
    assert {"torch", "os", "builtins", "subprocess", "lightning_meta"} <= NEVER


def test_adapt_takes_a_trusted_package(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    learner = TAKES["towers"]
    weights = {f"learner.{name}": w for name, w in build(learner).state_dict().items()}
    path = saved(place, learner, state_dict=weights)
    command = f"adapt --ckpt {path} {images(place)}"
    ends_with_one_message(command, ["hostile.Towers", "add --trust hostile"], place, capfd)
    main([*command.split(), "--trust", "mistakes", "--trust", "hostile"])
    assert len((place / "predictions.csv").read_text().splitlines()) == 2


def test_a_checkpoint_opens_no_file_that_it_names(place: Path) -> None:
    secret = place / "secret.pt"
    secret.write_bytes(b"no weights, and reading them would fail")
    frozen = put(
        TAKES["frozen"],
        ("init_args", "backbone", "init_args"),
        {"backbone": COLOUR, "size": 28, "weights": str(secret)},
    )
    learner = build(TAKES["frozen"])
    weights = {f"learner.{name}": w for name, w in learner.state_dict().items()}
    load(saved(place, frozen, state_dict=weights))
    towers = put(
        TAKES["towers"], ("init_args", "backbone", "init_args"), TOWERS["init_args"] | {"weights": str(secret)}
    )
    weights = {f"learner.{name}": w for name, w in build(TAKES["towers"]).state_dict().items()}
    load(saved(place, towers, state_dict=weights), trust=["hostile"])
    needed = put(TAKES["towers"], ("init_args", "backbone", "init_args"), TOWERS["init_args"] | {"width": str(secret)})
    with pytest.warns(UserWarning, match="width of Towers, .*, is left out: no file is read"):
        load(saved(place, needed, state_dict=weights), trust=["hostile"])
    with pytest.raises(InputError, match=r"its Towers needs towers, .* is not opened"):
        load(
            saved(place, put(towers, ("init_args", "backbone", "init_args", "towers"), [str(secret)])),
            trust=["hostile"],
        )


def test_a_class_is_known_by_its_name_without_an_import(place: Path) -> None:
    protonet = KNOWN["lightning_meta.learners.ProtoNet"]
    assert is_called(protonet, "lightning_meta.learners.ProtoNet")
    assert is_called(protonet, "lightning_meta.learners.protonet.ProtoNet")
    assert is_called(protonet, f"{EVIL}.ProtoNet")  # as far as is known
    assert not is_called(protonet, f"{EVIL}.Net")
    assert not is_called(KNOWN["lightning_meta.rl.MAML"], "lightning_meta.learners.MAML")
    assert not (place / "PWNED").exists()


def test_no_file_is_decoded_that_is_a_program(place: Path) -> None:
    """Pillow hands EPS to Ghostscript."""
    from datamodules.reading.preprocess import Preprocess

    (place / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with warnings.catch_warnings(), pytest.raises(InputError, match=r"cannot decode the image .*cannot identify"):
        Preprocess(28, 1)(place / "a.png")
