"""Write docs/environment.md, the page of environment variables, from the tables in lightning_meta.machine.environment.

python tools/environment_page.py
"""

from pathlib import Path

from lightning_meta.machine.environment import TABLES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "environment.md"
BEGINNING = """# Environment variables

<!-- Written by `python tools/environment_page.py` from lightning_meta/machine/environment.py. -->

`lightning-meta doctor` prints those that are set, and names that begin with `LIGHTNING_META_` and that nothing reads.
"""


def page() -> str:
    """Return the page: one section per table."""
    text = BEGINNING
    for title, variables in TABLES.items():
        text += f"\n## {title}\n\n| variable | meaning | default |\n|---|---|---|\n"
        text += "".join(f"| `{one.name}` | {one.meaning} | {one.default} |\n" for one in variables)
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
