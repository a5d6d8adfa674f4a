"""The command line: the whole way as a user goes it."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from support.runs import GLYPHS, QUICK, curve, run


def test_fit_writes_curves_checkpoints_and_its_configuration(workplace: Path) -> None:
    version = workplace / "runs/glyphs-protonet/version_0"
    assert {path.name for path in (version / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list(curve(version, "meta_train/loss")) == [0, 1, 2, 3]
    assert list(curve(version, "meta_val/accuracy_ci95")) == [3]
    assert 0 <= curve(version, "speed/waiting")[1] <= 1
    assert curve(version, "meta_train/gradient_norm")[0] > 0
    (events,) = version.glob("events*")
    board = EventAccumulator(str(events)).Reload()
    assert board.Tags()["images"] == ["meta_train/episode", "meta_val/episode"]
    assert "_hparams_/session_start_info" in board.summary_metadata
    assert yaml.safe_load((version / "config.yaml").read_text())["data"]["init_args"]["epoch_batches"] == 4


def test_test_prints_and_writes_the_protocol_and_the_interval(workplace: Path) -> None:
    options = "--ckpt_path best --data.test_episodes 10 --data.eval_shots 5 --data.eval_ways 3"
    said = run(workplace, f"test {GLYPHS} {QUICK} {options}")
    assert "ways 3, shots 5, queries 15, episodes 10, seed 0" in said
    assert "ProtoNet, inductive predictions, batch statistics running" in said
    result = json.loads((workplace / "runs/glyphs-protonet/version_0/meta_test_3way_5shot.json").read_text())
    accuracy, ci95 = result["scores"]["accuracy"]
    assert f"{100 * accuracy:.2f} %" in said
    assert 0.4 < accuracy <= 1
    assert 0 < ci95 < 0.2
    assert result["checkpoint"]["path"].endswith("best.ckpt")
    assert result["checkpoint"]["steps"] > 0
    assert result["checkpoint"]["cpu_seconds"] > 0
    assert "differs" not in said


@pytest.mark.slow
def test_a_setting_other_than_the_checkpoints_is_said(workplace: Path) -> None:
    options = "--ckpt_path best --data.test_episodes 2 --model.learner.init_args.distance cosine"
    said = run(workplace, f"test {GLYPHS} {QUICK} {options}")
    assert "the checkpoint differs: distance is 'cosine', trained with 'euclidean'" in said


@pytest.mark.slow
def test_several_sizes_in_one_call_on_another_set(workplace: Path) -> None:
    options = "--ckpt_path best --data.root shards/other --data.eval_queries 3 --data.test_episodes 6"
    said = run(workplace, f"test {GLYPHS} {QUICK} {options} --ways 2 3 --shots 1 4")
    assert said.count("out of domain: trained on shards/glyphs, tested on shards/other") == 4
    version = workplace / "runs/glyphs-protonet/version_0"
    rows = [line.split() for line in said.splitlines() if line.startswith(("2 ", "3 "))]
    assert [row[:3] for row in rows] == [[w, s, "inductive"] for w in "23" for s in "14"]
    for ways, shots, _, accuracy, *_ in rows:
        result = json.loads((version / f"meta_test_other_{ways}way_{shots}shot.json").read_text())
        assert f"{100 * result['scores']['accuracy'][0]:.2f}" == accuracy
        assert result["protocol"]["data"] == "shards/other"
        assert result["cost"]["adapt_seconds_a_task"] > 0
    points = curve(version, "meta_test/other/accuracy_by_shots/3-way")
    assert points == {
        1: pytest.approx(float(rows[2][3]) / 100, abs=1e-4),
        4: pytest.approx(float(rows[3][3]) / 100, abs=1e-4),
    }
    with Image.open(version / "meta_test_other_by_shots.png") as picture:
        assert picture.width > 500


@pytest.mark.slow
def test_a_test_is_the_same_each_time(workplace: Path) -> None:
    command = f"test {GLYPHS} {QUICK} --ckpt_path last --data.test_episodes 6"
    first, second = (run(workplace, f"{command} --data.num_workers {workers}") for workers in (0, 2))
    said = [[line for line in out.splitlines() if "  +- " in line or " ece " in line] for out in (first, second)]
    assert len(said[0]) == 3
    assert said[0] == said[1]


@pytest.mark.slow
def test_two_processes_fit_and_test_from_the_command_line(workplace: Path) -> None:
    """By SGD: a bias before batch norm has no gradient but rounding, of which Adam makes whole steps."""
    sgd = "--model.optimizer torch.optim.SGD --model.optimizer.lr 0.1"
    both = "--trainer.devices 2 --trainer.strategy ddp"
    name = "--trainer.logger.init_args.name"
    scores = []
    for processes, options in (("one", ""), ("two", both)):
        run(workplace, f"fit {GLYPHS} {QUICK} {sgd} {name} {processes} {options}")
        run(
            workplace,
            f"test {GLYPHS} {QUICK} {sgd} {name} {processes} {options} --ckpt_path last --data.test_episodes 6 --shots 1 2",
        )
        assert (workplace / f"runs/{processes}/version_0/meta_test_5way_2shot.json").exists()
        scores.append(
            json.loads((workplace / f"runs/{processes}/version_0/meta_test_5way_1shot.json").read_text())["scores"]
        )
    assert scores[1]["accuracy"] == pytest.approx(scores[0]["accuracy"], abs=5e-3), "1 query of 450 may be a tie"
    assert scores[1]["nll"] == pytest.approx(scores[0]["nll"], abs=1e-3)
    assert scores[1]["ece"][0] == pytest.approx(scores[0]["ece"][0], abs=3e-3)


def test_adapt_classifies_a_folder_of_images(workplace: Path) -> None:
    ckpt = "runs/glyphs-protonet/version_0/checkpoints/best.ckpt"
    run(workplace, f"adapt --ckpt {ckpt} --support try/support --query try/query --out out/guesses.csv --batch 5")
    with (workplace / "out/guesses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    right = [Path(row["image"]).name.startswith(row["class"] + "-") for row in rows]
    assert sum(right) > 6, "chance is 4"
    assert all(1 / 3 <= float(row["probability"]) <= 1 for row in rows)


@pytest.mark.slow
def test_adapt_in_python_is_three_lines_and_agrees(workplace: Path) -> None:
    from lightning_meta import FewShotClassifier

    ckpt = workplace / "runs/glyphs-protonet/version_0/checkpoints/best.ckpt"
    classifier = FewShotClassifier(ckpt).fit(workplace / "try/support")
    probability = classifier.predict_proba(workplace / "try/query")
    label = classifier.predict(workplace / "try/query")
    run(workplace, f"adapt --ckpt {ckpt} --support try/support --query try/query --out agrees.csv")
    with (workplace / "agrees.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == label.tolist()
    assert [float(row["probability"]) for row in rows] == pytest.approx(probability.max(1).tolist(), abs=1e-6)


@pytest.mark.slow
def test_adapt_saves_a_classifier_that_needs_no_examples(workplace: Path) -> None:
    ckpt = workplace / "runs/glyphs-protonet/version_0/checkpoints/best.ckpt"
    run(workplace, f"adapt --ckpt {ckpt} --support try/support --query try/query --out first.csv --save mine.ckpt")
    told = run(workplace, "adapt --ckpt mine.ckpt --query try/query --out second.csv --abstain 0.999")
    assert "of 12 images got no class, with a probability below 0.999" in told
    run(workplace, "adapt --ckpt mine.ckpt --query try/query --out third.csv")
    assert (workplace / "third.csv").read_text() == (workplace / "first.csv").read_text()
    with (workplace / "second.csv").open() as file:
        assert all((float(row["probability"]) >= 0.999) == bool(row["class"]) for row in csv.DictReader(file))


@pytest.mark.slow
def test_a_checkpoint_of_maml_knows_its_ways_and_says_it_is_transductive(workplace: Path) -> None:
    from lightning_meta.learners import MAML
    from lightning_meta.training import load

    said = run(workplace, f"fit --config glyphs-maml.yaml {QUICK} --data.ways 3 --trainer.limit_val_batches 0")
    assert "glyphs-maml.yaml" in said
    ckpt = "runs/glyphs-maml/version_0/checkpoints/last.ckpt"
    assert f"--ckpt_path {ckpt}" in said
    learner = load(workplace / ckpt)
    assert isinstance(learner, MAML)
    assert learner.network.outputs == 3
    for batch in (1, 100):
        told = run(
            workplace, f"adapt --ckpt {ckpt} --support try/support --query try/query --out {batch}.csv --batch {batch}"
        )
        assert "transductive" in told
    assert (workplace / "1.csv").read_text() == (workplace / "100.csv").read_text()


def test_a_sheet_is_a_picture_of_the_set(workplace: Path) -> None:
    run(workplace, "shards sheet shards/glyphs --out pictures/sheet.png --classes 4 --images 6")
    with Image.open(workplace / "pictures/sheet.png") as picture:
        assert picture.size == (2 * 6 * 28, 2 * 4 * 28)
        assert len(set(picture.convert("L").tobytes())) > 10


@pytest.mark.slow
def test_print_config_shows_the_whole_and_takes_overrides(workplace: Path) -> None:
    said = run(workplace, "fit --config sinusoid-maml.yaml --data.shots [2,7] --print_config")
    config = yaml.safe_load(said)
    learner = config["model"]["learner"]["init_args"]
    assert learner["backbone"]["init_args"]["sizes"] == [1, 40, 40]
    assert (learner["inner_lr"], learner["test_steps"]) == (0.01, 10)
    assert config["data"]["init_args"]["shots"] == [2, 7]


@pytest.mark.slow
def test_what_print_config_shows_runs(workplace: Path) -> None:
    (workplace / "whole.yaml").write_text(
        run(workplace, "fit --config sinusoid-maml.yaml --data.meta_batch 3 --print_config")
    )
    run(workplace, f"fit --config whole.yaml {QUICK}")
    assert (workplace / "runs/sinusoid-maml/version_0/checkpoints/last.ckpt").exists()


@pytest.mark.slow
def test_damaged_classes_are_skipped_and_reported_at_the_end(workplace: Path, tmp_path: Path) -> None:
    run(workplace, f"shards write glyphs --classes 40 --out {tmp_path}/glyphs")
    shard = tmp_path / "glyphs/train-000000.tar"
    data = bytearray(shard.read_bytes())
    data[3000:3400] = bytes(400)  # within the first class
    shard.write_bytes(data)
    assert "glyph0-00000" in run(workplace, f"shards verify {tmp_path}/glyphs", status=2)
    sizes = f"--data.root {tmp_path}/glyphs --data.ways 32 --data.eval_ways 2"  # every class of the split
    said = run(tmp_path, f"fit {GLYPHS} {QUICK} {sizes} --data.num_workers 2", status=2)
    assert "glyph0-00000" in said
    assert "Traceback" not in said
    said = run(
        tmp_path,
        f"fit {GLYPHS} {QUICK} {sizes.replace('ways 32', 'ways 30')} --data.on_error skip --data.num_workers 2",
    )
    assert f"1 of 40 classes of {tmp_path}/glyphs are damaged and were skipped: glyph0-00000" in said
