import numpy as np
import pytest

from bnn_tasks.metrics import Detected, ImageTruth, detection_confusion


def overlap(box, other, crowd):
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    inner = max(width, 0) * max(height, 0)
    area, area_other = (box[2] - box[0]) * (box[3] - box[1]), (other[2] - other[0]) * (other[3] - other[1])
    return inner / (area if crowd else area + area_other - inner)


def naive(images, classes, threshold, iou):
    """Straight from the words of the docstring."""
    counts = [[0] * (classes + 1) for _ in range(classes + 1)]
    for found, true in images:
        taken = set()
        for i in sorted(range(len(found.scores)), key=lambda i: -found.scores[i]):  # stable
            if found.scores[i] < threshold:
                continue
            best, best_iou, on_ignored = None, iou, False
            for j in range(len(true.labels)):
                value = overlap(found.boxes[i], true.boxes[j], true.crowd[j])
                if true.difficult[j] or true.crowd[j]:
                    on_ignored |= value >= iou
                elif j not in taken and (value > best_iou if best is not None else value >= iou):
                    best, best_iou = j, value
            if best is not None:
                taken.add(best)
                counts[true.labels[best]][found.labels[i]] += 1
            elif not on_ignored:
                counts[classes][found.labels[i]] += 1
        for j, label in enumerate(true.labels):
            if not (true.difficult[j] or true.crowd[j] or j in taken):
                counts[label][classes] += 1
    return counts


def random_images(seed, classes=3, images=10):
    """Few places and scores, so that ties, duplicates and exact IoUs of 0.5 come up."""
    rng = np.random.default_rng(seed)

    def boxes(count):
        corner = rng.integers(0, 10, (count, 2))
        return np.hstack([corner, corner + rng.integers(1, 7, (count, 2))]).astype(float)

    result = []
    for _ in range(images):
        m, n = rng.integers(0, 7, 2)
        true = boxes(m)
        found = np.concatenate([boxes(n), true, true + rng.integers(0, 2, true.shape)])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        scores = (rng.integers(0, 6, len(found)) / 5).astype(np.float32)
        detected = Detected(found.astype(np.float32), scores, rng.integers(0, classes, len(found)))
        result.append(
            (detected, ImageTruth(true, rng.integers(0, classes, m), rng.random(m) < 0.2, rng.random(m) < 0.2))
        )
    return result


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("threshold", "iou"), [(0.0, 0.5), (0.4, 0.5), (0.4, 0.75), (1.0, 0.3)])
def test_agrees_with_the_naive_twin(seed, threshold, iou):
    images = random_images(seed)
    # 0.4 itself is a score: what is compared is float32.
    threshold = float(np.float32(threshold))
    counts = detection_confusion(images, 3, threshold, iou)
    assert counts.tolist() == naive(images, 3, threshold, iou)
    objects = np.zeros(3, int)
    for _, true in images:
        np.add.at(objects, true.labels[~(true.difficult | true.crowd)], 1)
    assert counts[:3].sum(1).tolist() == objects.tolist(), "every object is in its row, once"


BOX = np.array([[0.0, 0, 10, 10]])
NONE = np.zeros((0, 4))


def one(found, labels, true, true_labels, difficult=False, crowd=False):
    flags = [np.full(len(true), flag) for flag in (difficult, crowd)]
    scores = np.linspace(0.9, 0.8, len(found))
    pair = Detected(found, scores, np.array(labels, int)), ImageTruth(true, np.array(true_labels, int), *flags)
    return detection_confusion([pair], 2).tolist()


def test_single_cases():
    assert one(BOX, [1], BOX, [0]) == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert one(BOX, [1], NONE, []) == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert one(NONE, [], BOX, [1]) == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert one(np.concatenate([BOX, BOX]), [0, 1], BOX, [0]) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert one(BOX, [0], BOX, [0], difficult=True) == [[0] * 3] * 3
    inside = np.array([[2.0, 2, 4, 4]])
    assert one(inside, [0], BOX, [0], crowd=True) == [[0] * 3] * 3, "of a crowd it is the detection's area that counts"
    assert one(inside, [0], BOX, [0]) == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert detection_confusion([], 2).tolist() == [[0] * 3] * 3


@pytest.mark.parametrize("settings", [(0, 0.3, 0.5), (1, -0.1, 0.5), (1, 0.3, 0.0), (1, 0.3, 1.1)])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match="Expected"):
        detection_confusion([], *settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("labels", np.array([2])),
        ("labels", np.array([-1])),
        ("labels", np.array([3])),
        ("labels", np.array([0.0])),
        ("scores", np.array([np.nan])),
        ("scores", np.array([0.9, 0.8])),
        ("boxes", BOX * np.nan),
        ("boxes", NONE),
    ],
)
def test_bad_detections_are_named(name, value):
    found = Detected(BOX, np.array([0.9]), np.array([0]))._replace(**{name: value})
    true = ImageTruth(BOX, np.array([1]), np.array([False]), np.array([False]))
    with pytest.raises(ValueError, match=f"Expected `{name}`"):
        detection_confusion([(found, true)], 2)


@pytest.mark.parametrize("label", [-1, 2])
def test_true_labels_are_classes_too(label):
    found = Detected(BOX, np.array([0.9]), np.array([0]))
    true = ImageTruth(BOX, np.array([label]), np.array([False]), np.array([False]))
    with pytest.raises(ValueError, match=r"Expected `true labels` to be in 0\.\.1"):
        detection_confusion([(found, true)], 2)
