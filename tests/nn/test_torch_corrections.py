"""Every operation of torch that can be part of a backbone has the right meta-gradient, by vmap and by the loop, or says that
it has none: a sweep over all of torch.nn and torch.nn.functional."""

# pyright: reportArgumentType=false, reportPrivateImportUsage=false, reportAttributeAccessIssue=false, reportCallIssue=false

import copy
import logging

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples, InputError
from lightning_meta.learners import MAML
from lightning_meta.nn.batch_stats import BatchStatistics
from lightning_meta.nn.torch_corrections import CORRECTIONS
from support.episodes import separable_episode
from support.meta_gradients import slopes
from support.packaged_learners import IMAGE, make, map_tensors
from support.torch_functions import OTHERS
from support.torch_parts import Part
from support.torch_sweep import NAMES, NOT_SWEPT, SWEPT
from users_backbones import Branches, Cell, OldWeightNorm, Own, Spectral

LOOP_ALONE = {"RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell", "RReLU", "rrelu", "rrelu_"}  # vmap has no rule
NO_SECOND = {"EmbeddingBag", "embedding_bag", "CrossMapLRN2d"}  # derivative, and say so
QUICK = {
    "BatchNorm2d",
    "InstanceNorm1d",
    "LayerNorm",
    "Hardsigmoid",
    "pdist",
    "GRUCell",
    "CrossMapLRN2d",
    "Dropout",
} | {name for name in OTHERS if "convolution" not in name and "orthogonal" not in name}
quick_or_slow = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in SWEPT]


def episode(shape: tuple[int, ...]) -> Episode:
    y = torch.arange(6).remainder(3).expand(2, 6)
    return Episode(*(Examples(torch.randn(2, 6, *shape).double(), y) for _ in range(2)))


def test_every_name_of_torch_is_swept_or_has_a_reason_not_to_be() -> None:
    assert set(NOT_SWEPT) | (set(SWEPT) - set(OTHERS)) == NAMES
    assert not set(NOT_SWEPT) & set(SWEPT)
    assert set(SWEPT) > LOOP_ALONE | NO_SECOND | QUICK


@pytest.mark.filterwarnings("ignore")  # torch's own, of what is deprecated or slow there
@pytest.mark.parametrize("name", quick_or_slow)
def test_the_meta_gradient_is_that_of_finite_differences_by_vmap_and_by_the_loop(name: str) -> None:
    part, shape = SWEPT[name]
    backbone, batch = Part(part(), shape).double(), episode(shape)
    learners = [MAML(copy.copy(backbone), 3, 0.3, 2, vectorize=v).double() for v in ("loop", "vmap")]
    learners[1].network.head.load_state_dict(learners[0].network.head.state_dict())  # type: ignore[union-attr]
    if name in NO_SECOND:
        with pytest.raises((RuntimeError, NotImplementedError), match=r"not implemented|setup_context"):
            learners[0].loss(batch).loss.backward()
        return
    losses = []
    for learner in learners:
        if learner.network.vectorize == "vmap" and name in LOOP_ALONE:
            with pytest.raises(InputError, match="set vectorize to loop"):
                learner.loss(batch)
            continue
        along, slope = slopes(learner, lambda learner=learner: learner.loss(batch).loss)
        assert along == pytest.approx(slope, rel=1e-5, abs=1e-7)
        losses.append([luck(learner, batch, seed) for seed in (0, 1)])
    if len(losses) == 2 and losses[0][0] == losses[0][1]:  # nothing is drawn
        assert_close(*losses, rtol=1e-10, atol=1e-12)


