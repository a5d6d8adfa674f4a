"""Images of any kind and size, as `lightning-meta shards write folder` reads them and an episode has them."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from datamodules import index_sources, write_folder
from datamodules.reading.preprocess import Preprocess, decoded_jpeg
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.image_tasks import ImageTasks

SIZE = 16
DESCRIBED = Image.Exif()
DESCRIBED[0x010E] = "a tag that turns nothing"
Pixels = NDArray[np.uint8]


def picture(seed: int, width: int = SIZE, height: int = SIZE) -> Image.Image:
    """Smooth colours, so that JPEG keeps them nearly."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3)).astype(np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the class `mine`, among five others."""
    for i in range(5):
        (tmp_path / "images" / f"class {i}").mkdir(parents=True)
        for name in ("a.png", "b.png"):
            picture(100 + i).save(tmp_path / "images" / f"class {i}" / name)
    (tmp_path / "images" / "mine").mkdir()
    return tmp_path / "images" / "mine"


def read(folder: Path, **options: Any) -> Pixels:
    """All images of the class `mine` [count, channels, size, size], written beside its folder and read back.

    Also written as files that are decoded when read: a learner sees the very same.
    """
    both, files = [], list(folder.iterdir())
    for path in files:
        shutil.copy(path, folder / f"zz {path.name}")  # a class has two images or more
    for encoded in (False, True):
        out = folder.parents[1] / f"encoded {encoded}"
        write_folder(folder.parent, out, **({"size": SIZE} | options), encoded=encoded)
        shards = ShardSet(str(out))
        assert shards.index.encoded == encoded
        (number,) = (i for i, record in enumerate(shards.index.records) if record.name == "mine")
        both.append(shards.images(number, np.arange(shards.count(number))))
    assert np.array_equal(*both)
    return both[0][: len(files)]


def kinds() -> dict[str, tuple[Image.Image, dict[str, Any], Image.Image]]:
    """File name: what is saved, how, and what it looks like."""
    image, grey, palette = picture(1), picture(1).convert("L"), picture(1).quantize(8)
    clear = palette.copy()
    clear.info["transparency"] = bytes([255, 0] + [255] * 6)
    on_white = np.where(np.asarray(palette)[..., None] == 1, 255, np.asarray(palette.convert("RGB"))).astype(np.uint8)
    ink = Image.merge("LA", (Image.new("L", grey.size), grey.point(lambda value: 255 - value)))  # black, on nothing
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)  # the same in 16 bits a pixel
    wide, tall = (np.concatenate([picture(2), image, picture(3)], axis) for axis in (1, 0))
    return {
        "bits.png": (image.convert("1"), {}, image.convert("1")),
        "cmyk.jpg": (image.convert("CMYK"), {"quality": 95}, image),
        "grey.jpg": (grey, {"quality": 95}, grey),
        "grey.png": (grey, {}, grey),
        "grey of 16 bits.png": (deep, {}, grey),
        "grey with alpha.png": (image.convert("LA"), {}, grey),
        "palette.png": (palette, {}, palette),
        "palette with alpha.png": (clear, {}, Image.fromarray(on_white)),
        "ink.png": (ink, {}, grey),
        "rgb.JPEG": (image, {"quality": 95}, image),
        "rgb.png": (image, {}, image),
        "rgb.webp": (image, {"lossless": True}, image),
        "rgba.PNG": (image.convert("RGBA"), {}, image),
        "rgba.webp": (image.convert("RGBA"), {"lossless": True}, image),
        "wide.png": (Image.fromarray(wide), {}, image),
        "tall.png": (Image.fromarray(tall), {}, image),
    }


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", kinds())
def test_images_of_every_kind_read_back(folder: Path, name: str, channels: int) -> None:
    image, options, looks = kinds()[name]
    image.save(folder / name, **options)
    (found,) = read(folder, channels=channels).astype(int)
    expected = np.asarray(looks.convert("RGB").convert("RGB" if channels == 3 else "L")).reshape(SIZE, SIZE, channels)
    difference = np.abs(found.transpose(1, 2, 0) - expected)
    assert difference.max() <= (40 if name.lower().endswith(("jpg", "jpeg")) else 0)
    assert difference.mean() < 4


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_a_photo_is_turned_as_its_camera_noted(folder: Path, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # it was held sideways: turn it clockwise by 90 degrees
    right_way_up = picture(7, 40, 24)
    right_way_up.transpose(Image.Transpose.ROTATE_90).save(folder / f"a.{ending}", quality=95, exif=exif)
    (found,) = read(folder, size=24)
    middle = np.asarray(right_way_up)[:, 8:32]  # the square at its centre
    assert np.abs(found.transpose(1, 2, 0).astype(int) - middle).mean() < 4


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 300), (301, 7), (17, 16), (640, 480)])
def test_any_size_fits(folder: Path, width: int, height: int) -> None:
    Image.new("RGB", (width, height), (200, 100, 50)).save(folder / "a.png")
    (found,) = read(folder)
    assert found.shape == (3, SIZE, SIZE)
    assert [set(channel.flatten().tolist()) for channel in found] == [{200}, {100}, {50}]


