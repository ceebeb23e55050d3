"""Scores of semantic segmentation against their definitions, written over sets of points; rooms from votes."""
import numpy as np
import pytest

from jobs.evaluation.scenes import Votes, class_ious, confusion_of, rooms_of, scene_scores


def test_scores_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(1)
    truth, told = rng.choice([0, 1, 3], 300), rng.choice([0, 1, 2, 3], 300)  # 2 is in no truth, 4 is nowhere
    ious, recalls = {}, []
    for one in range(5):
        a, b = set(np.flatnonzero(told == one)), set(np.flatnonzero(truth == one))
        if a | b:
            ious[one] = len(a & b) / len(a | b)
        if b:
            recalls.append(len(a & b) / len(b))
    confusion = confusion_of(told, truth, 5)
    assert confusion[1, 2] == sum(t == 1 and p == 2 for t, p in zip(truth, told, strict=True))
    expected = {"miou": np.mean(list(ious.values())), "mean_accuracy": np.mean(recalls), "overall_accuracy": (truth == told).mean()}
    assert scene_scores(confusion) == pytest.approx(expected)
    found = class_ious(confusion)
    assert np.isnan(found[4]) and {one: found[one] for one in ious} == pytest.approx(ious)


def test_a_rooms_point_counts_once_and_gets_the_class_of_all_its_looks_together() -> None:
    places = np.array([[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]], np.float32)
    votes = Votes()
    votes.add(places, np.array([[0.6, 0.4], [0.1, 0.9]], np.float32), np.array([1, 1]))
    votes.add(places[[0, 0]], np.array([[0.1, 0.9], [0.55, 0.45]], np.float32), np.array([1, 1]))  # a copy within the block, too
    found, truth, told = votes.counted()
    assert found.tolist() == places.tolist() and truth.tolist() == [1, 1]
    assert told.tolist() == [1, 1], "1.25 against 1.75: two looks of three alone would say 0"


def test_blocks_belong_to_their_room() -> None:
    rooms = rooms_of(["Area_1/hall/00000", "Area_1/hall/00001", "Area_2/hall/00000"])
    assert {room: rows.tolist() for room, rows in rooms.items()} == {"Area_1/hall": [0, 1], "Area_2/hall": [2]}
