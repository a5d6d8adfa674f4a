"""The laws that every learner obeys (law 8, processes, is in test_ddp.py). A learner is tested by having a YAML."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples, FewShotLearner, InputError, flat_batch, prediction_loss, score
from lightning_meta.learners._embedding import LABELS_ARE_INPUTS
from lightning_meta.training.checkpoint import load
from support.episodes import separable_episode
from support.packaged_learners import (
    CANCELLED,
    CONV,
    IMAGE,
    SPECS,
    TINY_MLP,
    audible,
    every_backbone,
    every_learner,
    kind,
    make,
    map_tensors,
    regression,
    spec,
    takes,
)


def episodes(tasks: int = 3, ways: int = 5, shots: int = 2, seed: int = 0, shape: tuple[int, ...] = IMAGE) -> Episode:
    return separable_episode(tasks, ways, shots, queries=3, shape=shape, seed=seed)


def double(t: Tensor) -> Tensor:
    return t.double() if t.is_floating_point() else t


def to_learn(learner: FewShotLearner, episode: Episode) -> Episode:
    """Return the input of the learner's loss: an episode, or its queries as a flat batch."""
    return flat_batch(episode.query) if learner.flat else episode


def gradients(learner: FewShotLearner, episode: Episode) -> tuple[Tensor, dict[str, Tensor]]:
    """The meta-loss and its gradient by theta, which frozen weights are no part of; None taken as none."""
    learner.zero_grad(set_to_none=True)
    loss = learner.loss(to_learn(learner, episode)).loss
    loss.backward()
    theta = {name: w for name, w in learner.named_parameters() if w.requires_grad}
    return loss.detach(), {name: torch.zeros_like(w) if w.grad is None else w.grad for name, w in theta.items()}


def state(learner: FewShotLearner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in learner.state_dict().items()}


@every_learner
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(("ways", "shots"), [(2, 1), (5, 1), (7, 3)])
def test_law_1_one_finite_logit_a_query_and_way(name: str, ways: int, shots: int, training: bool):
    learner = make(name, outputs=ways).train(training)
    episode = episodes(ways=ways, shots=shots)
    logits = learner.adapt(episode.support)(episode.query.x)
    assert logits.shape == (3, ways * 3, ways)
    assert logits.isfinite().all()


@every_learner
@pytest.mark.parametrize("outputs", [1, 2])
def test_law_1_regression(name: str, outputs: int):
    learner, support = make(name, outputs=outputs), regression(3, 10, outputs)
    if not learner.regression:
        with pytest.raises(InputError, match="regression"):
            learner.adapt(support)
    else:
        prediction = learner.adapt(support)(torch.randn(3, 7, *IMAGE))
        assert prediction.shape == (3, 7, outputs)
        assert prediction.isfinite().all()
        assert all(g.isfinite().all() for g in gradients(learner, Episode(support, support))[1].values())


@every_learner
def test_law_2_adapting_to_b_changes_neither_theta_nor_phi_of_a(name: str):
    learner = make(name).eval()
    a, b = episodes(seed=1), episodes(seed=2)
    theta, phi = state(learner), learner.adapt(a.support)
    first = phi(a.query.x)
    other = learner.adapt(b.support)(b.query.x)
    assert_close(phi(a.query.x), first, rtol=0, atol=0)
    assert not torch.equal(other, first)
    assert_close(state(learner), theta, rtol=0, atol=0)


@every_learner
def test_law_2_in_training_mode_only_running_statistics_move(name: str):
    learner, episode = make(name).train(), episodes()
    theta = {n: w.clone() for n, w in learner.named_parameters()}
    learner.loss(to_learn(learner, episode)).loss.backward()
    assert_close(dict(learner.named_parameters()), theta, rtol=0, atol=0)


@every_learner
def test_law_2_phi_is_a_value_that_can_be_saved(name: str, tmp_path: Path):
    learner, episode = make(name).eval(), episodes()
    phi = learner.adapt(episode.support)
    torch.save(phi, tmp_path / "phi.pt")
    again = torch.load(tmp_path / "phi.pt", weights_only=False)
    assert_close(again(episode.query.x), phi(episode.query.x), rtol=0, atol=0)


@every_learner
@every_backbone
@pytest.mark.parametrize(
    ("cast", "bound"),
    [pytest.param(lambda t: t, 1e-5, id="float32", marks=pytest.mark.slow), pytest.param(double, 1e-10, id="float64")],
)
def test_law_3_a_batch_of_tasks_is_its_tasks_one_by_one(name: str, backbone: dict, cast, bound: float):
    learner = make(name, backbone).eval()
    learner = learner.double() if cast is double else learner
    batch = map_tensors(episodes(), cast)
    tasks = [map_tensors(batch, lambda t, i=i: t[i : i + 1]) for i in range(3)]

    one_by_one = torch.cat([learner.adapt(task.support)(task.query.x) for task in tasks])
    assert_close(learner.adapt(batch.support)(batch.query.x), one_by_one, rtol=bound, atol=bound)

    learner.train()
    single = copy.deepcopy(learner)
    buffers = copy.deepcopy(dict(single.named_buffers()))
    losses, grads, moved = [], [], []
    for task in tasks:
        single.load_state_dict(buffers, strict=False)
        loss, grad = gradients(single, task)
        losses.append(loss)
        grads.append(grad)
        moved.append(copy.deepcopy(dict(single.named_buffers())))
    loss, grad = gradients(learner, batch)
    assert_close(loss, torch.stack(losses).mean(), rtol=bound, atol=bound)
    assert_close(audible(grad), audible(mean(grads)), rtol=bound, atol=bound)
    assert_close(dict(learner.named_buffers()), mean(moved), rtol=bound, atol=bound)


