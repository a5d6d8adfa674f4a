"""From an image file to the array that a learner reads: one function for writing shards, reading them, and `adapt`."""

import io
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from datamodules.reading.damage import DamageError
from datamodules.reading.image_files import read_bytes
from datamodules.reading.image_metadata import without_metadata
from datamodules.reading.orientation import turn_of, upright
from lightning_meta.core import InputError

FORMATS = ("JPEG", "PNG", "WEBP")  # other formats are refused: EPS, for example, is a program
LARGEST = 4096  # pixels per side, so that no file can demand unlimited memory


class Preprocess(NamedTuple):
    """The steps from an image to uint8 [channels, size, size]: cropped to a centred square, resized, perhaps inverted.

    size: side of the square, in pixels.
    channels: 1 (grey) or 3 (RGB).
    invert: whether to store 255 - value, so that dark ink on white becomes ink = 255 on 0.
    scaled: whether a JPEG file is decoded at the smallest of its scales 1/8, 2/8, ... 8/8 whose sides are not below `size`,
        which is several times faster for large photographs and gives slightly other pixels.
    """

    size: int
    channels: int = 3
    invert: bool = False
    scaled: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.channels, self.size, self.size

    def check(self) -> "Preprocess":
        """Return these steps unchanged; raise InputError if a value is not legal."""
        sides = type(self.size) is int and 1 <= self.size <= LARGEST
        switches = type(self.invert) is bool and type(self.scaled) is bool
        if not (sides and type(self.channels) is int and self.channels in (1, 3) and switches):
            raise InputError(
                f"size is {self.size}, channels {self.channels}, invert {self.invert} and scaled {self.scaled}: size must be 1"
                f" to {LARGEST}, channels 1 or 3, invert and scaled true or false"
            )
        return self

    def __call__(self, file: Path | bytes, name: str = "") -> NDArray[np.uint8]:
        """Decode an image file.

        Args:
            file: Path or content of the file.
            name: Name of the image in messages; by default the path.

        Returns:
            The image as uint8 [channels, size, size].

        Raises:
            DamageError: If the bytes are not a complete image.
            InputError: If there is no such file.
        """
        data = file if isinstance(file, bytes) else read_bytes(file)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about metadata that are not used here, or about many pixels
                try:
                    return self.decoded(data)
                except Exception:
                    if (bare := without_metadata(data)) == data:
                        raise
                    return self.decoded(bare)
        except Exception as error:  # damaged bytes make Pillow's decoders fail in many ways
            reason = str(error).partition(" <_io.BytesIO")[0] or type(error).__name__
            raise DamageError(f"cannot decode the image {name or file} ({reason}): mend or remove it") from error

    def decoded(self, data: bytes) -> NDArray[np.uint8]:
        """Decode the content of an image file to uint8 [channels, size, size]."""
        if (pixels := decoded_jpeg(data, self.size if self.scaled else 0)) is not None:
            if self.channels == 3 and pixels.shape == (self.size, self.size, 3):
                values = pixels.transpose(2, 0, 1)
                return 255 - values if self.invert else values
            return self.array(Image.fromarray(pixels))
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return self.array(image)

    def array(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return an open image as uint8 [channels, size, size]."""
        image = opaque(upright(image)).convert("L" if self.channels == 1 else "RGB")
        if image.size != (self.size, self.size):
            image = ImageOps.fit(image, (self.size, self.size), Image.Resampling.LANCZOS)
        values = np.asarray(image).reshape(self.size, self.size, self.channels).transpose(2, 0, 1)
        return 255 - values if self.invert else values


def decoded_jpeg(data: bytes, least: int = 0) -> NDArray[np.uint8] | None:
    """Decode a JPEG file several times as fast as Pillow, to the same values, and turn it upright.

    Both use libjpeg-turbo; Pillow feeds it piece by piece.

    Args:
        data: The content of the file.
        least: Side that the image may be scaled down to while it is decoded, in pixels; 0 for its full size.

    Returns:
        The image, [height, width, 3] or, if it is grey, [height, width]; None if it is of another format or colour space, so
        large that Pillow warns of it, or perhaps damaged, which Pillow has to judge.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        kind = {"YCbCr": "RGB", "RGB": "RGB", "Gray": "GRAY"}.get(colours)
        if kind is None or int(height) * int(width) > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        pixels = simplejpeg.decode_jpeg(data, kind, min_height=least, min_width=least)
    except ValueError:
        return None
    pixels = pixels.squeeze(-1) if kind == "GRAY" else pixels
    if b"Exif\0" not in data and b"tiff:Orientation" not in data:
        return pixels
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        turn = turn_of(image)
    return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))


def opaque(image: Image.Image) -> Image.Image:
    """Return the image with 8 bits per value, and white in place of transparency."""
    if image.mode.startswith("I"):  # 16 bits: Pillow would clip the upper 8
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image
