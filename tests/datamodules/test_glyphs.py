"""Glyphs: made-up handwriting is a pure function of its numbers, and a task worth learning."""

import numpy as np

from datamodules.sources.glyphs import draw_class


def test_a_class_depends_on_seed_and_index_alone() -> None:
    first = draw_class(3, 7, 4)
    draw_class(3, 8, 2)
    np.random.default_rng(0).random()
    assert np.array_equal(draw_class(3, 7, 4), first)
    assert not np.array_equal(draw_class(4, 7, 4), first)
    assert not np.array_equal(draw_class(3, 8, 4), first)


def test_more_drawings_begin_with_the_same_ones() -> None:
    assert np.array_equal(draw_class(0, 5, 8)[:3], draw_class(0, 5, 3))


def test_a_drawing_is_ink_on_an_empty_frame() -> None:
    for size in (28, 40):
        drawings = np.concatenate([draw_class(0, index, 5, size) for index in range(10)])
        assert drawings.shape == (50, size, size)
        assert drawings.dtype == np.uint8
        assert (drawings.max(axis=(1, 2)) == 255).all()
        ink = (drawings > 127).mean(axis=(1, 2))
        assert ink.min() > 0.02
        assert ink.max() < 0.5


def test_hands_differ_and_pixels_alone_do_not_tell_the_class() -> None:
    """A nearest neighbour on raw pixels, 20-way 1-shot, is well above chance and far from perfect."""
    drawings = np.stack([draw_class(1, 5 * index, 11) for index in range(20)]).reshape(20, 11, -1) / 255
    assert len(np.unique(drawings.reshape(220, -1), axis=0)) == 220
    support, query = drawings[:, 0], drawings[:, 1:]
    distance = np.square(query[:, :, None] - support).sum(-1)  # [ways, queries, ways]
    accuracy = (distance.argmin(-1) == np.arange(20)[:, None]).mean()
    assert 0.15 < accuracy < 0.75
