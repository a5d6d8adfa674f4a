"""Estimators: scikit-learn's own checks, known answers, images of every kind, files, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from datamodules import Preprocess
from lightning_meta import MAML, R2D2, FewShotClassifier, FewShotRegressor, ProtoNet, load
from lightning_meta.core import InputError
from lightning_meta.nn import MLP, Conv4

SHAPE = Preprocess(16, channels=1)
HASHED = "joblib hashes the tensors of a learner by their addresses"


@pytest.fixture
def vectors() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((3, 5))
    labels = np.array(["cat", "dog", "owl"])[np.arange(30) % 3]
    return centres[np.arange(30) % 3] + rng.standard_normal((30, 5)), labels


@pytest.fixture
def ckpt(tmp_path: Path) -> Path:
    """A checkpoint of `fit` on grey images of 16 pixels."""
    init = {"in_channels": 1, "image_size": 16, "width": 4}
    backbone = {"class_path": "lightning_meta.nn.Conv4", "init_args": init}
    learner = {"class_path": "lightning_meta.learners.ProtoNet", "init_args": {"backbone": backbone}}
    torch.manual_seed(0)
    weights = {f"learner.{name}": w for name, w in ProtoNet(Conv4(**init)).state_dict().items()}
    data = {"preprocess": SHAPE._asdict()}
    content = {"state_dict": weights, "hyper_parameters": {"learner": learner}, "ImageEpisodes": data}
    torch.save(content, tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of three images of different sizes, dark and bright, and a query of each."""
    rng = np.random.default_rng(0)
    for name, level in {"dark": 0, "bright": 200}.items():
        (tmp_path / "examples" / name).mkdir(parents=True)
        for i in range(4):
            pixels = level + rng.integers(0, 55, (20 + i, 30), np.uint8)
            place = tmp_path / "examples" / name / f"{i}.png" if i < 3 else tmp_path / "queries" / f"{name}.png"
            place.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(place)
    return tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (FewShotClassifier(ProtoNet(nn.Flatten())), {}),
        (FewShotRegressor(R2D2(nn.Flatten())), {"check_estimators_overwrite_params": HASHED}),
    ],
)
def test_scikit_learn_finds_nothing_wrong(estimator: Any, expected: dict[str, str]) -> None:
    results = check_estimator(estimator, expected_failed_checks=expected, on_skip=None)
    assert sum(result["status"] == "passed" for result in results) > 45


def test_a_prototypical_network_of_vectors_is_the_nearest_centroid(vectors: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = vectors
    classifier = FewShotClassifier(ProtoNet(nn.Flatten())).fit(x[:9], y[:9])
    assert (classifier.predict(x) == NearestCentroid().fit(x[:9], y[:9]).predict(x)).all()
    probabilities = classifier.predict_proba(x)
    assert probabilities.sum(1) == pytest.approx(np.ones(30))
    assert (classifier.classes_[probabilities.argmax(1)] == classifier.predict(x)).all()
    assert not classifier.transductive_


def test_ridge_regression_is_ridge_regression(vectors: tuple[np.ndarray, np.ndarray]) -> None:
    x, _ = vectors
    y = np.stack([x.sum(1), x[:, 0]], 1)
    ours = FewShotRegressor(R2D2(nn.Flatten(), ridge=0.5)).fit(x, y).predict(x)
    ones = np.c_[x, np.ones(30)]  # R2-D2 penalises its bias too
    assert ours == pytest.approx(Ridge(0.5, fit_intercept=False).fit(ones, y).predict(ones), abs=1e-4)


@pytest.mark.parametrize("labels", [["b", "a", "c"], [7, -1, 3], [True, False], [2.0, 1.0]])
def test_examples_that_come_later_count_as_those_of_the_first_fit(labels: list[Any]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 4)), np.array(labels)[np.arange(12) % len(labels)]
    learner = ProtoNet(MLP([4, 8]))
    whole = FewShotClassifier(learner).fit(x, y)
    parts = FewShotClassifier(learner).partial_fit(x[:6], y[:6]).partial_fit(x[6:], y[6:])
    assert parts.classes_.tolist() == whole.classes_.tolist() == sorted(labels)
    assert parts.predict_proba(x) == pytest.approx(whole.predict_proba(x), abs=1e-6)
    other = "new" if isinstance(labels[0], str) else 9
    assert other in parts.add_class(other, x[:2] + 50).predict(x[:2] + 50)


