"""lightning-meta validate: meta-validate a checkpoint."""

from lightning_meta.cli.fit import run_trainer


def run(argv: list[str]) -> None:
    run_trainer("validate", argv)
