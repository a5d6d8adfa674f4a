"""Law 3 where the tasks of a meta-batch differ in size: the same gradient as one by one, over every learner."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_meta.core import Episode, FewShotLearner, count_tasks, equal_parts, flat_batch, join_tasks, mean_loss
from support.episodes import separable_episode, unequal_episode
from support.packaged_learners import IMAGE, MLP, audible, every_learner, make, map_tensors, takes


def tasks_of_several_sizes(any_ways: bool) -> list[Episode]:
    """Five tasks of four sizes, the first and the last of one; the third with unequal shots, the fourth of other ways."""
    sizes = [(5, 2, 3), (5, 1, 2), None, (3 if any_ways else 5, 4, 1), (5, 2, 3)]
    return [
        map_tensors(
            unequal_episode([[1, 4, 2, 3, 5]], queries=3, shape=IMAGE, seed=seed)
            if size is None
            else separable_episode(1, *size, shape=IMAGE, seed=seed),
            lambda t: t.double() if t.is_floating_point() else t,
        )
        for seed, size in enumerate(sizes)
    ]


def to_learn(learner: FewShotLearner, episode: Episode) -> Episode:
    return flat_batch(episode.support) if learner.flat else episode


def gradient(learner: FewShotLearner) -> dict[str, Tensor]:
    theta = {name: w for name, w in learner.named_parameters() if w.requires_grad}
    grads = {name: torch.zeros_like(w) if w.grad is None else w.grad for name, w in theta.items()}
    learner.zero_grad(set_to_none=True)
    return grads


def mean(values: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    stacked = {name: torch.stack([v[name] for v in values]) for name in values[0]}
    return {name: v.mean(0) if v.is_floating_point() else v[0] for name, v in stacked.items()}


def check_one_by_one(learner: FewShotLearner, tasks: list[Episode]) -> None:
    """Loss, gradient and buffers after a meta-batch are the means of those of its tasks."""
    start = {key: value.clone() for key, value in learner.train().state_dict().items()}
    losses, grads, moved = [], [], []
    for task in tasks:
        learner.load_state_dict(start)
        outcome = learner.loss(to_learn(learner, task))
        outcome.loss.backward()
        losses.append(outcome.loss.detach())
        grads.append(gradient(learner))
        moved.append({name: buffer.clone() for name, buffer in learner.named_buffers()})
    learner.load_state_dict(start)
    batch = join_tasks([to_learn(learner, task) for task in tasks])
    loss, outcomes = mean_loss(learner, batch)
    loss.backward()
    assert_close(loss.detach(), torch.stack(losses).mean(), rtol=1e-10, atol=1e-10)
    assert_close(audible(gradient(learner)), audible(mean(grads)), rtol=1e-10, atol=1e-10)
    assert_close(dict(learner.named_buffers()), mean(moved) if moved[0] else {}, rtol=1e-10, atol=1e-10)
    for outcome, part in zip(outcomes, equal_parts(batch), strict=True):
        assert outcome.prediction.shape[:2] == part.query.y.shape


@every_learner
def test_a_meta_batch_of_several_sizes_has_the_gradient_of_its_tasks_one_by_one(name: str):
    check_one_by_one(make(name, MLP).double(), tasks_of_several_sizes(any_ways=not takes(name, "outputs")))


@pytest.mark.parametrize("name", ["mamlpp", "protonet"])
def test_running_statistics_move_to_their_mean(name: str):
    own = {"batch_stats": "running"} if takes(name, "batch_stats") else {}
    check_one_by_one(make(name, **own).double(), tasks_of_several_sizes(any_ways=False))


def test_tasks_of_one_size_form_one_tensor():
    tasks = tasks_of_several_sizes(any_ways=True)
    batch = join_tasks(tasks)
    assert isinstance(batch, list)
    assert [len(part.query.y) for part in batch] == [2, 1, 1, 1]
    assert count_tasks(batch) == 5
    assert torch.equal(batch[0].support.x, torch.cat([tasks[0].support.x, tasks[4].support.x]))
    assert isinstance(join_tasks([tasks[0], tasks[4]]), Episode)


def test_tasks_with_as_many_examples_of_other_ways_are_of_another_size():
    two, three = separable_episode(1, 2, 3, 3, IMAGE), separable_episode(1, 3, 2, 2, IMAGE)
    assert two.support.y.shape == three.support.y.shape
    assert [part.support.ways for part in equal_parts(join_tasks([two, three]))] == [2, 3]
