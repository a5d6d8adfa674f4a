"""Where things are, and what a process that a test starts can import."""

import os
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
TESTS = SUPPORT.parent
ROOT = TESTS.parent
PYTHONPATH = os.pathsep.join(map(str, (TESTS, TESTS / "users", ROOT)))