def test_a_large_image_is_resized_smoothly(folder: Path) -> None:
    """A fine chequerboard becomes even grey, not a pattern of its own."""
    board = np.indices((160, 160)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(folder / "a.png")
    (found,) = read(folder, channels=1)
    assert np.abs(found[0, 2:-2, 2:-2].astype(int) - 127).max() <= 2


def test_ink_is_one_where_the_drawing_is_inverted(folder: Path) -> None:
    paper = np.full((SIZE, SIZE), 255, np.uint8)
    paper[3:5, 2:9] = 0
    Image.fromarray(paper).save(folder / "a.png")
    assert np.array_equal(read(folder, channels=1, invert=True), 255 - paper[None, None])


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}, {"exif": DESCRIBED.tobytes()}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_decoded_to_the_values_that_pillow_gives(
    mode: str, subsampling: int, options: dict[str, Any]
) -> None:
    rng = np.random.default_rng(subsampling)
    small = Image.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    file = io.BytesIO()
    small.resize((101, 67), Image.Resampling.BICUBIC).convert(mode).save(
        file, "JPEG", subsampling=subsampling, **options
    )
    pixels = decoded_jpeg(file.getvalue())
    assert pixels is not None
    assert np.array_equal(pixels, np.asarray(Image.open(file)))


def test_what_pillow_has_to_judge_is_left_to_it() -> None:
    file = io.BytesIO()
    Image.new("CMYK", (20, 20)).save(file, "JPEG")
    assert decoded_jpeg(file.getvalue()) is None
    Image.new("RGB", (200, 200)).save(file := io.BytesIO(), "JPEG")
    for data in (b"", b"\xff\xd8\xff", file.getvalue()[:300], file.getvalue()[:-30]):
        assert decoded_jpeg(data) is None


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_jpeg_may_be_scaled_down_while_it_is_decoded(channels: int, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn  # the camera was held upright
    picture(0, 640, 480).save(file := io.BytesIO(), "JPEG", exif=exif)
    pixels = decoded_jpeg(file.getvalue(), 84)
    assert pixels is not None
    assert pixels.shape == ((120, 160, 3) if turn == 1 else (160, 120, 3)), "2/8: 1/8 would be below 84"
    whole, scaled = (Preprocess(84, channels, scaled=scaled)(file.getvalue()) for scaled in (False, True))
    assert scaled.shape == whole.shape == (channels, 84, 84)
    assert np.abs(scaled.astype(int) - whole).mean() < 1.5
    small = Preprocess(450, channels, scaled=True)(file.getvalue())
    assert np.array_equal(small, Preprocess(450, channels)(file.getvalue())), "7/8 is below 450"


def test_an_index_says_how_its_images_are_decoded_and_a_checkpoint_that_differs_is_told(
    folder: Path, tmp_path: Path
) -> None:
    picture(0, 640, 480).save(folder / "a.jpg")
    picture(1, 640, 480).save(folder / "b.jpg")
    tasks = {}
    for scaled in (False, True):
        out = tmp_path / f"scaled {scaled}"
        index_sources([str(folder.parent)], out, size=84, scaled=scaled, fractions=(0.34, 0.33, 0.33))
        shards = ShardSet(str(out), roots=yaml.safe_load((out / "task.yaml").read_text())["data"]["init_args"]["roots"])
        assert shards.index.preprocess == Preprocess(84, scaled=scaled)
        tasks[scaled] = ImageTasks(shards)
    trained = {"ImageEpisodes": {"preprocess": Preprocess(84, scaled=True)._asdict()}}
    tasks[True].check_checkpoint("a.ckpt", trained)
    with pytest.warns(UserWarning, match=r"images of a\.ckpt were scaled while they were decoded, .* are not scaled"):
        tasks[False].check_checkpoint("a.ckpt", trained)
