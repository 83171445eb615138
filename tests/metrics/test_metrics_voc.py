import naive
import numpy as np
import pytest

from bnn_tasks.metrics import Detected, ImageTruth, VOCEvaluator, VOCResult
from bnn_tasks.metrics.voc import area_ap, eleven_point_ap

BOX = np.array([[10.0, 10.0, 20.0, 20.0]])
NO_BOX = np.zeros((0, 4))


def boxes(rng, count):
    corner = rng.integers(0, 12, (count, 2))
    return np.hstack([corner, corner + rng.integers(1, 9, (count, 2))]).astype(float)


def random_set(seed, classes=3, images=12):
    """Few places and scores of one digit, so that ties, duplicates and exact IoUs of 0.5 come up."""
    rng = np.random.default_rng(seed)
    detections, truths = [], []
    for _ in range(images):
        n, m = rng.integers(0, 7, 2)
        true = boxes(rng, m)
        found = (
            np.concatenate([true[rng.integers(0, m, n)] + rng.integers(-1, 2, (n, 4)), boxes(rng, n)])
            if m
            else boxes(rng, n)
        )
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        count = len(found)
        detections.append(Detected(found, rng.integers(0, 10, count) / 10, rng.integers(0, classes, count)))
        truths.append(ImageTruth(true, rng.integers(0, classes, m), rng.random(m) < 0.3, np.zeros(m, bool)))
    return detections, truths


def of_set(detections, truths, classes, iou) -> VOCResult:
    evaluator = VOCEvaluator(classes, iou)
    for found, true in zip(detections, truths, strict=True):
        evaluator.update(*found, true.boxes, true.labels, true.difficult)
    return evaluator.compute()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("iou", [0.3, 0.5, 0.75])
def test_agrees_with_the_naive_twin(seed, iou):
    detections, truths = random_set(seed)
    result = of_set(detections, truths, 3, iou)
    for label in range(3):
        expected = naive.voc_ap(detections, truths, label, iou)
        np.testing.assert_allclose([result.ap[label], result.ap11[label]], expected, atol=1e-12)
    np.testing.assert_allclose(result.mean, np.nanmean(result.ap))
    np.testing.assert_allclose(result.mean11, np.nanmean(result.ap11))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_agrees_where_classes_are_on_one_side_only(seed, iou):
    """Class 3 is detected and never there, 4 is there and never detected, 5 is always difficult, 6 is nowhere."""
    detections, truths = random_set(seed)
    rng = np.random.default_rng(seed)
    for k, (found, true) in enumerate(zip(detections, truths)):
        found.labels[rng.random(len(found.labels)) < 0.2] = 3
        found.labels[rng.random(len(found.labels)) < 0.2] = 5
        true.labels[rng.random(len(true.labels)) < 0.2] = 4
        hard = rng.random(len(true.labels)) < 0.2
        true.labels[hard] = 5
        detections[k] = found._replace(scores=found.scores.astype(np.float32), boxes=found.boxes.astype(np.float32))
        truths[k] = true._replace(difficult=true.difficult | hard)
    result = of_set(detections, truths, 7, iou)
    for label in range(7):
        expected = naive.voc_ap(detections, truths, label, iou)
        np.testing.assert_allclose([result.ap[label], result.ap11[label]], expected, atol=1e-6)
    assert np.isnan(result.ap[[3, 5, 6]]).all()
    assert result.ap[4] == 0
    assert result.mean == pytest.approx(result.ap[[0, 1, 2, 4]].mean())


def evaluate(found, scores, true, difficult, iou=0.5):
    evaluator = VOCEvaluator(1, iou)
    evaluator.update(found, scores, np.zeros(len(found), int), true, np.zeros(len(true), int), difficult)
    return evaluator.compute()


def test_a_perfect_detector_scores_one():
    result = evaluate(BOX, [0.9], BOX, [False])
    assert result.ap[0] == result.ap11[0] == result.mean == result.mean11 == 1
    np.testing.assert_array_equal(result.precision[0], [1])
    np.testing.assert_array_equal(result.recall[0], [1])


