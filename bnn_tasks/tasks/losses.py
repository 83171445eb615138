"""Losses by name, none of which may take another's place."""

from collections.abc import Sequence

from torch import Tensor


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError where two losses have one name: one of them would be lost.

    Args:
        names: of losses that are added up.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"Expected losses of different names, but got {', '.join(twice)} twice. Cure: one of each kind."
        )


def add_losses(losses: dict[str, Tensor], more: dict[str, Tensor]) -> dict[str, Tensor]:
    """Both, in order.

    Args:
        losses: by name, scalars.
        more: likewise.

    Raises:
        ValueError: a name comes twice.
    """
    check_names([*losses, *more])
    return losses | more
