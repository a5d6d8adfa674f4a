"""ResNet-12, the field's standard larger backbone."""

import itertools

from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.nn.backbones import check_image


class ResNet12(nn.Module):
    """ResNet-12 with LeakyReLU(0.1), as in Lee et al. 2019 (MetaOptNet), section 4.1.

    Each of the four blocks has three 3x3 convolutions, a 1x1 shortcut, 2x2 max-pooling and dropout of probability
    `dropout`. Images [n, in_channels, image_size, image_size] -> features [n, 640], averaged over space.
    (The paper's DropBlock is ordinary dropout here, and its last map is flattened, not averaged.)

    Args:
        in_channels: Channels of an image.
        image_size: Height and width of an image, in pixels.
        widths: Channels of each of the four blocks; the last is the width of the features.
        dropout: Probability of dropout after each block.
    """

    def __init__(
        self,
        in_channels: int = 3,
        image_size: int = 84,
        widths: tuple[int, int, int, int] = (64, 160, 320, 640),
        dropout: float = 0.1,
    ):
        super().__init__()
        channels = [in_channels, *widths]
        self.blocks = nn.Sequential(*(_Block(a, b, dropout) for a, b in itertools.pairwise(channels)))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.in_shape = (in_channels, image_size, image_size)
        self.out_features = widths[-1]

    def forward(self, x: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n d"]:
        check_image(self, x, self.in_shape)
        return self.pool(self.blocks(x))


class _Block(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, dropout: float):
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels, out_channels):
            layers += [_conv(channels, out_channels, 3), nn.LeakyReLU(0.1)]
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut = _conv(in_channels, out_channels, 1)
        self.end = nn.Sequential(nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.body(x) + self.shortcut(x))


def _conv(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))
