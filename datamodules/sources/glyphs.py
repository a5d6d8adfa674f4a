"""Glyphs: a procedural handwriting data set, generated from a seed, with nothing to download.

A class is a character of an invented alphabet: a short random program of pen strokes, written as turtle moves (go a
distance while turning by an angle, then take a corner). A drawing is one perturbed run of that program, as another hand
would write it: lengths, turns and corners vary a little, strokes meet a little beside the intended point, lines wobble,
and the whole is turned, slanted, stretched, shifted and drawn with another pen. Twenty consecutive classes share an
alphabet, which is a few motifs and writing directions, so some classes are easily confused.

A drawing is a pure function of the seed, the class index and its own number. Points of the plane are complex numbers
x + iy with y pointing down, and headings are angles from the x axis, so a positive turn is clockwise.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CLASSES_PER_ALPHABET = 20
CANDIDATES = 12  # programs invented per class; the most legible one is kept
DRAFT_DENSITY = 24  # pen positions per unit of length when judging a candidate

Anchor = tuple[int, float]  # a point on an earlier stroke: the stroke's number, and how far along it as a fraction
# A motif: the lean of its first move from the writing direction (degrees), then its moves, each of them a length
# (units), a turn over that length (degrees) and a corner after it (degrees).
Motif = tuple[int, list[tuple[float, int, int]]]
ANGULAR: list[Motif] = [
    (0, [(1.2, 0, 0)]),  # a line, listed twice because scripts are full of them
    (0, [(1.2, 0, 0)]),
    (0, [(1.1, 0, 90), (0.8, 0, 0)]),  # L
    (-65, [(1.0, 0, 130), (1.0, 0, 0)]),  # V
    (0, [(0.8, 0, 130), (1.2, 0, -130), (0.8, 0, 0)]),  # Z
    (0, [(0.6, 0, 90), (0.6, 0, -90), (0.6, 0, 0)]),  # a step
    (0, [(0.9, 0, 90), (0.9, 0, 90), (0.9, 0, 0)]),  # a gate
    (0, [(1.0, 0, 120), (1.0, 0, 120), (1.0, 0, 0)]),  # a triangle
    (0, [(0.8, 0, 90), (0.8, 0, 90), (0.8, 0, 90), (0.8, 0, 0)]),  # a box
    (-65, [(0.8, 0, 130), (0.8, 0, -130), (0.8, 0, 130), (0.8, 0, 0)]),  # W
    (0, [(1.4, 0, 130), (0.7, 0, 100), (0.6, 0, 0)]),  # a flag
]
CURVED: list[Motif] = [
    (0, [(1.2, 0, 0)]),  # a line
    (-40, [(1.3, 80, 0)]),  # a bow
    (-95, [(1.8, 190, 0)]),  # a cup
    (-135, [(2.4, 270, 0)]),  # C
    (0, [(2.2, 370, 0)]),  # O
    (0, [(1.0, 0, 0), (0.9, 190, 0)]),  # J
    (0, [(0.4, 0, 0), (0.7, 170, 0), (1.0, 10, 0)]),  # a crook
    (-75, [(0.9, 150, 0), (0.9, -150, 0)]),  # a wave
    (-90, [(1.2, 180, -180), (1.2, 180, 0)]),  # m
    (-45, [(1.2, 220, -170), (1.3, 220, 0)]),  # 3
    (0, [(0.8, 10, 0), (1.2, 290, 0), (0.8, 10, 0)]),  # a loop in passing
    (0, [(0.9, 250, 0), (1.9, 270, 0)]),  # a spiral
    (0, [(1.4, 0, -150), (1.5, 250, 0)]),  # b
]


class Stroke(NamedTuple):
    """One stroke of a class. Every stroke except the first is attached to an earlier one."""

    heading: float  # of the first move, radians
    moves: NDArray[np.float64]  # [moves, 3]: length (units), turn (radians), corner (radians)
    start: Anchor
    held: float = 0.0  # the fraction of this stroke that lies at its start anchor: 0.5 makes a crossing
    gap: complex = 0.0  # how far it stays off its start anchor, units
    end: Anchor | None = None  # where its end is stretched to, if it joins two points


def _stroke(rng: np.random.Generator, motifs: list[Motif], headings: NDArray[np.floating], earlier: int) -> Stroke:
    """Invent a stroke for a character of an alphabet, to follow a number of earlier strokes."""
    heading = rng.choice(headings)
    mirror = rng.choice([-1.0, 1.0])
    fractions = rng.choice([0.0, 0.33, 0.5, 0.67, 1.0], size=2, replace=False)
    start, end = ((int(rng.integers(max(earlier, 1))), fraction) for fraction in fractions)
    kind = rng.random() if earlier else 1.0
    if kind < 0.1:  # a dot
        return Stroke(heading, np.array([[0.1, 0.0, 0.0]]), start, gap=0.4 * np.exp(1j * rng.choice(headings)))
    if kind < 0.4:  # a bar or a bow that joins two points of the character
        return Stroke(heading, np.array([[1.0, mirror * rng.choice([0.0, 0.0, 1.2, 2.8]), 0.0]]), start, end=end)
    lean, steps = motifs[rng.integers(len(motifs))]
    moves = np.array(steps) * [1.0, np.deg2rad(mirror), np.deg2rad(mirror)]
    moves *= rng.uniform([0.65, 0.9, 0.9], [1.2, 1.1, 1.1], size=moves.shape)
    return Stroke(heading + mirror * np.deg2rad(lean), moves, start, held=rng.choice([0.0, 0.0, 0.0, 0.5, 1.0]))


def _write(strokes: list[Stroke], tremor: Callable[..., NDArray[np.float64]], density: int) -> NDArray[np.complex128]:
    """Run a program once per hand.

    Args:
        strokes: The program.
        tremor: `tremor(*shape)` gives standard normal deviations [hands, *shape], or zeros for the exact run.
        density: Number of pen positions per unit of length.

    Returns:
        The pen positions of all strokes, [hands, positions], in units.
    """
    paths: list[NDArray[np.complex128]] = []

    def locate(anchor: Anchor) -> NDArray[np.complex128]:
        path = paths[anchor[0]]
        places = np.clip(anchor[1] + 0.04 * tremor(), 0, 1) * (path.shape[1] - 1)
        return path[np.arange(len(path)), np.rint(places).astype(int)] + 0.03 * (tremor(2) @ [1, 1j])

    for stroke in strokes:
        lengths, turns, corners = stroke.moves.T
        count = len(lengths)
        steps = np.ceil(lengths * density).astype(int) + 1
        strides = np.repeat(lengths * np.exp(0.12 * tremor(count)) / steps, steps, axis=1)
        bends = np.repeat((turns * (1 + 0.07 * tremor(count)) + 0.08 * tremor(count)) / steps, steps, axis=1)
        bends[:, np.cumsum(steps)[:-1]] += (corners + 0.09 * tremor(count))[:, :-1]
        wobble = 0.12 * tremor(1) * np.sin(np.linspace(0, 9, steps.sum()) + 3 * tremor(1))
        directions = stroke.heading + 0.09 * tremor(1) + np.cumsum(bends, axis=1) + wobble
        path = np.cumsum(strides * np.exp(1j * directions), axis=1)
        if paths:
            path -= path[:, [round(stroke.held * (path.shape[1] - 1))]]
            start = locate(stroke.start)
            if stroke.end is not None:
                path *= ((locate(stroke.end) - start) / path[:, -1])[:, None]
            path += start[:, None] + stroke.gap
        paths.append(path)
    return np.concatenate(paths, axis=1)


def _program(seed: int, index: int) -> list[Stroke]:
    """Invent the program of a class: a character whose height or width, the larger of the two, is one unit."""
    rng = np.random.default_rng([seed, 0, index // CLASSES_PER_ALPHABET])  # streams: 0 alphabets, 1 programs, 2 hands
    curviness = rng.beta(0.7, 0.7)
    pools = [CURVED if rng.random() < curviness else ANGULAR for _ in range(rng.integers(5, 9))]
    motifs = [pool[rng.integers(len(pool))] for pool in pools]
    # Hands mostly pull a pen to the right (0) or down (2), hardly ever up (6).
    octants = rng.choice(8, size=4, replace=False, p=[0.26, 0.05, 0.26, 0.05, 0.16, 0.05, 0.12, 0.05])
    headings = np.pi / 4 * octants + rng.normal(0, 0.1)
    stroke_odds = rng.dirichlet([0.5, 3.0, 3.0, 1.5])
    rng = np.random.default_rng([seed, 1, index])
    programs, faults = [], []
    for _ in range(CANDIDATES):
        strokes = [_stroke(rng, motifs, headings, k) for k in range(1 + rng.choice(4, p=stroke_odds))]
        trace = _write(strokes, lambda *shape: np.zeros((1, *shape)), density=DRAFT_DENSITY)[0]
        plane = np.stack([trace.real, trace.imag])
        width, height = np.ptp(plane, axis=1)
        side = max(width, height)
        programs.append([s._replace(moves=s.moves / [side, 1, 1], gap=s.gap / side) for s in strokes])
        # A legible character is neither trivial nor a scribble, about as wide as high, and not crowded: ink on top of
        # ink or close beside it visits few cells of a 10 x 10 grid for its length.
        length = len(trace) / DRAFT_DENSITY / side
        cells = np.unique(np.floor(9.99 * (plane - plane.min(axis=1, keepdims=True)) / side), axis=1).shape[1]
        simple, long, slim = 2.2 - length, (length - 4.2) / 2, side / min(width, height) - 1.5
        faults.append(max(0, simple) + max(0, long) + max(0, slim) + 2 * max(0, 1 - cells / (10 * length)))
    return programs[np.argmin(faults)]


def draw_class(seed: int, index: int, drawings: int = 20, size: int = 28) -> NDArray[np.uint8]:
    """Draw one class several times, each time by another hand.

    Drawing k depends only on the seed, the index and k.

    Args:
        seed: The seed of the set.
        index: The number of the class in the set.
        drawings: Number of drawings.
        size: Side of a drawing, in pixels.

    Returns:
        Drawings [drawings, size, size], ink = 255 on 0.
    """
    hands = [np.random.default_rng([seed, 2, index, k]) for k in range(drawings)]

    def tremor(*shape: int) -> NDArray[np.float64]:
        return np.stack([hand.standard_normal(shape) for hand in hands])

    turn, stretch, slant = (tremor(3) * [0.1, 0.12, 0.15]).T[..., None]
    trace = np.exp(1j * turn) * _write(_program(seed, index), tremor, density=2 * size)
    plane = np.stack([trace.real * np.exp(stretch) + trace.imag * slant, trace.imag])  # [2, drawings, positions]
    low, high = plane.min(axis=2, keepdims=True), plane.max(axis=2, keepdims=True)
    # Every hand fills a share of the frame, somewhere in it, with a pen of some width (in pixels of a frame of 28).
    frames = np.stack([hand.uniform([0.7, 1.5, -1, -1], [0.86, 2.5, 1, 1]) for hand in hands])
    fill, pen, across, down = frames.T[..., None]
    plane = (plane - (low + high) / 2) / (high - low).max(axis=0) * fill
    plane = size * (plane + 0.5 + np.stack([across, down]) * (0.46 - fill / 2))
    squares_x, squares_y = ((plane[..., None] - np.arange(0.5, size)) ** 2).astype(np.float32)
    nearest = np.full((drawings, size, size), np.inf, dtype=np.float32)  # squared distance to the pen's path, pixels
    for k in range(plane.shape[2]):
        np.minimum(nearest, squares_y[:, k, :, None] + squares_x[:, k, None, :], out=nearest)
    return np.rint(255 * np.clip(0.5 + pen[..., None] * size / 56 - np.sqrt(nearest), 0, 1)).astype(np.uint8)
