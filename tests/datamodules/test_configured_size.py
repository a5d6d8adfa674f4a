"""Episodes of the configured size: related classes, imbalance and label noise, by their definitions."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.sampling.composition import draw_distinct
from datamodules.sampling.configured_size import ConfiguredSize
from datamodules.sampling.episode_size import EpisodeSize
from support.compositions import draw, share, split, write_hierarchy


def test_every_episode_draws_its_own_size_from_the_ranges() -> None:
    sizes = [
        (len(one.classes), int(one.shots[0]), int(one.queries[0]))
        for one in draw(ConfiguredSize(), split([20] * 9), 1200, EpisodeSize((2, 4), (1, 2), (3, 4)))
    ]
    assert len(set(sizes)) == 12
    for size in set(sizes):
        assert share(sizes, size) == pytest.approx(1 / 12, abs=0.035)


def test_near_classes_are_of_one_group_and_far_ones_of_as_many() -> None:
    groups = np.repeat(np.arange(6), [5, 5, 9, 3, 5, 7])
    classes = split([20] * 34, groups.tolist())
    near = [set(groups[one.classes].tolist()) for one in draw(ConfiguredSize("near"), classes, 800)]
    for group in (0, 1, 2, 4, 5):
        assert share(near, {group}) == pytest.approx(1 / 5, abs=0.06)
    far = draw(ConfiguredSize("far"), classes, 800)
    assert all(len(set(groups[one.classes].tolist())) == 5 for one in far)
    assert share([3 in groups[one.classes] for one in far], True) == pytest.approx(5 / 6, abs=0.06)


def test_near_classes_by_a_hierarchy_are_below_one_node(tmp_path: Path) -> None:
    near = [
        set(one.classes.tolist())
        for one in draw(ConfiguredSize("near", write_hierarchy(tmp_path), 12), split([20] * 20), 300)
    ]
    assert all(own <= set(range(12)) or own <= set(range(12, 18)) for own in near)


def test_proportional_classes_come_as_often_as_their_images_say() -> None:
    """P(i) = p_i + sum_j p_j p_i / (1 - p_j) for two classes, one drawn after the other."""
    counts = [10, 20, 30, 140]
    p = np.array(counts) / 200
    expected = [p[i] + sum(p[j] * p[i] / (1 - p[j]) for j in range(4) if j != i) for i in range(4)]
    drawn = [
        set(one.classes.tolist())
        for one in draw(ConfiguredSize("proportional"), split(counts), 2000, EpisodeSize(2, 1, 1))
    ]
    for number in range(4):
        assert np.mean([number in own for own in drawn]) == pytest.approx(expected[number], abs=0.045)


def test_distinct_draws_end_where_one_weight_is_nearly_all() -> None:
    drawn = draw_distinct(np.random.default_rng(0), np.array([10**15, 1, 1, 1]), 4)
    assert sorted(drawn.tolist()) == [0, 1, 2, 3]
    assert drawn[0] == 0


def test_imbalances_are_those_of_the_study() -> None:
    classes, size = split([20] * 9), EpisodeSize(5, (1, 9), 2)
    linear = draw(ConfiguredSize(imbalance="linear"), classes, 300, size)
    assert {tuple(sorted(one.shots.tolist())) for one in linear} == {(1, 3, 5, 7, 9)}
    assert share([int(one.shots[0]) for one in linear], 1) == pytest.approx(
        1 / 5, abs=0.08
    )  # a label says nothing of shots
    step = draw(ConfiguredSize(imbalance="step", minority=0.4), classes, 20, size)
    assert {tuple(sorted(one.shots.tolist())) for one in step} == {(1, 1, 9, 9, 9)}
    random = [int(k) for one in draw(ConfiguredSize(imbalance="random"), classes, 400, size) for k in one.shots]
    for shots in range(1, 10):
        assert share(random, shots) == pytest.approx(1 / 9, abs=0.03)


def test_label_noise_replaces_its_share_and_leaves_every_class_one_image() -> None:
    episodes = draw(ConfiguredSize(label_noise=0.4), split([20] * 9), 300, EpisodeSize(5, 5, 2))
    true = np.repeat(np.arange(5), 5)
    given = []
    for one in episodes:
        assert (one.labels != true).sum() == 10
        assert all((one.labels[true == label] == label).any() for label in range(5))
        given += one.labels[(true == 2) & (one.labels != true)].tolist()
    for label in (0, 1, 3, 4):
        assert share(given, label) == pytest.approx(1 / 4, abs=0.07)
