"""Class names as pictures show them."""

LONGEST = 18  # characters


def short_name(name: str) -> str:
    r"""A name of at most 18 characters, in which matplotlib meets no formula: ``$`` is escaped.

    Args:
        name: of a class.
    """
    short = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
    return short.replace("$", r"\$")
