"""Few-shot classification: n-way m-shot episodes, a linear SVM on frozen features. S support and Q query shapes of an episode, D features.

The episodes that Afham et al. 2022 ("CrossPoint") evaluate on: classes drawn at random, of each `shots` support and `queries` other shapes
of the training split, features standardised on the support, SVC with C = 1.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from jobs.config.evaluations import Fewshot
from jobs.data.draws import generator as generator_of
from jobs.data.prepared import PreparedDataset
from jobs.evaluation.features import Encode, split_features
from jobs.evaluation.outcome import Outcome
from jobs.evaluation.paired import gain

POOL = ("train", "val")  # together the published training split: support and queries come from there


@dataclass(frozen=True)
class Episode:
    """Rows of the shapes that are learned from and asked about, class by class in the order of `classes`."""

    classes: tuple[int, ...]
    support_S: NDArray[np.int64]
    query_Q: NDArray[np.int64]


def draw_episodes(
    labels_N: NDArray[np.int64], *, ways: int, shots: int, queries: int, episodes: int, generator: np.random.Generator
) -> list[Episode]:
    """Episodes of `ways` classes with `shots` + `queries` different shapes each.

    ValueError, saying how many classes have enough shapes, when there are fewer than `ways`.
    """
    classes, counts = np.unique(labels_N, return_counts=True)
    enough = classes[counts >= shots + queries]
    if len(enough) < ways:
        raise ValueError(
            f"{ways}-way {shots}-shot with {queries} queries needs {ways} categories of {shots + queries} shapes, and {len(enough)} of "
            f"{len(classes)} have as many (the largest holds {counts.max(initial=0)}): ask for fewer ways, shots or queries"
        )
    drawn = []
    for _ in range(episodes):
        chosen = generator.choice(enough, ways, replace=False)
        rows = [generator.permutation(np.flatnonzero(labels_N == one))[: shots + queries] for one in chosen]
        support, query = np.concatenate([one[:shots] for one in rows]), np.concatenate([one[shots:] for one in rows])
        drawn.append(Episode(tuple(map(int, chosen)), support, query))
    return drawn


def accuracies(features_ND: NDArray[np.float32], labels_N: NDArray[np.int64], episodes: Sequence[Episode], c: float) -> list[float]:
    """The share of each episode's queries that is told right."""
    found = []
    for episode in episodes:
        scaler = StandardScaler().fit(features_ND[episode.support_S])
        machine = SVC(C=c, kernel="linear").fit(scaler.transform(features_ND[episode.support_S]), labels_N[episode.support_S])
        predicted = machine.predict(scaler.transform(features_ND[episode.query_Q]))
        found.append(float((predicted == labels_N[episode.query_Q]).mean()))
    return found


def evaluate_fewshot(
    encoders: Mapping[str, Callable[[], Encode]],
    splits: Mapping[str, PreparedDataset],
    settings: Fewshot,
    *,
    points: int,
    batch: int,
    say: Callable[[str], None],
) -> Outcome:
    """Accuracies of every encoder on the same episodes, their mean and deviation (of the population, as published).

    ValueError, before any encoder is built, when the dataset has too few shapes for one of the settings.
    """
    pool = [splits[name] for name in POOL if name in splits]
    labels_N = np.concatenate([one.labels for one in pool])
    drawn = {
        (ways, shots): draw_episodes(
            labels_N, ways=ways, shots=shots, queries=settings.queries, episodes=settings.episodes,
            generator=generator_of("few-shot", settings.seed, ways, shots),
        )
        for ways in settings.ways for shots in settings.shots
    }  # fmt: skip
    told: dict[str, dict[tuple[int, int], list[float]]] = {}
    for name, build in encoders.items():
        say(f"{name}: features of {len(labels_N)} shapes")
        encode = build()
        features_ND = np.concatenate([split_features(encode, one, points=points, batch=batch).features for one in pool])
        if not np.isfinite(features_ND).all():
            raise ValueError(f"the {name} encoder's features are not finite: it diverged")
        told[name] = {key: accuracies(features_ND, labels_N, episodes, settings.c) for key, episodes in drawn.items()}
        say(f"{name}: " + ", ".join(f"{ways}-way {shots}-shot {np.mean(one):.3f}" for (ways, shots), one in told[name].items()))
    metrics = {
        name: {
            key: value
            for (ways, shots), one in found.items()
            for key, value in (
                (f"{ways}way_{shots}shot_accuracy", float(np.mean(one))), (f"{ways}way_{shots}shot_deviation", float(np.std(one))),
            )
        }
        for name, found in told.items()
    }  # fmt: skip
    return Outcome(
        task="fewshot",
        metrics=metrics,
        headline=tuple(f"{ways}way_{shots}shot_accuracy" for ways, shots in drawn),
        gains={
            f"{ways}way_{shots}shot_accuracy": gain({name: told[name][ways, shots] for name in ("random", "trained")})
            for ways, shots in drawn
        },
        protocol={
            "classifier": "linear SVC, one-vs-one, on features standardised on the support",
            "c": settings.c,
            "queries": settings.queries,
            "episodes": settings.episodes,
            "seed": settings.seed,
            "shapes_from": " and ".join(name for name in POOL if name in splits),
        },
        items={
            f"{ways}way_{shots}shot_accuracy": ([f"episode {number}" for number in range(len(one))], one)
            for (ways, shots), one in told["trained"].items()
        },
        listed={"episodes": _listed(drawn, told, pool)},
    )


def _listed(
    drawn: Mapping[tuple[int, int], list[Episode]],
    told: Mapping[str, Mapping[tuple[int, int], list[float]]],
    pool: Sequence[PreparedDataset],
) -> list[dict[str, Any]]:
    """Every episode with its classes, shapes and accuracies, so that it can be looked at and run again."""
    ids = [name for one in pool for name in one.ids]
    return [
        {
            "ways": ways,
            "shots": shots,
            "classes": [pool[0].categories[one] for one in episode.classes],
            "support": [ids[row] for row in episode.support_S],
            "query": [ids[row] for row in episode.query_Q],
            "accuracy": {name: found[ways, shots][number] for name, found in told.items()},
        }
        for (ways, shots), episodes in drawn.items()
        for number, episode in enumerate(episodes)
    ]
