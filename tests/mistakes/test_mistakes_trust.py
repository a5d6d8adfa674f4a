"""A clear end for files of strangers, and for what is damaged in them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.reading.preprocess import Preprocess
from datamodules.writing.shards import ClassImages, write_shards
from hostile import MLP, PAYLOAD, PROTONET, contents, put
from support.mistakes import ends_with_one_message
from support.shard_index import Columns, rewrite, signed

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


HEADS = {  # where in the head of an index, what there; signed anew or not; the message
    "a flipped digit": (("columns", "split_0", 1), 3, False, "its checksum does not match"),
    "a split twice": (("splits",), ["test", "test"], True, "two are the same"),
    "a split more": (("splits",), ["test", "val"], True, "other columns"),
    "no column": (("columns",), {}, True, "other columns"),
    "a column of text": (("columns", "same"), "x", True, "places of its columns are not valid"),
    "a column of less than nothing": (("columns", "same", 1), -1, True, "places of its columns are not valid"),
    "a column outside": (("columns", "same", 0), 10**9, True, "it cannot hold 0 rows at 1000000000"),
    "an endless column": (("columns", "blob", 1), 10**12, True, "it cannot hold 1000000000000 rows"),
    "a column less": (("columns", "source_root", 1), 0, True, "the length of source_root does not fit"),
    "another length": (("size",), 10**12, True, "where the index says 1000000000000"),
    "a checksum that is a path": (("checksums",), "../../x", True, "length or checksum"),
    "endless arrays": (("images_per_blob",), 0, True, "0 images per blob"),
    "a root that is a path": (("roots",), [["../..", "bytes", ""]], True, "a root of another kind"),
    "an image without end": (("preprocess", "size"), 10**6, True, "size is 1000000"),
    "images of another size": (("preprocess", "size"), 27, True, "an array of images of 729 bytes has 6272 bytes"),
    "a title of two lines": (("title",), "x\nmodel: {class_path: os.system}", True, "its title"),
    "encoded or not": (("encoded",), "no", True, "`encoded`"),
    "features": (("features",), [0, "x"], True, "features need a size of 1 or more"),
    "another version": (("version",), 1, False, "is of version 1; this lightning-meta reads version 3"),
}


@pytest.mark.parametrize("case", HEADS)
def test_the_head_of_a_stranger_s_index_ends_in_one_message(
    case: str, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where, value, sign, message = HEADS[case]
    file = place / "shards" / "index.json"
    changed = put(json.loads(file.read_text()), where, value)
    file.write_text(signed(changed) if sign else _as_it_was(file, where, value))
    ends_with_one_message("shards verify shards", [message], place, capfd)


def _as_it_was(file: Path, where: tuple[object, ...], value: object) -> str:
    """The text with a value changed, and the checksum not."""
    head, _, body = file.read_text().partition("\n")
    if where == ("version",):
        return head.replace('"version": 3', f'"version": {value}') + "\n" + body
    return head + "\n" + json.dumps(put(json.loads("{" + body), where, value))[1:]


COLUMNS = {  # a column of an index of six classes of eight images, its new value, the message
    "a class twice": ("split_0", np.zeros(5), "split test lists a class twice"),
    "a class that does not exist": ("split_0", np.array([99]), "split test lists a class that does not exist"),
    "a shard above": ("source_path", "../../x1234.tar", "is at '../../x1234.tar', not below"),
    "a shard anywhere": ("source_path", "/etc/passwd/////", "is at '/etc/passwd"),
    "a shard elsewhere": ("source_path", "http://a/xx.tar", "is at 'http://a/xx.tar'"),
    "a chain": ("source_path", "zip::x12345.tar", "is at 'zip::x12345.tar'"),
    "another shard": ("source_path", "test-000007.tar", "test-000007.tar is missing"),
    "a shard that does not exist": ("blob.source", np.full(6, 7), "an image is in source 7 of 1"),
    "another root": ("source_root", np.array([3]), "below root 3 of 1"),
    "a longer shard": ("source_bytes", np.array([10**12]), "the index says 1000000000000 bytes"),
    "bytes outside": ("blob.offset", np.full(6, 10**9), "lies outside of"),
    "bytes far outside": ("blob.offset", np.full(6, 2**63), "lies outside of"),
    "other bytes": ("blob.offset", np.full(6, 1024), "its checksum is not that of the index"),
    "more bytes": ("blob.bytes", np.full(6, 10**9), "an array of images of 784 bytes has 1000000000 bytes"),
    "endless images": ("class_first", np.arange(7) * 10**12, "places than its 1000000000000 images need"),
    "fewer images than none": ("class_first", np.arange(7)[::-1] * 8, "has -8 images"),
    "no places": ("class_blob", np.zeros(7), "places than its 8 images need"),
    "a name that is a folder": ("class_name", "......", "a class is called '..'"),
    "a name of two lines": ("class_name", "c0\n1c2", "a class is called"),
    "a name outside": ("class_name_end", np.arange(7) * 1000, "rows 0 to 1000 of 12 are asked for"),
    "a name backwards": ("class_name_end", np.arange(7)[::-1], "are asked for"),
    "pairs of classes that do not exist": ("same", np.full((1, 2), 6), "pairs of same classes list a class"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_the_columns_of_a_stranger_s_index_end_in_one_message(
    case: str, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name, value, message = COLUMNS[case]
    values = np.frombuffer(value.encode(), np.uint8) if isinstance(value, str) else value

    def change(columns: Columns) -> None:
        column, _, field = name.partition(".")
        if field:
            columns[column][field] = values
        else:
            columns[name] = values[: len(columns[name])].astype(columns[name].dtype) if name != "same" else values

    rewrite(place / "shards", change)
    ends_with_one_message("shards verify shards", [message], place, capfd)


@pytest.mark.parametrize("place_in_file", [0, 100, 500, -1])
def test_a_flipped_bit_in_the_columns_is_found(
    place_in_file: int, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = place / "shards" / "index.columns"
    data = bytearray(file.read_bytes())
    data[place_in_file] ^= 1
    file.write_bytes(bytes(data))
    ends_with_one_message("shards verify shards", ["index.columns is damaged", "checksum"], place, capfd)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"version": ' * 50_000, '{"version": 3}', "null", "7", "", "\x00", "{}"]
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
