"""Every module of torch.nn and every function of torch.nn.functional, as parts of a backbone; or why one is none."""

# pyright: reportArgumentType=false, reportPrivateImportUsage=false, reportCallIssue=false, reportAttributeAccessIssue=false

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

Shape = tuple[int, ...]
Case = tuple[Callable[[], nn.Module], Shape]  # what makes the part, and the shape of an example that it takes

ROW, SEQUENCE, IMAGE, VOLUME = (6,), (4, 6), (4, 6, 6), (2, 4, 4, 4)


class Call(nn.Module):
    """A function of a batch as a module."""

    def __init__(self, function: Callable[[Tensor], Any]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        found = self.function(x)
        return found[0] if isinstance(found, tuple) else found


class With(nn.Module):
    """A module that is called in a way of its own."""

    def __init__(self, module: nn.Module, call: Callable[[nn.Module, Tensor], Any]):
        super().__init__()
        self.module, self.call = module, call

    def forward(self, x: Tensor) -> Tensor:
        found = self.call(self.module, x)
        return found[0] if isinstance(found, tuple) else found


class Part(nn.Module):
    """A backbone [n, *shape] -> [n, 6] around a part: every number of an example has a weight and a bias of its own before
    it, and what comes out is mixed by a fixed matrix. A part that gives other than a row for each example gives them all."""

    def __init__(self, part: nn.Module, shape: Shape):
        super().__init__()
        self.weight, self.bias = nn.Parameter(0.5 + torch.rand(shape)), nn.Parameter(0.3 * torch.randn(shape))
        self.part, self.out_features = part, 6

    def forward(self, x: Tensor) -> Tensor:
        found = self.part(x * self.weight + self.bias)
        rows = (
            found.reshape(len(x), -1)
            if found.ndim and len(found) == len(x)
            else found.reshape(1, -1).expand(len(x), -1)
        )
        mix = torch.linspace(0, 7, rows.shape[1] * 6, dtype=rows.dtype).sin().reshape(rows.shape[1], 6)
        return (rows @ mix / rows.shape[1] ** 0.5).sin()


def modules(shape: Shape, *made: Callable[[], nn.Module]) -> dict[str, Case]:
    return {type(make()).__name__: (make, shape) for make in made}


def functions(shape: Shape, **calls: Callable[[Tensor], Any]) -> dict[str, Case]:
    return {name: (lambda call=call: Call(call), shape) for name, call in calls.items()}


def steps(length: int, call: Callable[[nn.Module, Tensor], Any]) -> Callable[[nn.Module, Tensor], Tensor]:
    """A cell, called on the parts of a row in turn."""

    def run(cell: nn.Module, x: Tensor) -> Tensor:
        state = None
        for token in x.split(length, 1):
            state = call(cell, token) if state is None else cell(token, state)
        return state[0] if isinstance(state, tuple) else state  # type: ignore[return-value]

    return run


def unpool(pool: Any, undo: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: undo(*pool(x, 2, return_indices=True), 2)


def tokens(x: Tensor) -> Tensor:
    return torch.arange(x[0].numel(), device=x.device).remainder(5).expand(len(x), -1)


def attention() -> nn.Module:
    return nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, activation=F.softplus, batch_first=True)


def decoder() -> nn.Module:
    return nn.TransformerDecoderLayer(6, 2, 8, dropout=0.0, activation=F.softplus, batch_first=True)


MODULES: dict[str, Case] = {
    **modules(
        ROW, nn.CELU, nn.ELU, nn.GELU, nn.GLU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity
    ),
    **modules(
        ROW, nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.PReLU, nn.RReLU, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid
    ),
    **modules(ROW, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Dropout, nn.AlphaDropout),
    **modules(
        ROW, lambda: nn.Softmax(1), lambda: nn.LogSoftmax(1), lambda: nn.Softmin(1), lambda: nn.Threshold(0.1, 0.2)
    ),
    **modules(ROW, lambda: nn.Linear(6, 5), lambda: nn.LayerNorm(6), lambda: nn.RMSNorm(6), lambda: nn.BatchNorm1d(6)),
    **modules(ROW, nn.Flatten, lambda: nn.Unflatten(1, (2, 3))),
    **modules(
        SEQUENCE, lambda: nn.Conv1d(4, 3, 3, padding=1, padding_mode="circular"), lambda: nn.ConvTranspose1d(4, 3, 2, 2)
    ),
    **modules(SEQUENCE, lambda: nn.AvgPool1d(2), lambda: nn.MaxPool1d(2), lambda: nn.LPPool1d(2, 2), nn.Dropout1d),
    **modules(SEQUENCE, lambda: nn.AdaptiveAvgPool1d(4), lambda: nn.AdaptiveMaxPool1d(4), lambda: nn.ChannelShuffle(2)),
    **modules(SEQUENCE, lambda: nn.CircularPad1d(2), lambda: nn.ConstantPad1d(2, 0.5), lambda: nn.ReflectionPad1d(2)),
    **modules(
        SEQUENCE, lambda: nn.ReplicationPad1d(2), lambda: nn.ZeroPad1d(2), lambda: nn.InstanceNorm1d(4, affine=True)
    ),
    **modules(IMAGE, lambda: nn.Conv2d(4, 3, 3, dilation=2), lambda: nn.ConvTranspose2d(4, 4, 3, 2, groups=2)),
    **modules(IMAGE, lambda: nn.AvgPool2d(2), lambda: nn.MaxPool2d(3, 2), lambda: nn.LPPool2d(2, 2), nn.Dropout2d),
    **modules(IMAGE, lambda: nn.AdaptiveAvgPool2d(4), lambda: nn.AdaptiveMaxPool2d(4), lambda: nn.BatchNorm2d(4)),
    **modules(IMAGE, lambda: nn.CircularPad2d(1), lambda: nn.ConstantPad2d(1, 0.5), lambda: nn.ReflectionPad2d(1)),
    **modules(
        IMAGE, lambda: nn.ReplicationPad2d(1), lambda: nn.ZeroPad2d(1), lambda: nn.InstanceNorm2d(4, affine=True)
    ),
    **modules(
        IMAGE, lambda: nn.GroupNorm(2, 4), lambda: nn.LocalResponseNorm(2), lambda: nn.SyncBatchNorm(4), nn.Softmax2d
    ),
    **modules(
        IMAGE, lambda: nn.PixelShuffle(2), lambda: nn.PixelUnshuffle(2), lambda: nn.Unfold(3), nn.FeatureAlphaDropout
    ),
    **modules(IMAGE, lambda: nn.UpsamplingNearest2d(8), lambda: nn.UpsamplingBilinear2d(8)),
    **modules(IMAGE, lambda: nn.Upsample(8, mode="bicubic"), lambda: nn.FractionalMaxPool2d(2, 3)),
    **modules((4, 9), lambda: nn.Fold((4, 4), 2)),
    **modules(
        VOLUME, lambda: nn.Conv3d(2, 2, 3), lambda: nn.ConvTranspose3d(2, 2, 2), lambda: nn.AvgPool3d(2), nn.Dropout3d
    ),
    **modules(VOLUME, lambda: nn.MaxPool3d(2), lambda: nn.LPPool3d(2, 2), lambda: nn.FractionalMaxPool3d(2, 2)),
    **modules(VOLUME, lambda: nn.AdaptiveAvgPool3d(2), lambda: nn.AdaptiveMaxPool3d(2), lambda: nn.BatchNorm3d(2)),
    **modules(VOLUME, lambda: nn.CircularPad3d(1), lambda: nn.ConstantPad3d(1, 0.5), lambda: nn.ReflectionPad3d(1)),
    **modules(
        VOLUME, lambda: nn.ReplicationPad3d(1), lambda: nn.ZeroPad3d(1), lambda: nn.InstanceNorm3d(2, affine=True)
    ),
    **modules(SEQUENCE, attention, lambda: nn.TransformerEncoder(attention(), 1, enable_nested_tensor=False)),
    "MaxUnpool1d": (lambda: Call(unpool(F.max_pool1d, F.max_unpool1d)), SEQUENCE),
    "MaxUnpool2d": (lambda: Call(unpool(F.max_pool2d, F.max_unpool2d)), IMAGE),
    "MaxUnpool3d": (lambda: Call(unpool(F.max_pool3d, F.max_unpool3d)), VOLUME),
    "Bilinear": (lambda: With(nn.Bilinear(3, 3, 4), lambda m, x: m(*x.chunk(2, 1))), ROW),
    "CosineSimilarity": (lambda: With(nn.CosineSimilarity(), lambda m, x: m(*x.chunk(2, 1))), ROW),
    "PairwiseDistance": (lambda: With(nn.PairwiseDistance(), lambda m, x: m(*x.chunk(2, 1))), ROW),
    "Embedding": (lambda: With(nn.Embedding(5, 2), lambda m, x: m(tokens(x)).sum(2) * x), ROW),
    "EmbeddingBag": (lambda: With(nn.EmbeddingBag(5, 6), lambda m, x: m(tokens(x)) * x), ROW),
    "MultiheadAttention": (
        lambda: With(nn.MultiheadAttention(6, 2, batch_first=True), lambda m, x: m(x, x, x, need_weights=False)),
        SEQUENCE,
    ),
    "Transformer": (
        lambda: With(nn.Transformer(6, 2, 1, 1, 8, 0.0, F.softplus, batch_first=True), lambda m, x: m(x, x.flip(1))),
        SEQUENCE,
    ),
    "TransformerDecoderLayer": (lambda: With(decoder(), lambda m, x: m(x, x.flip(1))), SEQUENCE),
    "TransformerDecoder": (lambda: With(nn.TransformerDecoder(decoder(), 1), lambda m, x: m(x, x.flip(1))), SEQUENCE),
    "RNN": (lambda: With(nn.RNN(6, 3, batch_first=True), lambda m, x: m(x)), SEQUENCE),
    "GRU": (lambda: With(nn.GRU(6, 3, batch_first=True), lambda m, x: m(x)), SEQUENCE),
    "LSTM": (lambda: With(nn.LSTM(6, 3, batch_first=True), lambda m, x: m(x)), SEQUENCE),
    "RNNCell": (lambda: With(nn.RNNCell(3, 4), steps(3, lambda m, x: m(x))), ROW),
    "GRUCell": (lambda: With(nn.GRUCell(3, 4), steps(3, lambda m, x: m(x))), ROW),
    "LSTMCell": (lambda: With(nn.LSTMCell(3, 4), steps(3, lambda m, x: m(x))), ROW),
    "CrossMapLRN2d": (lambda: nn.CrossMapLRN2d(2), IMAGE),
    "AdaptiveLogSoftmaxWithLoss": (
        lambda: With(nn.AdaptiveLogSoftmaxWithLoss(6, 5, [2]), lambda m, x: m.log_prob(x)),  # type: ignore[operator]
        ROW,
    ),
}

FUNCTIONS: dict[str, Case] = {
    **{
        name: (lambda name=name: Call(getattr(F, name)), ROW)
        for name in (
            *(
                "celu",
                "elu",
                "gelu",
                "glu",
                "hardshrink",
                "hardsigmoid",
                "hardswish",
                "hardtanh",
                "leaky_relu",
                "logsigmoid",
            ),
            *(
                "mish",
                "relu",
                "relu6",
                "rrelu",
                "selu",
                "sigmoid",
                "silu",
                "softplus",
                "softshrink",
                "softsign",
                "tanh",
            ),
            *("tanhshrink", "dropout", "alpha_dropout", "normalize", "gumbel_softmax"),
        )
    },
    **{  # in place, on a copy
        name: (lambda name=name: Call(lambda x: getattr(F, name)(x * 1)), ROW)
        for name in ("celu_", "elu_", "hardtanh_", "leaky_relu_", "relu_", "rrelu_", "selu_")
    },
    **functions(
        ROW,
        threshold=lambda x: F.threshold(x, 0.1, 0.2),
        threshold_=lambda x: F.threshold_(x * 1, 0.1, 0.2),
        softmax=lambda x: F.softmax(x, 1),
        log_softmax=lambda x: F.log_softmax(x, 1),
        softmin=lambda x: F.softmin(x, 1),
        layer_norm=lambda x: F.layer_norm(x, (6,)),
        rms_norm=lambda x: F.rms_norm(x, (6,)),
        batch_norm=lambda x: F.batch_norm(x, None, None, training=True),
        linear=lambda x: F.linear(x, x[:4]),
        bilinear=lambda x: F.bilinear(x[:, :2], x[:, 2:4], x[:2, :4].reshape(2, 2, 2)),
        cosine_similarity=lambda x: F.cosine_similarity(x[:, :3], x[:, 3:]),
        pairwise_distance=lambda x: F.pairwise_distance(x[:, :3], x[:, 3:]),
        pdist=F.pdist,
        prelu=lambda x: F.prelu(x, x[0, :1]),
        embedding=lambda x: F.embedding(tokens(x)[0], x),
        embedding_bag=lambda x: F.embedding_bag(tokens(x), x),
        one_hot=lambda x: x * F.one_hot(tokens(x)[:, 0], 6),
    ),
    **functions(
        SEQUENCE,
        conv1d=lambda x: F.conv1d(x, x[:2, :, :3]),
        conv_transpose1d=lambda x: F.conv_transpose1d(x, x[:4, :2, :3]),
        conv_tbc=lambda x: F.conv_tbc(x.mT.contiguous(), x[:3, :, :2].mT.mT.contiguous()[:, :4], x.new_zeros(2)),
        avg_pool1d=lambda x: F.avg_pool1d(x, 2),
        max_pool1d=lambda x: F.max_pool1d(x, 2),
        max_pool1d_with_indices=lambda x: F.max_pool1d_with_indices(x, 2),
        lp_pool1d=lambda x: F.lp_pool1d(x, 4, 2),
        max_unpool1d=unpool(F.max_pool1d, F.max_unpool1d),
        adaptive_avg_pool1d=lambda x: F.adaptive_avg_pool1d(x, 4),
        adaptive_max_pool1d=lambda x: F.adaptive_max_pool1d(x, 4),
        adaptive_max_pool1d_with_indices=lambda x: F.adaptive_max_pool1d_with_indices(x, 4),
        channel_shuffle=lambda x: F.channel_shuffle(x, 2),
        dropout1d=F.dropout1d,
        instance_norm=F.instance_norm,
        scaled_dot_product_attention=lambda x: F.scaled_dot_product_attention(x, x.flip(1), x.sin()),
        multi_head_attention_forward=lambda x: F.multi_head_attention_forward(
            *(x.transpose(0, 1),) * 3,
            6,
            2,
            x[:3, :, :].reshape(-1, 6)[:18].repeat(2, 1)[:18],
            None,
            None,
            None,
            False,
            0.0,
            torch.eye(6, dtype=x.dtype),
            None,
            need_weights=False,
        )[0].transpose(0, 1),
    ),
    **functions(
        IMAGE,
        conv2d=lambda x: F.conv2d(x, x[:2, :, :3, :3], stride=2),
        conv_transpose2d=lambda x: F.conv_transpose2d(x, x[:4, :2, :3, :3]),
        avg_pool2d=lambda x: F.avg_pool2d(x, 2),
        max_pool2d=lambda x: F.max_pool2d(x, 2),
        max_pool2d_with_indices=lambda x: F.max_pool2d_with_indices(x, 2),
        lp_pool2d=lambda x: F.lp_pool2d(x, 4, 2),
        max_unpool2d=unpool(F.max_pool2d, F.max_unpool2d),
        adaptive_avg_pool2d=lambda x: F.adaptive_avg_pool2d(x, 4),
        adaptive_max_pool2d=lambda x: F.adaptive_max_pool2d(x, 4),
        adaptive_max_pool2d_with_indices=lambda x: F.adaptive_max_pool2d_with_indices(x, 4),
        fractional_max_pool2d=lambda x: F.fractional_max_pool2d(x, 2, 3),
        fractional_max_pool2d_with_indices=lambda x: F.fractional_max_pool2d_with_indices(x, 2, 3),
        affine_grid=lambda x: F.affine_grid(x[:, 0, :2, :3], [len(x), 1, 3, 3]),
        grid_sample=lambda x: F.grid_sample(x, x[:, :2, :3, :3].permute(0, 2, 3, 1).tanh(), align_corners=False),
        interpolate=lambda x: F.interpolate(x, 9, mode="bilinear", antialias=True),
        upsample=lambda x: F.upsample(x, 9, mode="bicubic"),
        upsample_bilinear=lambda x: F.upsample_bilinear(x, 9),
        upsample_nearest=lambda x: F.upsample_nearest(x, 9),
        group_norm=lambda x: F.group_norm(x, 2),
        local_response_norm=lambda x: F.local_response_norm(x, 2),
        pixel_shuffle=lambda x: F.pixel_shuffle(x, 2),
        pixel_unshuffle=lambda x: F.pixel_unshuffle(x, 2),
        unfold=lambda x: F.unfold(x, 3),
        fold=lambda x: F.fold(x.flatten(2)[..., :9], (4, 4), 2),
        pad=lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"),
        dropout2d=F.dropout2d,
        feature_alpha_dropout=F.feature_alpha_dropout,
    ),
    **functions(
        VOLUME,
        conv3d=lambda x: F.conv3d(x, x[:2, :, :2, :2, :2]),
        conv_transpose3d=lambda x: F.conv_transpose3d(x, x[:2, :, :2, :2, :2]),
        avg_pool3d=lambda x: F.avg_pool3d(x, 2),
        max_pool3d=lambda x: F.max_pool3d(x, 2),
        max_pool3d_with_indices=lambda x: F.max_pool3d_with_indices(x, 2),
        lp_pool3d=lambda x: F.lp_pool3d(x, 4, 2),
        max_unpool3d=unpool(F.max_pool3d, F.max_unpool3d),
        adaptive_avg_pool3d=lambda x: F.adaptive_avg_pool3d(x, 2),
        adaptive_max_pool3d=lambda x: F.adaptive_max_pool3d(x, 2),
        adaptive_max_pool3d_with_indices=lambda x: F.adaptive_max_pool3d_with_indices(x, 2),
        fractional_max_pool3d=lambda x: F.fractional_max_pool3d(x, 2, 2),
        fractional_max_pool3d_with_indices=lambda x: F.fractional_max_pool3d_with_indices(x, 2, 2),
        dropout3d=F.dropout3d,
    ),
}

# What the modules and functions above rest on, and what is put on their weights.
OTHERS: dict[str, Case] = {
    "torch.nn.utils.weight_norm": (lambda: nn.utils.weight_norm(nn.Linear(6, 5)), ROW),
    "torch.nn.utils.weight_norm, dim None": (lambda: nn.utils.weight_norm(nn.Linear(6, 5), dim=None), ROW),  # type: ignore[arg-type]
    "torch.nn.utils.weight_norm, convolution": (lambda: nn.utils.weight_norm(nn.Conv2d(4, 3, 3)), IMAGE),
    "torch.nn.utils.weight_norm, last axis": (lambda: nn.utils.weight_norm(nn.Linear(6, 5), dim=1), ROW),
    "torch.nn.utils.spectral_norm": (lambda: nn.utils.spectral_norm(nn.Linear(6, 5)), ROW),
    "parametrizations.weight_norm": (lambda: parametrizations.weight_norm(nn.Linear(6, 5)), ROW),
    "parametrizations.weight_norm, convolution": (lambda: parametrizations.weight_norm(nn.Conv2d(4, 3, 3)), IMAGE),
    "parametrizations.weight_norm, transposed": (
        lambda: parametrizations.weight_norm(nn.ConvTranspose1d(4, 3, 2), dim=1),
        SEQUENCE,
    ),
    "parametrizations.spectral_norm": (lambda: parametrizations.spectral_norm(nn.Linear(6, 5)), ROW),
    "parametrizations.orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(6, 6)), ROW),
    "torch._weight_norm": (lambda: Call(lambda x: torch._weight_norm(x, x[:, :1].sin(), 0)), ROW),
    "torch.cdist": (lambda: Call(lambda x: torch.cdist(x, x[:3].sin())), ROW),
    "torch.cdist, p 1": (lambda: Call(lambda x: torch.cdist(x, x[:3].sin(), p=1.5)), ROW),
    "torch.batch_norm": (
        lambda: Call(lambda x: torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False)),
        ROW,
    ),
    "torch.layer_norm": (lambda: Call(lambda x: torch.layer_norm(x, (6,))), ROW),
    "torch.linalg.vector_norm": (lambda: Call(lambda x: torch.linalg.vector_norm(x, dim=1)), ROW),
    "torch.var": (lambda: Call(lambda x: x.var(1)), ROW),
    "torch.select_scatter": (lambda: Call(lambda x: torch.select_scatter(x, x[:, 0].sin(), 1, -2)), ROW),
    "Tensor.index_fill": (lambda: Call(lambda x: x.index_fill(1, torch.tensor([1, 4]), x.sum().sin())), ROW),
    "torch.einsum": (lambda: Call(lambda x: torch.einsum("ni,nj->nij", x, x)), ROW),
    "F.normalize, a zero row": (lambda: Call(lambda x: F.normalize(x * torch.eye(len(x), 1, dtype=x.dtype))), ROW),
    "F.cosine_similarity, a zero row": (
        lambda: Call(lambda x: F.cosine_similarity(x * torch.eye(len(x), 1, dtype=x.dtype), x.sin() + 2)),
        ROW,
    ),
    "attention that weighs": (
        lambda: With(nn.MultiheadAttention(6, 2, batch_first=True), lambda m, x: m(x, x, x)),
        SEQUENCE,
    ),
}

