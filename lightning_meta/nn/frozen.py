"""Pretrained backbones of others, frozen, and the features that one of them made."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import InputError
from lightning_meta.nn.batch_stats import BatchStatistics


class Frozen(nn.Module):
    """Any image backbone as it is, without a gradient and always in evaluation mode.

    Images [n, channels, height, width] in 0..1 (grey ones repeated) are resized to [n, c, size, size] and normalised,
    (x - mean) / std, then go through the backbone; a map [n, d, ...] is averaged over space. Features are [n, d].

    Args:
        backbone: Any module from images [n, c, size, size] to features [n, d, ...]; in a YAML also a function annotated to
            return one, `class_path: torchvision.models.resnet18`.
        drop: Name of the part to leave out, the backbone's classifier (`fc` in torchvision's ResNets).
        weights: File with the backbone's state_dict, as torch.save writes it, the dropped part included.
        size: Height and width of the images that the backbone was trained on.
        mean: Mean of each of the c channels of those images, in 0..1; by default ImageNet's.
        std: Standard deviation of each of the c channels of those images, in 0..1; by default ImageNet's.
    """

    def __init__(
        self,
        backbone: nn.Module,
        drop: str | None = None,
        weights: str | None = None,
        size: int = 224,
        mean: list[float] = [0.485, 0.456, 0.406],  # noqa: B006  only read
        std: list[float] = [0.229, 0.224, 0.225],  # noqa: B006
    ):
        super().__init__()
        if not 1 <= size <= 2048 or not mean or len(mean) != len(std) or min(std) <= 0:
            raise InputError(
                f"size {size}, mean {mean}, std {std}: give a size of 1 to 2048, and as many std > 0 as mean"
            )
        if weights is not None:
            read_weights(backbone, weights)
        if drop is not None:
            if drop not in (parts := [name for name, _ in backbone.named_modules() if name]):
                raise InputError(f"drop is {drop!r}, but {type(backbone).__name__} has the parts {', '.join(parts)}")
            backbone.set_submodule(drop, nn.Identity())
        self.backbone, self.size = backbone.requires_grad_(False), size
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.train(False)
        self.out_features = self(torch.zeros(1, len(mean), size, size)).shape[1]

    def train(self, mode: bool = True) -> "Frozen":  # noqa: ARG002  it has one mode
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n d"]:
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        if x.shape[1] not in (1, len(mean)):
            raise InputError(f"images of {x.shape[1]} channels came; this backbone takes {len(mean)}, or 1, repeated")
        if x.shape[2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        with BatchStatistics("running"):  # an inner loop's own choice is not for these
            z = self.backbone((x - mean) / std)  # one channel broadcasts to all
        return z.flatten(2).mean(2) if z.ndim > 2 else z


class Features(nn.Module):
    """The backbone for a shard set of features (`lightning-meta shards features`), which it returns as they are.

    Args:
        size: Width of the features [n, size].
    """

    def __init__(self, size: int):
        super().__init__()
        self.out_features = size

    def forward(self, input: Float[Tensor, "n *shape"]) -> Float[Tensor, "n d"]:
        if input.shape[1:] != (self.out_features,):
            raise InputError(
                f"features of {self.out_features} numbers are read, but the data are {list(input.shape[1:])}: use the"
                " shard set that `lightning-meta shards features` wrote"
            )
        return input


def read_weights(backbone: nn.Module, path: str) -> None:
    """Load a state_dict from a file without running code in it. Raises InputError where it is missing or another module's."""
    if not Path(path).is_file():
        raise InputError(f"there is no file of weights at {path}")
    try:
        weights: Any = torch.load(path, map_location="cpu", weights_only=True)
        backbone.load_state_dict(weights)
    except Exception as error:  # damaged bytes fail in many ways
        raise InputError(f"{path} does not hold the weights of {type(backbone).__name__}: {error}") from error
