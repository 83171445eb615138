"""A fixed number of features for a box of any size: RoIAlign on the levels of a pyramid."""

from collections.abc import Sequence

import numpy as np

from bnn_tasks.runtime.simd.bilinear import add_samples


def assign_levels(boxes: np.ndarray, levels: int, canonical_level: int, canonical_size: float) -> np.ndarray:
    """Level of each box: ⌊canonical_level + log2(√area / canonical_size)⌋, clamped (Lin et al., 2017, FPN, eq. 1).

    Args:
        boxes: (R, 4) float32 xyxy, canvas pixels.
        levels: P, at least 1.
        canonical_level: level, from 0 on, of a box of side `canonical_size`; need not be one of the P.
        canonical_size: pixels; 224 in the paper.

    Returns:
        (R,) int64 in [0, P); 1e-6 is added before rounding down, as in torchvision's LevelMapper.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):  # boxes without area
        level = np.float32(canonical_level) + np.log2(np.sqrt(area) / np.float32(canonical_size)) + np.float32(1e-6)
    return np.nan_to_num(np.clip(np.floor(level), 0, levels - 1)).astype(np.int64)


def roi_align(
    boxes: np.ndarray,
    features: Sequence[np.ndarray],
    strides: Sequence[float],
    output_size: int,
    sampling_ratio: int,
    canonical_level: int,
    canonical_size: float,
) -> np.ndarray:
    """Mean of bilinear samples in each of s × s bins of a box (He et al., 2017, Mask R-CNN, section 3).

    Coordinates are half-pixel (torchvision.ops.roi_align, aligned=True); a sample more than a pixel outside is 0.

    Args:
        boxes: (R, 4) float32 xyxy, canvas pixels.
        features: one map for each level, (H, W, C) float32, all of one C.
        strides: canvas pixels a cell of each level.
        output_size: s, bins a side.
        sampling_ratio: samples a side of a bin, at least 1.
        canonical_level: as of `assign_levels`.
        canonical_size: as of `assign_levels`.

    Returns:
        (R, s, s, C) float32; zeros for a box without area.
    """
    out = np.zeros((len(boxes), output_size, output_size, features[0].shape[2]), np.float32)
    level = assign_levels(boxes, len(features), canonical_level, canonical_size)
    solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    for index, (feature, stride) in enumerate(zip(features, strides, strict=True)):
        rows = np.flatnonzero(solid & (level == index))
        x0, y0, x1, y1 = boxes[rows].T * np.float32(1 / stride) - np.float32(0.5)
        y, wy = _samples(y0, y1, feature.shape[0], output_size, sampling_ratio)
        x, wx = _samples(x0, x1, feature.shape[1], output_size, sampling_ratio)
        add_samples(np.ascontiguousarray(feature), y, x, wy, wx, sampling_ratio, rows, out)
    return out


def _samples(low: np.ndarray, high: np.ndarray, side: int, bins: int, per_bin: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples along an axis: the two cells that each lies between, int64 (n, bins · per_bin, 2), and their weights.

    A weight is that of the mean over a bin: two samples' weights along both axes multiply to one value's share in it. Both
    are 0 for a sample more than a cell outside; one between that and the border has the border's value.
    """
    step = (high - low) / np.float32(bins)
    place = (np.arange(per_bin, dtype=np.float32) + np.float32(0.5)) / np.float32(per_bin)
    bin_starts = low[:, None] + np.arange(bins, dtype=np.float32) * step[:, None]
    at = (bin_starts[:, :, None] + place * step[:, None, None]).reshape(len(low), bins * per_bin)
    inside = (at >= -1) & (at <= side)
    at = np.clip(np.where(inside, at, 0), 0, side - 1).astype(np.float32)
    first = at.astype(np.int64)
    beyond = at - first.astype(np.float32)
    cells = np.stack([first, np.minimum(first + 1, side - 1)], axis=-1)
    weights = np.stack([np.float32(1) - beyond, beyond], axis=-1) * (inside / np.float32(per_bin))[..., None]
    return cells, weights.astype(np.float32)
