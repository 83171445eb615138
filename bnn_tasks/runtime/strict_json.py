"""JSON from files that may be hostile: what Python's reader lets pass (NaN, a key twice, huge numbers) is refused."""

import json
from typing import Any

from bnn_tasks.runtime.errors import GraphError

MAX_DIGITS = 20  # a 64-bit integer has no more


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise GraphError(f"a number of {len(text)} digits")
    return int(text)


def _constant(text: str) -> None:
    raise GraphError(f"the constant {text}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise GraphError("a key that stands twice in one object")
    return found


def loads(text: str | bytes, what: str) -> Any:
    """Read JSON.

    Args:
        text: the JSON; bytes are UTF-8.
        what: its name, for the message.

    Returns:
        The value.

    Raises:
        GraphError: not JSON, nested too deep, a NaN or Infinity, an integer of more than 20 digits, or a doubled key.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(decoded, parse_int=_integer, parse_constant=_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        reason = str(error) if not isinstance(error, RecursionError) else "nesting without end"
        raise GraphError(f"Expected {what} to be plain JSON, but got {reason}.") from error
