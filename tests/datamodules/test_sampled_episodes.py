"""Episodes of images by a sampler: the images that were chosen, the same for any ranks and workers, named in reports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from datamodules.images import ImageEpisodes
from datamodules.reading.damage import DamageError
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.composition import Sampler
from datamodules.sampling.configured_size import ConfiguredSize
from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.episodes import EpisodeStream
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.sampling.loader import MetaLoader
from datamodules.sampling.meta_batches import Key
from datamodules.sampling.meta_dataset import MetaDataset
from datamodules.sinusoid import SinusoidTasks
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.core import Episode, InputError, MetaBatch, equal_parts
from lightning_meta.evaluation.compare import compare
from lightning_meta.learners import ProtoNet
from lightning_meta.reports.comparison_tables import markdown
from lightning_meta.training.resume import changes

VARIED = MetaDataset(min_ways=3, max_ways=6)
ROBUST = ConfiguredSize(imbalance="random", label_noise=0.2)
SIZE = EpisodeSize((3, 4), (2, 5), (1, 2))
every_sampler = pytest.mark.parametrize("sampler", [VARIED, ROBUST], ids=["meta_dataset", "configured_size"])


def stream(root: Path, sampler: Sampler, size: EpisodeSize = SIZE, **options: Any) -> EpisodeStream:
    tasks = ImageTasks(ShardSet(str(root)))
    return EpisodeStream(tasks, "train", size, **{"episodes": 20, "meta_batch": 8, "sampler": sampler, **options})


def tasks_of(batch: MetaBatch) -> list[Episode]:
    return [
        Episode(*(type(half)(half.x[i : i + 1], half.y[i : i + 1]) for half in part))
        for part in equal_parts(batch)
        for i in range(len(part.query.y))
    ]


def contents(batches: list[MetaBatch]) -> list[bytes]:
    return sorted(b"".join(t.numpy().tobytes() for half in one for t in half) for b in batches for one in tasks_of(b))


@pytest.fixture(scope="module")
def class_of(shard_root: Path) -> Callable[[torch.Tensor], int]:
    """Finds the class of an image among those of the training split."""
    shards, known = ShardSet(str(shard_root)), {}
    for number, record in enumerate(shards.index.split("train").tolist()):
        images = np.empty((12, 1, 28, 28), np.uint8)
        shards.read_images(record, np.arange(12), list(images))
        known |= {image.tobytes(): number for image in images}
    return lambda x: known[x.numpy().tobytes()]


@every_sampler
def test_an_episode_has_the_images_of_its_composition(
    sampler: Sampler, shard_root: Path, class_of: Callable[[torch.Tensor], int]
) -> None:
    drawn = stream(shard_root, sampler)
    assert drawn.composer
    for index in range(20):
        key = Key(0, "train", 0, index)
        composition = drawn.composer.compose(key)
        support, query = drawn.tasks.draw_composed([key], [composition])[0]
        place = {number: label for label, number in enumerate(composition.classes.tolist())}
        true = [place[class_of(x)] for x in support.x[0]]
        assert np.bincount(true).tolist() == composition.shots.tolist()
        assert [place[class_of(x)] for x in query.x[0]] == query.y[0].tolist()
        assert query.y[0].bincount().tolist() == composition.queries.tolist()
        wrong = sum(label != own for label, own in zip(support.y[0].tolist(), true, strict=True))
        assert wrong == (composition.labels != np.repeat(np.arange(len(place)), composition.shots)).sum()
        images = [x.numpy().tobytes() for half in (support, query) for x in half.x[0]]
        assert len(set(images)) == len(images)
        names = drawn.tasks.composed_names(key, composition)
        assert names == [f"class{number:02d}" for number in composition.classes]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize(("world", "workers"), [(1, 1), (2, 3), (4, 0)])
@every_sampler
def test_the_sequence_is_the_same_for_any_number_of_ranks_and_workers(
    sampler: Sampler, world: int, workers: int, shard_root: Path
) -> None:
    ranks = [list(MetaLoader(stream(shard_root, sampler, rank=rank, world=world), workers)) for rank in range(world)]
    whole = list(stream(shard_root, sampler))
    assert len(whole) == 3
    for number, batch in enumerate(whole):
        assert contents([batch]) == contents([rank[number] for rank in ranks])


def test_support_images_come_in_random_order(shard_root: Path) -> None:
    orders = {
        tuple(one.support.y[0].tolist()) for batch in stream(shard_root, ConfiguredSize()) for one in tasks_of(batch)
    }
    assert not any(list(order) == sorted(order) for order in orders if len(order) > 6)


@every_sampler
def test_no_training_episode_is_larger_than_the_rehearsed_one(sampler: Sampler, shard_root: Path) -> None:
    data = ImageEpisodes(str(shard_root), ways=SIZE.ways, shots=SIZE.shots, queries=SIZE.queries, sampler=sampler)
    small, large = data.samples("train")
    drawn = [one for batch in stream(shard_root, sampler, episodes=80) for one in tasks_of(batch)]
    assert small.support.y.shape[1] <= min(one.support.y.shape[1] for one in drawn)
    assert large.support.y.shape[1] >= max(one.support.y.shape[1] for one in drawn)
    assert large.support.ways == max(one.support.ways for one in drawn) == data.outputs
    assert large.support.x.is_floating_point()


def test_a_report_and_what_a_score_is_judged_on_name_the_sampler(shard_root: Path) -> None:
    plain, varied = ImageEpisodes(str(shard_root), queries=3), ImageEpisodes(str(shard_root), sampler=VARIED)
    assert "sampler" not in plain.protocol("test")
    found = varied.protocol("test")
    assert found["sampler"].startswith("MetaDataset(min_ways=3, max_ways=6, max_queries=10, ")
    assert (found["ways"], found["shots"], found["queries"]) == ((3, 6), (1, 6), 6)
    assert plain.judged_on != varied.judged_on
    back = ImageEpisodes(str(shard_root), queries=3, sampler=VARIED, eval_sampler="uniform")
    assert back.judged_on == plain.judged_on
    assert "sampler" in back.protocol("train")


def test_a_comparison_is_on_the_tasks_of_the_sampler_and_names_it(shard_root: Path) -> None:
    data = ImageEpisodes(str(shard_root), test_episodes=6, sampler=VARIED)
    learner = ProtoNet(nn.Sequential(nn.Flatten(), nn.Linear(784, 8)))
    found = compare([learner], data)
    (score,) = found.rounds[0].scored.values()
    assert len(score.scores) == 6
    assert found.rounds[0].size == "3-6-way 1-6-shot"
    assert found.protocol.sampler == str(VARIED)
    assert "6 queries, MetaDataset(min_ways=3, max_ways=6, " in markdown(found)
    with pytest.raises(InputError, match="differ in sampler"):
        compare([learner], [data, ImageEpisodes(str(shard_root), queries=6, test_episodes=6)])


def test_a_resumed_run_does_not_go_on_with_another_sampler() -> None:
    def configured(**own: Any) -> dict[str, Any]:
        return {"data": {"class_path": "datamodules.images.ImageEpisodes", "init_args": {"root": "glyphs", **own}}}

    varied = {"class_path": "datamodules.sampling.meta_dataset.MetaDataset", "init_args": {"min_ways": 5}}
    other = {**varied, "init_args": {"min_ways": 6}}
    for now, before in ((varied, None), (None, varied), (other, varied)):
        found = changes(configured(sampler=now), configured(sampler=before))
        assert found
        assert not any(change.is_free for change in found)


def test_sizes_that_the_sampler_draws_cannot_be_asked_for(shard_root: Path) -> None:
    data = ImageEpisodes(str(shard_root), sampler=VARIED)
    with pytest.raises(InputError, match="but MetaDataset draws it itself: leave them out, or set data"):
        data.test_sizes([5], None)
    with pytest.raises(InputError, match="but MetaDataset draws the shots of validation itself"):
        ImageEpisodes(str(shard_root), sampler=VARIED, val_shots=[1, 5])
    assert (
        len(ImageEpisodes(str(shard_root), queries=3, sampler=VARIED, eval_sampler="uniform").test_sizes([5], [1, 2]))
        == 2
    )


def test_without_groups_or_classes_one_line_says_so(shard_root: Path) -> None:
    with pytest.raises(InputError, match=r"the classes of split 'train' of .*patterns have no groups"):
        ImageEpisodes(str(shard_root), queries=3, sampler=ConfiguredSize("near")).setup("fit")
    with pytest.raises(InputError, match="SinusoidTasks has no classes that a sampler can choose from"):
        EpisodeStream(SinusoidTasks(), "train", SIZE, 8, sampler=VARIED)


def test_the_groups_of_an_index_are_the_families_of_near_classes(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (12, 7, 1, 8, 8), dtype=np.uint8)
    names = [f"{alphabet}/{letter}" for letter in "abcd" for alphabet in ("Greek", "Latin", "Thai")]
    classes = (
        ClassImages(name, "train", own, group=name.split("/")[0]) for name, own in zip(names, images, strict=True)
    )
    write_shards(tmp_path / "letters", "letters", Preprocess(8, 1), classes)
    near = stream(tmp_path / "letters", ConfiguredSize("near"))
    far = stream(tmp_path / "letters", ConfiguredSize("far"), size=EpisodeSize(3, 1, 1))
    for source, alphabets in ((near, 1), (far, 3)):
        assert source.composer
        for index in range(10):
            key = Key(0, "train", 0, index)
            drawn = source.tasks.composed_names(key, source.composer.compose(key))
            assert drawn
            assert len({name.split("/")[0] for name in drawn}) == alphabets


def test_another_class_with_enough_images_comes_in_place_of_a_damaged_one(
    shard_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = ShardSet(str(shard_root), on_error="skip")
    tasks, read = ImageTasks(shards), shards.read_images

    def damaged(record: int, *arguments: Any) -> Any:
        if record == 3:
            raise DamageError("this class is damaged")
        return read(record, *arguments)

    monkeypatch.setattr(shards, "read_images", damaged)
    drawn = EpisodeStream(tasks, "train", SIZE, 60, sampler=VARIED)
    assert drawn.composer
    for index in range(60):
        key = Key(0, "train", 0, index)
        composition = drawn.composer.compose(key)
        support = tasks.draw_composed([key], [composition])[0].support
        assert np.bincount(support.y[0]).tolist() == composition.shots.tolist()
        assert "class03" not in tasks.composed_names(key, composition)
    assert "1 of 30 classes" in str(tasks.report())
