"""Episodes from several sets of images: their shares, the same sequence for any ranks and workers, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.images import ImageEpisodes
from datamodules.reading.damage import DamageError
from datamodules.reading.image_source import ImageSource
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.configured_size import ConfiguredSize
from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.episodes import EpisodeStream
from datamodules.sampling.loader import MetaLoader
from datamodules.sampling.meta_batches import Key
from datamodules.sampling.meta_dataset import MetaDataset
from datamodules.sampling.mixture import MixedTasks
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.core import InputError, join_tasks
from lightning_meta.training.resume import changes
from support.mixtures import contents, pixels, sources, tasks_of, write_numbered

SIZE = EpisodeSize((3, 5), (1, 2), (1, 3))
NEAR, VARIED = ConfiguredSize("near", imbalance="random"), MetaDataset(min_ways=3, max_ways=6)
KINDS = {
    "episodes": {"mix": "episodes"},
    "classes": {"mix": "classes"},
    "near": {"mix": "episodes", "sampler": NEAR},
    "meta_dataset": {"mix": "episodes", "sampler": VARIED},
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("mixture")
    return write_numbered(folder, 0), write_numbered(folder, 1)


def mixed(roots: tuple[Path, ...], mix: Any = "episodes", weights: tuple[float, ...] = (2, 1)) -> MixedTasks:
    sets = {name: ShardSet(str(root)) for name, root in zip("ab", roots, strict=False)}
    return MixedTasks(sets, weights[: len(roots)], mix)


def stream(roots: tuple[Path, ...], mix: Any = "episodes", **options: Any) -> EpisodeStream:
    return EpisodeStream(mixed(roots, mix), "train", SIZE, **{"episodes": 20, "meta_batch": 8, **options})


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # more than this machine's cores
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_sequence_is_the_same_for_any_ranks_and_workers(
    kind: str, world: int, workers: int, roots: tuple[Path, Path]
) -> None:
    whole = list(stream(roots, **KINDS[kind]))
    ranks = [list(MetaLoader(stream(roots, **KINDS[kind], rank=rank, world=world), workers)) for rank in range(world)]
    assert len(whole) == 3
    for number, batch in enumerate(whole):
        assert contents([batch]) == contents([rank[number] for rank in ranks])


@pytest.mark.parametrize("kind", KINDS)
def test_an_episode_is_of_one_source_or_of_classes_of_both(kind: str, roots: tuple[Path, Path]) -> None:
    tasks = [task for batch in stream(roots, **KINDS[kind], episodes=200) for task in tasks_of(batch)]
    of_sets = []
    for support, query in tasks:
        shown, asked = pixels(support.x), pixels(query.x)
        assert len({*shown, *asked}) == len(shown) + len(asked)
        own = {
            (image[:2], label)
            for x, y in ((shown, support.y), (asked, query.y))
            for image, label in zip(x, y[0].tolist(), strict=True)
        }
        assert len(own) == len({label for _, label in own}) == len({image for image, _ in own})
        if "near" in kind:
            assert len({image[1] % 2 for image in shown}) == 1
        of_sets.append(frozenset(image[0] for image in shown))
    both = {frozenset({0}), frozenset({1})}
    assert set(of_sets) == (both if kind != "classes" else both | {frozenset({0, 1})})


def test_sources_come_by_weight(roots: tuple[Path, Path]) -> None:
    """Of 6,000 draws each; 4 standard deviations are 0.024."""
    tasks = mixed(roots)
    keys = [Key(0, "train", 0, index) for index in range(6000)]
    assert np.mean([tasks.source_of(key) for key in keys]) == pytest.approx(1 / 3, abs=0.024)
    across, first = mixed(roots, "classes"), len(ShardSet(str(roots[0])).index.records)
    drawn = np.concatenate([across.choose(key, key.rng(), 3) for key in keys[:2000]])
    assert np.mean(drawn >= first) == pytest.approx(1 / 3, abs=0.024)
    counts = np.unique(drawn[drawn < first], return_counts=True)[1]
    assert len(counts) == 12
    assert counts.max() / counts.min() < 1.5


def test_classes_of_the_other_source_fill_up_an_episode(roots: tuple[Path, Path]) -> None:
    """22 of 23 classes cannot be of one source by weight alone."""
    tasks = mixed(roots, "classes", weights=(1e6, 1))
    drawn = tasks.choose(key := Key(0, "train", 0, 0), key.rng(), 22)
    assert len(set(drawn.tolist())) == 22
    said = r"24 ways were asked of split 'train' of .*numbered0, .*numbered1, which has 23"
    with pytest.raises(InputError, match=said):
        tasks.check("train", EpisodeSize(24, 1, 1))


@pytest.mark.parametrize("sampler", [None, NEAR])
def test_a_single_source_gives_the_episodes_of_its_set(sampler: Any, roots: tuple[Path, Path]) -> None:
    sizes = {"ways": 3, "shots": (1, 2), "queries": 2, "epoch_batches": 4, "val_episodes": 8, "sampler": sampler}
    alone = ImageEpisodes(str(roots[0]), **sizes)
    mixture = ImageEpisodes(sources=sources(roots[0], weights=(7,)), **sizes)
    assert contents(list(alone.train_dataloader())) == contents(list(mixture.train_dataloader()))
    assert contents(list(alone.val_dataloader())) == contents(list(mixture.val_dataloader()[0]))


@pytest.mark.parametrize("stage", ["val", "test"])
def test_each_source_is_scored_on_the_episodes_of_its_set(stage: str, roots: tuple[Path, Path]) -> None:
    sizes = {"ways": 3, "queries": 2, "val_episodes": 8, "test_episodes": 8}
    loaders = getattr(ImageEpisodes(sources=sources(*roots), **sizes), f"{stage}_dataloader")()
    assert len(loaders) == 2
    for root, loader in zip(roots, loaders, strict=True):
        alone = getattr(ImageEpisodes(str(root), **sizes), f"{stage}_dataloader")()
        assert contents(list(alone)) == contents(list(loader))


def test_several_shots_and_sources_are_all_scored(roots: tuple[Path, Path]) -> None:
    data = ImageEpisodes(sources=sources(*roots), ways=3, queries=2, val_episodes=8, val_shots=[1, 5])
    assert data.points("val") == [{"source": name, "shots": n} for name in "ab" for n in (1, 5)]
    assert [next(iter(one)).support.x.shape[1] for one in data.val_dataloader()] == [3, 15, 3, 15]
    assert (data.points("train"), data.points("test")) == ([{}], [{"source": "a"}, {"source": "b"}])


def test_classes_of_all_sources_are_scored_together(roots: tuple[Path, Path]) -> None:
    data = ImageEpisodes(sources=sources(*roots), mix="classes", ways=3, queries=2, test_episodes=8)
    assert data.points("test") == [{}]
    assert {
        image[0] for batch in data.test_dataloader() for one in tasks_of(batch) for image in pixels(one.support.x)
    } == {0, 1}
    names = data.class_names("test")
    assert {name.partition("/")[0] for name in names or ()} <= {"a", "b"}


def test_a_class_of_the_same_source_comes_in_place_of_a_damaged_one(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ImageEpisodes(sources=sources(*roots), on_error="skip", ways=3, queries=2, epoch_batches=20)
    assert isinstance(data.tasks, MixedTasks)
    shards = data.tasks.joined.parts[1]
    read = shards.read_images

    def damaged(record: int, *arguments: Any) -> None:
        if record < 4:
            raise DamageError("this class is damaged")
        read(record, *arguments)

    monkeypatch.setattr(shards, "read_images", damaged)
    for batch in data.train_dataloader():
        for one in tasks_of(batch):
            found = pixels(one.support.x)
            assert len({image[0] for image in found}) == 1
            assert all(image[0] == 0 or image[1] >= 4 for image in found)
    assert "4 of 23 classes of" in str(data.tasks.report())
    assert "numbered1 are damaged and were skipped" in str(data.tasks.report())


def test_flat_batches_pass_over_the_images_of_all_sources(roots: tuple[Path, Path]) -> None:
    data = ImageEpisodes(
        sources=sources(*roots, weights=(1, 1)), flat_batch=23, meta_batch=1, epoch_batches=10, ways=3, queries=2
    )
    batches = list(data.train_dataloader())
    found = [image for batch in batches for image in pixels(batch.query.x)]
    assert len(set(found)) == len(found) == 230
    labels = torch.cat([batch.query.y[0] for batch in batches]).tolist()
    assert labels == [image[1] + 12 * image[0] for image in found]
    assert data.classes == 23


def test_training_on_a_mixture_is_known_for_every_source(roots: tuple[Path, Path]) -> None:
    trained = {"data": ImageEpisodes(sources=sources(*roots), queries=2, ways=3).state_dict()}
    for root, classes in zip(roots, (12, 11), strict=True):
        alone = ImageEpisodes(str(root), queries=2, ways=3, splits=("train", "val", "train"))
        alone.check_checkpoint("last.ckpt", trained)
        assert alone.protocol("test")["classes_trained_on"] == classes
    held_out = ImageEpisodes(sources=sources(*roots), queries=2, ways=3)
    held_out.check_checkpoint("last.ckpt", trained)
    assert "classes_trained_on" not in held_out.protocol("test")


def test_reports_name_the_sources(roots: tuple[Path, Path]) -> None:
    data = ImageEpisodes(sources=sources(*roots), queries=2, ways=3)
    found = data.protocol("test")
    assert found["data"] == "numbered0+numbered1"
    assert found["sources"] == f"each of a ({roots[0]}) + b ({roots[1]})"
    assert data.protocol("train")["sources"] == f"episodes mixed of a ({roots[0]}, weight 2) + b ({roots[1]}, weight 1)"
    other = ImageEpisodes(sources=sources(*roots, weights=(1, 1)), queries=2, ways=3)
    assert data.judged_on == other.judged_on  # by episodes of each
    across, otherwise = (
        ImageEpisodes(sources=sources(*roots, weights=weights), mix="classes", queries=2, ways=3)
        for weights in ((2, 1), (1, 1))
    )
    assert len({data.judged_on, across.judged_on, otherwise.judged_on}) == 3


def test_a_resumed_run_does_not_go_on_with_other_sources() -> None:
    def configured(mix: str = "episodes", **own: Any) -> dict[str, Any]:
        described = {name: {"root": root, "weight": weight, "roots": None} for name, (root, weight) in own.items()}
        arguments = {"root": None, "sources": described, "mix": mix}
        return {"data": {"class_path": "datamodules.images.ImageEpisodes", "init_args": arguments}}

    before = configured(a=("x/one", 1.0), b=("x/two", 1.0))
    for now in (
        configured(a=("x/one", 2.0), b=("x/two", 1.0)),
        configured(a=("x/one", 1.0)),
        configured(a=("x/one", 1.0), b=("x/three", 1.0)),
        configured("classes", a=("x/one", 1.0), b=("x/two", 1.0)),
    ):
        found = changes(now, before)
        assert found
        assert not any(change.is_free for change in found)
    moved = changes(configured(a=("y/one", 1.0), b=("y/two", 1.0)), before)
    assert [(change.key, change.is_free) for change in moved] == [(f"data.sources.{name}.root", True) for name in "ab"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "neither root nor sources is given: give root, one set of images, or sources, several by name"),
        ({"root": "x", "sources": {"a": ImageSource("x")}}, "root and sources are both given: give root"),
        (
            {"sources": {}},
            r"sources is empty: give at least one source, --data\.sources '{NAME: {root: FOLDER_OR_URL}}'",
        ),
        ({"sources": {"a b": ImageSource("x")}}, "a source is called 'a b': name it with letters, digits, - and _"),
        ({"sources": {"a": ImageSource("x", 0)}}, "the weight of source a is 0: give a number above 0, or leave"),
        ({"sources": {"a": ImageSource("x", -1)}}, "the weight of source a is -1"),
        ({"sources": {"a": ImageSource("x", float("nan"))}}, "the weight of source a is nan"),
        ({"sources": {"a": ImageSource("x", float("inf"))}}, "the weight of source a is inf"),
        ({"sources": {"a": ImageSource("x"), "b": ImageSource("x/")}}, "sources a and b are both x/: give a set once"),
        ({"sources": {"a": ImageSource("x")}, "mix": "images"}, "mix is 'images': choose episodes or classes"),
        ({"root": "x", "mix": "classes"}, "mix is classes, but there is a single root to draw from: give sources"),
        (
            {"sources": {"a": ImageSource("x")}, "roots": {"r": "y"}},
            "roots are those of a single set: give each source",
        ),
        (
            {"sources": {"a": ImageSource("x"), "b": ImageSource("y", 2)}, "flat_batch": 8},
            "flat_batch is 8, and the sources have different weights, .* leave the weights out, or set flat_batch to 0",
        ),
    ],
)
@pytest.mark.usefixtures("no_type_checker")
def test_sources_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageEpisodes(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 12}, "source b: 12 ways were asked of split 'train' of .*numbered1, which has 11 classes"),
        ({"ways": 12, "sampler": ConfiguredSize()}, "12 ways were asked of split 'train' of .*numbered1, which has 11"),
        ({"queries": 10}, "source a: 1 shots and 10 queries need 11 images per class, but class 'train0'"),
        ({"mix": "classes", "ways": 24}, "24 ways were asked of split 'train'"),
        ({"mix": "classes", "queries": 10}, "1 shots and 10 queries need 11 images per class"),
        (
            {"mix": "classes", "sampler": NEAR},
            "sampler is ConfiguredSize, which .* mix is classes: set data.mix to episodes",
        ),
        ({"splits": ("train", "dev", "test")}, "numbered0 has no split 'dev'"),
    ],
)
def test_what_the_sources_cannot_give_is_refused_before_training(
    options: dict[str, Any], message: str, roots: tuple[Path, Path]
) -> None:
    data = ImageEpisodes(sources=sources(*roots), **{"queries": 2, "ways": 3, "eval_ways": 3, **options})
    with pytest.raises(InputError, match=message):
        data.setup("fit")


def test_sources_of_other_shapes_are_refused_by_name(roots: tuple[Path, Path], tmp_path: Path) -> None:
    large = write_numbered(tmp_path, 1, size=8)
    with pytest.raises(
        InputError, match=r"source a \(.*numbered0\) are 1x6x6 .* source b \(.*numbered1\) 1x8x8: write or"
    ):
        ImageEpisodes(sources=sources(roots[0], large), queries=2).setup("fit")
    colour = (ClassImages(f"c{i}", "train", np.zeros((4, 3, 6, 6), np.uint8)) for i in range(4))
    write_shards(tmp_path / "colour", "colour", Preprocess(6, 3), colour)
    with pytest.raises(
        InputError, match=r"1x6x6 .* 3x6x6: write or index one of them again with the --size and --channels"
    ):
        ImageEpisodes(sources=sources(roots[0], tmp_path / "colour"), queries=2).setup("fit")


def test_a_mixture_is_drawn_into_one_tensor_as_one_by_one(roots: tuple[Path, Path]) -> None:
    tasks, keys = mixed(roots), [Key(0, "train", 0, index) for index in range(8)]
    one_by_one = join_tasks([tasks.draw(key, 3, 1, 2) for key in keys])
    assert contents([tasks.draw_batch(keys, 3, 1, 2)]) == contents([one_by_one])
