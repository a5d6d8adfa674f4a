"""A run in TensorBoard, as its event files have it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # type: ignore[attr-defined]

from datamodules.images import ImageEpisodes
from lightning_meta.core import Episode, Examples
from lightning_meta.training.episode_pictures import CELL, FOOT, GAP, HEAD, NAME, draw_episode
from support.commands import SINES, Commands
from support.runs import GLYPHS, QUICK, run, write_yaml


@pytest.fixture
def do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path, monkeypatch, capfd)


def events(folder: Path) -> list[EventAccumulator]:
    files = sorted(folder.glob("events*"), key=lambda file: file.stat().st_mtime)
    return [EventAccumulator(str(file)).Reload() for file in files]


def test_scores_come_first_and_hparams_begin_with_what_people_compare(workplace: Path) -> None:
    board = events(workplace / "runs/glyphs-protonet/version_0")[0]
    tags = sorted(board.Tags()["scalars"])
    assert "epoch" not in tags
    assert not [tag for tag in tags if tag.startswith(("hparams", "lr-"))]
    assert tags[0].startswith("meta_")
    assert "meta_train/learning_rate" in tags
    experiment = HParamsPluginData.FromString(board.SummaryMetadata("_hparams_/experiment").plugin_data.content)
    infos = sorted(
        experiment.experiment.hparam_infos, key=lambda one: (not one.differs, one.name)
    )  # as TensorBoard does
    columns = [one.name for one in infos]
    assert columns[:5] == ["backbone", "inner_lr", "learner", "shots", "ways"], "of which it shows five"
    assert "data.init_args.root" in columns
    metrics = [one.name.tag for one in experiment.experiment.metric_infos]
    assert metrics[:2] == ["meta_val/accuracy", "meta_test/accuracy"]
    start = HParamsPluginData.FromString(board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    values = start.session_start_info.hparams
    assert (values["learner"].string_value, values["backbone"].string_value) == ("ProtoNet", "Conv4")
    assert (values["ways"].number_value, values["shots"].number_value) == (5, 1)


@pytest.mark.slow
def test_a_test_adds_its_scores_and_an_episode_to_the_run_of_the_checkpoint(workplace: Path) -> None:
    run(workplace, f"fit {GLYPHS} {QUICK} --trainer.logger.name shown")
    folder = workplace / "runs/shown/version_0"
    before = set(workplace.rglob("events*"))
    options = "--data.test_episodes 4 --ways 3 5"
    run(workplace, f"test {GLYPHS} {QUICK} {options} --ckpt_path {folder}/checkpoints/best.ckpt")
    new = set(workplace.rglob("events*")) - before
    assert {file.parent for file in new} == {folder}
    boards = [EventAccumulator(str(file)).Reload().Tags() for file in new]
    for name, kind in (("accuracy", "scalars"), ("episode", "images")):
        tags = {tag for board in boards for tag in board[kind]}
        assert {f"meta_test/{ways}way_1shot/{name}" for ways in (3, 5)} <= tags


@pytest.mark.usefixtures("recwarn", "no_type_checker")  # Lightning warns of what a short run is
def test_no_logger_writes_a_test_into_another_run(do: Commands) -> None:
    loggers = [
        {"class_path": f"pytorch_lightning.loggers.{kind}", "init_args": {"save_dir": place}}
        for kind, place in (("TensorBoardLogger", "t"), ("CSVLogger", "c"))
    ]
    two = write_yaml(Path("two.yaml"), {"trainer": {"logger": loggers}})
    other = write_yaml(Path("other.yaml"), {"data": {"init_args": {"seed": 3}}})
    do(f"fit {SINES} --config {two} --trainer.max_epochs 1")
    do(f"fit {SINES} --config {two} --config {other} --trainer.max_epochs 1")
    mine, others = "sinusoid-maml-two", "sinusoid-maml-two-other"
    before = {path: path.stat().st_size for path in Path().rglob("*") if path.is_file() and others in path.parts}
    do(f"test {SINES} --config {two} --config {other} --ckpt_path t/{mine}/version_0/checkpoints/best.ckpt")
    after = {path: path.stat().st_size for path in Path().rglob("*") if path.is_file() and others in path.parts}
    assert after == before
    assert "meta_test/mse" in "".join(file.read_text() for file in Path("c", mine).rglob("metrics.csv"))
    assert any("meta_test/mse" in one.Tags()["scalars"] for one in events(Path("t", mine, "version_0")))


def test_an_episode_shows_right_answers_and_mistakes() -> None:
    support = Examples(torch.zeros(1, 2, 1, 8, 8), torch.tensor([[1, 0]]))
    query = Examples(torch.ones(1, 4, 1, 8, 8), torch.tensor([[0, 0, 1, 1]]))
    picture = draw_episode(Episode(support, query), ["cat", "dog"], torch.tensor([0, 1, 1, 0]))
    assert picture.shape == (HEAD + 2 * (CELL + FOOT + GAP), NAME + 3 * (CELL + GAP) + 2 * GAP, 3)
    first = NAME + (CELL + GAP) + 2 * GAP
    frames = [
        [picture[HEAD + row * (CELL + FOOT + GAP) + CELL // 2, first + column * (CELL + GAP) - 1] for column in (0, 1)]
        for row in (0, 1)
    ]
    red = [[int(colour[0]) > int(colour[1]) for colour in row] for row in frames]
    assert red == [[False, True], [False, True]]
    assert (picture[HEAD : HEAD + CELL, :NAME] < 128).any(), "the name of the class"


def test_the_names_of_an_episode_are_those_of_its_classes(shard_root: Path) -> None:
    data = ImageEpisodes(str(shard_root), ways=4, shots=2, queries=3, seed=5)
    episode = next(iter(data.val_dataloader()))
    names = data.class_names("val")
    assert names is not None
    shards, records = data.tasks.shards, {one.name: n for n, one in enumerate(data.tasks.shards.index.records)}  # type: ignore[attr-defined]
    for label, name in enumerate(names):
        images = shards.images(records[name], np.arange(shards.count(records[name])))
        mine = (episode.support.x[0][episode.support.y[0] == label][0] * 255).round().byte().numpy()
        assert any((mine == image).all() for image in images)
    assert len(set(names)) == 4
