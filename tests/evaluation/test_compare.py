"""A comparison: the same episodes for all, differences in pairs, and the scores that `test` finds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from datamodules.images import ImageEpisodes
from datamodules.index.class_names import trained_on
from datamodules.index.opening import read_index
from datamodules.reading.preprocess import Preprocess
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.cli.compare import run
from lightning_meta.core import InputError, score
from lightning_meta.evaluation.contestants import chosen, validation
from lightning_meta.reports.comparison import Round, Score
from lightning_meta.reports.few_shot import FewShotResult, Predictions
from lightning_meta.training import MetaTraining, load
from lightning_meta.training.checkpoint import Origin, build, read
from lightning_meta.training.measurements import Measurement, Quantity, Stage
from support.packaged_learners import spec
from support.trainer import SILENT, of_lightning

CONV = {"class_path": "lightning_meta.nn.Conv4", "init_args": {"in_channels": 1, "image_size": 28, "width": 4}}


def checkpoint(folder: Path, learner: dict[str, Any], root: Path, seed: int = 0) -> Path:
    """As `fit` leaves it, of a learner that has not learned."""
    torch.manual_seed(seed)
    weights = {f"learner.{name}": w for name, w in build(learner).state_dict().items()}
    data = {"class_path": "datamodules.images.ImageEpisodes", "init_args": {"root": str(root), "meta_batch": 4}}
    path = folder / "version_0" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    content = {"state_dict": weights, "hyper_parameters": {"learner": learner, "data": data}, "global_step": 7}
    of_data = {"preprocess": Preprocess(28, 1)._asdict(), "classes": trained_on(read_index(str(root)), "train")}
    torch.save(content | {"ImageEpisodes": of_data}, path)
    with SummaryWriter(str(folder / "version_0")) as board:
        for step, value in ((3, 0.5), (7, 0.75)):
            board.add_scalar("meta_val/accuracy", value, step)
    return path


@pytest.fixture(scope="module")
def checkpoints(shard_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of ProtoNet and one of a MAML for 5 ways."""
    runs = tmp_path_factory.mktemp("runs")
    return [
        checkpoint(runs / "proto", spec("protonet", CONV), shard_root),
        checkpoint(runs / "maml", spec("maml", CONV, test_steps=1), shard_root, seed=1),
    ]


