"""Backbones: modules from [n, *shape] to features [n, d].

A backbone of your own needs nothing else; with an attribute `out_features`, d, no learner has to be given the width.
"""

import itertools
from collections import OrderedDict
from typing import Literal

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from lightning_meta.core import InputError


class MLP(nn.Sequential):
    """Multi-layer perceptron over flattened inputs, with an activation after every layer.

    MLP([1, 40, 40]) and a linear head make the sinusoid regressor of Finn et al. (2017), section 5.1.

    Args:
        sizes: Number of inputs, then the width of each layer.
        activation: Activation after each layer, relu or tanh.
    """

    def __init__(self, sizes: list[int], activation: Literal["relu", "tanh"] = "relu"):
        if activation not in ("relu", "tanh"):
            raise InputError(f"activation is {activation!r}; choose relu or tanh")
        if len(sizes) < 2 or min(sizes) < 1:
            raise InputError(f"MLP sizes {sizes}: give the input size and at least one layer size, all positive")
        layers = OrderedDict[str, nn.Module](flatten=nn.Flatten())
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            layers[f"linear{i}"] = nn.Linear(fan_in, fan_out)
            layers[f"{activation}{i}"] = nn.ReLU() if activation == "relu" else nn.Tanh()
        super().__init__(layers)
        self.in_features, self.out_features = sizes[0], sizes[-1]

    def forward(self, input: Shaped[Tensor, "n *shape"]) -> Float[Tensor, "n d"]:
        if (inputs := input.shape[1:].numel()) != self.in_features:
            raise InputError(
                f"MLP was built for {self.in_features} inputs, but these are {inputs}: set sizes[0] to {inputs}"
            )
        return super().forward(input)


class Pixels(nn.Module):
    """The pixels of an image as its features, without a network.

    Images [n, in_channels, height, width] are averaged down to `image_size` and flattened, d = in_channels * image_size^2.
    Santoro et al. (2016) read 20x20 Omniglot images in this way.

    Args:
        in_channels: Channels of an image.
        image_size: Height and width to which images are averaged down.
    """

    def __init__(self, in_channels: int = 1, image_size: int = 20):
        super().__init__()
        if min(in_channels, image_size) < 1:
            raise InputError(f"in_channels {in_channels} and image_size {image_size} must be 1 or more")
        self.shrink = nn.Sequential(nn.AdaptiveAvgPool2d(image_size), nn.Flatten())
        self.out_features = in_channels * image_size**2

    def forward(self, x: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n d"]:
        return self.shrink(x)


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch norm and ReLU, the standard small backbone of few-shot learning.

    `pool=True` halves the image by 2x2 max-pooling after each block (Vinyals et al. 2016; Snell et al. 2017);
    `pool=False` by convolutions of stride 2 (Finn et al. 2017, their Omniglot network, 3.7 times cheaper).
    Images are [n, in_channels, image_size, image_size]; features [n, d] are the flattened last map: d = 64 for 28x28
    pooled; strided maps shrink as 28, 14, 7, 4, 2 and are averaged over space, so d = width.

    Args:
        in_channels: Channels of an image.
        image_size: Height and width of an image, in pixels.
        width: Channels of every block.
        pool: Halve the image by max-pooling after each block, and not by convolutions of stride 2.
    """

    def __init__(self, in_channels: int = 1, image_size: int = 28, width: int = 64, pool: bool = True):
        super().__init__()
        if pool and image_size < 16:
            raise InputError(
                f"Conv4 halves the image four times: image_size {image_size} must be 16 or more, or pool=false"
            )
        channels = [in_channels, width, width, width, width]
        self.blocks = nn.Sequential(*(_block(a, b, pool) for a, b in itertools.pairwise(channels)))
        self.flatten = nn.Flatten() if pool else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.in_shape = (in_channels, image_size, image_size)
        self.out_features = width * (image_size // 16) ** 2 if pool else width

    def forward(self, x: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n d"]:
        check_image(self, x, self.in_shape)
        return self.flatten(self.blocks(x))


def _block(in_channels: int, out_channels: int, pool: bool) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=1 if pool else 2, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(), nn.MaxPool2d(2) if pool else nn.Identity())


def check_image(backbone: nn.Module, x: Tensor, expected: tuple[int, ...]) -> None:
    """Raise InputError where images do not have the shape that the backbone was built for."""
    if tuple(x.shape[1:]) != expected:
        raise InputError(
            f"{type(backbone).__name__} was built for inputs of shape {list(expected)}, but these are"
            f" {list(x.shape[1:])}: set the backbone's in_channels and image_size to those of the data"
        )
