"""The SVM protocol against scikit-learn used the plain way."""
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.linalg.blas import ddot
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import SVC

from jobs.evaluation import svm
from jobs.evaluation.svm import OneVsOne, Split, choose_c, evaluate, score_at, scores


def blobs(seed: int, rows: int, classes: int = 4, spread: float = 1.5, scale: float = 1.0) -> Split:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(classes, 12))
    labels = rng.integers(classes, size=rows)
    return Split((scale * (centres[labels] + spread * rng.normal(size=(rows, 12)))).astype(np.float32), labels)


TRAIN, VAL, TEST = blobs(1, 120), blobs(2, 60), blobs(3, 80)
GRID = (0.01, 0.1, 1.0)


WIDE_GRID = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)


def plain(c: float, train: Split, test: Split) -> np.ndarray:
    return SVC(C=c, kernel="linear").fit(train.features.astype(np.float64), train.labels).predict(test.features.astype(np.float64))


def random_features() -> tuple[Split, Split]:
    """Seven overlapping classes of 12 to 84 rows."""
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(7, 40))
    labels = rng.permutation(np.repeat(np.arange(7), 12 * np.arange(1, 8)))
    rows = (centres[labels] + 4 * rng.normal(size=(336, 40))).astype(np.float32)
    return Split(rows[:236], labels[:236]), Split(rows[236:], labels[236:])


def encoder_features() -> tuple[Split, Split]:
    """Alike an encoder's: few directions matter, and what all rows have in common is a hundred times what sets them apart."""
    train, test = random_features()
    mix = np.random.default_rng(5).normal(size=(40, 300)) * np.exp(-np.arange(40) / 5)[:, None]

    def encoded(part: Split) -> Split:
        return Split((50 + np.maximum(0.3 * part.features @ mix, -0.2)).astype(np.float32), part.labels)

    return encoded(train), encoded(test)


def repeated_rows() -> tuple[Split, Split]:
    """Most rows several times, some of them under two labels; test rows are rows of train."""
    train, test = random_features()
    picked = np.random.default_rng(6).integers(60, size=236)
    return Split(train.features[picked], train.labels), Split(train.features[:100], test.labels)


def grid_points() -> tuple[Split, Split]:
    """A grid around 0, each point in a class with its opposite: many equal distances, so that the solver's choices are ties."""
    points = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 4), -1).reshape(-1, 4)
    labels = np.random.default_rng(7).integers(5, size=len(points))
    return Split(np.concatenate([points, -points]), np.concatenate([labels, labels])), Split(points / 2, labels)


def collapsed_features() -> tuple[Split, Split]:
    """What a collapsed encoder gives, one feature for all shapes: every vote hangs on the rounding of a sum that should be 0."""
    row, labels = np.random.default_rng(9).normal(size=300).astype(np.float32), np.arange(120) % 6
    return Split(np.tile(row, (120, 1)), labels), Split(np.tile(row, (30, 1)), labels[:30])


def zero_features() -> tuple[Split, Split]:
    """Every decision value is exactly 0."""
    train, test = collapsed_features()
    return Split(0 * train.features, train.labels), Split(0 * test.features, test.labels)


def two_classes() -> tuple[Split, Split]:
    train, test = random_features()
    kept = train.labels >= 5
    return Split(train.features[kept], train.labels[kept]), test


def cancelling_features() -> tuple[Split, Split]:
    """Inner products between classes are sums of large terms that leave nothing but rounding, which depends on the order of summing."""
    rng = np.random.default_rng(8)
    labels = rng.integers(4, size=160)
    halves = rng.normal(size=(160, 30)) * 10 ** rng.uniform(-3, 0, size=(160, 1))
    signs = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    rows = (signs[labels][:, :, None] * halves[:, None, :]).reshape(160, -1)[:, rng.permutation(120)].astype(np.float32)
    return Split(rows[:110], labels[:110]), Split(rows[110:], labels[110:])


def one_long_row() -> tuple[Split, Split]:
    """One row is 10,000 times as long as the others."""
    train, test = random_features()
    return Split(np.where(np.arange(236)[:, None] == 200, 10_000 * train.features, train.features), train.labels), test


FEATURES = (
    random_features,
    one_long_row,
    encoder_features,
    repeated_rows,
    grid_points,
    collapsed_features,
    zero_features,
    two_classes,
    cancelling_features,
)
AT_ONCE_OR_IN_PAIRS = (svm.WHOLE_BYTES, 0)


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("whole_bytes", AT_ONCE_OR_IN_PAIRS)
def test_predictions_are_those_of_a_linear_svc_at_every_c(features: Callable[[], tuple[Split, Split]], whole_bytes: int) -> None:
    train, test = features()
    predicted = OneVsOne(train, whole_bytes=whole_bytes).predict(test.features, WIDE_GRID)
    for c in WIDE_GRID:
        assert (predicted[c] == plain(c, train, test)).all(), c


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("whole_bytes", AT_ONCE_OR_IN_PAIRS)
@pytest.mark.parametrize("c", [0.001, 0.1, 100.0])
def test_intercepts_equal_those_of_a_linear_svc_and_decision_values_nearly(
    features: Callable[[], tuple[Split, Split]], whole_bytes: int, c: float
) -> None:
    train, test = features()
    classes = len(np.unique(train.labels))
    usual = SVC(C=c, kernel="linear", decision_function_shape="ovo").fit(train.features.astype(np.float64), train.labels)
    sign = -1 if classes == 2 else 1  # scikit-learn turns the signs of two classes round
    machine = OneVsOne(train, whole_bytes=whole_bytes)
    planes = [machine.planes(i, range(i + 1, classes), [c])[c] for i in range(classes - 1)]
    weights, intercepts, doubts = (np.concatenate(parts) for parts in zip(*planes, strict=True))
    assert (intercepts == sign * usual.intercept_).all()
    rows = test.features.astype(np.float64)
    found, expected = rows @ weights.T + intercepts, sign * usual.decision_function(rows).reshape(len(rows), -1)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert (np.abs(found - expected) <= np.linalg.norm(rows, axis=1)[:, None] * doubts + 1e-15 * np.abs(intercepts)).all()


