"""The images of a folder, and its class folders, without what operating systems and programs leave among them."""

import os
from pathlib import Path

from lightning_meta.core import InputError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
CLUTTER = {  # in lower case; beside these, every name that begins with a dot
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "desktop.ini",
}


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is hidden (`._x.jpg`, `.ipynb_checkpoints`) or a system's own (`__MACOSX`)."""
    return name.startswith(".") or name.lower() in CLUTTER


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder, sorted. Links are followed, and each folder that they come to is read once.

    What is an image by its name and leads nowhere is in the list, so that whoever reads it says so. Raises InputError
    where there is no folder, one below it cannot be listed, or there is nothing in it.
    """
    if not os.path.isdir(folder):
        raise InputError(f"{folder} is not a folder: give a folder of images ({', '.join(ENDINGS)})")
    images, seen, pending = [], set[tuple[int, int]](), [folder]
    while pending:
        here = pending.pop()
        entries, about = _entries(here), here.stat()
        if (about.st_dev, about.st_ino) in seen:
            continue
        seen.add((about.st_dev, about.st_ino))
        for path in entries:
            if os.path.isdir(path):  # Path.is_dir raises where a link leads to what may not be read
                pending.append(path)
            elif path.suffix.lower() in ENDINGS and (os.path.isfile(path) or path.is_symlink()):
                images.append(path)
    if not images:
        raise InputError(f"{folder} holds no images: put files ending in {', '.join(ENDINGS)} there")
    return sorted(images)


def class_folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted. Raises InputError where it is none, or a link in it leads nowhere."""
    if not os.path.isdir(folder):
        raise InputError(f"{folder} is not a folder: give a folder with one sub-folder of images for each class")
    entries = _entries(folder)
    for path in entries:
        if path.is_symlink() and not os.path.exists(path):
            raise InputError(f"{path} is a link that leads nowhere: mend or remove it")
    return [path for path in entries if os.path.isdir(path)]


def beside(folder: Path, taken: list[Path]) -> list[str]:
    """Names of what is in the folder and neither clutter nor taken."""
    return [path.name for path in _entries(folder) if path not in taken]


def read_bytes(path: Path) -> bytes:
    """What an image file holds. Raises InputError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "it is a link that leads nowhere" if path.is_symlink() and not os.path.exists(path) else error.strerror
        raise InputError(f"cannot read the image {path} ({reason}): mend or remove it") from error


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not is_clutter(path.name))
    except OSError as error:
        raise InputError(f"cannot list the folder {folder} ({error.strerror}): let it be read, or remove it") from error