@pytest.fixture(scope="module")
def compared(checkpoints: list[Path], shard_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a comparison, without their endings."""
    out = tmp_path_factory.mktemp("compared") / "deeper" / "both"
    where = ["--on", str(shard_root), "--ways", "5", "3", "--shots", "1", "2", "--queries", "4"]
    run([*map(str, checkpoints), *where, "--episodes", "10", "--batch", "4", "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def found(compared: Path) -> dict[str, Any]:
    return json.loads(compared.with_name("both.json").read_text())


def cell(found: dict[str, Any], learner: str, ways: int, shots: int) -> dict[str, Any]:
    (one,) = (r for r in found["results"] if (r["learner"], r["ways"], r["shots"]) == (learner, ways, shots))
    return one


def test_every_episodes_score_is_kept_and_is_the_learners(
    found: dict[str, Any], checkpoints: list[Path], shard_root: Path
) -> None:
    data = ImageEpisodes(str(shard_root), ways=5, shots=2, queries=4, meta_batch=1, test_episodes=10)
    for name, path in zip(("proto", "maml"), checkpoints, strict=True):
        learner = load(path)
        with torch.no_grad():
            scores = [float(score(learner.adapt(e.support)(e.query.x), e.query.y)) for e in data.test_dataloader()]
        assert cell(found, name, 5, 2)["scores"] == pytest.approx(scores, abs=1e-6)
        assert len(set(scores)) > 1


@of_lightning
def test_test_finds_the_same(found: dict[str, Any], checkpoints: list[Path], shard_root: Path) -> None:
    data = ImageEpisodes(str(shard_root), ways=5, shots=1, queries=4, meta_batch=4, test_episodes=10)
    for name, path in zip(("proto", "maml"), checkpoints, strict=True):
        (tested,) = pl.Trainer(**SILENT).test(MetaTraining(load(path)), datamodule=data, verbose=False)
        one = cell(found, name, 5, 1)
        for part, tag in (("mean", "accuracy"), ("ci95", "accuracy_ci95"), ("nll", "nll"), ("ece", "ece")):
            assert one[part] == pytest.approx(tested[f"meta_test/{tag}"], abs=1e-6)


def test_differences_are_paired(found: dict[str, Any]) -> None:
    names = ("proto", "maml", "maml (inductive)")
    cells = {name: cell(found, name, 5, 1) for name in names}
    best = max(names, key=lambda name: np.mean(cells[name]["scores"]))
    assert "difference" not in cells[best]
    for name in set(names) - {best}:
        difference = np.array(cells[name]["scores"]) - cells[best]["scores"]
        assert cells[name]["difference"] == {
            "to": best,
            "mean": pytest.approx(difference.mean(), abs=1e-6),
            "ci95": pytest.approx(1.96 * difference.std(ddof=1) / 10**0.5, abs=1e-6),
        }


def test_a_learner_that_diverged_is_the_best_of_none() -> None:
    def reached(mean: float, scores: tuple[float, float]) -> Score:
        return Score(mean, None, None, None, 0.1, 0.1, scores)

    cells: dict[str, Any] = {"a": reached(float("nan"), (1.0, float("nan"))), "b": reached(2.0, (1.0, 3.0))}
    compared = Round("Sinusoid", 1, 5, "mse", cells).compare_paired(None)
    assert not any(one.difference for one in compared.scored.values())
    cells["c"] = reached(1.0, (1.0, 1.0))
    compared = Round("Sinusoid", 1, 5, "mse", cells).compare_paired(None).scored
    assert [compared[name].difference and compared[name].difference.to for name in "abc"] == [None, "c", None]


def test_a_size_that_a_learner_cannot_do_is_empty_with_the_reason(found: dict[str, Any], compared: Path) -> None:
    assert "exactly 5 classes" in cell(found, "maml", 3, 1)["reason"]
    assert 0 <= cell(found, "proto", 3, 1)["mean"] <= 1
    text = compared.with_name("both.md").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("| maml  ") and "+-" in line)
    assert [part.strip() for part in line.split("|")[-3:-1]] == ["-", "-"]
    assert "- maml, maml (inductive) on" in text
    assert "this task has 3" in text


def test_facts_of_training_come_from_the_checkpoint_and_its_run(found: dict[str, Any], shard_root: Path) -> None:
    proto, maml, _ = found["learners"]
    assert (proto["episodes"], proto["trained_on"]) == (28, str(shard_root))
    assert proto["validation"] == [[16, 0.5], [32, 0.75]]
    assert (proto["predictions"], maml["predictions"]) == ("inductive", "transductive")
    assert proto["parameters"] == sum(w.numel() for w in build(spec("protonet", CONV)).parameters())


def test_the_picture_is_one(compared: Path) -> None:
    with Image.open(compared.with_name("both.png")) as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(10**6) or []) > 100
    assert not list(compared.parent.glob("*partial*"))


def test_other_data_are_out_of_domain_and_other_shapes_refused(
    checkpoints: list[Path], shard_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def other(name: str, size: int) -> str:
        images = np.random.default_rng(0).integers(0, 255, (8, 6, 1, size, size), dtype=np.uint8)
        classes = (ClassImages(f"c{i}", "test", each) for i, each in enumerate(images))
        write_shards(tmp_path / name, name, Preprocess(size, 1), classes)
        return str(tmp_path / name)

    sets = [str(shard_root), other("noise", 28), other("small", 20)]
    options = ["--ways", "5", "--queries", "2", "--episodes", "2", "--names", "a", "--out", str(tmp_path / "out")]
    run([str(checkpoints[0]), "--on", *sets, *options])
    said = capsys.readouterr().out
    assert said.count("out of domain") == 2
    assert "was trained on images of 1x28x28" in said
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    assert ["mean" in one for one in results] == [True, True, False]
    with pytest.raises(InputError, match="no checkpoint can do any of these tasks"):
        run([str(checkpoints[0]), "--on", sets[2], *options])


def test_classes_that_were_trained_on_are_not_called_held_out(
    found: dict[str, Any], checkpoints: list[Path], shard_root: Path, tmp_path: Path
) -> None:
    """The split of the comparison above has others, that of this one is the training split."""
    assert not any("classes_trained_on" in cell for cell in found["results"])
    where = ["--on", str(shard_root), "--queries", "2", "--episodes", "2", "--split", "train"]
    run([str(checkpoints[0]), *where, "--out", str(tmp_path / "met")])
    (cell,) = json.loads((tmp_path / "met.json").read_text())["results"]
    assert cell["classes_trained_on"] == 16
    assert "| 16 classes trained on |" in (tmp_path / "met.md").read_text()
    for splits, met in ((("train", "val", "train"), 16), (("train", "val", "test"), 0)):
        data = ImageEpisodes(str(shard_root), splits=splits, queries=2)
        data.check_checkpoint("x.ckpt", read(checkpoints[0]))
        protocol = data.protocol("test")
        assert protocol.get("classes_trained_on", 0) == met
        stage = Stage("meta_test")
        accuracy = Measurement(Quantity(stage, "accuracy"), 0.5, 0.1, 600)
        made = Origin("x.ckpt", str(shard_root), 7, None)
        result = FewShotResult(stage, "ProtoNet", protocol, made, (accuracy,), Predictions("inductive", False, None))
        assert ("not held out: 16 classes of split train were trained on" in result.text()) == bool(met)


def test_names_are_as_short_as_they_can_be(tmp_path: Path) -> None:
    def path(run: str, version: int, file: str) -> Path:
        return tmp_path / run / f"version_{version}" / "checkpoints" / f"{file}.ckpt"

    paths = [
        path("a", 0, "best"),
        path("b", 0, "best"),
        path("b", 1, "best"),
        path("b", 1, "last"),
        tmp_path / "c.ckpt",
    ]
    assert chosen(paths, None) == ["a", "b/version_0", "b/version_1/best", "b/version_1/last", "c"]
    assert chosen(paths[:2], ["x", "y"]) == ["x", "y"]
    with pytest.raises(InputError, match="given twice"):
        chosen([paths[0], paths[0]], None)
    with pytest.raises(InputError, match="would have one name"):
        chosen([path("x/b", 0, "best"), path("y/b", 0, "best")], None)


def test_without_event_files_there_is_no_validation_curve(tmp_path: Path) -> None:
    assert validation(tmp_path / "run" / "version_0" / "checkpoints" / "best.ckpt") == []
    assert validation(tmp_path / "best.ckpt") == []
