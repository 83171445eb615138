"""IoU and boundary F-score against counts in plain loops, and against squares whose scores are known."""

import math

import numpy as np
import pytest

from bnn_tasks.metrics import SegmentationConfusion, boundary_f
from bnn_tasks.metrics.boundary import boundary, boundary_tolerance

VOID, CLASSES = 255, 5  # of which class 3 is nowhere, 4 in predictions alone, 2 in the truth alone


def random_masks(seed: int, height: int = 17, width: int = 23) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true patches; some void pixels and some void patches."""
    rng = np.random.default_rng(seed)
    shape = (-(-height // 3), -(-width // 4))

    def patches(labels: list[int]) -> np.ndarray:
        return rng.choice(np.array(labels, np.uint8), shape).repeat(3, 0).repeat(4, 1)[:height, :width]

    predicted, truth = patches([0, 1, 4]), patches([0, 0, 1, 2, VOID])
    same = rng.random((height, width)) < 0.5
    predicted[same & np.isin(truth, [0, 1])] = truth[same & np.isin(truth, [0, 1])]
    truth[rng.random((height, width)) < 0.05] = VOID
    return predicted, truth


def naive_iou(pairs: list[tuple[np.ndarray, np.ndarray]], label: int) -> float:
    both = either = 0
    for predicted, truth in pairs:
        for p, t in zip(predicted.ravel().tolist(), truth.ravel().tolist()):
            if t != VOID:
                both += p == label and t == label
                either += p == label or t == label
    return both / either if either else math.nan


def naive_outline(mask: np.ndarray, truth: np.ndarray, label: int) -> list[tuple[int, int]]:
    height, width = mask.shape
    found = []
    for y in range(height):
        for x in range(width):
            if truth[y, x] == VOID or mask[y, x] != label:
                continue
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= v < height and 0 <= u < width
                if inside and truth[v, u] != VOID and mask[v, u] != label:
                    found.append((y, x))
                    break
    return found


def naive_boundary_f(predicted: np.ndarray, truth: np.ndarray, label: int, tolerance: float) -> float:
    drawn, true = naive_outline(predicted, truth, label), naive_outline(truth, truth, label)
    if not drawn and not true:
        return math.nan
    if not drawn or not true:
        return 0.0

    def near(points: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        return sum(any(math.dist(a, b) <= tolerance for b in others) for a in points) / len(points)

    precision, recall = near(drawn, true), near(true, drawn)
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def test_all_scores_are_a_naive_count() -> None:
    pairs = [random_masks(seed, 11 + seed, 19) for seed in range(4)]
    scores = SegmentationConfusion(CLASSES)
    for pair in pairs:
        scores.update(*pair)
    iou = [naive_iou(pairs, label) for label in range(CLASSES)]
    np.testing.assert_allclose(scores.iou, iou, rtol=1e-12)
    assert math.isnan(iou[3])
    assert iou[4] == iou[2] == 0
    assert scores.miou == pytest.approx(np.nanmean(iou))
    flat = [np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1)]
    predicted, truth = (mask[flat[1] != VOID] for mask in flat)
    assert scores.pixel_accuracy == pytest.approx((predicted == truth).mean())
    recalls = [(predicted[truth == label] == label).mean() for label in (0, 1, 2)]
    assert scores.mean_accuracy == pytest.approx(np.mean(recalls))
    weighted = sum((truth == label).mean() * iou[label] for label in (0, 1, 2))
    assert scores.frequency_weighted_iou == pytest.approx(weighted)
    assert scores.matrix.sum() == len(truth)


def test_an_iou_rests_on_the_whole_set_not_on_the_mean_of_pictures() -> None:
    scores = SegmentationConfusion(2)
    scores.update(np.zeros((1, 9), np.uint8), np.zeros((1, 9), np.uint8))
    scores.update(np.array([[1]], np.uint8), np.array([[0]], np.uint8))
    assert scores.iou.tolist() == [0.9, 0.0]
    assert scores.miou == 0.45


def test_what_lies_under_void_does_not_count() -> None:
    truth = np.array([[0, VOID, 1]], np.uint8)
    scores = SegmentationConfusion(2)
    for below in (0, 1, 77, VOID):
        scores.update(np.array([[0, below, 1]], np.uint8), truth)
    assert scores.miou == scores.pixel_accuracy == 1
    assert scores.matrix.sum() == 8


def test_a_set_of_void_alone_has_no_scores() -> None:
    scores = SegmentationConfusion(3)
    scores.update(np.zeros((2, 2), np.uint8), np.full((2, 2), VOID, np.uint8))
    assert np.isnan(scores.iou).all()
    values = (scores.miou, scores.pixel_accuracy, scores.mean_accuracy, scores.frequency_weighted_iou)
    assert all(map(math.isnan, values))
    assert np.isnan(boundary_f(np.zeros((2, 2), np.uint8), np.full((2, 2), VOID, np.uint8), 3)).all()


@pytest.mark.parametrize("classes", [1, 255])
def test_the_fewest_and_the_most_classes(classes: int) -> None:
    mask = np.arange(classes, dtype=np.uint8)[None].repeat(2, 0)
    scores = SegmentationConfusion(classes)
    scores.update(mask, mask)
    assert scores.miou == 1
    assert scores.matrix.trace() == 2 * classes
    outline = boundary_f(mask, mask, classes)
    assert math.isnan(outline[0]) if classes == 1 else (outline == 1).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tolerance", [0, 1, 2, 3])
def test_boundary_f_is_a_naive_count(seed: int, tolerance: int) -> None:
    predicted, truth = random_masks(seed)
    expected = [naive_boundary_f(predicted, truth, label, tolerance) for label in range(CLASSES)]
    np.testing.assert_allclose(boundary_f(predicted, truth, CLASSES, tolerance), expected, rtol=1e-12)
    assert math.isnan(expected[3])
    assert expected[4] == 0
    assert 0 < expected[0] < 1


@pytest.mark.parametrize("tolerance", [6, 12, 26, 1000])
@pytest.mark.parametrize("size", [(31, 47), (64, 3), (1, 90)])
def test_boundary_f_of_a_tolerance_as_large_as_the_picture(tolerance: int, size: tuple[int, int]) -> None:
    """Thin and rare outlines, so that many pixels are far from the other's; rows and classes must not leak into each other."""
    rng = np.random.default_rng(tolerance)
    truth, predicted = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    for label in (1, 2, 4):
        for mask in (truth, predicted):
            mask[rng.integers(0, size[0], 2), rng.integers(0, size[1], 2)] = label
    truth[rng.random(size) < 0.02] = VOID
    expected = [naive_boundary_f(predicted, truth, label, tolerance) for label in range(CLASSES)]
    np.testing.assert_allclose(boundary_f(predicted, truth, CLASSES, tolerance), expected, rtol=1e-12)


