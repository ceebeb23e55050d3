from collections import Counter

import pytest

from jobs.data.splits import Entry, assign


def entries(count: int, category: str = "chair", split: str | None = None, copies: int = 1) -> list[Entry]:
    return [
        Entry(f"{category}/{split}/{number}/{copy}", category, f"{category} {split} {number}", split)
        for number in range(count)
        for copy in range(copies)
    ]


@pytest.mark.parametrize(("shapes", "train", "val", "test"), [(100, 80, 10, 10), (25, 21, 2, 2), (3, 1, 1, 1), (2, 2, 0, 0), (1, 1, 0, 0)])
def test_a_source_without_splits_gets_tenths_and_at_least_one_where_there_are_three(shapes: int, train: int, val: int, test: int) -> None:
    splits, refused = assign(entries(shapes))
    assert not refused
    counts = Counter(splits.values())
    assert (counts["train"], counts["val"], counts["test"]) == (train, val, test)


def test_shares_are_as_asked_and_rounded_down() -> None:
    counts = Counter(assign(entries(10), val_share=0.2, test_share=0.7)[0].values())
    assert counts == {"train": 1, "val": 2, "test": 7}
    given = entries(10, split="train") + entries(4, split="test")
    assert Counter(assign(given, val_share=0.35, test_share=0.5)[0].values()) == {"train": 7, "val": 3, "test": 4}


def test_tenths_are_taken_a_class_at_a_time() -> None:
    splits, _ = assign(entries(50, "chair") + entries(10, "table") + entries(1, "lamp"))
    counts = Counter((key.split("/")[0], split) for key, split in splits.items())
    assert counts["chair", "val"] == 5 and counts["table", "val"] == 1 and counts["lamp", "train"] == 1


def test_copies_of_one_geometry_stay_together() -> None:
    splits, refused = assign(entries(40, copies=3))
    assert not refused and len(splits) == 120
    for number in range(40):
        assert len({splits[f"chair/None/{number}/{copy}"] for copy in range(3)}) == 1


def test_the_split_depends_on_geometry_not_on_names_or_order() -> None:
    one = entries(60)
    renamed = [Entry(f"other/{entry.id}", entry.category, entry.content, None) for entry in reversed(one)]
    splits, other = assign(one)[0], assign(renamed)[0]
    assert {f"other/{key}": split for key, split in splits.items()} == other


def test_a_geometry_under_two_labels_is_refused_with_both_names() -> None:
    conflict = [Entry("a", "chair", "same", None), Entry("b", "table", "same", None)]
    splits, refused = assign(entries(5) + conflict)
    assert set(refused) == {"a", "b"} and "chair, table" in refused["a"]
    assert not {"a", "b"} & set(splits)


def test_a_source_with_train_and_test_keeps_them_and_gives_validation_from_train() -> None:
    given = entries(30, split="train") + entries(12, split="test")
    splits, _ = assign(given)
    assert all(splits[entry.id] == "test" for entry in given if entry.split == "test")
    assert Counter(splits[entry.id] for entry in given if entry.split == "train") == {"train": 27, "val": 3}


def test_a_source_with_validation_keeps_it_whole() -> None:
    given = entries(30, split="train") + entries(4, split="val") + entries(5, split="test")
    assert all(split == key.split("/")[1] for key, split in assign(given)[0].items())


def test_a_geometry_in_train_and_test_stays_in_test_and_its_copy_in_train_is_refused() -> None:
    given = [*entries(20, split="train"), Entry("leak", "chair", "shared", "train"), Entry("kept", "chair", "shared", "test")]
    splits, refused = assign(given)
    assert splits["kept"] == "test" and "leak" not in splits
    assert refused == {"leak": "a copy of kept, which the source puts in test"}
