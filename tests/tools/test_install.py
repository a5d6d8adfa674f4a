"""Every combination of extras resolves at once: all of them together do, and the tested versions are one solution."""

import subprocess
import sys

import pytest

from support.paths import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("constraints", [[], ["-c", "constraints.txt"]], ids=["newest versions", "tested versions"])
def test_all_extras_resolve_together_without_falling_back_to_old_releases(constraints: list[str]) -> None:
    resolve = [
        "pip",
        "compile",
        "--quiet",
        "--all-extras",
        "--no-annotate",
        "--no-header",
        *constraints,
        "pyproject.toml",
    ]
    done = subprocess.run([sys.executable, "-m", "uv", *resolve], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    versions = dict(line.split("==") for line in done.stdout.splitlines() if "==" in line and ";" not in line)
    assert int(versions["s3fs"].split(".")[0]) >= 2026, "a backtracking resolver ends at the s3fs of years ago"
    assert int(versions["kubernetes"].split(".")[0]) >= 37
