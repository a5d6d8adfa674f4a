"""MAML against finite differences, the formula by hand, and what it promises about modes, statistics and memory."""

import gc
import re
from collections import Counter
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples, InputError, prediction_loss
from lightning_meta.learners import ANIL, MAML, MAMLPlusPlus, MetaSGD
from lightning_meta.learners._gradient import GradientLearner
from lightning_meta.nn import MLP
from lightning_meta.training.evaluation import observe
from support.episodes import graph, separable_episode
from support.gradient_learners import EVERY_STATISTICS, maml, predict_support, smooth_backbone

EVERY_KIND = pytest.mark.parametrize("kind", [MAML, ANIL])
RATES = {"learn_inner_lr": "layer", "multi_step": 0}


@pytest.fixture
def episode() -> Episode:
    support, query = separable_episode(tasks=2, ways=3, shots=2, queries=2, shape=(1, 6, 6))
    return Episode(Examples(support.x.double(), support.y), Examples(query.x.double(), query.y))


def meta_gradient(learner: GradientLearner, episode: Episode) -> dict[str, Tensor]:
    theta = dict(learner.named_parameters())
    return dict(zip(theta, torch.autograd.grad(learner.loss(episode).loss, list(theta.values())), strict=True))


@EVERY_STATISTICS
@pytest.mark.parametrize(
    ("vectorize", "steps"), [("vmap", 1), ("vmap", 3), ("loop", 1), pytest.param("loop", 3, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("kind", "rates"),
    [(MAML, None), (MAMLPlusPlus, "layer"), (MAMLPlusPlus, "step"), (MetaSGD, None), (ANIL, "parameter")],
)
def test_meta_gradient_is_that_of_finite_differences(episode, batch_stats, vectorize, steps, kind, rates):
    """For theta and for the inner rates, along a random direction of each parameter."""
    options = {"learn_inner_lr": rates} if rates else {}
    options |= {"multi_step": 0} if kind is MAMLPlusPlus else {}
    learner = maml(kind, batch_stats=batch_stats, vectorize=vectorize, inner_steps=steps, **options)
    buffers = {name: buffer.clone() for name, buffer in learner.named_buffers()}

    def loss() -> float:
        learner.load_state_dict(buffers, strict=False)  # the loss moves running statistics
        with torch.no_grad():
            return learner.loss(episode).loss.item()

    gradient = meta_gradient(learner, episode)
    for name, w in learner.named_parameters():
        direction, start, step = torch.randn_like(w), w.detach().clone(), 1e-5
        ends = []
        for sign in (+1, -1):
            w.data = start + sign * step * direction
            ends.append(loss())
        w.data = start
        slope = (ends[0] - ends[1]) / (2 * step)
        assert float((gradient[name] * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-8), name


def test_first_order_is_the_query_gradient_at_phi(episode):
    learner = maml(first_order=True, inner_steps=3)
    phi = learner.adapt(episode.support)
    leaves = {name: w.detach().requires_grad_() for name, w in phi.weights.items()}
    loss = prediction_loss(type(phi)(learner.network, leaves, phi.support)(episode.query.x), episode.query.y)
    at_phi = torch.autograd.grad(loss, list(leaves.values()))  # [tasks, *shape]; the loss is the mean over tasks
    assert_close(list(meta_gradient(learner, episode).values()), [g.sum(0) for g in at_phi])


def double_backward_nodes(loss: Tensor) -> int:
    """Count the nodes of the autograd graph that differentiate a derivative."""
    names = Counter(node.name() for node in graph(loss))
    return sum(n for name, n in names.items() if re.search(r"Backward\w*Backward", name))


@pytest.mark.parametrize("vectorize", ["vmap", "loop"])
@EVERY_KIND
def test_only_the_second_order_builds_double_backward_nodes(episode, vectorize, kind):
    def count(steps: int, first_order: bool) -> int:
        learner = maml(kind, inner_steps=steps, first_order=first_order, vectorize=vectorize)
        return double_backward_nodes(learner.loss(episode).loss)

    assert count(3, first_order=True) == 0
    assert count(3, first_order=False) == 3 * count(1, first_order=False) > 0


@pytest.mark.parametrize("first_order", [False, True])
def test_one_dimensional_linear_model_by_hand(first_order):
    """y = w x + b, one support point (s, t), one query (q, r), squared error, one inner step of rate a."""
    learner = MAMLPlusPlus(nn.Identity(), 1, 0.1, inner_steps=1, features=1, first_order=first_order, **RATES).double()
    w, b, a, s, t, q, r = 0.7, -0.2, 0.1, 1.5, 2.0, -0.8, 0.4
    nn.init.constant_(learner.network.head.weight, w)
    nn.init.constant_(learner.network.head.bias, b)
    for rate in learner.descent.rates:
        nn.init.constant_(rate, a)

    def point(x: float, y: float) -> Examples:
        return Examples(torch.tensor([[[x]]], dtype=torch.double), torch.tensor([[[y]]], dtype=torch.double))

    e = w * s + b - t
    w_phi, b_phi = w - 2 * a * e * s, b - 2 * a * e
    f = w_phi * q + b_phi - r
    df_dw = q if first_order else q * (1 - 2 * a * s * s) - 2 * a * s
    df_db = 1 if first_order else -2 * a * s * q + 1 - 2 * a

    gradient = meta_gradient(learner, Episode(point(s, t), point(q, r)))
    phi = learner.adapt(point(s, t))
    assert phi.weights["head.weight"].item() == pytest.approx(w_phi)
    assert phi.weights["head.bias"].item() == pytest.approx(b_phi)
    assert gradient["network.head.weight"].item() == pytest.approx(2 * f * df_dw)
    assert gradient["network.head.bias"].item() == pytest.approx(2 * f * df_db)
    assert gradient["descent.rates.0"].item() == pytest.approx(2 * f * -2 * e * s * q)
    assert gradient["descent.rates.1"].item() == pytest.approx(2 * f * -2 * e)


@EVERY_STATISTICS
@pytest.mark.parametrize("first_order", [False, True])
def test_anil_is_maml_with_a_rate_of_zero_in_the_body(episode, batch_stats, first_order):
    options = {"batch_stats": batch_stats, "inner_steps": 3, "first_order": first_order}
    anil, full = maml(ANIL, **options), maml(MAMLPlusPlus, **options, **RATES)
    full.network.load_state_dict(anil.network.state_dict())
    for name, rate in full.descent.rates_of(0, full.network.start()).items():
        nn.init.constant_(rate, anil.descent.inner_lr if name.startswith("head.") else 0)
    assert_close(predict_support(anil, episode), predict_support(full, episode))
    expected = meta_gradient(full, episode)
    for name, gradient in meta_gradient(anil, episode).items():
        assert_close(gradient, expected[name])
        assert gradient.any() or name.endswith("backbone.0.bias") or batch_stats == "running", name


def test_anil_runs_its_body_once_and_keeps_a_head_a_task(episode):
    learner, rows = maml(ANIL, inner_steps=5, vectorize="loop"), []
    learner.network.backbone.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    phi = learner.adapt(episode.support)
    assert rows == [6, 6]  # the support set of either task, whatever the number of steps
    assert set(phi.weights) == {"head.weight", "head.bias"}


def test_inner_steps_in_training_and_test_steps_in_evaluation(episode):
    learner = maml(inner_steps=1, test_steps=4, batch_stats="running")
    assert_close(learner.train().adapt(episode.support).weights, learner.adapt_steps(episode.support, 1).weights)
    four = learner.eval().adapt(episode.support).weights
    assert_close(four, learner.adapt_steps(episode.support, 4).weights)
    assert (four["head.weight"] - learner.adapt_steps(episode.support, 1).weights["head.weight"]).abs().max() > 1e-3
    theta = learner.adapt_steps(episode.support, 0).weights
    assert_close(theta, {name: w.expand(2, *w.shape) for name, w in learner.network.named_parameters()})


@EVERY_STATISTICS
@EVERY_KIND
@pytest.mark.parametrize("context", [nullcontext, torch.no_grad, torch.inference_mode])
def test_evaluation_keeps_no_graph_in_any_gradient_mode(episode, batch_stats, kind, context):
    learner = maml(kind, batch_stats=batch_stats).eval()
    expected = predict_support(learner, episode)
    with context():
        inputs = Episode(*(Examples(part.x.clone(), part.y.clone()) for part in episode))
        phi = learner.adapt(inputs.support)
        inside = phi(inputs.query.x).clone()
    assert not any(w.requires_grad for w in phi.weights.values())
    assert_close(inside, expected, rtol=0, atol=0)
    assert_close(phi(episode.query.x), expected, rtol=0, atol=0)  # phi outlives the context
    phi(episode.query.x.clone().requires_grad_()).sum().backward()


def test_training_mode_under_no_grad_keeps_no_graph(episode):
    with torch.no_grad():
        phi = maml().train().adapt(episode.support)
    assert not any(w.requires_grad for w in phi.weights.values())


@pytest.mark.slow
@pytest.mark.parametrize("vectorize", ["vmap", "loop"])
def test_repeated_adaptation_and_training_leave_no_tensors_behind(episode, vectorize):
    learner = maml(MAMLPlusPlus, vectorize=vectorize, inner_steps=3, **RATES)

    def tensors_after_a_round() -> int:
        learner.eval()
        predict_support(learner, episode)
        learner.train().loss(episode).loss.backward()
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    tensors_after_a_round()
    assert len({tensors_after_a_round() for _ in range(3)}) == 1


@EVERY_STATISTICS
@pytest.mark.parametrize("normalise", [True, False])
def test_transductive_says_whether_a_query_sees_the_others(episode, batch_stats, normalise):
    backbone = smooth_backbone() if normalise else nn.Sequential(nn.Flatten(), nn.Linear(36, 12))
    learner = MAML(backbone, 3, features=12, batch_stats=batch_stats).double().eval()
    phi = learner.adapt(episode.support)
    others_changed = torch.cat([episode.query.x[:, :1], torch.randn_like(episode.query.x[:, 1:])], dim=1)
    observe(learner, episode)
    same = torch.equal(phi(episode.query.x)[:, 0], phi(others_changed)[:, 0])
    assert learner.transductive == (not same) == (normalise and batch_stats == "transductive")
    if not learner.transductive:
        assert_close(phi(episode.query.x[:, :1]), phi(episode.query.x)[:, :1])


@EVERY_STATISTICS
def test_running_statistics_move_in_training_only_and_only_where_they_are_used(episode, batch_stats):
    learner = maml(batch_stats=batch_stats)
    norm = learner.network.backbone[1]
    before = norm.running_mean.clone()
    learner.eval().loss(episode)
    assert torch.equal(norm.running_mean, before)
    learner.train().loss(episode)
    features = learner.network.backbone[0](episode.support.x.flatten(0, 1))
    seen = 0.9 * before + 0.1 * features.mean((0, 2, 3))
    assert_close(norm.running_mean, seen if batch_stats == "running" else before)


def test_a_checkpoint_of_fixed_rates_leaves_a_new_inner_lr_in_force(episode):
    trained = maml()
    changed = MAML(smooth_backbone(), 3, features=12, inner_lr=0.7).double()
    changed.load_state_dict(trained.state_dict())
    theta = trained.network.head.bias
    step, larger = (each.adapt(episode.support).weights["head.bias"] - theta for each in (trained, changed))
    assert_close(larger, step * 0.7 / 0.3)


def test_learned_rates_are_named_in_diagnostics():
    assert maml().diagnostics() == {}
    rates = maml(ANIL, learn_inner_lr="parameter").diagnostics()
    assert rates == pytest.approx({"inner_lr/head.weight": 0.3, "inner_lr/head.bias": 0.3})


def test_float16_autocast_leaves_the_inner_loop_in_float32():
    learner, (support, _) = MAML(MLP([36, 8]), 3), separable_episode(2, 3, 2, 2, (1, 6, 6))
    with torch.autocast("cpu", torch.float16):
        weights = learner.adapt(support).weights
    assert_close(weights, learner.adapt(support).weights, rtol=0, atol=0)


@EVERY_KIND
def test_bfloat16_gradient_with_running_statistics(episode, kind):
    """The no-grad pass that moves the statistics must not hand its cast weights, without gradient, to the loss."""
    learner = maml(kind, batch_stats="running").float()
    episode = Episode(*(Examples(part.x.float(), part.y) for part in episode))
    with torch.autocast("cpu", torch.bfloat16):
        gradient = meta_gradient(learner, episode)
    assert all(g.any() for g in gradient.values())


def test_a_target_of_another_dimension_is_refused():
    y = torch.zeros(1, 4, 2)
    with pytest.raises(InputError, match="2"):
        MAML(nn.Identity(), 1, features=2).adapt(Examples(y, y))


def test_other_ways_than_it_was_built_for_are_refused(episode):
    with pytest.raises(InputError, match=r"5 classes; this task has 3.*ProtoNet"):
        MAML(smooth_backbone(), 5, features=12).double().adapt(episode.support)


@pytest.mark.parametrize(
    ("wrong", "legal"),
    [
        ({"inner_lr": 0.0}, "positive"),
        ({"batch_stats": "batch"}, "running, support or transductive"),
        ({"vectorize": "yes"}, "auto, vmap or loop"),
        ({"inner_steps": -1}, "0 or more"),
        ({"recompute": True, "first_order": True}, "second-order"),
        ({"recompute": True, "batch_stats": "running"}, "support or transductive"),
        ({"outputs": 0}, "1 or more"),
        ({"features": None}, "set `features`"),
        ({"backbone": nn.BatchNorm1d(12, track_running_stats=False), "batch_stats": "running"}, "support or transd"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@pytest.mark.usefixtures("no_type_checker")
def test_wrong_options_are_refused_with_the_legal_ones(wrong, legal):
    with pytest.raises(InputError, match=legal):
        MAML(**{"backbone": nn.Identity(), "outputs": 3, "features": 12, **wrong})
