"""What the names in a set decide: which are its splits, its classes, and its val split where it names none."""

from collections.abc import Collection, Iterable, Sequence

from bnn_tasks.data.module import SPLITS

VAL_STRIDE = 5
SHOWN = 20  # class names in a message

_SPELLINGS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def check_split_keys(splits: Collection[str]) -> None:
    """Raise unless every key of an argument ``splits`` is one of ``SPLITS``.

    Args:
        splits: the argument, or its keys; it may be empty.

    Raises:
        ValueError: a key is not.
    """
    if unknown := sorted(set(splits) - set(SPLITS)):
        raise ValueError(f"Expected `splits` to have keys of {SPLITS}, but got {unknown}")


def check_class_names(names: Sequence[str], where: str = "`classes`", most: int | None = None) -> None:
    """Raise unless there are class names, each one once.

    Args:
        names: in label order.
        where: they are given, as the message says it.
        most: how many there may be, at least 1; None for any number.

    Raises:
        ValueError: there are none, one is there twice, or there are too many.
    """
    if not names or len(set(names)) < len(names) or (most is not None and len(names) > most):
        count = "one or more" if most is None else f"1 to {most}"
        raise ValueError(
            f"Expected {where} to be {count} names without repetition, but got {len(names)}: {list(names[:SHOWN])}"
        )


def split_by_position(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split names in two: the 5th, 10th, 15th … are val, the others train.

    Args:
        names: sorted.

    Returns:
        Those of train and those of val, sorted; val is empty of fewer than ``VAL_STRIDE``.
    """
    train = [name for place, name in enumerate(names, 1) if place % VAL_STRIDE]
    return train, list(names[VAL_STRIDE - 1 :: VAL_STRIDE])


def split_spellings(folders: Iterable[str]) -> dict[str, str]:
    """Find folders whose name is a split's in another spelling, such as Train, valid or Testing; case does not matter.

    Args:
        folders: names.

    Returns:
        The folder of each of ``SPLITS`` that has one, the last by name where it has several.
    """
    found = sorted(folders)
    return {split: folder for split, spellings in _SPELLINGS.items() for folder in found if folder.lower() in spellings}
