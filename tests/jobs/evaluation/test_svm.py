"""The SVM protocol against scikit-learn used the plain way."""
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import SVC

from jobs.evaluation.svm import Split, choose_c, evaluate, score_at, scores


def blobs(seed: int, rows: int, classes: int = 4, spread: float = 1.5, scale: float = 1.0) -> Split:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(classes, 12))
    labels = rng.integers(classes, size=rows)
    return Split((scale * (centres[labels] + spread * rng.normal(size=(rows, 12)))).astype(np.float32), labels)


TRAIN, VAL, TEST = blobs(1, 120), blobs(2, 60), blobs(3, 80)
GRID = (0.01, 0.1, 1.0)


def plain(c: float, train: Split, test: Split) -> np.ndarray:
    return SVC(C=c, kernel="linear").fit(train.features.astype(np.float64), train.labels).predict(test.features.astype(np.float64))


@pytest.mark.parametrize("c", [0.01, 1.0, 50.0])
def test_the_gram_matrix_gives_the_predictions_of_a_linear_svc(c: float) -> None:
    both = Split(np.concatenate([TRAIN.features, VAL.features]), np.concatenate([TRAIN.labels, VAL.labels]))
    _, predicted = score_at(c, TRAIN, VAL, TEST)
    assert (predicted == plain(c, both, TEST)).all()


def test_c_is_chosen_on_validation_and_the_smallest_of_equals_wins() -> None:
    c, tried, _ = choose_c(TRAIN, VAL, GRID)
    by_hand = {value: balanced_accuracy_score(VAL.labels, plain(value, TRAIN, VAL)) for value in tried}
    assert tried == pytest.approx(by_hand)
    assert c == min(value for value in by_hand if by_hand[value] == max(by_hand.values()))


def test_the_grid_widens_while_its_best_lies_at_the_edge() -> None:
    small = Split(TRAIN.features / 1000, TRAIN.labels), Split(VAL.features / 1000, VAL.labels)
    c, tried, _ = choose_c(*small, GRID)
    assert c > 1.0
    assert max(tried) > c  # it looked past its choice
    assert set(GRID) < set(tried)


def test_the_test_score_is_of_an_svm_refitted_on_train_and_validation() -> None:
    result = evaluate(TRAIN, VAL, TEST, GRID, categories=4)
    both = Split(np.concatenate([TRAIN.features, VAL.features]), np.concatenate([TRAIN.labels, VAL.labels]))
    predicted = plain(result.c, both, TEST)
    assert result.test is not None
    assert result.test["accuracy"] == pytest.approx((predicted == TEST.labels).mean())
    assert result.test["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(TEST.labels, predicted))
    assert result.confusion is not None
    assert result.confusion.sum() == len(TEST.labels)
    assert np.trace(result.confusion) == (predicted == TEST.labels).sum()


def test_a_prediction_of_a_category_that_the_truth_lacks_counts_as_wrong_and_warns_of_nothing() -> None:
    assert scores(np.array([0, 0, 1]), np.array([0, 2, 1])) == {"accuracy": pytest.approx(2 / 3), "balanced_accuracy": pytest.approx(0.75)}


@pytest.mark.parametrize(
    ("train", "val", "said"),
    [
        (Split(np.ones((3, 2)), np.zeros(3, int)), VAL, "holds one category"),
        (TRAIN, Split(np.zeros((0, 12)), np.zeros(0, int)), "validation split is empty"),
        (Split(np.full((4, 2), np.nan), np.array([0, 1, 0, 1])), VAL, "not finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_the_reason(train: Split, val: Split, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        choose_c(train, val, GRID)
