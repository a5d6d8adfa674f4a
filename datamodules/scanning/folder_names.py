"""Names of classes from the paths of folders in tars."""

from collections.abc import Iterable

from datamodules.scanning.scanned import ClassKey
from datamodules.sources.class_splits import SPLITS
from lightning_meta.core import InputError


def name_folders(paths: Iterable[str], rule: str) -> dict[str, ClassKey]:
    """Return the class, and perhaps the split, that each folder of a tar stands for.

    Folders that all lie in one of `train`, `val` and `test`, each of which occurs, are divided by these.

    Args:
        paths: The paths of the folders in their tars.
        rule: `folder`: the name of the last folder; `path`: the whole path, without what all have in common; or empty: the
            last folder, if no two paths end in the same.

    Raises:
        InputError: If `rule` is empty and two folders of one name lie in different ones.
    """
    paths = sorted(paths)
    tops = {path.partition("/")[0] for path in paths if "/" in path}
    divided = tops == {*SPLITS} and all("/" in path for path in paths)
    split = {path: path.partition("/")[0] if divided else "" for path in paths}
    below = {path: path.partition("/")[2] if divided else path for path in paths}
    if rule == "path":
        common = _common_folder(list(below.values()))
        return {path: ClassKey(below[path][common:], split[path]) for path in paths}
    names = {path: below[path].rpartition("/")[2] for path in paths}
    first: dict[tuple[str, str], str] = {}
    for path in paths:
        other = first.setdefault((names[path], split[path]), path)
        if other != path and rule != "folder":
            raise InputError(
                f"the folders {other} and {path} in the tars end in the same name: give --label folder if they are one class,"
                " --label path if they are two"
            )
    return {path: ClassKey(names[path], split[path]) for path in paths}


def _common_folder(paths: list[str]) -> int:
    """Return the length of the folders that all paths begin with, with the slash; the last folder is not among them."""
    parts = [path.split("/")[:-1] for path in paths]
    common = 0
    for each in zip(*parts, strict=False):
        if len(set(each)) > 1:
            break
        common += len(each[0]) + 1
    return common
