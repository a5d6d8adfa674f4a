"""The page of results and the README's table, from the tables in docs/results. `python tools/ledger.py --render` writes both.

`page.md` there is the text of the page, in which `{{ NAME }}` on a line of its own is the table of `NAME.csv`. `readme.csv`
lists the rows of the README's table; each figure in it is a reference, `TABLE / ROW / COLUMN`, to a cell of another table.
"""

import csv
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "docs" / "results"
BEGIN, END = "<!-- results: written by tools/ledger.py -->", "<!-- end of results -->"
Table = list[list[str]]


def read_table(name: str) -> Table:
    """Return the rows of a table, the heading first."""
    with (DATA / f"{name}.csv").open(newline="") as file:
        return list(csv.reader(file))


def markdown(table: Table) -> str:
    """Return a table in Markdown."""
    lines = ["|" + "".join(f" {cell} |" if cell else " |" for cell in row) for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def results_page() -> str:
    """Return the page of results."""
    text = (DATA / "page.md").read_text()
    return re.sub(r"^\{\{ (\w+) \}\}$", lambda match: markdown(read_table(match[1])), text, flags=re.M)


def cell(reference: str) -> str:
    """Return the cell that `TABLE / ROW / COLUMN` refers to. Raises ValueError if there is not exactly one."""
    name, row, column = reference.split(" / ")
    table = read_table(name)
    (cells,) = (one for one in table[1:] if one[0] == row)
    return cells[table[0].index(column)]


def readme_table() -> str:
    """Return the table of the README."""
    heading, *rows = read_table("readme")
    filled = [[what, f"`{file}`", cell(paper), cell(here), f"`{options}`"] for what, file, paper, here, options in rows]
    return markdown([heading, *filled])


def readme(text: str) -> str:
    """Return the text of the README with its table as it should be."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{readme_table()}\n{END}{rest.split(END)[1]}"


def write() -> None:
    """Write the page of results, and the table into the README."""
    (ROOT / "docs" / "results.md").write_text(results_page())
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text()))
