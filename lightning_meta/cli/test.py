"""lightning-meta test: meta-test a checkpoint on held-out tasks."""

from lightning_meta.cli.fit import run_trainer


def run(argv: list[str]) -> None:
    run_trainer("test", argv)