LOSS = "a loss, which compares predictions with targets"
BASE = "a base class or container, which computes nothing itself"
LAZY = "has no weights before its first batch: refused when a learner is built"
HALF = "of half or 8-bit numbers alone, which have no digits to compare"
NOT_SWEPT = {
    **dict.fromkeys(
        ("Container", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"), BASE
    ),
    **dict.fromkeys(("RNNBase", "RNNCellBase"), BASE),
    **{name: LAZY for name in nn.modules.__all__ if name.startswith("Lazy")},
    **{name: LOSS for name in nn.modules.__all__ if name.endswith("Loss")} | {"NLLLoss2d": LOSS},
    "LinearCrossEntropyOptions": "the options of a loss",
    **dict.fromkeys(
        (
            *(
                "binary_cross_entropy",
                "binary_cross_entropy_with_logits",
                "cosine_embedding_loss",
                "cross_entropy",
                "ctc_loss",
            ),
            *("gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "linear_cross_entropy"),
            *(
                "margin_ranking_loss",
                "mse_loss",
                "multi_margin_loss",
                "multilabel_margin_loss",
                "multilabel_soft_margin_loss",
            ),
            *("nll_loss", "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss"),
            "triplet_margin_with_distance_loss",
        ),
        LOSS,
    ),
    "native_channel_shuffle": "has no derivative at all",
    **dict.fromkeys(("grouped_mm", "scaled_grouped_mm", "scaled_mm"), HALF),
    **dict.fromkeys(
        (
            *("Callable", "DType", "Optional", "ScalingType", "SwizzleType", "Tensor", "assert_int_or_pair"),
            *("boolean_dispatch", "handle_torch_function", "has_torch_function", "has_torch_function_unary"),
            "has_torch_function_variadic",
        ),
        "a helper of the module itself",
    ),
}
del NOT_SWEPT["AdaptiveLogSoftmaxWithLoss"]  # a head too
NAMES = {*nn.modules.__all__, *(name for name in dir(F) if name[0] != "_" and callable(getattr(F, name)))}
SWEPT: dict[str, Case] = {**MODULES, **FUNCTIONS, **OTHERS}
