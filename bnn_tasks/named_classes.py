"""A class that a config names must be one that fits there; it has its own defaults, not those of the class it replaces.

jsonargparse keeps an earlier class's arguments wherever the new class accepts them: ``block: {class_path: BiRealBlock}`` in
the place of a default ``ReActBlock`` would get ReActNet's method, and nothing would say so. Of a name that it does not know it
says that a dot is missing.
"""

from difflib import get_close_matches
from typing import Any

from jsonargparse import _typehints


def forget_arguments(parser: Any, before: Any, now: Any) -> None:
    """Empty the earlier arguments where the class changes; what jsonargparse calls when a value replaces another.

    Args:
        parser: not used.
        before: the earlier value, with ``class_path`` and ``init_args``, or nothing.
        now: the new one.
    """
    if before and "init_args" in before and before["class_path"] != now["class_path"]:
        for name in list(before["init_args"].keys()):
            before["init_args"].pop(name)


def own_defaults() -> None:
    """Make jsonargparse do so, in this process; it has no setting for it (4.47 to 4.53)."""
    _typehints.discard_init_args_on_class_path_change = forget_arguments


_resolve = _typehints.resolve_class_path_by_name


def resolve_class(expected: Any, name: str) -> str:
    """The import path of a class that a config names; what jsonargparse calls with the name alone, or a path already.

    Args:
        expected: type of the value, or several.
        name: of a class below one of them, or an import path.

    Raises:
        ValueError: a name without dots is no such class's, or of several.
    """
    types = expected if isinstance(expected, tuple) else (expected,)
    for one in types:
        path: str = _resolve(one, name)
        if "." in path:
            return path
    there = sorted({path.rpartition(".")[2] for one in types for path in _typehints.get_all_subclass_paths(one)})
    if not there:
        return name
    near = get_close_matches(name, there, cutoff=0.4)
    raise ValueError(
        f"Expected the name of a class that fits here, but got {name!r}{'; nearest: ' * bool(near)}{', '.join(near)}. "
        f"Cure: one of {', '.join(there)}, or the import path of a class of your own"
    )


def known_names() -> None:
    """Make jsonargparse say which classes fit, in this process."""
    _typehints.resolve_class_path_by_name = resolve_class  # type: ignore[assignment]  # its names are others
