"""Pixel scores of segmentation, all from one confusion matrix over the data set."""

import numpy as np

VOID = 255  # of a true mask: pixels that are not judged


def check_masks(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> None:
    """Raise unless two masks can be compared.

    Args:
        predicted: (h, w) integers in [0, K) wherever `truth` is not void.
        truth: (h, w) integers in [0, K), or 255 for void.
        num_classes: K.

    Raises:
        ValueError: masks of different shapes, or a value that is no class, with the number of its pixels.
        TypeError: a mask that is not of integers.
    """
    if predicted.ndim != 2 or predicted.shape != truth.shape:
        raise ValueError(
            f"Expected `predicted` and `truth` to be of one shape (h, w), but got {predicted.shape} and {truth.shape}. "
            "Cure: bring the prediction to the picture's own size first."
        )
    for name, mask, judged in (("truth", truth, truth != VOID), ("predicted", predicted, truth != VOID)):
        if not np.issubdtype(mask.dtype, np.integer):
            raise TypeError(f"Expected `{name}` to be of integers, but got {mask.dtype}. Cure: class indices.")
        wrong = mask[judged & ((mask < 0) | (mask >= num_classes))]
        if wrong.size:
            raise ValueError(
                f"Expected `{name}` to be of classes 0 … {num_classes - 1}, but got {np.unique(wrong).tolist()} "
                f"in {wrong.size} pixel(s). Cure: all classes of the masks in the class list, or {VOID} for void."
            )


def confusion(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """How many pixels of each true class were taken for each class; void pixels of the truth do not count.

    Args:
        predicted: (h, w) integers in [0, K); where the truth is void, anything.
        truth: (h, w) integers in [0, K), or 255 for void.
        num_classes: K, 1 … 255.

    Returns:
        (K, K) int64; row: true class, column: predicted class.

    Raises:
        ValueError: as `check_masks`.
        TypeError: as `check_masks`.
    """
    check_masks(predicted, truth, num_classes)
    judged = truth != VOID
    cells = truth[judged].astype(np.int64) * num_classes + predicted[judged]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


class SegmentationConfusion:
    """One confusion matrix over a data set, and the scores of it (Long et al., FCN, CVPR 2015, section 5).

    With n_ij the pixels of class i taken for class j, t_i = Σ_j n_ij and p_i = Σ_j n_ji:

        iou_i = n_ii / (t_i + p_i - n_ii)             miou = mean of iou_i, frequency-weighted: Σ_i t_i·iou_i / Σ_i t_i
        pixel accuracy = Σ_i n_ii / Σ_i t_i           mean accuracy = mean of n_ii / t_i

    A class that neither truth nor prediction has anywhere is in no mean, as in VOC's evaluation; a mean of nothing is NaN.

    Args:
        num_classes: K, 1 … 255.

    Attributes:
        matrix: (K, K) int64; row: true class, column: predicted class.

    Raises:
        ValueError: `num_classes` is out of range.
    """

    def __init__(self, num_classes: int) -> None:
        if not 1 <= num_classes <= VOID:
            raise ValueError(f"Expected `num_classes` to be in 1 … {VOID}, but got {num_classes}. Cure: merge classes.")
        self.num_classes = num_classes
        self.matrix = np.zeros((num_classes, num_classes), np.int64)

    def update(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Add a picture; see `confusion`.

        Args:
            predicted: (h, w) integers in [0, K); where the truth is void, anything.
            truth: (h, w) integers in [0, K), or 255 for void.
        """
        self.matrix += confusion(predicted, truth, self.num_classes)

    @property
    def iou(self) -> np.ndarray:
        """(K,) float64 in [0, 1]; NaN for a class that neither truth nor prediction has."""
        right = self.matrix.diagonal()
        return _ratio(right, self.matrix.sum(1) + self.matrix.sum(0) - right)

    @property
    def accuracy(self) -> np.ndarray:
        """(K,) float64: the share of each class's pixels that is found; NaN for a class that the truth has not."""
        return _ratio(self.matrix.diagonal(), self.matrix.sum(1))

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that truth or prediction has, in [0, 1]."""
        return mean_of_numbers(self.iou)

    @property
    def pixel_accuracy(self) -> float:
        """Share of the judged pixels whose class is right, in [0, 1]."""
        return float(_ratio(self.matrix.trace(), self.matrix.sum()))

    @property
    def mean_accuracy(self) -> float:
        """Mean of `accuracy` over the classes that the truth has, in [0, 1]."""
        return mean_of_numbers(self.accuracy)

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of `iou`, each class weighted by its true pixels, in [0, 1]."""
        pixels = self.matrix.sum(1)
        return float(_ratio((pixels * np.nan_to_num(self.iou)).sum(), pixels.sum()))


def mean_of_numbers(values: np.ndarray) -> float:
    """Mean of what is not NaN; NaN where nothing is left.

    Args:
        values: of any shape.
    """
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if numbers.size else float("nan")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