def test_images_of_every_kind_are_read_as_those_of_the_training(ckpt: Path, photos: Path) -> None:
    classifier = FewShotClassifier(ckpt).fit(photos / "examples")
    paths = sorted((photos / "queries").iterdir())
    expected = classifier.predict_proba(photos / "queries")
    assert classifier.predict(paths).tolist() == ["bright", "dark"]
    images = [Image.open(path) for path in paths]
    arrays = [np.asarray(image) for image in images]
    for same in (paths, [*map(str, paths)], images, arrays, [SHAPE(path) for path in paths], [paths[0], arrays[1]]):
        assert (classifier.predict_proba(same) == expected).all()
    colours = [np.repeat(each[..., None], 3, 2) for each in arrays]
    assert classifier.predict_proba(colours) == pytest.approx(expected, abs=0.05)
    listed = [(path, path.parent.name) for path in sorted((photos / "examples").rglob("*.png"))]
    again = FewShotClassifier(ckpt).fit([path for path, _ in listed], [name for _, name in listed])
    assert (again.predict_proba(paths) == expected).all()


def test_a_file_gives_the_same_predictions_and_is_a_checkpoint(ckpt: Path, photos: Path) -> None:
    first = FewShotClassifier(ckpt, abstain=0.6).fit(photos / "examples")
    first.save(photos / "mine.ckpt")
    ckpt.unlink()
    second = FewShotClassifier.load(photos / "mine.ckpt")
    assert (second.predict_proba(photos / "queries") == first.predict_proba(photos / "queries")).all()
    assert (second.classes_.tolist(), second.abstain) == (["bright", "dark"], 0.6)
    second.add_class("grey", photos / "queries")
    assert len(second.classes_) == 3
    assert isinstance(load(photos / "mine.ckpt"), ProtoNet)
    assert FewShotClassifier(photos / "mine.ckpt").fit(photos / "examples").classes_.tolist() == ["bright", "dark"]


def test_a_file_of_a_learner_that_was_given_needs_one_built_alike(
    tmp_path: Path, vectors: tuple[np.ndarray, np.ndarray]
) -> None:
    x, _ = vectors
    first = FewShotRegressor(R2D2(MLP([5, 8]))).fit(x, x[:, 0])
    first.save(tmp_path / "ridge.ckpt")
    second = FewShotRegressor.load(tmp_path / "ridge.ckpt", R2D2(MLP([5, 8])))
    assert (second.predict(x) == first.predict(x)).all()
    with pytest.raises(ValueError, match="expecting 5 features"):
        second.predict(x[:, :4])
    with pytest.raises(InputError, match="does not say which learner"):
        FewShotRegressor.load(tmp_path / "ridge.ckpt")
    with pytest.raises(InputError, match="another learner"):
        FewShotRegressor.load(tmp_path / "ridge.ckpt", R2D2(MLP([5, 9])))
    with pytest.raises(InputError, match=r"holds no FewShotClassifier: give a file that FewShotClassifier\.save wrote"):
        FewShotClassifier.load(tmp_path / "ridge.ckpt")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("x", torch.zeros(2, 1, 16, 16)),
        ("x", torch.zeros(6, 1, 3, 3)),
        ("y", torch.zeros(6, dtype=torch.int64)),
        ("y", torch.arange(6)),
        ("y", "y"),
        ("labels", ["one"]),
        ("labels", [["a"], ["b"]]),
        ("labels", None),
        ("batch", 0),
        ("batch", True),
        ("abstain", 3),
        ("preprocess", {"size": -1}),
        ("format", 99),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(ckpt: Path, photos: Path, part: str, value: Any) -> None:
    FewShotClassifier(ckpt).fit(photos / "examples").save(photos / "mine.ckpt")
    content = torch.load(photos / "mine.ckpt", weights_only=True)
    content["FewShotClassifier"][part] = value
    torch.save(content, photos / "mine.ckpt")
    with pytest.raises(InputError, match=r"mine\.ckpt") as error:
        FewShotClassifier.load(photos / "mine.ckpt")
    assert "\n" not in str(error.value)


