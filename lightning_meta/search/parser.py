"""The configuration of a search: that of a run, and how it varies."""

from pytorch_lightning.cli import LightningArgumentParser

from lightning_meta.config.lightning_cli import MetaCLI
from lightning_meta.core import InputError
from lightning_meta.search.options import Search


class TuneCLI(MetaCLI):
    """A run that varies."""

    ckpt_path = None

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_class_arguments(Search, "search")
        parser.add_argument("--address", type=str | None, help="Join this Ray cluster (auto: the one of this machine).")
        parser.add_argument("--resume", action="store_true", help="Go on with the newest search of these --config.")

    def before_instantiate_classes(self) -> None:
        if self.config.ckpt_path:
            raise InputError("tune begins its trials anew and takes no --ckpt_path; --resume continues a search")
        super().before_instantiate_classes()
