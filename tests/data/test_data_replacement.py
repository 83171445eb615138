"""What takes the place of a picture that cannot be read."""

import logging

import pytest

from bnn_tasks.data.replacement import FirstReadable
from bnn_tasks.runtime.images import ImageError

NAMES = ["a", "b", "c", "d"]


def reader(*broken):
    def read(place):
        if NAMES[place] in broken:
            raise ImageError(f"{NAMES[place]}: no picture")
        return NAMES[place].upper()

    return read


def test_a_readable_picture_stays():
    damaged = []
    assert FirstReadable(4, NAMES.__getitem__, True)(1, reader("a"), damaged) == (1, "B")
    assert damaged == []


def test_the_next_readable_one_takes_the_place_round_the_end(caplog):
    first = FirstReadable(4, NAMES.__getitem__, True)
    for _ in range(2):
        damaged = []
        assert first(2, reader("c", "d", "a"), damaged) == (1, "B")
        assert damaged == ["c", "d", "a"]
    with caplog.at_level(logging.WARNING):  # each was reported once, the first time
        first(2, reader("c", "d", "a"), [])
    assert sum("takes its place" in message for message in caplog.messages) == 3


def test_a_score_must_be_over_all_pictures():
    with pytest.raises(ImageError, match="c: no picture"):
        FirstReadable(4, NAMES.__getitem__, False)(2, reader("c"), [])


def test_none_at_all():
    with pytest.raises(ImageError, match="d: none of the 4 pictures of its split can be read"):
        FirstReadable(4, NAMES.__getitem__, True)(3, reader(*NAMES), [])
