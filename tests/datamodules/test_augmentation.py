"""Augmentations: what each does to an image, how often, and what it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from datamodules import Affine, ColourJitter, Crop, Erase, Flip, ImageEpisodes, ResizedCrop, RotateClasses
from datamodules.augmentation.image_changes import Augmentation, NamedTasks, Part, augment
from lightning_meta.core import Episode, Examples, InputError

pytestmark = pytest.mark.usefixtures("no_type_checker")  # numbers are given as a YAML does, 1 for 1.0
EVERY = [Crop(3), ResizedCrop(), Flip(0.5, 0.5), Affine(shear=5.0), ColourJitter(saturation=0.4, hue=0.1), Erase()]


def photos(n: int = 1, channels: int = 3, size: int = 9) -> Tensor:
    return torch.rand(n, channels, size, size)


def numbers(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)


def episode(tasks: int = 2, support: int = 3, query: int = 4, channels: int = 3) -> Episode:
    parts = (
        Examples(photos(tasks * n, channels).unflatten(0, (tasks, n)), torch.zeros(tasks, n)) for n in (support, query)
    )
    return Episode(*parts)


def augmented(batch: Episode, *augmentations: Augmentation, names: list[int]) -> Episode:
    changed = augment(NamedTasks(batch, [torch.tensor(names)]), augmentations)
    assert isinstance(changed, Episode)
    return changed


@pytest.mark.parametrize(("border", "beyond"), [("zeros", None), ("edge", 0), ("reflect", 2)])
def test_a_crop_shifts_by_whole_pixels_up_to_the_padding(border: Any, beyond: int | None) -> None:
    images = photos(3)
    crop = Crop(2, border)
    most_up, middle, most_down = crop.change(images, numbers([0.99999994, 0.5], [0.5, 0.5], [1e-7, 0.5]))
    assert_close(most_up[:, :-2], images[0, :, 2:], rtol=0, atol=0)
    assert_close(middle, images[1], rtol=0, atol=0)
    assert_close(most_down[:, 2:], images[2, :, :-2], rtol=0, atol=0)
    assert_close(most_down[:, 0], torch.zeros(3, 9) if beyond is None else images[2, :, beyond], rtol=0, atol=0)
    (left,) = crop.change(images[:1], numbers([0.5, 0.7]))
    assert_close(left[:, :, :-1], images[0, :, :, 1:], rtol=0, atol=0)


def test_a_crop_reaches_every_shift_equally_often() -> None:
    image = torch.zeros(1, 1, 1, 9, 9)
    image[..., 4, 4] = 1
    batch = Episode(
        Examples(image[:, :0], torch.zeros(1, 0)), Examples(image.expand(1, 5000, 1, 9, 9), torch.zeros(1, 5000))
    )
    counts = augmented(batch, Crop(2), names=[5]).query.x.sum((0, 1, 2))
    assert torch.equal(
        counts > 0,
        (image[0, 0, 0].new_tensor([0, 0, 1, 1, 1, 1, 1, 0, 0]).outer(counts.new_tensor([0, 0, 1, 1, 1, 1, 1, 0, 0])))
        > 0,
    )
    assert (counts[2:7, 2:7] - 200).abs().max() < 60  # more than four standard deviations


def test_a_flip_mirrors_rows_or_columns() -> None:
    images = photos(4)
    none, sides, ends, both = Flip(0.5, 0.3).change(images, numbers([0.6, 0.4], [0.4, 0.4], [0.6, 0.2], [0.4, 0.2]))
    assert torch.equal(none, images[0])
    assert torch.equal(sides, images[1].flip(-1))
    assert torch.equal(ends, images[2].flip(-2))
    assert torch.equal(both, images[3].flip(-1, -2))


def test_a_resized_crop_of_the_whole_image_is_the_image_and_of_a_quarter_is_enlarged() -> None:
    images = photos(2)
    whole = ResizedCrop((1, 1), (1, 1)).change(images, torch.rand(2, 4))
    assert_close(whole, images, rtol=0, atol=1e-5)
    corner = ResizedCrop((0.25, 0.25), (1, 1)).change(images, numbers([0.5, 0.5, 0, 0], [0.5, 0.5, 1, 1]))
    assert_close(corner[0, :, ::2, ::2], images[0, :, :5, :5], rtol=0, atol=1e-5)
    assert_close(corner[1, :, ::2, ::2], images[1, :, 4:, 4:], rtol=0, atol=1e-5)


def test_an_affine_map_turns_shifts_and_scales_about_the_middle() -> None:
    images = photos(1)
    none = Affine(0, 0, (1, 1)).change(images, torch.rand(1, 5))
    assert_close(none, images, rtol=0, atol=1e-5)
    turned = [Affine(90, 0, (1, 1)).change(images, numbers([0.5, 0.5, 0.5, u, 0.5])) for u in (0.0, 1.0)]
    assert_close(turned[0], torch.rot90(images, 1, (2, 3)), rtol=0, atol=1e-5)
    assert_close(turned[1], torch.rot90(images, -1, (2, 3)), rtol=0, atol=1e-5)
    shifted = Affine(0, 1 / 9, (1, 1)).change(images, numbers([1.0, 0.5, 0.5, 0.5, 0.5]))
    assert_close(shifted[..., 1:], images[..., :-1], rtol=0, atol=1e-5)
    assert_close(shifted[..., 0], torch.zeros(1, 3, 9), rtol=0, atol=1e-5)
    doubled = Affine(0, 0, (2, 2)).change(images, torch.rand(1, 5))
    assert_close(doubled[..., ::2, ::2], images[..., 2:7, 2:7], rtol=0, atol=1e-5)
    sheared = Affine(0, 0, (1, 1), shear=45).change(images, numbers([0.5, 0.5, 0.5, 0.5, 1.0]))
    assert_close(sheared[..., 4, :], images[..., 4, :], rtol=0, atol=1e-5)
    assert_close(sheared[..., 3, 1:], images[..., 3, :-1], rtol=0, atol=1e-5)
    assert_close(sheared[..., 6, :-2], images[..., 6, 2:], rtol=0, atol=1e-5)


def test_colours_are_multiplied_about_black_the_mean_and_grey() -> None:
    images = photos(1) / 2 + 0.1
    grey = (images * torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)).sum(1, keepdim=True)
    most = numbers([1.0, 1.0, 1.0, 1.0])
    assert_close(ColourJitter(0.5, 0).change(images, most), images * 1.5)
    mean = grey.mean()
    assert_close(ColourJitter(0, 0.2).change(images, most), (mean + 1.2 * (images - mean)).clamp(0, 1))
    assert_close(ColourJitter(0, 0, 1).change(images, 1 - most), grey.expand_as(images))
    assert_close(ColourJitter(0, 0, 0, 0.5).change(images, numbers([0.5] * 4)), images)
    red = torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert_close(ColourJitter(0, 0, 0, 1 / 3).change(red, most), red.roll(1, 1), rtol=0, atol=1e-5)


def test_a_rectangle_of_the_given_area_is_erased() -> None:
    images = photos(200, 1, 20) / 2
    changed = Erase(1, (0.25, 0.25), (1, 1), value=1).change(images, torch.rand(200, 4))
    is_erased = changed == 1
    assert (is_erased.sum((1, 2, 3)) == 100).all()
    assert (is_erased.any(2).sum(2) == 10).all()
    assert torch.equal(changed[~is_erased], images[~is_erased])
    assert is_erased.any(0).all(), "every pixel is reached"


@pytest.mark.parametrize("one", EVERY, ids=lambda one: type(one).__name__)
def test_images_stay_images_and_differ_from_each_other(one: Augmentation) -> None:
    image = photos().expand(1, 40, 3, 9, 9)
    batch = Episode(Examples(image[:, :0], torch.zeros(1, 0)), Examples(image, torch.zeros(1, 40)))
    changed = augmented(batch, one, names=[3]).query.x
    assert changed.shape == image.shape
    assert changed.min() >= 0
    assert changed.max() <= 1 + 1e-6
    assert len(changed[0].unique(dim=0)) >= 4
    doubles = Episode(*(Examples(part.x.double(), part.y) for part in batch))
    assert_close(augmented(doubles, one, names=[3]).query.x, changed.double(), rtol=0, atol=1e-4)


def test_an_image_is_changed_alike_in_any_meta_batch_and_beside_any_others() -> None:
    batch = episode(tasks=3)
    together = augmented(batch, *EVERY, names=[7, 8, 9])
    first_two = Episode(*(Examples(part.x[1:2, :2], part.y[1:2, :2]) for part in batch))
    alone = augmented(first_two, *EVERY, names=[8])
    for part, of_all in zip(alone, together, strict=True):
        assert_close(part.x, of_all.x[1:2, :2], rtol=0, atol=1e-6)


def test_support_and_query_and_each_augmentation_of_a_list_draw_numbers_of_their_own() -> None:
    same = photos().expand(1, 50, 3, 9, 9)
    batch = Episode(Examples(same, torch.zeros(1, 50)), Examples(same, torch.zeros(1, 50)))
    support, query = augmented(batch, Flip(), names=[1])
    assert not torch.equal(support.x, query.x)
    twice = augmented(batch, Flip(), Flip(), names=[1]).query.x
    assert 10 < sum(not torch.equal(image, same[0, 0]) for image in twice[0]) < 40


@pytest.mark.parametrize(
    ("part", "changed"), [("support", [True, False]), ("query", [False, True]), ("both", [True, True])]
)
def test_support_and_query_are_augmented_separately(part: Part, changed: list[bool]) -> None:
    batch = episode()
    after = augmented(batch, Flip(1, part=part), names=[1, 2])
    assert [not torch.equal(a.x, b.x) for a, b in zip(after, batch, strict=True)] == changed


def test_an_augmentation_is_as_frequent_as_its_probability() -> None:
    same = photos(1, 1, 4).expand(4, 1000, 1, 4, 4)
    batch = Episode(Examples(same[:, :0], torch.zeros(4, 0)), Examples(same, torch.zeros(4, 1000)))
    changed = augmented(batch, ColourJitter(1, 0, probability=0.3), names=[1, 2, 3, 4]).query.x
    part = (changed != same).flatten(2).any(2).float().mean()
    assert abs(float(part) - 0.3) < 0.03


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Erase(1.5), "probability is 1.5: give 0 to 1"),
        (lambda: Crop(probability=-1), "probability is -1: give 0 to 1"),
        (lambda: Flip(horizontal=2), "horizontal is 2: give 0 to 1"),
        (lambda: Flip(part="all"), "part is 'all': choose support, query or both"),  # type: ignore[arg-type]
        (lambda: Crop(0), "padding is 0: give 1 or more"),
        (lambda: Crop(border="mirror"), "border is 'mirror': choose zeros, edge or reflect"),  # type: ignore[arg-type]
        (lambda: ResizedCrop((0.5, 2)), r"area is \[0.5, 2\]: give \[first, last\] between 0.01 and 1"),
        (lambda: ResizedCrop(ratio=(2, 1)), r"ratio is \[2, 1\]: give \[first, last\] between 0.1 and 10"),
        (lambda: Affine(degrees=200), "degrees is 200: give 0 to 180"),
        (lambda: ColourJitter(brightness=1.5), "brightness is 1.5: give 0 to 1"),
        (lambda: ColourJitter(hue=1), "hue is 1: give 0 to 0.5"),
        (lambda: ColourJitter(0, 0), "changes nothing: give one of them"),
        (lambda: RotateClasses([45]), r"degrees is \[45\]: give different ones of 90, 180 and 270"),
        (lambda: RotateClasses([90, 90]), r"degrees is \[90, 90\]: give different ones"),
    ],
)
def test_a_wrong_argument_is_one_line(wrong: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": [Crop(28)]}, "padding is 28, for images of 28x28: give less than that"),
        ({"augment": [ColourJitter(hue=0.1)]}, "hue 0.1, but grey images have no colours: give 0"),
        ({"augment": [Flip(part="support")], "flat_batch": 8}, "a flat batch has no support set: give query or both"),
    ],
)
def test_what_images_cannot_have_is_refused_before_training(options: Any, message: str, shard_root: Path) -> None:
    with pytest.raises(InputError, match=message):
        ImageEpisodes(str(shard_root), **options).setup("fit")
