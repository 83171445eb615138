"""Matching the detections of two nets."""

import numpy as np

from bnn_tasks.compare import unmatched
from bnn_tasks.runtime import Detections


def detections(*rows: tuple[float, ...]) -> Detections:
    values = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(values[:, :4], values[:, 4], values[:, 5].astype(np.int64))


def test_what_counts_as_matched() -> None:
    reference = detections(
        (0, 0, 100, 100, 0.90, 0),
        (0, 0, 100, 100, 0.90, 1),  # found with another class
        (200, 0, 300, 100, 0.80, 0),  # found 3 px off: IoU 0.94
        (0, 200, 100, 300, 0.50, 0),  # found with another score
        (5, 0, 9, 0, 0.30, 0),  # no area left after clipping, found all the same
        (50, 50, 60, 60, 0.04, 0),  # too weak to count
    )
    found = detections(
        (0, 1, 100, 101, 0.895, 0),
        (203, 0, 303, 100, 0.80, 0),
        (0, 200, 100, 300, 0.52, 0),
        (5, 0, 9, 0, 0.30, 0),
    )
    assert unmatched(reference, found) == [1, 2, 3]


def test_one_detection_matches_once() -> None:
    twice = detections((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.9, 0))
    assert unmatched(twice, detections((0, 0, 10, 10, 0.9, 0))) == [1]
    assert unmatched(twice, detections()) == [0, 1]
