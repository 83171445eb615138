"""A class that a config names has its own defaults, not those of the class whose place it takes.

jsonargparse keeps an earlier class's arguments wherever the new class accepts them: ``block: {class_path: BiRealBlock}`` in
the place of a default ``ReActBlock`` would get ReActNet's method, and nothing would say so.
"""

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
