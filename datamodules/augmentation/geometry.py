"""Augmentations that move the pixels of an image: crops, mirroring, and affine maps."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.augmentation.image_changes import Augmentation, Part, between, check_fraction, check_range
from lightning_meta.core import InputError
from lightning_meta.core.errors import check_at_least

Border = Literal["zeros", "edge", "reflect"]
PAD = {"zeros": "constant", "edge": "replicate", "reflect": "reflect"}
SAMPLE = {"zeros": "zeros", "edge": "border", "reflect": "reflection"}


class Crop(Augmentation):
    """A random shift: the image is padded on every side, and a part of its original size is cut out, as for CIFAR.

    The shift is by whole pixels, so that no value is interpolated.

    Args:
        padding: Pixels added on every side, which is the largest shift.
        border: Pixels beyond the edge: `zeros`, `edge` for the nearest pixel, or `reflect`.
        part: Which images are changed: `support`, `query` or `both`.
        probability: Probability that an image is changed.
    """

    numbers = 2

    def __init__(self, padding: int = 4, border: Border = "zeros", part: Part = "both", probability: float = 1.0):
        super().__init__(part, probability)
        check_at_least(1, padding=padding)
        _check_border(border)
        self.padding, self.border = padding, border

    def check(self, shape: tuple[int, ...]) -> None:
        if self.padding >= min(shape[1:]):
            raise InputError(f"padding is {self.padding}, for images of {shape[1]}x{shape[2]}: give less than that")

    def change(self, images: Tensor, u: Tensor) -> Tensor:
        n, channels, height, width = images.shape
        padded = F.pad(images, [self.padding] * 4, PAD[self.border])
        start = (u * (2 * self.padding + 1)).long().clamp_(max=2 * self.padding)  # the product may round up to the end
        rows = start[:, :1] + torch.arange(height, device=u.device)
        columns = start[:, 1:] + torch.arange(width, device=u.device)
        image = torch.arange(n, device=u.device).reshape(n, 1, 1, 1)
        channel = torch.arange(channels, device=u.device).reshape(1, channels, 1, 1)
        return padded[image, channel, rows.reshape(n, 1, height, 1), columns.reshape(n, 1, 1, width)]


class ResizedCrop(Augmentation):
    """A random rectangle of the image, enlarged to its original size, as for ImageNet (Szegedy et al. 2015).

    Args:
        area: Range of the area of the rectangle, as a part of the image.
        ratio: Range of its width divided by its height, drawn on a logarithmic scale. A side that would be longer than
            the image's is the image's.
        part: Which images are changed: `support`, `query` or `both`.
        probability: Probability that an image is changed.
    """

    numbers = 4

    def __init__(
        self,
        area: tuple[float, float] = (0.5, 1.0),
        ratio: tuple[float, float] = (0.75, 4 / 3),
        part: Part = "both",
        probability: float = 1.0,
    ):
        super().__init__(part, probability)
        check_range("area", area, 0.01, 1.0)
        check_range("ratio", ratio, 0.1, 10.0)
        self.area, self.ratio = area, ratio

    def check(self, shape: tuple[int, ...]) -> None:
        _check_not_tiny(self, shape)

    def change(self, images: Tensor, u: Tensor) -> Tensor:
        from kornia.geometry.transform import warp_affine  # it takes a quarter of a second to import

        height, width = images.shape[2:]
        sides = random_sides(u[:, 0], u[:, 1], self.area, self.ratio)
        size = torch.tensor([width - 1, height - 1], device=u.device)
        scale = 1 / sides
        origin = u[:, 2:] * (1 - sides) * size
        matrix = torch.cat([torch.diag_embed(scale), -(origin * scale).unsqueeze(2)], 2)
        return warp_affine(images, matrix.to(images.dtype), (height, width), padding_mode="border")


class Flip(Augmentation):
    """Mirroring. Leave it out where left and right, or up and down, tell classes apart, as with characters.

    Args:
        horizontal: Probability that left and right are exchanged.
        vertical: Probability that up and down are exchanged.
        part: Which images are changed: `support`, `query` or `both`.
    """

    numbers = 2

    def __init__(self, horizontal: float = 0.5, vertical: float = 0.0, part: Part = "both"):
        super().__init__(part)
        check_fraction(horizontal=horizontal, vertical=vertical)
        self.horizontal, self.vertical = horizontal, vertical

    def change(self, images: Tensor, u: Tensor) -> Tensor:
        from kornia.geometry.transform import hflip, vflip

        is_mirrored = u.reshape(*u.shape, 1, 1, 1) < torch.tensor(
            [self.horizontal, self.vertical], device=u.device
        ).reshape(2, 1, 1, 1)
        images = torch.where(is_mirrored[:, 0], hflip(images), images)
        return torch.where(is_mirrored[:, 1], vflip(images), images)


class Affine(Augmentation):
    """A random rotation, shift, scaling and shear about the middle of the image, with bilinear interpolation.

    Args:
        degrees: Largest angle of the rotation, in either direction.
        translate: Largest shift in either direction, as a part of the image's size.
        scale: Range of the factor by which the image is enlarged.
        shear: Largest angle of the shear along the rows, in degrees, in either direction.
        border: Pixels beyond the edge: `zeros`, `edge` for the nearest pixel, or `reflect`.
        part: Which images are changed: `support`, `query` or `both`.
        probability: Probability that an image is changed.
    """

    numbers = 5

    def __init__(
        self,
        degrees: float = 15.0,
        translate: float = 0.1,
        scale: tuple[float, float] = (0.9, 1.1),
        shear: float = 0.0,
        border: Border = "zeros",
        part: Part = "both",
        probability: float = 1.0,
    ):
        super().__init__(part, probability)
        for name, value, most in (("degrees", degrees, 180), ("shear", shear, 80)):
            if not 0 <= value <= most:
                raise InputError(f"{name} is {value}: give 0 to {most}")
        check_fraction(translate=translate)
        check_range("scale", scale, 0.01, 100.0)
        _check_border(border)
        self.degrees, self.translate, self.scale, self.shear, self.border = degrees, translate, scale, shear, border

    def check(self, shape: tuple[int, ...]) -> None:
        _check_not_tiny(self, shape)

    def change(self, images: Tensor, u: Tensor) -> Tensor:
        from kornia.geometry.transform import get_affine_matrix2d, warp_affine

        n, _, height, width = images.shape
        u = u.to(images.dtype)
        size = torch.tensor([width, height], dtype=u.dtype, device=u.device)
        matrix = get_affine_matrix2d(
            between(-self.translate, self.translate, u[:, :2]) * size,
            ((size - 1) / 2).expand(n, 2),
            between(*self.scale, u[:, 2:3]).expand(n, 2),
            between(-self.degrees, self.degrees, u[:, 3]),
            between(-self.shear, self.shear, u[:, 4]).deg2rad() if self.shear else None,
        )
        return warp_affine(images, matrix[:, :2], (height, width), padding_mode=SAMPLE[self.border])


def random_sides(u_area: Tensor, u_ratio: Tensor, area: tuple[float, float], ratio: tuple[float, float]) -> Tensor:
    """Return the width and height of random rectangles [n, 2], as parts of those of the image and at most 1."""
    areas = between(*area, u_area)
    ratios = between(math.log(ratio[0]), math.log(ratio[1]), u_ratio).exp()
    return torch.stack([(areas * ratios).sqrt(), (areas / ratios).sqrt()], 1).clamp_(max=1)


def _check_border(border: str) -> None:
    if border not in PAD:
        raise InputError(f"border is {border!r}: choose zeros, edge or reflect")


def _check_not_tiny(one: Augmentation, shape: tuple[int, ...]) -> None:
    if min(shape[1:]) < 2:
        raise InputError(
            f"{type(one).__name__} is for images of 2x2 pixels or more, and these are {shape[1]}x{shape[2]}"
        )