def mean(values: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    stacked = {name: torch.stack([v[name] for v in values]) for name in values[0]}
    return {name: v.mean(0) if v.is_floating_point() else v[0] for name, v in stacked.items()}


@pytest.mark.parametrize("name", [name for name in SPECS if takes(name, "vectorize")])
@every_backbone
def test_law_3_vmap_is_the_loop(name: str, backbone: dict):
    vmap, loop = (make(name, backbone, vectorize=v).double() for v in ("vmap", "loop"))
    loop.load_state_dict(vmap.state_dict())
    batch = map_tensors(episodes(), double)
    results = [(gradients(each, batch), each.adapt(batch.support)(batch.query.x)) for each in (vmap, loop)]
    assert_close(*results, rtol=1e-10, atol=1e-10)


@every_learner
def test_law_4_permuting_labels_permutes_logits_or_the_learner_says_why_not(name: str, request: pytest.FixtureRequest):
    if reason := kind(SPECS[name]).label_dependence:
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    learner, (support, query) = make(name).eval().double(), map_tensors(episodes(), double)
    new_label = torch.tensor([3, 0, 4, 1, 2])
    logits = learner.adapt(support)(query.x)
    permuted = learner.adapt(Examples(support.x, new_label[support.y]))(query.x)
    assert_close(permuted[..., new_label], logits, rtol=1e-9, atol=1e-9)


@every_learner
@every_backbone
def test_law_5_every_parameter_has_a_finite_gradient_and_moves(name: str, backbone: dict):
    learner = make(name, backbone).double().train()
    _, grads = gradients(learner, map_tensors(episodes(), double))
    for parameter, grad in grads.items():
        assert grad.isfinite().all(), parameter
        if not parameter.endswith(CANCELLED) and not (backbone is CONV and ".rates." in parameter):
            assert grad.abs().max() > 1e-9, f"{parameter} does not move"


# At law 6's outer rate the gates of Meta-LSTM soon open so far that a first-order gradient misleads the start, as that of
# MAML does from an inner rate of 0.3 on.
AT_THIS_RATE = {"metalstm": {"first_order": False, "inner_lr": 0.1}}
QUICK = ("cnp", "maml", "matching", "matching_fce", "protonet", "r2d2", "transformer")
LAW_6 = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in SPECS]


@pytest.mark.parametrize("name", LAW_6)
def test_law_6_it_learns_in_seconds(name: str):
    """Training lowers the loss on fresh tasks, which are then solved far above chance. (Of flat batches the classes stay the
    same, 20.) A learner that reads labels starts from nothing, and for a while it only guesses: it gets two classes."""
    ways, enough = (2, 0.67) if kind(SPECS[name]).label_dependence == LABELS_ARE_INPUTS else (5, 0.6)
    learner = make(name, TINY_MLP, outputs=20 if takes(name, "classes") else ways, **AT_THIS_RATE.get(name, {}))
    known = separable_episode(1, ways=20, shots=50, queries=1, shape=(1, 8, 8)).support
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.003)

    def task_batch(tasks: int, seed: int) -> Episode:
        return episodes(tasks, ways, shots=1, seed=seed, shape=(1, 8, 8))

    def evaluate() -> tuple[float, float]:
        learner.eval()
        fresh = task_batch(50, seed=10_000)
        with torch.no_grad():
            prediction = learner.adapt(fresh.support)(fresh.query.x)
        learner.train()
        return float(prediction_loss(prediction, fresh.query.y)), float(score(prediction, fresh.query.y).mean())

    loss_before, _ = evaluate()
    for step in range(1, 1601):
        optimizer.zero_grad()
        some = torch.randperm(1000)[:32]
        flat = flat_batch(Examples(known.x[:, some], known.y[:, some]))
        learner.loss(flat if learner.flat else task_batch(4, seed=step)).loss.backward()
        optimizer.step()
        if step % 50 == 0:
            loss, accuracy = evaluate()
            if loss < 0.9 * loss_before and accuracy > enough:
                return
    pytest.fail(f"{loss_before:.2f} at first, {loss:.2f} and accuracy {accuracy:.2f} after 1,600 meta-batches")


@every_learner
def test_law_7_a_checkpoint_gives_the_same_phi(name: str, tmp_path: Path):
    learner, episode = make(name), episodes()
    gradients(learner.train(), episode)  # running statistics that are not the initial ones
    weights = {f"learner.{key}": value for key, value in learner.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": {"learner": spec(name)}}, tmp_path / "theta.ckpt")
    again = load(tmp_path / "theta.ckpt")
    phi = learner.eval().adapt(episode.support)
    assert_close(again.adapt(episode.support)(episode.query.x), phi(episode.query.x), rtol=0, atol=0)


@every_learner
@every_backbone
def test_law_7_bfloat16_is_close_to_float32(name: str, backbone: dict):
    learner, episode = make(name, backbone).train(), episodes(shots=5)
    other = copy.deepcopy(learner)
    loss, grads = gradients(learner, episode)
    with torch.autocast("cpu", torch.bfloat16):
        half, half_grads = gradients(other, episode)
    assert half == pytest.approx(float(loss), rel=0.05)
    full, half = (torch.cat([g.flatten() for g in each.values()]) for each in (grads, half_grads))
    assert torch.cosine_similarity(full, half, dim=0) > 0.9
