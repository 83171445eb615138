"""Which names somebody who wrote an unknown one may have meant."""

import difflib
import re
from collections.abc import Iterable


def plain(name: str) -> str:
    """`name` without capitals and separators: ``irnet`` of ``IR-Net`` and of ``ir_net``."""
    return re.sub(r"[\W_]", "", name).lower()


def nearest(name: str, names: Iterable[str]) -> str:
    """The sentence that lists the nearest of `names`, capitals and separators aside, after a space; empty if none is near.

    Args:
        name: the unknown one.
        names: those that are known.
    """
    known = {plain(each): each for each in names}
    near = difflib.get_close_matches(plain(name), known, n=3, cutoff=0.5)
    return f" Nearest: {', '.join(repr(known[each]) for each in near)}." if near else ""
