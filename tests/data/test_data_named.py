import re

import pytest

from bnn_tasks.data.named import check_class_names, check_split_keys, split_by_position, split_spellings


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 11, 25])
def test_every_fifth_name_is_val(count):
    names = [f"{i:02d}" for i in range(1, count + 1)]
    train, val = split_by_position(names)
    assert val == [name for name in names if int(name) % 5 == 0]
    assert sorted(train + val) == names


def test_unknown_keys_of_splits_are_named():
    check_split_keys({})
    check_split_keys({"val": "a", "test": ["b"]})
    with pytest.raises(
        ValueError, match=re.escape("Expected `splits` to have keys of ('train', 'val', 'test'), but got ['a', 'b']")
    ):
        check_split_keys({"b": "x", "val": "y", "a": "z"})


@pytest.mark.parametrize(
    ("names", "most", "wanted"),
    [
        ([], None, "one or more"),
        (["a", "b", "a"], None, "one or more"),
        (["a", "b", "c"], 2, "1 to 2"),
        ([], 2, "1 to 2"),
    ],
)
def test_class_names_are_there_once_and_not_too_many(names, most, wanted):
    message = f"Expected file.txt to be {wanted} names without repetition, but got {len(names)}: {names}"
    with pytest.raises(ValueError, match=re.escape(message)):
        check_class_names(names, "file.txt", most)
    check_class_names(["b", "a"], most=most)


def test_splits_are_known_by_other_spellings():
    assert split_spellings(["Trains", "cat", "validate"]) == {}
    assert split_spellings(["Testing", "VALID", "training", "cat"]) == {
        "train": "training",
        "val": "VALID",
        "test": "Testing",
    }
