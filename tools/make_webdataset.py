"""An ordinary WebDataset: tars of single PNG images, each with its label in a `.cls` file beside it, in random order.

    python tools/make_webdataset.py OUT [--images 100000] [--shards 100] [--fonts [PATH ...]] [--size 28] [--seed 0]

The images are the characters of fonts, each character a class (with `--fonts`, of the given files and folders or else of the
system), or without fonts the drawings of glyphs, 20 a class. The labels are numbers, `classes.txt` lists what they stand for.
"""

import argparse
import io
import itertools
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datamodules.sources import glyphs
from datamodules.sources.font_classes import FontClasses
from datamodules.sources.font_files import find_fonts, read_fonts
from lightning_meta.core import InputError
from lightning_meta.core.errors import check_at_least

DRAWINGS = 20  # of a class of glyphs
Named = tuple[str, NDArray[np.uint8]]  # a class: its name and its images [count, size, size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write, new")
    parser.add_argument("--images", type=int, default=100_000, help="number of images")
    parser.add_argument("--shards", type=int, default=100, help="number of tars")
    parser.add_argument("--fonts", type=Path, nargs="*", help="font files and folders; none given: those of the system")
    parser.add_argument("--size", type=int, default=28, help="side of the images, in pixels")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order, and of the glyphs")
    args = parser.parse_args()
    try:
        check_at_least(8, size=args.size)
        check_at_least(1, images=args.images, shards=args.shards)
        check_at_least(0, seed=args.seed)
        if args.shards > args.images:
            raise InputError(f"shards is {args.shards}: give at most the number of images, {args.images}")
        if args.out.exists():
            raise InputError(f"{args.out} exists: give a new folder")
        classes = font_characters(args.fonts, args.size) if args.fonts is not None else drawn_glyphs(args)
        print(write_tars(args.out, classes, args.images, args.shards, args.seed))
    except InputError as error:
        sys.exit(f"error: {error}")


def font_characters(fonts: list[Path], size: int) -> Iterator[Named]:
    """Yield the characters that have at least two pictures in fonts."""
    library = read_fonts(find_fonts(fonts or None), None, None)
    with TemporaryDirectory() as folder:
        for one in FontClasses(library, 2, 0.25, size, (0.64, 0.16, 0.2), 0, None, Path(folder)):
            assert isinstance(one.images, np.ndarray)
            yield one.name, one.images[:, 0]


def drawn_glyphs(args: argparse.Namespace) -> Iterator[Named]:
    """Yield classes of glyphs without end."""
    for index in itertools.count():
        yield f"glyph {index}", glyphs.draw_class(args.seed, index, DRAWINGS, args.size)


def write_tars(out: Path, classes: Iterable[Named], images: int, shards: int, seed: int) -> str:
    """Write the first `images` images of classes in random order, and return a line that says what was written.

    Raises:
        InputError: If the classes have fewer images.
    """
    encoded, names = list[tuple[int, bytes]](), list[str]()
    for name, pictures in classes:
        room = images - len(encoded)
        if room == 0:
            break
        encoded += [(len(names), png(picture)) for picture in pictures[:room]]
        names.append(name)
    if len(encoded) < images:
        raise InputError(f"images is {images}: give at most {len(encoded)}, or more fonts")
    order = np.random.default_rng(seed).permutation(images)
    out.mkdir(parents=True)
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    for shard, part in enumerate(np.array_split(order, shards)):
        with tarfile.open(out / f"images-{shard:06d}.tar", "w") as tar:
            for number in part.tolist():
                label, image = encoded[number]
                add(tar, f"{number:09d}.png", image)
                add(tar, f"{number:09d}.cls", str(label).encode())
    return f"{images:,} images of {len(names):,} classes in {shards:,} tars: {out}"


def png(picture: NDArray[np.uint8]) -> bytes:
    """Return a grey picture [height, width] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a member to a tar."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    main()