def test_images_that_do_not_decode_are_named_or_passed_over(ckpt: Path, photos: Path) -> None:
    for broken in (photos / "examples" / "dark" / "x.png", photos / "queries" / "a.png"):
        broken.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"x\.png.*or pass over all such images with skip=True"):
        FewShotClassifier(ckpt).fit(photos / "examples")
    classifier = FewShotClassifier(ckpt, skip=True).fit(photos / "examples")
    assert len(classifier.skipped_) == 1
    assert classifier.predict(photos / "queries").tolist() == [None, "bright", "dark"]
    assert np.isnan(classifier.predict_proba(photos / "queries")).all(1).tolist() == [True, False, False]
    with pytest.raises(InputError, match="no image can be read"):
        classifier.predict([photos / "queries" / "a.png"])
    for path in (photos / "examples" / "dark").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="no image of 'dark' decodes"):
        FewShotClassifier(ckpt, skip=True).fit(photos / "examples")


def test_a_classifier_abstains_below_its_threshold() -> None:
    x = np.array([[-4.0], [-3.0], [3.0], [4.0]])
    classifier = FewShotClassifier(ProtoNet(nn.Flatten()), abstain=0.9).fit(x, ["left", "left", "right", "right"])
    assert classifier.predict([[-3.5], [0.0], [3.5]]).tolist() == ["left", None, "right"]


@pytest.mark.parametrize(
    ("source", "options", "x", "y", "said"),
    [
        ("maml", {}, np.ones((6, 4)), list("aabbcc"), "exactly 2 classes; this task has 3"),
        ("proto", {}, np.ones((2, 4)), ["a", "a"], "of one class, 'a': give two"),
        ("proto", {}, np.ones((2, 4)), ["a"], "for 2 examples: give a label for each"),
        ("proto", {}, np.ones((2, 4)), None, "give a label for each example"),
        ("proto", {}, np.ones((2, 3)), ["a", "b"], "built for 4 inputs"),
        ("proto", {}, np.full((2, 4), np.nan), ["a", "b"], "NaN"),
        ("proto", {"batch": 0}, np.ones((2, 4)), ["a", "b"], "batch is 0: give 1 or more"),
        ("proto", {"abstain": 1.5}, np.ones((2, 4)), ["a", "b"], "abstain is 1.5: give a probability"),
        (
            "proto",
            {"preprocess": SHAPE},
            np.ones((2, 16, 16)),
            ["a", "b"],
            "image 0 is an array of float64: give bytes",
        ),
        ("proto", {"preprocess": SHAPE}, np.ones((2, 5, 7, 9), "u1"), ["a", "b"], r"of shape \[5, 7, 9\]: give paths"),
        ("proto", {"preprocess": SHAPE}, ["nowhere.png"], ["a"], "cannot read the image nowhere.png"),
        ("proto", {"preprocess": SHAPE}, "nowhere", None, "nowhere is not a folder"),
        ("proto", {"preprocess": SHAPE}, "nowhere", ["a"], "leave y out"),
        (
            "proto",
            {},
            ["a.png", "b.png"],
            ["a", "b"],
            "ProtoNet was not trained on images .* give vectors, or preprocess",
        ),
        ("nowhere.ckpt", {}, np.ones((2, 4)), ["a", "b"], "no checkpoint at nowhere.ckpt"),
    ],
)
def test_bad_input_is_one_clear_line(source: str, options: dict[str, Any], x: Any, y: Any, said: str) -> None:
    learners = {"maml": MAML(MLP([4, 8]), 2, inner_steps=1), "proto": ProtoNet(MLP([4, 8]))}
    with pytest.raises(ValueError, match=said):
        FewShotClassifier(learners.get(source, source), **options).fit(x, y)


def test_a_learner_of_classes_is_no_regressor() -> None:
    with pytest.raises(InputError, match="ProtoNet learns classes and no real targets: use FewShotClassifier"):
        FewShotRegressor(ProtoNet(nn.Flatten())).fit(np.ones((2, 2)), [1.0, 2.0])


def test_a_label_that_a_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    labels = np.array([np.datetime64("2026-01-01"), np.datetime64("2026-01-02")])
    classifier = FewShotClassifier(ProtoNet(nn.Flatten())).fit(np.eye(2), labels)
    assert classifier.predict(np.eye(2)).tolist() == labels.tolist()
    with pytest.raises(InputError, match="cannot be saved"):
        classifier.save(tmp_path / "dates.ckpt")
    assert not list(tmp_path.iterdir())
