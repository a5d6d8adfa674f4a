"""lightning-meta configs: list the packaged configurations, or print them."""

from lightning_meta.config.merge import list_configs, resolve
from lightning_meta.core import InputError


def run(argv: list[str]) -> None:
    """List the packaged files, or print those that `argv` names."""
    if {"-h", "--help"} & set(argv):
        print("usage: lightning-meta configs [NAME ...]\n\nList the packaged configurations, or print the named ones.")
        return
    if options := [arg for arg in argv if arg.startswith("-")]:
        raise InputError(
            f"configs has no option {options[0]}: `configs` lists the packaged files, `configs NAME` prints one"
        )
    print("\n".join(resolve(name).read_text().rstrip() for name in argv) if argv else list_configs())