def luck(learner: MAML, batch: Episode, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return learner.eval().loss(batch).loss.detach()


@pytest.mark.parametrize("function", CORRECTIONS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_stands_for_an_operation_gives_its_value(function, dtype: torch.dtype) -> None:
    x, y = torch.randn(2, 5, 4).to(dtype)
    calls = {
        F.layer_norm: [(x, (4,)), (x, (5, 4), y, y)],
        F.instance_norm: [(torch.stack([x, y]),), (torch.stack([x, y]), None, None, x[:, 0], y[:, 0])],
        torch._weight_norm: [(x, y[:, :1], 0), (x, y[:1], 1), (x, y[0, 0], -1)],
        F.hardsigmoid: [(4 * x,), (3 * x.clone(), True)],
        F.normalize: [(x,), (x, 3.0, 0), (torch.zeros_like(x),)],
        F.cosine_similarity: [(x, y), (x, torch.zeros_like(y), 0)],
        torch.cdist: [(x, y), (x, x, 1.0), (torch.stack([x, y]), torch.stack([y, x]), 3.0)],
        F.pdist: [(x,), (x, 1.0)],
        torch.select_scatter: [(x, y[0], 0, 2), (x, y[:, 0], 1, -1)],
        torch.index_fill: [(x, 0, torch.tensor([1, 3]), 2.0), (x, -1, torch.tensor([0]), y[0, 0])],
    }
    calls[torch.Tensor.select_scatter], calls[torch.Tensor.index_fill] = (
        calls[torch.select_scatter],
        calls[torch.index_fill],
    )
    if dtype == torch.bfloat16 and function in (torch.cdist, F.pdist):
        return  # which torch has none of
    for arguments in calls[function]:
        copies = [each.clone() if isinstance(each, Tensor) else each for each in arguments]
        with BatchStatistics("transductive"):
            found = function(*copies)
        loose = {"rtol": 3e-2, "atol": 3e-2} if dtype == torch.bfloat16 else {}
        assert_close(found, function(*arguments), **loose)


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize("backbone", ["OldWeightNorm", "WeightNorm"])
@pytest.mark.parametrize("vectorize", ["vmap", "loop"])
@pytest.mark.parametrize("name", ["maml", "metasgd", "mamlpp", "protomaml", "imaml", "metalstm"])
def test_weight_norm_is_the_same_as_written_by_hand(name: str, backbone: str, vectorize: str) -> None:
    pixels = {"pixels": IMAGE[1] * IMAGE[2]}
    options = {"vectorize": vectorize} | ({"first_order": False} if name == "metalstm" else {})
    learners = [
        make(name, {"class_path": f"users_backbones.{kind}", "init_args": pixels}, **options).double().train()
        for kind in ("ByHand", backbone)
    ]
    theta = [
        sorted(learner.network.backbone.named_parameters(), key=lambda w: (w[1].ndim, w[1].shape))
        for learner in learners
    ]
    with torch.no_grad():
        for (_, ours), (_, torchs) in zip(*theta, strict=True):
            torchs.copy_(ours)
        own = {n: w for n, w in learners[0].state_dict().items() if "backbone" not in n and "rates" not in n}
        learners[1].load_state_dict(own, strict=False)
    batch = map_tensors(separable_episode(2, 5, 2, 3, IMAGE), lambda t: t.double() if t.is_floating_point() else t)
    gradients = []
    for learner, weights in zip(learners, theta, strict=True):
        learner.loss(batch).loss.backward()
        gradients.append([w.grad for _, w in weights])
    assert_close(*gradients, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", [Branches, Cell])
def test_what_vmap_cannot_lift_goes_by_the_loop_or_says_so(kind: type[Own], caplog: pytest.LogCaptureFixture) -> None:
    backbone = kind(36)
    auto, loop, vmap = (MAML(backbone, 3, vectorize=v) for v in ("auto", "loop", "vmap"))
    for other in (loop, vmap):
        other.load_state_dict(auto.state_dict())
    batch = separable_episode(2, 3, 2, 2, (1, 6, 6))
    with caplog.at_level(logging.WARNING):
        found = [auto.loss(batch).loss, auto.loss(batch).loss]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (kind is Branches), "known, or said once"
    assert all("vmap cannot lift Branches" in line and "loop" in line for line in said)
    assert found[0] == found[1] == loop.loss(batch).loss
    with pytest.raises(InputError, match=f"vmap cannot lift {kind.__name__}.*set vectorize to loop"):
        vmap.adapt(batch.support)


def test_going_over_to_the_loop_draws_no_other_random_numbers() -> None:
    backbone = nn.Sequential(Branches(36), nn.Dropout(0.5))
    batch, losses = separable_episode(2, 3, 2, 2, (1, 6, 6)), []
    learner = MAML(backbone, 3, features=8)
    for _ in range(2):  # the first tries vmap
        torch.manual_seed(3)
        losses.append(learner.loss(batch).loss)
    assert losses[0] == losses[1]


def test_the_singular_vectors_of_spectral_norm_follow_the_weights_in_training_alone() -> None:
    learner, batch = MAML(Spectral(36), 3), separable_episode(2, 3, 2, 2, (1, 6, 6))
    u = learner.network.backbone.linear.weight_u
    start = u.clone()
    learner.adapt(batch.support)
    learner.eval().loss(batch)
    assert torch.equal(u, start)
    learner.train().loss(batch)
    assert not torch.equal(u, start)


@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_a_pass_leaves_nothing_of_vmap_on_the_modules() -> None:
    learner, batch = MAML(OldWeightNorm(36), 3, vectorize="vmap"), separable_episode(2, 3, 2, 2, (1, 6, 6))
    before = learner.network.backbone.linear.weight
    learner.loss(batch).loss.backward()
    assert learner.network.backbone.linear.weight is before
