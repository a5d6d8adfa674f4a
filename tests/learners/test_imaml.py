"""Implicit MAML against the closed form of a quadratic, and against differentiation through very many inner steps."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples, InputError, prediction_loss
from lightning_meta.learners import IMAML
from lightning_meta.learners._gradient import FastWeights
from lightning_meta.nn import Conv4
from lightning_meta.nn.conjugate_gradient import conjugate_gradient
from lightning_meta.nn.inner_loop import Weights
from support.episodes import graph, separable_episode

LAMBDA = 0.7
EITHER_WAY = pytest.mark.parametrize("vectorize", ["vmap", "loop"])


def spread(tasks: int, n: int) -> Examples:
    return Examples(torch.randn(tasks, n, 3).double(), torch.randn(tasks, n, 1).double())


def linear(**options: object) -> IMAML:
    """y = w x + b: the support loss is a quadratic of 4 weights."""
    arguments = {"inner_lr": 0.1, "inner_steps": 300, "proximal": LAMBDA, "cg_steps": 4, "features": 3, **options}
    return IMAML(nn.Identity(), 1, **arguments).double()  # type: ignore[arg-type]


def gradient_of(learner: IMAML, episode: Episode) -> dict[str, Tensor]:
    learner.zero_grad()
    learner.loss(episode).loss.backward()
    return {name: w.grad.clone() for name, w in learner.network.named_parameters() if w.grad is not None}


@pytest.mark.slow
@EITHER_WAY
def test_on_a_quadratic_phi_and_the_meta_gradient_are_the_closed_form(vectorize):
    """With u = (w, b) and rows a = (x, 1): H = 2 A'A / n, phi = (H + lambda)^-1 (2 A't / n + lambda u)."""
    learner, episode = linear(vectorize=vectorize), Episode(spread(2, 6), spread(2, 5))
    head, identity = learner.network.head, torch.eye(4).double()
    u = torch.cat([head.weight[0], head.bias])
    losses, phi = [], learner.adapt(episode.support).weights
    for task in range(2):
        a, b = (torch.cat([part.x[task], torch.ones(len(part.x[task]), 1)], 1) for part in episode)
        t, r = episode.support.y[task, :, 0], episode.query.y[task, :, 0]
        minimum = torch.linalg.solve(2 * a.T @ a / 6 + LAMBDA * identity, 2 * a.T @ t / 6 + LAMBDA * u)
        assert_close(torch.cat([phi["head.weight"][task, 0], phi["head.bias"][task]]), minimum.detach())
        losses.append((b @ minimum - r).square().mean())
    expected = torch.autograd.grad(torch.stack(losses).mean(), u)[0]
    found = gradient_of(learner, episode)
    assert_close(torch.cat([found["head.weight"][0], found["head.bias"]]), expected)
    assert_close(learner.loss(episode).loss, torch.stack(losses).mean())


@pytest.mark.slow
@EITHER_WAY
def test_it_is_the_gradient_through_very_many_inner_steps(vectorize):
    """Of a network that is no quadratic: unrolled differentiation of 300 steps, which keeps 300 steps in memory."""
    support, query = separable_episode(tasks=2, ways=3, shots=2, queries=2, shape=(1, 3, 3))
    episode = Episode(Examples(support.x.double(), support.y), Examples(query.x.double(), query.y))
    body = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Tanh())
    learner = IMAML(body, 3, 0.2, 300, proximal=1.0, cg_steps=40, features=4, vectorize=vectorize).double()
    theta = learner.network.start()

    def unrolled(support: Examples) -> Weights:
        def objective(phi: Weights) -> Tensor:
            distance = torch.stack([(phi[name] - w).square().sum() for name, w in theta.items()]).sum()
            return prediction_loss(learner.network.predict(phi, support.x), support.y) + 0.5 * distance

        phi = theta
        for _ in range(300):
            gradient = grad(objective)(phi)
            phi = {name: w - 0.2 * gradient[name] for name, w in phi.items()}
        return phi

    phi = FastWeights(learner.network, vmap(unrolled)(episode.support), episode.support.x[:, :0])
    loss = prediction_loss(phi(episode.query.x), episode.query.y)
    expected = dict(zip(theta, torch.autograd.grad(loss, list(theta.values())), strict=True))
    assert_close(gradient_of(learner, episode), expected, rtol=1e-6, atol=1e-8)
    assert_close(learner.loss(episode).loss, loss)


def test_no_conjugate_gradient_step_gives_the_first_order_gradient():
    learner, episode = linear(cg_steps=0, inner_steps=3), Episode(spread(2, 6), spread(2, 5))
    phi = learner.adapt(episode.support)
    leaves = {name: w.clone().requires_grad_() for name, w in phi.weights.items()}
    loss = prediction_loss(FastWeights(learner.network, leaves, phi.support)(episode.query.x), episode.query.y)
    at_phi = torch.autograd.grad(loss, list(leaves.values()))
    assert_close(list(gradient_of(learner, episode).values()), [g.sum(0) for g in at_phi])


@EITHER_WAY
def test_the_graph_does_not_grow_with_the_inner_steps(vectorize):
    episode = Episode(spread(2, 6), spread(2, 5))
    counts = [len(graph(linear(vectorize=vectorize, inner_steps=n).loss(episode).loss)) for n in (1, 30)]
    assert counts[0] == counts[1] > 0


def test_frozen_weights_stay():
    body = nn.Linear(3, 3)
    body.weight.requires_grad_(False)
    learner = IMAML(body, 1, features=3).double()
    episode = Episode(spread(2, 6), spread(2, 5))
    assert set(learner.adapt(episode.support).weights) == {"backbone.bias", "head.weight", "head.bias"}
    assert set(gradient_of(learner, episode)) == {"backbone.bias", "head.weight", "head.bias"}


def test_running_statistics_see_the_support_set_in_training():
    learner = IMAML(Conv4(1, 16, 4), 3, inner_steps=1, cg_steps=1, batch_stats="running")
    norm, episode = learner.network.backbone.blocks[0][1], separable_episode(2, 3, 2, 2, (1, 16, 16))
    learner.eval().loss(episode)
    assert not norm.running_mean.any()
    learner.train().loss(episode)
    assert norm.running_mean.any()


def system(eigenvalues: list[float], b: list[float]) -> tuple[Tensor, Weights]:
    """A random symmetric A of these eigenvalues, and b in its eigenbasis, in two parts."""
    basis = torch.linalg.qr(torch.randn(4, 4).double())[0]
    v = basis @ torch.tensor(b).double()
    return basis @ torch.diag(torch.tensor(eigenvalues).double()) @ basis.T, {"a": v[:1], "b": v[1:]}


def solve(a: Tensor, b: Weights, steps: int) -> Tensor:
    def product(v: Weights) -> Weights:
        whole = a @ torch.cat(list(v.values()))
        return {"a": whole[:1], "b": whole[1:]}

    return torch.cat(list(conjugate_gradient(product, b, steps).values()))


@pytest.mark.parametrize("steps", [4, 9])
def test_conjugate_gradient_solves_a_system_in_as_many_steps_as_unknowns_and_then_stays(steps):
    a, b = system([1, 2, 5, 11], [1, -2, 3, 0.5])
    assert_close(solve(a, b, steps), torch.linalg.solve(a, torch.cat(list(b.values()))))


def test_where_there_is_no_curvature_to_trust_conjugate_gradient_stays():
    a, b = system([1, 2, 5, -3], [0, 0, 0, 1])
    assert_close(solve(a, b, 5), torch.cat(list(b.values())))  # b itself is such a direction
    a, b = system([1, 2, 5, 0.01], [1, 1, 1, 1])
    assert solve(a, b, 9).norm() < 20  # the solution's norm is 100
    a, b = system([1, 2, 5, 9], [0, 0, 0, 0])
    assert not solve(a, b, 3).any()


@pytest.mark.parametrize(
    ("wrong", "legal"),
    [
        ({"inner_lr": 0.0}, "positive"),
        ({"proximal": 0.0}, "positive"),
        ({"cg_steps": -1}, "0 or more"),
        ({"inner_lr": 1.0, "proximal": 2.0}, "inner_lr smaller"),
    ],
)
def test_wrong_options_are_refused_with_the_legal_ones(wrong, legal):
    with pytest.raises(InputError, match=legal):
        linear(**wrong)
