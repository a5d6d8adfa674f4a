"""Augmentations that change the values of pixels: colours, and erased rectangles."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from datamodules.augmentation.geometry import random_sides
from datamodules.augmentation.image_changes import Augmentation, Part, between, check_fraction, check_range
from lightning_meta.core import InputError


class ColourJitter(Augmentation):
    """Random brightness, contrast, saturation and hue, in this order.

    Brightness, contrast and saturation are multiplied by a factor between 1 - x and 1 + x.

    Args:
        brightness: Largest change of the brightness, 0 to 1.
        contrast: Largest change of the contrast, 0 to 1.
        saturation: Largest change of the saturation, 0 to 1. Grey images have none.
        hue: Largest shift of the hue in either direction, as a part of the colour circle, 0 to 0.5. Grey images have none.
        part: Which images are changed: `support`, `query` or `both`.
        probability: Probability that an image is changed.
    """

    numbers = 4

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.0,
        hue: float = 0.0,
        part: Part = "both",
        probability: float = 1.0,
    ):
        super().__init__(part, probability)
        check_fraction(brightness=brightness, contrast=contrast, saturation=saturation)
        if not 0 <= hue <= 0.5:
            raise InputError(f"hue is {hue}: give 0 to 0.5")
        if not (brightness or contrast or saturation or hue):
            raise InputError("brightness, contrast, saturation and hue are 0, which changes nothing: give one of them")
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue

    def check(self, shape: tuple[int, ...]) -> None:
        if shape[0] != 3 and (self.saturation or self.hue):
            raise InputError(
                f"saturation is {self.saturation} and hue {self.hue}, but grey images have no colours: give 0"
            )

    def change(self, images: Tensor, u: Tensor) -> Tensor:
        from kornia import enhance

        steps: list[tuple[float, Callable[[Tensor, Tensor], Tensor]]] = [
            (self.brightness, enhance.adjust_brightness_accumulative),
            (self.contrast, enhance.adjust_contrast_with_mean_subtraction),
            (self.saturation, enhance.adjust_saturation_with_gray_subtraction),
        ]
        u = u.to(images.dtype)
        for place, (most, adjust) in enumerate(steps):
            if most:
                images = adjust(images, between(1 - most, 1 + most, u[:, place]))
        return enhance.adjust_hue(images, between(-self.hue, self.hue, u[:, 3]) * 2 * math.pi) if self.hue else images


class Erase(Augmentation):
    """A random rectangle of one value (Zhong et al. 2020, Random Erasing Data Augmentation).

    Args:
        probability: Probability that a rectangle is erased.
        area: Range of the area of the rectangle, as a part of the image.
        ratio: Range of its width divided by its height, drawn on a logarithmic scale.
        value: Value of the erased pixels, 0 to 1.
        part: Which images are changed: `support`, `query` or `both`.
    """

    numbers = 4

    def __init__(
        self,
        probability: float = 0.5,
        area: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 10 / 3),
        value: float = 0.0,
        part: Part = "both",
    ):
        super().__init__(part, probability)
        check_range("area", area, 0.0, 1.0)
        check_range("ratio", ratio, 0.1, 10.0)
        check_fraction(value=value)
        self.area, self.ratio, self.value = area, ratio, value

    def change(self, images: Tensor, u: Tensor) -> Tensor:
        height, width = images.shape[2:]
        size = torch.tensor([width, height], device=u.device)
        sides = (random_sides(u[:, 0], u[:, 1], self.area, self.ratio) * size).round()
        start = (u[:, 2:] * (size - sides + 1)).floor().minimum(size - sides)
        end = start + sides
        x, y = torch.arange(width, device=u.device), torch.arange(height, device=u.device).unsqueeze(1)
        left, top, right, bottom = (edge.reshape(-1, 1, 1) for edge in (*start.unbind(1), *end.unbind(1)))
        is_erased = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        return images.masked_fill(is_erased.unsqueeze(1), self.value)