def test_an_outline_is_the_pixels_on_both_sides() -> None:
    mask = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [VOID, VOID, VOID, VOID], [2, 2, 2, 2]], np.uint8)
    expected = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
    assert (boundary(mask) == expected).all()


def square(top: int, left: int, side: int = 20, size: int = 60) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


@pytest.mark.parametrize("shift", range(5))
def test_a_square_that_is_shifted(shift: int) -> None:
    """Of a square of side 20, whose outline has 76 pixels, with θ = 2; both squares miss the same number."""
    side, tolerance = 20, 2
    found = boundary_f(square(20, 20 + shift), square(20, 20), 2, tolerance)[1]
    if shift <= tolerance:
        assert found == 1
        return
    rows = 2 * (side - shift + tolerance)  # of the top and the bottom row, corners included
    inner = 2 * tolerance  # the ends of the side that lies within the other square, near its top and its bottom row
    assert found == pytest.approx((rows + inner) / 76)


def test_a_square_far_away_and_one_that_is_missed_score_nothing() -> None:
    truth = square(5, 5, 10)
    assert boundary_f(square(40, 40, 10), truth, 2).tolist() == [0, 0]
    assert boundary_f(np.zeros_like(truth), truth, 3).tolist()[:2] == [0, 0]
    assert boundary_f(truth, truth, 2).tolist() == [1, 1]


@pytest.mark.parametrize(("size", "expected"), [((240, 320), 3), ((10, 10), 1), ((360, 480), 5), ((1024, 2048), 18)])
def test_the_tolerance_is_a_share_of_the_diagonal_rounded_up(size: tuple[int, int], expected: int) -> None:
    assert boundary_tolerance(*size) == expected == max(1, math.ceil(round(0.0075 * math.hypot(*size), 9)))


@pytest.mark.parametrize("judge", [SegmentationConfusion(3).update, lambda p, t: boundary_f(p, t, 3)])
def test_bad_masks_are_refused(judge) -> None:
    good = np.zeros((2, 3), np.uint8)
    with pytest.raises(ValueError, match=r"one shape \(h, w\), but got \(3, 2\) and \(2, 3\)"):
        judge(good.T, good)
    with pytest.raises(ValueError, match=r"`truth` to be of classes 0 … 2, but got \[7\] in 2 pixel"):
        judge(good, np.array([[7, 7, 0], [0, VOID, 0]], np.uint8))
    with pytest.raises(ValueError, match=r"`predicted` to be of classes 0 … 2, but got \[3\] in 1 pixel"):
        judge(np.array([[3, 0, 0], [0, 0, 0]], np.uint8), good)
    with pytest.raises(TypeError, match="integers, but got float64"):
        judge(good.astype(float), good)
    with pytest.raises(TypeError, match="integers, but got float32"):
        judge(good, good.astype(np.float32))


@pytest.mark.parametrize("count", [0, 256])
def test_a_number_of_classes_that_no_mask_holds_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="1 … 255"):
        SegmentationConfusion(count)
