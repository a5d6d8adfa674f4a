"""Backbones, batch statistics and the tasks axis."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import grad, vmap
from torch.testing import assert_close

from lightning_meta.core import InputError
from lightning_meta.nn import MLP, Conv4, ResNet12
from lightning_meta.nn.batch_stats import BatchStatistics
from lightning_meta.nn.embed import embed


@pytest.mark.parametrize(
    ("backbone", "width"),
    [
        (Conv4(), 64),
        (Conv4(3, 84), 1600),
        (Conv4(1, 16, width=8), 8),
        (Conv4(pool=False), 64),
        (Conv4(2, 9, width=5, pool=False), 5),
        (ResNet12(1, 28, widths=(4, 8, 8, 16)), 16),
        (MLP([784, 40, 30]), 30),
    ],
    ids=["28", "84", "16", "strided", "strided 9", "resnet", "mlp"],
)
def test_features_have_the_width_that_the_backbone_tells(backbone, width):
    x = torch.randn(2, *getattr(backbone, "in_shape", (1, 28, 28)))
    assert backbone(x).shape == (2, width)
    assert backbone.out_features == width


def test_resnet12_ends_in_640_features_by_default():
    backbone = ResNet12().eval()
    assert backbone.out_features == 640
    with torch.no_grad():
        assert backbone(torch.randn(1, 3, 84, 84)).shape == (1, 640)
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in backbone.modules()) == 12


@pytest.mark.parametrize("backbone", [Conv4(1, 28), ResNet12(1, 28, widths=(4, 4, 4, 4)), MLP([784, 8])])
@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 32, 32)])
def test_images_of_another_shape_are_refused_with_both_shapes(backbone, shape):
    with pytest.raises(InputError, match=rf"784|\[1, 28, 28\].*\[{shape[0]}, {shape[1]}"):
        backbone(torch.zeros(2, *shape))


def test_images_too_small_to_halve_four_times_are_refused():
    with pytest.raises(InputError, match="pool=false"):
        Conv4(1, 15)


@pytest.mark.parametrize("sizes", [[784], [784, 0]])
def test_an_mlp_needs_an_input_size_and_a_layer(sizes):
    with pytest.raises(InputError, match="at least one layer"):
        MLP(sizes)


@pytest.mark.usefixtures("no_type_checker")
def test_an_mlp_bends_as_it_was_told():
    x = torch.linspace(-50, 50, 101).unsqueeze(1)
    bent, rectified = MLP([1, 8], activation="tanh")(x), MLP([1, 8])(x)
    assert bent.abs().max() == 1
    assert bent.min() < 0 <= rectified.min()
    with pytest.raises(InputError, match="choose relu or tanh"):
        MLP([1, 8], activation="gelu")


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5), (8, 3, 5, 4)])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("choice", ["running", "transductive", "support"])
def test_batch_statistics_are_those_of_torchs_batch_norm(shape, affine, choice):
    x, kind = 3 + 2 * torch.randn(shape), {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)]
    norm = kind(3, affine=affine)
    for tensor in (norm.weight, norm.bias) if affine else ():
        nn.init.normal_(tensor)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    stats = norm.running_mean.clone(), norm.running_var.clone()
    with BatchStatistics(choice, support=5):
        told = norm(x)
    assert_close((norm.running_mean, norm.running_var), stats, rtol=0, atol=0)

    axes = [0, *range(2, len(shape))]
    seen = {"running": None, "transductive": x, "support": x[:5]}[choice]
    mean, var = stats if seen is None else (seen.mean(axes), seen.var(axes, correction=0))
    assert_close(told, F.batch_norm(x, mean, var, norm.weight, norm.bias))


def test_batch_statistics_keep_bfloat16_and_compute_in_float32():
    x = (100 + torch.randn(64, 3)).bfloat16()
    with BatchStatistics("transductive"):
        y = F.batch_norm(x, None, None, training=True)
    assert y.dtype == torch.bfloat16
    assert_close(y.float(), F.batch_norm(x.float(), None, None, training=True), rtol=1e-2, atol=1e-2)


def test_second_derivatives_through_batch_statistics_survive_vmap():
    """vmap over torch's own batch norm gives a wrong one without a word: the reason for BatchStatistics."""
    x, w = torch.randn(2, 6, 3, dtype=torch.double), torch.randn(3, dtype=torch.double)

    def slope_norm(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        def loss(w: torch.Tensor) -> torch.Tensor:
            with BatchStatistics("transductive"):
                return F.batch_norm(torch.tanh(x * w), None, None, training=True).pow(3).sum()

        return grad(loss)(w).square().sum()

    second = vmap(grad(slope_norm), in_dims=(None, 0))(w, x)
    for task in range(2):
        for i in range(3):
            step = torch.zeros_like(w)
            step[i] = 1e-5
            slope = (slope_norm(w + step, x[task]) - slope_norm(w - step, x[task])) / 2e-5
            assert float(second[task, i]) == pytest.approx(float(slope), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("training", [True, False])
def test_embed_gives_each_task_its_own_batch_and_moves_statistics_to_their_mean(training):
    backbone = Conv4(1, 16, 4).train(training)
    x = torch.randn(3, 5, 1, 16, 16) * torch.tensor([1.0, 2, 3]).reshape(3, 1, 1, 1, 1)
    copies = [copy.deepcopy(backbone) for _ in x]
    features = torch.stack([each(task) for each, task in zip(copies, x, strict=True)])
    assert_close(embed(backbone, x), features)
    for name, buffer in backbone.named_buffers():
        moved = torch.stack([each.get_buffer(name) for each in copies])
        assert_close(buffer, moved.mean(0) if moved.is_floating_point() else moved[0])
    assert backbone.blocks[0][1].num_batches_tracked == training


def test_embed_reads_a_backbone_without_buffers_as_one_batch():
    backbone, calls = MLP([4, 3]), []
    x = torch.randn(3, 5, 4)
    embed(backbone, x)  # which measures that no row depends on another
    backbone.register_forward_hook(lambda *_: calls.append(1))
    assert_close(embed(backbone, x), torch.stack([backbone(task) for task in x]))
    assert len(calls) == 1 + 3
