"""Meta-Dataset's sampler draws by the paper's formulas; what samplers cannot draw is said."""

import math
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datamodules.sampling.configured_size import ConfiguredSize
from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.families import families
from datamodules.sampling.meta_batches import Key
from datamodules.sampling.meta_dataset import MetaDataset
from lightning_meta.core import InputError
from support.compositions import SIZE, draw, share, split, write_hierarchy


@pytest.fixture
def hierarchy(tmp_path: Path) -> str:
    return write_hierarchy(tmp_path)


def test_meta_dataset_keeps_its_bounds() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(2, 1500, 80)
    episodes = draw(MetaDataset(), split(counts.tolist()), 400)
    for one in episodes:
        own = counts[one.classes]
        assert 5 <= len(one.classes) <= 50
        assert len(set(one.classes.tolist())) == len(one.classes)
        assert set(one.queries.tolist()) == {min(10, int(own.min()) // 2)}
        assert (one.shots >= 1).all()
        assert (one.shots + one.queries <= own).all()
        assert one.shots.sum() <= 500
        assert one.labels.tolist() == [label for label, k in enumerate(one.shots) for _ in range(k)]
    assert max(one.shots.sum() for one in episodes) > 450
    assert max(one.shots.max() for one in episodes) > 100  # which limits the sum and not a class


def test_an_episode_is_a_pure_function_of_its_key() -> None:
    composer = MetaDataset().composer(split([20] * 60), SIZE)
    again = pickle.loads(pickle.dumps(composer))
    for key in (Key(1, "train", 0, 7), Key(0, "train", 1, 7), Key(0, "val", 0, 7)):
        one, other = composer.compose(key), again.compose(key)
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
        assert not np.array_equal(one.classes, composer.compose(Key(0, "train", 0, 7)).classes)


def test_the_size_of_the_support_set_is_the_papers() -> None:
    composer = MetaDataset().composer(split([20] * 5), SIZE)
    assert composer.queries(np.array([20, 30])) == 10
    assert composer.queries(np.array([7, 30])) == 3
    assert composer.support(np.array([20, 20, 13]), 5, beta=0.35) == 6 + 6 + 3  # ceilings of 0.35 times 15, 15 and 8
    assert composer.support(np.array([1000, 1000]), 10, beta=0.5) == 100  # of a class 100 count at most
    assert composer.support(np.array([1000] * 50), 10, beta=0.5) == 500
    assert composer.support(np.array([20, 20, 20]), 10, beta=1e-9) == 3


def test_the_mean_shots_of_every_class_are_those_of_the_papers_formulas() -> None:
    """Against the formulas written out for each class, with other random numbers."""
    counts, rng = [8, 20, 20, 60, 400, 900], np.random.default_rng(5)

    def by_the_paper() -> list[int]:
        q = min(10, min(c // 2 for c in counts))
        beta = 1 - rng.random()
        support = min(500, sum(math.ceil(beta * min(100, c - q)) for c in counts))
        weight = [math.exp(rng.uniform(math.log(0.5), math.log(2))) * c for c in counts]
        return [
            min(math.floor(w / sum(weight) * (support - len(counts))) + 1, c - q)
            for w, c in zip(weight, counts, strict=True)
        ]

    expected = np.array([by_the_paper() for _ in range(10000)])
    drawn = np.zeros((1200, 6))
    for row, one in zip(drawn, draw(MetaDataset(min_ways=6), split(counts), 1200), strict=True):
        row[one.classes] = one.shots
    error = np.sqrt(expected.var(0) / 10000 + drawn.var(0) / 1200)
    assert (np.abs(drawn.mean(0) - expected.mean(0)) < 4 * error).all()
    assert (np.abs(drawn.std(0) - expected.std(0)) < 0.1 * expected.std(0)).all()


def test_ways_are_uniform_and_so_is_every_class() -> None:
    episodes = draw(MetaDataset(max_ways=9), split([20] * 12), 1500)
    ways = [len(one.classes) for one in episodes]
    for n in range(5, 10):
        assert share(ways, n) == pytest.approx(1 / 5, abs=0.05)
    first = [int(one.classes[0]) for one in episodes]
    for number in range(12):
        assert share(first, number) == pytest.approx(1 / 12, abs=0.035)


def test_with_groups_a_group_is_drawn_first_uniformly_whatever_its_size() -> None:
    groups = [0] * 5 + [1] * 40 + [2] * 6 + [3] * 4  # the last is too small
    episodes = draw(MetaDataset(hierarchy="groups"), split([20] * 55, groups), 1000)
    of = [set(np.array(groups)[one.classes].tolist()) for one in episodes]
    for group in range(3):
        assert share(of, {group}) == pytest.approx(1 / 3, abs=0.07)
    ways = Counter(len(one.classes) for one, own in zip(episodes, of, strict=True) if own == {1})
    assert set(ways) == set(range(5, 41))
    assert {len(one.classes) for one, own in zip(episodes, of, strict=True) if own == {2}} == {5, 6}


def test_the_families_of_a_hierarchy_are_the_nodes_with_enough_classes_below(hierarchy: str) -> None:
    found = families(split([20] * 20), hierarchy, 5, 12)
    assert [one.tolist() for one in found] == [[*range(12)], [*range(5, 12)], [*range(5)], [*range(12, 18)]]


def test_with_a_hierarchy_all_classes_of_a_node_or_as_many_as_may_be_are_taken(hierarchy: str) -> None:
    episodes = draw(MetaDataset(hierarchy=hierarchy, max_ways=10, max_leaves=12), split([20] * 20), 1000)
    of = [frozenset(one.classes.tolist()) for one in episodes]
    for node in (range(5, 12), range(5), range(12, 18)):
        assert share(of, frozenset(node)) == pytest.approx(1 / 4, abs=0.06)
    animals = [own for own in of if len(own) == 10]
    assert len(animals) / len(of) == pytest.approx(1 / 4, abs=0.06)
    assert all(own < set(range(12)) for own in animals)
    orders = {tuple(one.classes.tolist()) for one in episodes if set(one.classes.tolist()) == set(range(5))}
    assert len(orders) > 100  # of 120: labels say nothing of the hierarchy


def test_classes_below_a_share_of_the_images_are_left_out_on_request() -> None:
    counts = [1, 3, 20, 20, 20, 20, 20, 20]
    with pytest.raises(
        InputError, match=r"1 classes of split 'train' of SET have fewer than 2 images, for example 'c0'"
    ):
        MetaDataset().composer(split(counts), SIZE)
    episodes = draw(MetaDataset(min_images=4), split(counts), 100)
    assert {number for one in episodes for number in one.classes.tolist()} == set(range(2, 8))


@pytest.mark.parametrize(
    "sampler", [MetaDataset(), MetaDataset(hierarchy="groups", max_support=120), MetaDataset(max_ways=7)]
)
def test_no_episode_is_larger_than_the_largest_nor_smaller_than_the_smallest(sampler: MetaDataset) -> None:
    rng = np.random.default_rng(1)
    classes = split(rng.integers(4, 300, 70).tolist(), rng.integers(0, 4, 70).tolist())
    composer = sampler.composer(classes, SIZE)
    (small, large), bounds = composer.extremes(), composer.bounds()
    assert small.shots.tolist() == [1] * 5
    for one in (composer.compose(Key(0, "train", 0, index)) for index in range(500)):
        assert small.shots.sum() <= one.shots.sum() <= large.shots.sum()
        assert bounds.smallest()[0] <= len(one.classes) <= bounds.largest()[0]
        assert bounds.smallest()[1] <= one.shots.min() <= one.shots.max() <= bounds.largest()[1]
        assert bounds.smallest()[2] <= one.queries[0] <= bounds.largest()[2]


@pytest.mark.parametrize(
    ("sampler", "size", "message"),
    [
        (MetaDataset(min_ways=20), SIZE, "has 8 classes with 2 images or more, fewer than the sampler's min_ways 20"),
        (MetaDataset(hierarchy="groups"), SIZE, "have no groups"),
        (MetaDataset(hierarchy="no.csv"), SIZE, "no.csv cannot be read as a CSV file of child,parent"),
        (ConfiguredSize("near"), SIZE, "have no groups"),
        (ConfiguredSize(), EpisodeSize(9, 1, 1), "9 ways were asked of split 'train' of SET, which has 8 classes"),
        (ConfiguredSize(), EpisodeSize(5, 15, 6), "need 21 images per class, but class 'c0'"),
        (ConfiguredSize(imbalance="step"), SIZE, "so set shots to \\[first, last\\]"),
        (ConfiguredSize(label_noise=0.6), SIZE, "at most 0.50"),
    ],
)
def test_what_a_split_cannot_give_is_said(
    sampler: MetaDataset | ConfiguredSize, size: EpisodeSize, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sampler.composer(split([20] * 8), size)


def test_groups_too_small_or_too_few_are_said() -> None:
    classes = split([20] * 8, [0, 0, 0, 1, 1, 1, 2, 2])
    with pytest.raises(InputError, match="has no group with 5 classes or more"):
        MetaDataset(hierarchy="groups").composer(classes, SIZE)
    with pytest.raises(InputError, match="which has 3 groups"):
        ConfiguredSize("far").composer(classes, SIZE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "does not begin with the line child,parent"),
        ("child,parent\na,b,c\n", "line 2 of .* is 'a,b,c': give a child and a parent"),
        ("child,parent\na,b\nb,c\nc,a\n", "is not a hierarchy: .* is below itself"),
        ("child,parent\nc0,a\n", "7 of 8 classes of split 'train' of SET are not in"),
    ],
)
def test_a_wrong_hierarchy_is_said(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "tree.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        families(split([20] * 8), str(tmp_path / "tree.csv"), 2, 100)


@pytest.mark.usefixtures("no_type_checker")
def test_arguments_that_cannot_be_are_said() -> None:
    with pytest.raises(InputError, match="max_ways is 4: give 5 or more"):
        MetaDataset(max_ways=4)
    with pytest.raises(InputError, match="classes is 'close': choose uniform, proportional, near or far"):
        ConfiguredSize("close")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="set classes to near"):
        ConfiguredSize("far", hierarchy="tree.csv")


def test_a_report_names_the_sampler(hierarchy: str) -> None:
    assert str(ConfiguredSize("far", label_noise=0.2)) == "ConfiguredSize(classes=far, label_noise=0.2)"
    before = str(MetaDataset(hierarchy))
    assert "tree.csv (sha256 " in before
    Path(hierarchy).write_text("child,parent\nc0,other\n")
    assert str(MetaDataset(hierarchy)) != before
