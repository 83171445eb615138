"""Colour tables of RGB-coded masks."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from bnn_tasks.data.findings import DataError


def check_colours(colours: Mapping[str, Sequence[int]], where: str) -> None:
    """Raise unless each name has a colour of its own.

    Args:
        colours: [red, green, blue] of each name.
        where: they were given, for messages.

    Raises:
        ValueError: no colours, a value that is no integer in 0..255, or one colour twice.
    """
    names: dict[tuple[int, ...], str] = {}
    for name, colour in colours.items():
        if len(colour) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in colour):
            raise ValueError(
                f"Expected {where} to have [red, green, blue] of integers in 0..255 for {name!r}, but got {colour}"
            )
        if (other := names.setdefault(tuple(colour), name)) != name:
            raise ValueError(f"Expected {where} to have one name a colour, but got {other!r} and {name!r} for {colour}")
    if not names:
        raise ValueError(f"Expected {where} to have at least one colour, but got none")


def read_colour_table(path: Path) -> dict[str, list[int]]:
    """Read a table of one colour a line: three numbers before or after the name, between blanks, tabs, commas or semicolons.

    These are the ``label_colors.txt`` of CamVid ("64 128 64 Animal") and a CSV file of name,r,g,b, whose cells may be quoted.
    Lines that start with #, a heading without numbers, and empty cells at a line's end are left out.

    Args:
        path: of the table.

    Returns:
        [red, green, blue] by name, in the order of the file.

    Raises:
        DataError: no such file, a line that is neither, or values out of range.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the colour table cannot be read ({error}); correct `colours`") from error
    colours: dict[str, list[int]] = {}
    heading = None
    for number, line in enumerate(lines, 1):
        (row,) = csv.reader([line], delimiter=max(",;", key=line.count), skipinitialspace=True)
        cells = [cell.strip() for cell in row]
        while cells and not cells[-1]:  # a spreadsheet's empty columns
            cells.pop()
        words = cells if len(row) > 1 else line.split()
        if not words or words[0].startswith("#"):
            continue
        first, last = words[:3], words[-3:]
        if len(cells) > 4 and any(cell.isdecimal() for cell in cells):
            raise DataError(
                f"{path}:{number}: expected name,red,green,blue, but got {len(cells)} columns, {line.strip()!r}; leave out the "
                "others"
            )
        if not all(words):
            raise DataError(f"{path}:{number}: expected three numbers and a name, but got {line.strip()!r}; correct it")
        if len(words) > 3 and all(word.isdecimal() for word in first):
            name, colour = " ".join(words[3:]), first
        elif len(words) > 3 and all(word.isdecimal() for word in last):
            name, colour = " ".join(words[:-3]), last
        elif heading is None and not colours and not any(word[-1].isdecimal() for word in words):
            heading = line
            continue
        else:
            raise DataError(f"{path}:{number}: expected three numbers and a name, but got {line.strip()!r}; correct it")
        if name in colours:
            raise DataError(f"{path}:{number}: {name!r} is there twice; keep one line of each name")
        colours[name] = [int(value) for value in colour]
    try:
        check_colours(colours, str(path))
    except ValueError as error:
        raise DataError(str(error)) from error
    return colours
