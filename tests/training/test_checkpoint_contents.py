"""The contents of a checkpoint are checked before they are used: one line for whatever is wrong with it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from hostile import MLP, PROTONET, contents, put, saved
from lightning_meta.core import InputError
from lightning_meta.training import load

pytestmark = pytest.mark.usefixtures("no_type_checker")

HUGE = {"in_features": 10**9, "out_features": 10**9}
CANNOT_BE: dict[str, tuple[Any, str]] = {
    "as large as its weights are not": ({"class_path": "torch.nn.Linear", "init_args": HUGE}, "GiB|do not go together"),
    "of endless layers": (
        {"class_path": "lightning_meta.nn.Transformer", "init_args": {"layers": 10**9}},
        "parts|ProtoNet has",
    ),
    "an int of text": (put(MLP, ("init_args", "sizes"), ["784", "8"]), "sizes .* is no list"),
    "another type": (put(MLP, ("init_args", "sizes"), 784), "sizes 784"),
    "an argument that there is not": (put(MLP, ("init_args",), {"sizes": [784, 8], "size": 3}), "cannot be built"),
    "on a device": (
        {"class_path": "torch.nn.Linear", "init_args": {"in_features": 784, "out_features": 8, "device": "meta"}},
        "together|device",
    ),
    "text": ("torch.nn.Linear", "backbone 'torch.nn.Linear'"),
    "a number": (7, "backbone 7"),
    "nothing": (None, "backbone None"),
    "an odd name": ({"class_path": "torch.nn.Linear\x1b[2J\n"}, "not the path of a class"),
    "no name": ({"class_path": 7}, "names 7, which is not the path"),
    "a long name": ({"class_path": "a" * 10**6}, "not the path of a class"),
    "of odd arguments": ({"class_path": "torch.nn.Linear", "init_args": [1]}, "init_args that are not a dictionary"),
    "of numbers without end": (put(MLP, ("init_args", "sizes"), [784, 10**5000]), "is not a checkpoint"),
}


@pytest.mark.parametrize(("backbone", "message"), CANNOT_BE.values(), ids=CANNOT_BE)
def test_what_cannot_be_built_is_told_in_a_line(backbone: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as refused:
        load(saved(tmp_path, put(PROTONET, ("init_args", "backbone"), backbone)))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1500


def test_descriptions_in_circles_or_without_bottom_are_refused(tmp_path: Path) -> None:
    circle: dict[str, Any] = copy.deepcopy(PROTONET)
    circle["init_args"]["backbone"] = circle
    deep: Any = MLP
    for _ in range(300):
        deep = [deep]
    laughs: Any = [1]
    for _ in range(30):
        laughs = [laughs] * 10
    for learner in (
        circle,
        put(PROTONET, ("init_args", "backbone"), deep),
        put(PROTONET, ("init_args", "backbone"), laughs),
    ):
        path = saved(tmp_path, learner)
        with pytest.raises(InputError, match="deeper or longer than a configuration"):
            load(path)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "hyper-parameters": ({"hyper_parameters": [1]}, r"hyper_parameters is \[1\]"),
    "callbacks": ({"callbacks": "many"}, "callbacks is 'many'"),
    "a callback": ({"callbacks": {"Cost": 3}}, "a callback's state is 3"),
    "steps": ({"global_step": -1}, "global_step is -1"),
    "no number of steps": ({"global_step": True}, "global_step is True"),
    "an epoch": ({"epoch": 2.5}, "epoch is 2.5"),
    "a name": ({"state_dict": {3: torch.zeros(1)}}, "a part has the name 3"),
    "an escape": ({"state_dict": {"a\x1b[2J": torch.zeros(1)}}, "a part has the name"),
    "a NaN for a name": ({float("nan"): 1}, "a part has the name nan"),
    "an unreal tensor": ({"state_dict": {"learner.w": torch.zeros(1).expand(10**6, 10**6)}}, "claims the shape"),
    "an unreal moment": ({"optimizer_states": [{"state": {0: torch.zeros(1).expand(10**9)}}]}, "claims the shape"),
    "a file to delete": (
        {"callbacks": {"M": {"best_k_models": {"runs/../../x": 1.0}}}},
        "names 'runs/../../x', no file of its run",
    ),
    "another to delete": ({"callbacks": {"M": {"best_model_path": "s3://bucket/x"}}}, "names 's3://bucket/x'"),
    "weights that are text": ({"state_dict": {"learner.backbone.linear0.weight": "w"}}, "is 'w', no tensor"),
    "complex weights": (
        {"state_dict": {k: v.to(torch.complex64) for k, v in contents()["state_dict"].items()}},
        "of torch.complex64",
    ),
}


@pytest.mark.parametrize(("part", "message"), WRONG.values(), ids=WRONG)
def test_parts_of_a_wrong_kind_are_told_in_a_line(part: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = saved(tmp_path, PROTONET, **{str(key): value for key, value in part.items()})
    torch.save(contents() | part, path)
    with pytest.raises(InputError, match=message) as refused:
        load(path)
    assert str(refused.value).isprintable()
