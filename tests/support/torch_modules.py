"""Every module of torch.nn that can be a part of a backbone."""

# pyright: reportArgumentType=false, reportPrivateImportUsage=false, reportCallIssue=false, reportAttributeAccessIssue=false

import torch.nn.functional as F
from torch import nn

from support.torch_parts import (
    IMAGE,
    ROW,
    SEQUENCE,
    VOLUME,
    Call,
    Case,
    With,
    attention,
    decoder,
    modules,
    steps,
    tokens,
    unpool,
)

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
