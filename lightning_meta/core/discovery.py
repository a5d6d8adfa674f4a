"""The classes of a package's files, so that a new one needs no entry in a list."""

import pkgutil
from importlib import import_module
from inspect import isabstract
from types import ModuleType


def find_classes(package: ModuleType, base: type) -> dict[str, type]:
    """Every concrete subclass of `base` by name that a file of the package defines, in the order of the files.

    Files and classes whose names begin with `_` are passed over: they hold what the others share.
    """
    classes = dict[str, type]()
    for file in pkgutil.iter_modules(package.__path__):
        if not file.name.startswith("_"):
            module = import_module(f"{package.__name__}.{file.name}")
            for name, kind in vars(module).items():
                own = isinstance(kind, type) and kind.__module__ == module.__name__ and not name.startswith("_")
                if own and issubclass(kind, base) and not isabstract(kind):
                    classes[name] = kind
    return classes
