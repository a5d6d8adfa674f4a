"""A clear end, status 2, for every mistake with images, folders, shards and the places that they are written to."""

import csv
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.writing.export import file_names
from lightning_meta.cli import main
from support.disks import disk, disks_possible, fill
from support.mistakes import ends_with_one_message
from support.runs import GLYPHS, python

CKPT = "runs/glyphs-protonet/version_0/checkpoints/best.ckpt"
ADAPT = f"adapt --ckpt {CKPT} --support try/support --query try/query"
COMPARE = f"compare {CKPT} --on shards/glyphs --episodes 2"
MISTAKES = {
    f"fit {GLYPHS} --data.ways 90": ["90 ways", "80 classes", "5 or fewer suit every split (train 80, val 5, test 15)"],
    f"{ADAPT} --out {{folder}}": ["is a folder: give the name of a CSV file"],
    f"{ADAPT} --out {{file}}/x.csv": ["cannot write", "a part of this path is a file"],
    f"{ADAPT} --out {'x' * 300}.csv": ["cannot use", "choose a shorter name"],
    f"adapt --ckpt {CKPT} --support try/support --query {{damaged}}": ["cannot decode the image", "--skip true"],
    f"adapt --ckpt {CKPT} --support {{damaged}} --query try/query --skip true": ["no image of", "give each class an"],
    f"adapt --ckpt {CKPT} --support {{dead}} --query try/query": ["a link that leads nowhere"],
    "adapt --ckpt {features} --support try/support --query try/query": ["trained on features of", "nn.Frozen"],
    f"{COMPARE} --out {{file}}/x": ["cannot write", "a part of this path is a file"],
    f"{COMPARE} --out {{taken}}": ["taken.png", "this is a folder: choose another name"],
    "shards sheet shards/glyphs --out {file}/x.png": ["cannot write", "a part of this path is a file"],
    "shards sheet shards/glyphs --out {folder}": ["this is a folder: choose another name"],
    "shards export shards/glyphs --out {file}/x": ["cannot write", "a part of this path is a file"],
    "shards export shards/glyphs --out {folder}": ["exists: nothing is overwritten"],
    "shards features shards/glyphs no.such.Module --out {file}/x": ["cannot write", "a part of this path is a file"],
    "shards write glyphs --out {file}/x": ["cannot write", "a part of this path is a file"],
    "shards write folder {shared}": ["2 classes are in more than one of train, val and test", "--shared_classes true"],
    "shards write folder {cases}": ["differ only in upper and lower case", "--shared_classes true"],
    "shards write folder {dead}": ["is a link that leads nowhere: mend or remove it"],
}


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)).save(path)


