"""The names that `import lightning_meta` offers, and its cost."""

from importlib.metadata import version
from pathlib import Path

import lightning_meta
from lightning_meta import learners
from lightning_meta.evaluation.compare import compare
from lightning_meta.evaluation.evaluate import evaluate
from lightning_meta.search.start import tune
from lightning_meta.training.checkpoint import load
from support.runs import python


def test_the_package_offers_what_people_reach_for_first() -> None:
    assert lightning_meta.load is load
    assert lightning_meta.evaluate is evaluate
    assert lightning_meta.compare is compare
    assert lightning_meta.tune is tune
    assert lightning_meta.__version__ == version("lightning-meta")
    assert lightning_meta.ProtoNet is learners.ProtoNet
    assert {"load", "evaluate", "compare", "tune", "__version__", *learners.__all__} <= set(dir(lightning_meta))


def test_importing_the_package_imports_no_pytorch(tmp_path: Path) -> None:
    done = python(tmp_path, "-c", "import sys, lightning_meta; print('torch' in sys.modules)")
    assert done.stdout == "False\n", done.stderr


def test_what_it_does_not_offer_is_an_attribute_error(tmp_path: Path) -> None:
    done = python(tmp_path, "-c", "import lightning_meta; lightning_meta.Nothing")
    assert "AttributeError: module 'lightning_meta' has no attribute 'Nothing'" in done.stderr
