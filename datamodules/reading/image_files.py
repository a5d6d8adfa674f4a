"""The images and class folders of a folder, without files that operating systems and programs leave among them."""

import os
from pathlib import Path

from lightning_meta.core import InputError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
CLUTTER = {  # in lower case; names that begin with a dot are clutter too
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
    """Return whether a file or folder is hidden (`._x.jpg`, `.ipynb_checkpoints`) or made by a system (`__MACOSX`)."""
    return name.startswith(".") or name.lower() in CLUTTER


def list_images(folder: Path) -> list[Path]:
    """Return all image files in a folder and its sub-folders, sorted.

    Links are followed, and each folder that they lead to is read once. A broken link with the name of an image is in the
    list, so that reading it reports the problem.

    Raises:
        InputError: If there is no such folder, a folder cannot be listed, or there are no images.
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
            if os.path.isdir(path):  # Path.is_dir raises if a link leads to something that may not be read
                pending.append(path)
            elif path.suffix.lower() in ENDINGS and (os.path.isfile(path) or path.is_symlink()):
                images.append(path)
    if not images:
        raise InputError(f"{folder} holds no images: put files ending in {', '.join(ENDINGS)} there")
    return sorted(images)


def class_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted; raise InputError if it is not a folder, or a link in it is broken."""
    if not os.path.isdir(folder):
        raise InputError(f"{folder} is not a folder: give a folder with one sub-folder of images for each class")
    entries = _entries(folder)
    for path in entries:
        if path.is_symlink() and not os.path.exists(path):
            raise InputError(f"{path} is a link that leads nowhere: mend or remove it")
    return [path for path in entries if os.path.isdir(path)]


def beside(folder: Path, taken: list[Path]) -> list[str]:
    """Return the names of everything in the folder except clutter and the paths `taken`."""
    return [path.name for path in _entries(folder) if path not in taken]


def read_bytes(path: Path) -> bytes:
    """Return the content of an image file; raise InputError if it cannot be read."""
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