@pytest.fixture(scope="module")
def places(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders and files to make mistakes with, by name."""
    here = tmp_path_factory.mktemp("places")
    (here / "folder").mkdir()
    (here / "taken.png").mkdir()
    (here / "file").touch()
    for name in ("a", "b"):
        (here / "damaged" / name).mkdir(parents=True)
        (here / "damaged" / name / "x.png").write_bytes(b"no image")
        save(here / "dead" / name / "x.png", 1)
    (here / "dead" / "c").symlink_to(here / "gone")
    for number, (split, name) in enumerate((s, n) for s in ("train", "val", "test") for n in "ab"):
        save(here / "shared" / split / (name if split != "val" else f"val {name}") / "x.png", number)
    for number, name in enumerate("abcdeA"):
        save(here / "cases" / name / "x.png", number)
    checkpoint = torch.load(workplace / CKPT, weights_only=True)
    key = next(key for key, state in checkpoint.items() if isinstance(state, dict) and "preprocess" in state)
    del checkpoint[key]["preprocess"]
    checkpoint[key]["features"] = {"size": 4, "backbone": "a ResNet"}
    torch.save(checkpoint, here / "features.ckpt")
    names = ("folder", "file", "damaged", "dead", "shared", "cases")
    return {name: here / name for name in names} | {"taken": here / "taken", "features": here / "features.ckpt"}


@pytest.mark.usefixtures("no_type_checker", "recwarn")
@pytest.mark.parametrize("command", MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_ends_with_one_message_and_leaves_no_files(
    command: str,
    workplace: Path,
    places: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    before = sorted(places["file"].parent.rglob("*"))
    ends_with_one_message(command.format(**places), MISTAKES[command], workplace, capfd)
    assert sorted(places["file"].parent.rglob("*")) == before


@pytest.mark.skipif(not disks_possible(), reason="mounting needs privileges")
@pytest.mark.parametrize("full", [True, False], ids=["full", "read-only"])
@pytest.mark.parametrize(
    "command",
    [
        f"{ADAPT} --out {{disk}}/x.csv",
        f"{COMPARE} --out {{disk}}/x",
        "shards sheet shards/glyphs --out {disk}/x.png",
        "shards export shards/glyphs --out {disk}/x",
        "shards write glyphs --classes 40 --out {disk}/x",
        "shards write folder try/support --out {disk}/x",
        "shards features shards/glyphs torch.nn.Identity --out {disk}/x",
    ],
)
def test_a_disk_that_takes_nothing_ends_a_command_before_its_work(
    command: str,
    full: bool,
    workplace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workplace)
    with ExitStack() as stack:
        here = disk(stack, tmp_path / "disk", megabytes=1)
        if full:
            fill(here)
        else:
            subprocess.run(["mount", "-o", "remount,ro", here], check=True)
        said = "No space left on device" if full else "Read-only file system"
        ends_with_one_message(command.format(disk=here), [f"cannot write {here}/x", said], tmp_path, capfd)


@pytest.mark.skipif(not disks_possible(), reason="mounting needs privileges")
@pytest.mark.parametrize(
    "command", ["write glyphs --classes 400", "export shards/glyphs --classes 15 --query 19 --split test"]
)
def test_a_disk_that_fills_in_the_middle_leaves_nothing_half_written(
    command: str, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    with ExitStack() as stack:
        here = disk(stack, tmp_path / "disk", kilobytes=400)
        said = [f"cannot write {here}/deep/x", "(No space left on device): make room"]
        ends_with_one_message(f"shards {command} --out {here}/deep/x", said, tmp_path, capfd)


@pytest.mark.usefixtures("no_type_checker")
def test_adapt_passes_over_what_does_not_decode_and_keeps_its_row(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of any bytes included."""
    monkeypatch.chdir(workplace)
    query, picture = tmp_path / "query", next(iter((workplace / "try" / "query").iterdir())).read_bytes()
    query.mkdir()
    for name, data in (
        (b"caf\xc3\xa9.png", picture),
        (b"\xe8\xff.png", picture),
        (b"bad.png", b""),
        (b'b,"c.png', picture),
    ):
        Path(os.fsdecode(os.path.join(os.fsencode(query), name))).write_bytes(data)
    main([*ADAPT.split()[:-1], str(query), "--out", str(tmp_path / "out.csv"), "--batch", "1", "--skip", "true"])
    with (tmp_path / "out.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == sorted(map(str, query.iterdir()))
    assert [bool(row["class"]) for row in rows] == ["bad" not in row["image"] for row in rows]
    said = capsys.readouterr().out
    assert "1 images cannot be read or decoded and were skipped" in said
    assert "out.csv: 4 images, 3 classes" in said.replace("\n", " ")


@pytest.mark.slow
def test_adapt_writes_the_same_bytes_in_any_locale(workplace: Path, tmp_path: Path) -> None:
    """In plain C, without Python's own UTF-8 mode."""
    (tmp_path / "query").mkdir()
    picture = next(iter((workplace / "try" / "query").iterdir())).read_bytes()
    for name in (b"caf\xc3\xa9.png", b"\xe8\xff.png"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"query", name))).write_bytes(picture)
    command = ["-m", "lightning_meta", *ADAPT.split()[:-1], str(tmp_path / "query"), "--out", str(tmp_path / "out.csv")]
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = python(workplace, *command, **ascii_only)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "out.csv").read_bytes()
    assert b"/caf\xc3\xa9.png," in written
    assert b"/\xe8\xff.png," in written


def test_a_name_that_a_terminal_cannot_show_ends_no_command(tmp_path: Path) -> None:
    for number in range(6):
        for i in range(2):
            save(tmp_path / "bilder" / f"\u00fc{number}" / f"{i}.png", 2 * number + i)
    (tmp_path / "bilder" / "\u00fc0" / "b.png").write_bytes(b"")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = python(
        tmp_path, "-m", "lightning_meta", "shards", "write", "folder", "bilder", "--skip", "true", **ascii_only
    )
    assert done.returncode == 0, done.stderr
    assert "skipped: cannot decode the image" in done.stdout


@pytest.mark.parametrize(
    "command", ["adapt --ckpt", "fit --config", "compare", "shards write folder", "submit local -- fit"]
)
def test_a_path_that_is_no_text_is_told_by_its_bytes(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = os.fsdecode(b"caf\xe9.ckpt")
    ends_with_one_message(f"{command} {path}", [r"b'caf\xe9.ckpt' is not valid utf-8", "rename"], tmp_path, capfd)


def test_exported_classes_keep_apart_and_in_their_folder() -> None:
    names = ["a/b", "a_b", "..", "", ".hidden", "../../x", "a\0b", "\udcff", "y" * 999]
    found = file_names(names)
    assert len(set(found)) == len(names)
    assert not any("/" in name or "\0" in name or name.startswith(".") or not name for name in found)
    assert max(len(os.fsencode(name)) for name in found) < 200
    assert found[7] == "\udcff"


def test_every_command_on_shards_explains_itself_in_whole_sentences() -> None:
    """Lists of commands show the first line of each."""
    from lightning_meta.cli import adapt, features, shards

    own = (shards.write_folder, shards.write_fonts, shards.write_glyphs)
    writers = (*own, shards.write_omniglot, shards.write_caltech101, features.features)
    for command in (*writers, shards.verify, shards.write_sheet, shards.export_images, adapt.adapt):
        assert (command.__doc__ or "").splitlines()[0].endswith(".")
        for name in command.__annotations__.keys() - {"return"}:
            assert f"\n        {name}: " in (command.__doc__ or ""), (command, name)