def test_a_second_detection_of_one_object_is_false():
    other = BOX + 50
    result = evaluate(np.concatenate([BOX, BOX, other]), [0.9, 0.8, 0.7], np.concatenate([BOX, other]), [False, False])
    np.testing.assert_allclose(result.precision[0], [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(result.recall[0], [1 / 2, 1 / 2, 1])
    assert result.ap[0] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert result.ap11[0] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_difficult_objects_are_neither_found_nor_missed():
    other = BOX + 50
    true = np.concatenate([BOX, other])
    result = evaluate(np.concatenate([other, other, BOX]), [0.9, 0.8, 0.7], true, [False, True])
    assert result.positives.tolist() == [1]
    assert result.ap[0] == 1
    assert result.precision[0].tolist() == [1]
    assert evaluate(NO_BOX, [], true, [False, True]).ap[0] == 0
    assert np.isnan(evaluate(BOX, [0.5], BOX, [True]).ap[0])


def test_a_class_without_objects_is_left_out_of_the_mean():
    evaluator = VOCEvaluator(3)
    evaluator.update(np.concatenate([BOX, BOX]), [0.9, 0.9], [0, 1], BOX, [0], [False])
    result = evaluator.compute()
    np.testing.assert_array_equal(result.ap, [1, np.nan, np.nan])
    assert result.mean == 1
    assert [len(curve) for curve in result.precision] == [1, 1, 0]


def test_nothing_at_all_is_nan():
    result = VOCEvaluator(2).compute()
    assert np.isnan(result.mean)
    assert np.isnan(result.ap).all()


def test_boxes_are_continuous():
    """IoU of [0, 10] and [0, 5] is 0.5; with the devkit's "+ 1" it would be 6/11."""
    found, true = np.array([[0.0, 0, 5, 10]]), np.array([[0.0, 0, 10, 10]])
    assert evaluate(found, [1], true, [False], iou=0.5).ap[0] == 1
    assert evaluate(found, [1], true, [False], iou=0.51).ap[0] == 0


def test_equal_scores_keep_their_order():
    found = np.concatenate([BOX + 50, BOX])
    assert evaluate(found, [0.5, 0.5], BOX, [False]).ap[0] == 0.5
    assert evaluate(found[::-1], [0.5, 0.5], BOX, [False]).ap[0] == 1


def test_eleven_points_meet_the_recalls_they_name():
    for positives in range(1, 60):
        recall = np.arange(1, positives + 1) / positives
        expected = sum(1 for k in range(11) if any(10 * i >= k * positives for i in range(1, positives + 1))) / 11
        assert eleven_point_ap(np.ones(positives), recall) == pytest.approx(expected)
        assert area_ap(np.ones(positives), recall) == pytest.approx(1)


GOOD = {
    "boxes": BOX, "scores": np.array([0.5]), "labels": np.array([0]),
    "gt_boxes": BOX, "gt_labels": np.array([0]), "gt_difficult": np.array([False]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("boxes", BOX[0]),
        ("boxes", np.concatenate([BOX, BOX])),
        ("boxes", BOX * np.nan),
        ("scores", np.array([np.nan])),
        ("scores", np.array([0.1, 0.2])),
        ("labels", np.array([1])),
        ("labels", np.array([-1])),
        ("labels", np.array([0.0])),
        ("gt_boxes", np.zeros((2, 4))),
        ("gt_labels", np.array([1])),
        ("gt_difficult", np.array([False, True])),
    ],
)
def test_bad_input_is_named(name, value):
    evaluator = VOCEvaluator(1)
    with pytest.raises(ValueError, match=f"Expected `{name}`"):
        evaluator.update(**{**GOOD, name: value})


@pytest.mark.parametrize("arguments", [(0, 0.5), (1, 0.0), (1, 1.1)])
def test_bad_settings_are_refused(arguments):
    with pytest.raises(ValueError, match="Expected"):
        VOCEvaluator(*arguments)
