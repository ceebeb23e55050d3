"""Few-shot episodes against the definition, and an evaluation on a small dataset."""
from pathlib import Path

import numpy as np
import pytest
from sklearn.svm import SVC

from jobs.config import check_data
from jobs.config.evaluations import Fewshot
from jobs.data.draws import generator
from jobs.data.loading import evaluable_splits
from jobs.evaluation.fewshot import accuracies, draw_episodes, evaluate_fewshot
from jobs.prepare import prepare

LABELS = np.repeat(np.arange(6), [30, 12, 15, 15, 40, 14])


def test_an_episode_has_its_classes_with_disjoint_support_and_queries_from_them_alone() -> None:
    episodes = draw_episodes(LABELS, ways=3, shots=4, queries=10, episodes=50, generator=generator("test"))
    seen = set()
    for episode in episodes:
        assert len(set(episode.classes)) == 3 and 1 not in episode.classes, "category 1 has 12 shapes, 14 are needed"
        assert not set(episode.support_S) & set(episode.query_Q)
        assert LABELS[episode.support_S].tolist() == np.repeat(episode.classes, 4).tolist()
        assert LABELS[episode.query_Q].tolist() == np.repeat(episode.classes, 10).tolist()
        assert len(set(episode.support_S)) == 12 and len(set(episode.query_Q)) == 30
        seen.add(episode.classes)
    assert len(seen) > 20, "classes change from episode to episode"


def test_too_few_shapes_are_said_with_how_many_there_are() -> None:
    with pytest.raises(ValueError, match="needs 4 categories of 20 shapes, and 2 of 6 have as many"):
        draw_episodes(LABELS, ways=4, shots=5, queries=15, episodes=2, generator=generator("test"))


def test_accuracies_are_those_of_a_linear_svm_on_standardised_support() -> None:
    rng = np.random.default_rng(0)
    features = (rng.standard_normal((len(LABELS), 5)) * [1, 10, 0.1, 3, 1] + 0.8 * LABELS[:, None] * [1, 0, 0.1, 0, 0]).astype(np.float32)
    episodes = draw_episodes(LABELS, ways=3, shots=5, queries=8, episodes=6, generator=generator("test"))
    expected = []
    for one in episodes:  # by hand
        support, query = features[one.support_S].astype(float), features[one.query_Q].astype(float)
        mean, deviation = support.mean(0), support.std(0)
        machine = SVC(C=0.5, kernel="linear").fit((support - mean) / deviation, LABELS[one.support_S])
        expected.append((machine.predict((query - mean) / deviation) == LABELS[one.query_Q]).mean())
    assert accuracies(features, LABELS, episodes, 0.5) == pytest.approx(expected)
    assert 0.4 < np.mean(expected) < 1


def test_every_encoder_meets_the_same_episodes_which_are_listed(tmp_path: Path) -> None:
    data = {"kind": "synthetic", "shapes": 160, "points": 64, "views": 1, "image_size": 16, "target": str(tmp_path / "data")}
    prepare(check_data(data, "test"), say=lambda line: None, parallel=False)
    splits = evaluable_splits(tmp_path / "data")
    settings = Fewshot(task="fewshot", ways=(2, 3), shots=(2,), queries=3, episodes=4)
    encoders = {
        "trained": lambda: lambda points: np.concatenate([points.std(1), np.abs(points).max(1)], 1),
        "random": lambda: lambda points: points[:, 0],
    }
    outcome, again = (
        evaluate_fewshot(encoders, splits, settings, points=32, batch=16, say=lambda line: None) for _ in range(2)
    )
    assert outcome.metrics == again.metrics and outcome.listed == again.listed
    listed = outcome.listed["episodes"]
    assert len(listed) == 8 and set(outcome.metrics["trained"]) >= {"2way_2shot_accuracy", "3way_2shot_deviation"}
    for ways in (2, 3):
        values = [one["accuracy"]["trained"] for one in listed if one["ways"] == ways]
        assert outcome.metrics["trained"][f"{ways}way_2shot_accuracy"] == pytest.approx(np.mean(values))
        assert outcome.metrics["trained"][f"{ways}way_2shot_deviation"] == pytest.approx(np.std(values))
        gain = outcome.gains[f"{ways}way_2shot_accuracy"]
        assert gain["low"] < gain["mean"] < gain["high"]
    test_shapes = set(splits["test"].ids)
    assert not test_shapes & {name for one in listed for name in (*one["support"], *one["query"])}
    other = evaluate_fewshot(encoders, splits, settings.model_copy(update={"seed": 1}), points=32, batch=16, say=lambda line: None)
    assert other.listed != outcome.listed
