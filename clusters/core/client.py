"""The client of a scheduler, which has to be on the submitting machine."""

import importlib.util
import shutil
from typing import NamedTuple


class Client(NamedTuple):
    """The client that a back end needs on this machine to reach its scheduler; one program or package is enough.

    Attributes:
        remedy: What to do if none of them is here.
        programs: Names of programs on the PATH.
        packages: Names of modules that Python can import.
    """

    remedy: str
    programs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def find(self) -> str | None:
        """Return the path of the program, or `package NAME`; None where there is neither. Runs and imports nothing."""
        paths = filter(None, map(shutil.which, self.programs))
        packages = (f"package {name}" for name in self.packages if importlib.util.find_spec(name))
        return next(packages, None) or next(paths, None)

    def names(self) -> str:
        """Return all names of programs and packages as text, such as: package kubernetes or kubectl."""
        return " or ".join([*(f"package {name}" for name in self.packages), *self.programs])
