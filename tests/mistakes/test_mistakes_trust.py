"""A clear end for files of strangers, and for what is damaged in them."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from datamodules.reading.preprocess import Preprocess
from datamodules.writing.shards import ClassImages, write_shards
from hostile import MLP, PAYLOAD, PROTONET, contents, put
from support.mistakes import ends_with_one_message
from support.shard_index import signed

ADAPT = "adapt --ckpt {ckpt} --support support --query query"
FOREIGN = {"class_path": "torchvision.models.resnet18", "init_args": {"weights": "DEFAULT"}}
SIDE = {"preprocess": {"size": 10**6, "channels": 1, "invert": False}}
BACKBONE = ("init_args", "backbone")

CHECKPOINTS = {  # what its learner is, what else it says; the command; the message
    "names a function": (PAYLOAD, {}, ADAPT, ["torch.fx.graph_module.reduce_graph_module", "torch is never trusted"]),
    "names a package": (put(PROTONET, BACKBONE, FOREIGN), {}, ADAPT, ["resnet18", "add --trust torchvision"]),
    "compared": (put(PROTONET, BACKBONE, FOREIGN), {}, "compare {ckpt} --on shards", ["add --trust torchvision"]),
    "torch trusted": (PROTONET, {}, f"{ADAPT} --trust torch", ["trust is 'torch'", "on the list already"]),
    "a path trusted": (PROTONET, {}, f"{ADAPT} --trust ./here", ["trust is './here'", "name of a Python package"]),
    "nothing trusted": (PROTONET, {}, f"{ADAPT} --trust", ["trust"]),
    "no learner": (MLP, {}, ADAPT, ["lightning_meta.nn.MLP", "not a FewShotLearner"]),
    "sizes of text": (put(PROTONET, (*BACKBONE, "init_args", "sizes"), "784"), {}, ADAPT, ["its MLP has sizes '784'"]),
    "too large": (
        put(PROTONET, (*BACKBONE, "init_args", "sizes"), [784, 10**15]),
        {},
        ADAPT,
        ["does not give a learner"],
    ),
    "images of a kilometre": (PROTONET, {"ImageEpisodes": SIDE}, ADAPT, ["size is 1000000", "1 to 4096"]),
    "images of nothing": (
        PROTONET,
        {"ImageEpisodes": {"preprocess": {"side": 3}}},
        ADAPT,
        ["describes its training data"],
    ),
    "hyper-parameters of text": (PROTONET, {"hyper_parameters": "x"}, ADAPT, ["hyper_parameters is 'x'"]),
    "loops of text": (PROTONET, {"loops": "x"}, "compare {ckpt} --on shards", ["loops is 'x'"]),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("support/a", "support/b", "query"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("L", (28, 28), 7 * len(name)).save(tmp_path / name / "0.png")
    classes = [ClassImages(f"c{i}", "test", torch.full((8, 1, 28, 28), i).byte().numpy()) for i in range(6)]
    write_shards(tmp_path / "shards", "some", Preprocess(28, 1), classes)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_stranger_s_checkpoint_ends_in_one_message(case: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    learner, more, command, parts = CHECKPOINTS[case]
    checkpoint = contents()
    checkpoint["hyper_parameters"]["learner"] = learner
    torch.save(checkpoint | more, place / "x.ckpt")
    ends_with_one_message(command.format(ckpt="x.ckpt"), parts, place, capfd)


INDEXES = {  # where, what there; signed anew or not; the message
    "a flipped digit": (("splits", "test", 0), 3, False, "its checksum does not match"),
    "a class twice": (("splits", "test"), [0, 0, 0, 0, 0], True, "split test lists a record twice"),
    "a class that is none": (("splits", "test", 0), 99, True, "split test lists a record that does not exist"),
    "a split of text": (("splits", "test"), "012", True, "split test lists a record that does not exist"),
    "a shard above": (("shards", 0, 0), "../../x.tar", True, "is at '../../x.tar', not below"),
    "a shard anywhere": (("shards", 0, 0), "/etc/passwd", True, "is at '/etc/passwd'"),
    "a shard elsewhere": (("shards", 0, 0), "http://there/x.tar", True, "is at 'http://there/x.tar'"),
    "a chain": (("shards", 0, 0), "zip::x.tar", True, "is at 'zip::x.tar'"),
    "a checksum that is a path": (("shards", 0, 2), "../../x", True, "length or checksum"),
    "endless images": (("records", 0, 2), 10**12, True, "another size than 1000000000000 images"),
    "no number of images": (("records", 0, 2), 8.0, True, "with 8.0 images"),
    "a true number": (("records", 0, 1), True, True, "in shard True"),
    "bytes outside": (("records", 0, 3, 0, 0), 10**9, True, "lies outside of its shard"),
    "images of another size": (("preprocess", "size"), 27, True, "another size than 8 images"),
    "an image without end": (("preprocess", "size"), 10**6, True, "size is 1000000"),
    "a title of two lines": (("title",), "x\nmodel: {class_path: os.system}", True, "its title"),
    "a name that is a folder": (("records", 0, 0), "..", True, "a record is '..'"),
    "encoded or not": (("encoded",), "no", True, "`encoded`"),
    "features": (("features",), [0, "x"], True, "features need a size of 1 or more"),
    "another version": (("version",), 1, False, "is of version 1; this lightning-meta reads version 2"),
}


@pytest.mark.parametrize("case", INDEXES)
def test_a_stranger_s_index_ends_in_one_message(case: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where, value, sign, message = INDEXES[case]
    file = place / "shards" / "index.json"
    index = json.loads(file.read_text())
    if where == ("features",):
        index["features"] = None
    changed = put(index, where, value)
    file.write_text(signed(changed) if sign else _as_it_was(file, where, value))
    ends_with_one_message("shards verify shards", [message, "write the shards again"], place, capfd)


def _as_it_was(file: Path, where: tuple[object, ...], value: object) -> str:
    """The text with a value changed, and the checksum not."""
    head, _, body = file.read_text().partition("\n")
    if where == ("version",):
        return head.replace('"version": 2', f'"version": {value}') + "\n" + body
    return head + "\n" + json.dumps(put(json.loads("{" + body), where, value))[1:]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"version": ' * 50_000, '{"version": 2}', "null", "7", "", "\x00", "{}"]
)
def test_an_index_that_is_none_ends_in_one_message(text: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "shards" / "index.json").write_text(text)
    ends_with_one_message("shards verify shards", ["is damaged", "write the shards again"], place, capfd)


def test_a_link_out_of_the_folder_is_not_followed(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shard = place / "shards" / "test-000000.tar"
    shard.rename(place / "elsewhere.tar")
    shard.symlink_to(place / "elsewhere.tar")
    ends_with_one_message("shards verify shards", ["is a link to", "copy it there"], place, capfd)
    (place / "linked").symlink_to(place / "shards")
    shard.unlink()
    (place / "elsewhere.tar").rename(shard)
    from datamodules.reading.shard_set import ShardSet

    assert ShardSet("linked").verify() == []  # the folder itself may be one
