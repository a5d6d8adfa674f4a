"""A clear end, status 2, for every mistake."""

from pathlib import Path

import pytest

from lightning_meta.cli import main
from support.mistakes import ends_with_one_message
from support.runs import GLYPHS

MISTAKES = {
    "fti": ["no command 'fti'", "fit"],
    "fit": ["no task is given", "glyphs.yaml"],
    "fit --config glyphs.yaml": ["no learner is given", "protonet.yaml"],
    "fit --config glyph.yaml --config protonet.yaml": ["no configuration 'glyph.yaml'", "glyphs.yaml"],
    "fit --config {broken} --config protonet.yaml": ["broken.yaml is not YAML"],
    f"fit {GLYPHS} --data.root nowhere": ["no shards at 'nowhere'", "shards write"],
    f"fit {GLYPHS} --data.root http://127.0.0.1:9/shards": ["cannot read http://127.0.0.1:9/shards/index.json"],
    f"fit {GLYPHS} --data.ways 90": ["90 ways", "80 classes"],
    f"fit {GLYPHS} --data.eval_ways 50": ["50 ways", "split 'val'"],
    f"fit {GLYPHS} --data.shots 15": ["15 shots and 15 queries", "has 20"],
    f"fit {GLYPHS} --data.shots [5,1]": ["shots is (5, 1)", "first <= last"],
    f"fit {GLYPHS} --data.wayz 5": ["no argument 'wayz'", "Did you mean ways"],
    f"fit {GLYPHS} --data.ways many": ["data.ways is many", "int"],
    f"fit {GLYPHS} --trainer.max_epoch 5": ["trainer has no key 'max_epoch'", "max_epochs"],
    f"fit {GLYPHS} --data.on_error ignore": ["on_error is ignore", "raise, skip"],
    f"fit {GLYPHS} --trainer.devices abc": ["devices"],
    "test --config glyphs.yaml --config reptile.yaml --ckpt_path {ckpt}": ["of another learner", "ProtoNet", "Reptile"],
    "fit --config glyphs.yaml --config maml.yaml --model.learner.init_args.features 21": [
        "cannot adapt to a task",
        "21x5",
    ],
    "adapt --ckpt {ckpt} --support try/support --query try/query --out try": ["--out try is a folder"],
    f"fit {GLYPHS} --modle.learner x": ["no key 'modle'", "model"],
    f"fit {GLYPHS} --model.learner.init_args.distence cosine": ["ProtoNet has no argument 'distence'", "distance"],
    f"fit {GLYPHS} --model.learner lightning_meta.learners.ProtoNets": ["has no 'ProtoNets'", "ProtoNet"],
    f"fit {GLYPHS} --data.splits [train,valid,test]": ["no split 'valid'", "val"],
    f"fit {GLYPHS} --trainer.precision 16-mixed --trainer.accelerator cpu": ["needs a GPU", "bf16-mixed"],
    f"fit {GLYPHS} --data.meta_batch 3 --trainer.devices 2 --trainer.strategy ddp --trainer.accelerator cpu": [
        "meta_batch is 3",
        "multiple of 2",
    ],
    f"fit {GLYPHS} --ckpt_path nothing.ckpt": ["no checkpoint at nothing.ckpt"],
    "fit --config glyphs.yaml --config anil.yaml --ckpt_path last": ["no last checkpoint below runs/glyphs-anil"],
    "fit --config glyphs.yaml --config maml.yaml --data.eval_ways 3": [
        "exactly 5 classes; this task has 3",
        "ProtoNet",
    ],
    "fit --config sinusoid.yaml --config protonet.yaml": ["ProtoNet classifies", "MAML or CNP"],
    "fit --config glyphs.yaml --config maml.yaml --ckpt_path {ckpt}": ["of another learner", "ProtoNet", "than MAML"],
    f"test {GLYPHS}": ["test needs a checkpoint", "best, last or a file"],
    f"test {GLYPHS} --ckpt_path {{broken}}": ["is not a checkpoint"],
    f"test {GLYPHS} --ckpt_path {{ckpt}} --ways 5 50": ["50 ways", "split 'test'", "15 classes"],
    f"test {GLYPHS} --ckpt_path {{ckpt}} --shots 1 0": ["shots is 0", "1 or more"],
    f"test {GLYPHS} --ckpt_path {{ckpt}} --ways many": ["many", "int"],
    f"test {GLYPHS} --ckpt_path {{ckpt}} --data.root shards/colour": ["images of 1x28x28", "shards/colour are 3x20x20"],
    f"test {GLYPHS} --ckpt_path {{ckpt}} --data.splits [train,val,tset]": ["no split 'tset'", "test"],
    f"fit {GLYPHS} --ways 5": ["no key 'ways'"],
    "test --config sinusoid-maml.yaml --ckpt_path {ckpt} --ways 5": [
        "--ways is 5",
        "regression",
        "--shots",
    ],
    "compare": ["checkpoints, on must be given"],
    "compare --on shards/glyphs": ["checkpoints must be given"],
    "compare {ckpt}": ["on must be given"],
    "compare nothing.ckpt --on shards/glyphs": ["no checkpoint at nothing.ckpt"],
    "compare {broken} --on shards/glyphs": ["is not a checkpoint"],
    "compare {ckpt} {ckpt} --on shards/glyphs": ["given twice"],
    "compare {ckpt} --on shards/glyphs --episode 5": ["no key 'episode'", "episodes"],
    "shards write glyphs --class 50": ["no key 'class'", "classes"],
    "adapt --ckp {ckpt} --support try/support --query try/query": ["no key 'ckp'", "ckpt"],
    "demo --step 5": ["no key 'step'"],
    "compare {ckpt} {last} --names a a --on shards/glyphs": ["repeats a name"],
    "compare {ckpt} {last} --names a --on shards/glyphs": ["1 names for 2 checkpoints"],
    "compare {ckpt} --against b --on shards/glyphs": ["--against b", "choose from glyphs-protonet"],
    "compare {ckpt} --on nowhere": ["no shards at 'nowhere'"],
    "compare {ckpt} --on shards/glyphs sinusoid": ["sinusoid is regression", "alone"],
    "compare {ckpt} --on sinusoid --ways 5": ["--ways", "sinusoid is regression"],
    "compare {ckpt} --on sinusoid": ["no checkpoint can do", "ProtoNet classifies"],
    "compare {ckpt} --on shards/colour --queries 2": ["no checkpoint can do", "3x20x20"],
    "compare {ckpt} --on shards/glyphs --split tset": ["no split 'tset'", "test"],
    "compare {ckpt} --on shards/glyphs --episodes 0": ["--episodes is 0", "1 or more"],
    "compare {ckpt} --on shards/glyphs --batch 0": ["--batch is 0"],
    "compare {ckpt} --on shards/glyphs --ways 5 50": ["50 ways", "15 classes"],
    "compare {ckpt} --on shards/glyphs --shots 15": ["15 shots and 15 queries", "has 20"],
    "compare {ckpt} --on shards/glyphs --seed -1": ["seed is -1"],
    "compare {ckpt} --on shards/glyphs --shots five": ["five", "int"],
    "adapt --ckpt {broken} --support try/support --query try/query": ["is not a checkpoint"],
    "adapt --ckpt {ckpt} --support nowhere --query try/query": ["nowhere is not a folder"],
    "adapt --ckpt {ckpt} --support try --query nowhere": ["nowhere is not a folder"],
    "adapt --ckpt {ckpt} --support {empty} --query try/query": ["has 0 class folders"],
    "adapt --ckpt {ckpt} --support try/support --query {empty}": ["holds no images"],
    "adapt --support try/support --query try/query": ["ckpt"],
    "shards write glyphs --classes 3": ["classes is 3", "40 or more"],
    "shards write glyphs --out shards/glyphs": ["exists: nothing is overwritten"],
    "shards write folder nowhere": ["nowhere is not a folder"],
    "shards write folder {empty}": ["0 class folders"],
    "shards verify nowhere": ["no shards at 'nowhere'"],
    "shards sheet shards/glyphs --split tset": ["no split 'tset'", "test"],
}


@pytest.mark.usefixtures("no_type_checker", "recwarn")  # Lightning warns of what we then refuse
@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_ends_with_one_message_and_status_2(
    command: str,
    workplace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workplace)
    (tmp_path / "broken.yaml").write_text("data: [1, 2")
    (tmp_path / "empty").mkdir()
    names = {"broken": tmp_path / "broken.yaml", "empty": tmp_path / "empty"}
    names["ckpt"] = Path("runs/glyphs-protonet/version_0/checkpoints/best.ckpt")
    names["last"] = names["ckpt"].with_name("last.ckpt")
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    ends_with_one_message(command.format(**names), MISTAKES[command], workplace, capfd)


def test_a_traceback_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_meta.core import InputError

    monkeypatch.setenv("LIGHTNING_META_DEBUG", "1")
    with pytest.raises(InputError):
        main(["fti"])