def test_of_classes_with_equal_votes_the_first_is_predicted() -> None:
    train, test = random_features()
    usual = SVC(C=0.01, kernel="linear", decision_function_shape="ovo").fit(train.features.astype(np.float64), train.labels)
    values = usual.decision_function(test.features.astype(np.float64))
    votes = np.zeros((len(values), 7), int)
    for column, pair in enumerate(itertools.combinations(range(7), 2)):
        for row, value in enumerate(values[:, column]):
            votes[row, pair[0] if value > 0 else pair[1]] += 1
    tied = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1
    assert tied.sum() > 3
    assert (OneVsOne(train).predict(test.features, [0.01])[0.01] == votes.argmax(axis=1)).all()


@pytest.mark.parametrize("gram_bytes", [svm.GRAM_BYTES, 40_000])
def test_several_threads_find_what_one_finds_also_where_few_products_are_kept(gram_bytes: int) -> None:
    train, test = random_features()
    one = OneVsOne(train, gram_bytes, whole_bytes=0, threads=1).predict(test.features, WIDE_GRID)
    machine = OneVsOne(train, gram_bytes, whole_bytes=0, threads=5)
    for _ in range(3):
        several = machine.predict(test.features, WIDE_GRID)
        assert all((one[c] == several[c]).all() for c in WIDE_GRID)
    assert sum(block.nbytes for block in machine.kept.values()) <= gram_bytes


@pytest.mark.parametrize("whole_bytes", AT_ONCE_OR_IN_PAIRS)
def test_one_long_row_makes_few_products_doubtful(whole_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = one_long_row()
    machine = OneVsOne(train, whole_bytes=whole_bytes)
    summed_again: list[float] = []

    def counted(one_D: np.ndarray, other_D: np.ndarray) -> float:
        summed_again.append(ddot(one_D, other_D))
        return summed_again[-1]

    monkeypatch.setattr(svm, "ddot", counted)
    assert (machine.predict(test.features, [0.01])[0.01] == plain(0.01, train, test)).all()
    assert len(summed_again) < 10  # of 55,696


@pytest.mark.parametrize("gram_bytes", [0, 60_000, 150_000])
@pytest.mark.parametrize("piece_bytes", [1, 40_000])
def test_little_memory_changes_no_prediction(gram_bytes: int, piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = random_features()
    expected = OneVsOne(train).predict(test.features, GRID)
    monkeypatch.setattr(svm, "PIECE_BYTES", piece_bytes)
    frugal = OneVsOne(train, gram_bytes, whole_bytes=0)
    for _ in range(2):
        found = frugal.predict(test.features, GRID)
        assert all((found[c] == expected[c]).all() for c in GRID)
    assert sum(products.nbytes for products in frugal.kept.values()) <= gram_bytes


def test_no_kernel_of_a_pair_is_larger_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    class Recorded(SVC):
        def fit(self, X: np.ndarray, y: np.ndarray) -> "Recorded":  # type: ignore[override]
            seen.append((self.kernel, X.nbytes))
            return super().fit(X, y)

    monkeypatch.setattr(svm, "SVC", Recorded)
    train, test = random_features()
    OneVsOne(train, 60_000, whole_bytes=0).predict(test.features, [0.01])
    assert {kernel for kernel, _ in seen} == {"linear", "precomputed"}
    assert max(size for kernel, size in seen if kernel == "precomputed") <= 60_000


@pytest.mark.parametrize("whole_bytes", AT_ONCE_OR_IN_PAIRS)
def test_a_second_c_computes_no_inner_product_again(whole_bytes: int) -> None:
    train, test = random_features()
    machine = OneVsOne(train, whole_bytes=whole_bytes)
    machine.predict(test.features, [0.01])
    before = {key: id(products) for key, products in machine.kept.items()}
    assert before
    machine.predict(test.features, [1.0])
    assert {key: id(products) for key, products in machine.kept.items()} == before


def test_in_pairs_one_half_of_the_inner_products_is_kept() -> None:
    train, test = random_features()
    machine = OneVsOne(train, whole_bytes=0)
    machine.predict(test.features, [0.01])
    counts = np.bincount(train.labels)
    assert sum(products.size for products in machine.kept.values()) == (counts.sum() ** 2 + (counts**2).sum()) / 2


@pytest.mark.parametrize("c", [0.01, 1.0, 50.0])
def test_a_score_is_of_the_predictions_of_a_linear_svc(c: float) -> None:
    both = Split(np.concatenate([TRAIN.features, VAL.features]), np.concatenate([TRAIN.labels, VAL.labels]))
    _, predicted = score_at(c, TRAIN, VAL, TEST)
    assert (predicted == plain(c, both, TEST)).all()


def test_scores_beside_are_those_of_their_own_c() -> None:
    result = evaluate(TRAIN, VAL, TEST, GRID, 4, beside=(0.001, 50.0))
    assert result.beside == {c: score_at(c, TRAIN, VAL, TEST)[0] for c in (0.001, 50.0)}


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
