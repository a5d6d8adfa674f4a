"""lightning-meta tune: a search over configurations, a population of them or one after the other."""

from lightning_meta.search.start import run_search


def run(argv: list[str]) -> None:
    run_search(argv)
