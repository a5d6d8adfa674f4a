"""Paths of the repository, and those that a process of a test imports from."""

import os
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
TESTS = SUPPORT.parent
ROOT = TESTS.parent
PYTHONPATH = os.pathsep.join(map(str, (TESTS, TESTS / "users", ROOT)))
