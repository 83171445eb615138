"""Slow twins of what the package computes: plain loops, straight from the definitions."""

import math

import numpy as np


def voc_ap(detections, truths, label, threshold):
    """(area AP, 11-point AP) of one class, straight from the rules of the VOC development kit, continuous boxes."""
    positives = sum(1 for t in truths for name, hard in zip(t.labels, t.difficult) if name == label and not hard)
    if positives == 0:
        return math.nan, math.nan
    found = [
        (d.scores[i], image, d.boxes[i])
        for image, d in enumerate(detections)
        for i in range(len(d.labels))
        if d.labels[i] == label
    ]
    taken, precision, recall = set(), [], []
    right = wrong = 0
    for _, image, box in sorted(found, key=lambda entry: -entry[0]):  # stable
        best, best_iou = None, -1.0
        for j in range(len(truths[image].labels)):
            if truths[image].labels[j] != label:
                continue
            other = truths[image].boxes[j]
            width = min(box[2], other[2]) - max(box[0], other[0])
            height = min(box[3], other[3]) - max(box[1], other[1])
            inner = max(width, 0) * max(height, 0)
            union = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - inner
            if inner / union > best_iou:
                best, best_iou = j, inner / union
        if best is not None and best_iou >= threshold:
            if truths[image].difficult[best]:
                continue
            if (image, best) in taken:
                wrong += 1
            else:
                right += 1
                taken.add((image, best))
        else:
            wrong += 1
        precision.append(right / (right + wrong))
        recall.append(right / positives)
    area, last = 0.0, 0.0
    for i, r in enumerate(recall):
        area += (r - last) * max(precision[i:])
        last = r
    eleven = [max((p for p, r in zip(precision, recall) if r >= k / 10), default=0.0) for k in range(11)]
    return area, sum(eleven) / 11


def accumulate(
    signs: np.ndarray,
    weight: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    pad_value: int,
) -> np.ndarray:
    """Sums of a binary convolution, term by term: signs (C, H, W) ±1, weight (O, C/groups, kh, kw) ±1."""
    _, height, width = signs.shape
    outputs, per_group, kh, kw = weight.shape
    out_h = (height + 2 * padding[0] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    out_w = (width + 2 * padding[1] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    acc = np.zeros((outputs, out_h, out_w), np.int32)
    for o, y, x in np.ndindex(acc.shape):
        first = o // (outputs // groups) * per_group
        for i, ky, kx in np.ndindex(per_group, kh, kw):
            iy = y * stride[0] - padding[0] + ky * dilation[0]
            ix = x * stride[1] - padding[1] + kx * dilation[1]
            inside = 0 <= iy < height and 0 <= ix < width
            acc[o, y, x] += int(weight[o, i, ky, kx]) * (int(signs[first + i, iy, ix]) if inside else pad_value)
    return acc


def box_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two xyxy boxes; 0 where neither has area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return float(shared / union) if union > 0 else 0.0


def box_share(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the area of `a`, an xyxy box, that lies in `b`."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return float(max(width, 0.0) * max(height, 0.0) / ((a[2] - a[0]) * (a[3] - a[1])))


def evaluate_terms(terms, x: np.ndarray) -> np.ndarray:
    """The output of a layer in canonical form, tap by tap: x (N, C, H, W), or (N, C) of a linear layer."""
    image = x if x.ndim == 4 else x[:, :, None, None]
    total = None
    for term in terms.terms:
        weight = term.weight.numpy().astype(np.float64)
        weight = weight.reshape(*weight.shape, *[1] * (4 - weight.ndim))
        outputs, per_group, kh, kw = weight.shape
        (sy, sx), (py, px), (dy, dx) = term.stride, term.padding, term.dilation
        height = (image.shape[2] + 2 * py - dy * (kh - 1) - 1) // sy + 1
        width = (image.shape[3] + 2 * px - dx * (kw - 1) - 1) // sx + 1
        y = np.zeros((len(image), outputs, height, width))
        for n, row, column in np.ndindex(len(image), height, width):
            for group in range(term.groups):
                taps, inside = _taps(image[n], group * per_group, weight.shape[1:], term, row, column)
                operand = _operand(term, taps, inside, group * per_group)
                if term.window_mean:
                    operand = operand * np.where(inside, np.abs(taps), abs(term.pad_value)).mean()
                for o in range(group * outputs // term.groups, (group + 1) * outputs // term.groups):
                    y[n, o, row, column] = (weight[o] * operand).sum()
        if term.scale is not None:
            scale = term.scale.numpy().astype(np.float64)
            y = y * (scale if scale.ndim == 3 else scale[:, None, None])
        total = y if total is None else total + y
    if terms.bias is not None:
        total = total + terms.bias.numpy()[:, None, None]
    return total if x.ndim == 4 else total[:, :, 0, 0]


def _taps(image, first, shape, term, row, column):
    """Real values under a window, and which of them lie in the image."""
    taps, inside = np.zeros(shape), np.zeros(shape, bool)
    for i, ky, kx in np.ndindex(*shape):
        y = row * term.stride[0] - term.padding[0] + ky * term.dilation[0]
        x = column * term.stride[1] - term.padding[1] + kx * term.dilation[1]
        if 0 <= y < image.shape[1] and 0 <= x < image.shape[2]:
            taps[i, ky, kx], inside[i, ky, kx] = image[first + i, y, x], True
    return taps, inside


def _operand(term, taps, inside, first):
    """What the weight's taps multiply, the scale of the residuals included."""
    rule = type(term.activation).__name__
    if rule == "Real":
        return np.where(inside, taps, term.pad_value)
    if rule == "Ones":
        return np.where(inside, 1, term.pad_value)
    if rule == "Threshold":
        theta = 0.0
        if term.activation.threshold is not None:
            values = term.activation.threshold.numpy()
            theta = (values[first : first + len(taps)] if len(values) > 1 else values)[:, None, None]
        return np.where(inside, np.where(taps >= theta, 1, -1), term.pad_value)
    assert rule == "Residual"
    counts = inside | (term.pad_value != 0)
    residual = np.where(inside, taps, term.pad_value)
    for _ in range(term.activation.index + 1):
        plane = np.abs(residual).mean() * np.where(residual >= 0, 1, -1) * counts
        residual = residual - plane
    return plane


def accumulate_patches(patches: np.ndarray, weight: np.ndarray, groups: int) -> np.ndarray:
    """Sums over the taps of packed patches: patches (G·n, H', W') of -1, 0 and 1, weight (O, ...) ±1 of n taps each."""
    rows = weight.reshape(len(weight), -1)
    acc = np.zeros((len(rows), *patches.shape[1:]), np.int32)
    for o, y, x in np.ndindex(acc.shape):
        first = o // (len(rows) // groups) * rows.shape[1]
        for n in range(rows.shape[1]):
            acc[o, y, x] += int(rows[o, n]) * int(patches[first + n, y, x])
    return acc


def _windows(shape, size, kernel, stride, padding, dilation):
    """(output y, output x, tap, input y, input x, inside) of every tap of every window over a map of (H, W)."""
    for oy, ox in np.ndindex(*size):
        for tap, (ky, kx) in enumerate(np.ndindex(*kernel)):
            y, x = oy * stride[0] - padding[0] + ky * dilation[0], ox * stride[1] - padding[1] + kx * dilation[1]
            yield oy, ox, tap, y, x, 0 <= y < shape[0] and 0 <= x < shape[1]


def convolve(x: np.ndarray, weight: np.ndarray, geometry, groups: int, pad_value: float) -> np.ndarray:
    """Sums of a convolution, term by term, float64 [OH, OW, O]: x [H, W, C], weight (O, C/groups, kh, kw)."""
    outputs, per_group, *kernel = weight.shape
    size, stride, padding, dilation = geometry
    out = np.zeros((*size, outputs))
    for oy, ox, tap, y, x_, inside in _windows(x.shape, size, kernel, stride, padding, dilation):
        for o, i in np.ndindex(outputs, per_group):
            value = float(x[y, x_, o // (outputs // groups) * per_group + i]) if inside else pad_value
            out[oy, ox, o] += float(weight[o, i].flat[tap]) * value
    return out


def pools(x: np.ndarray, kernel, geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Largest taps inside, their sums in float32, how many are inside, and how many are inside map or padding: [OH, OW, C]."""
    size, stride, padding, dilation = geometry
    most = np.full((*size, x.shape[2]), -np.inf, np.float32)
    total = np.zeros_like(most)
    inner, outer = np.zeros_like(most), np.zeros_like(most)
    for oy, ox, _, y, x_, inside in _windows(x.shape, size, kernel, stride, padding, dilation):
        outer[oy, ox] += y < x.shape[0] + padding[0] and x_ < x.shape[1] + padding[1]
        if inside:
            inner[oy, ox] += 1
            for c in range(x.shape[2]):
                value, best = x[y, x_, c], most[oy, ox, c]
                most[oy, ox, c] = value if math.isnan(value) or value > best else best
                total[oy, ox, c] += value
    return most, total, inner, outer


def residuals(x: np.ndarray, groups: int, kernel, geometry, pad_value: float, index: int):
    """Residuals R_index of every patch, float32 [OH, OW, G, n], their mean magnitudes, and which taps count, [OH, OW, n].

    Taps run (channel, y, x); means are taken in float64 and rounded.
    """
    size, stride, padding, dilation = geometry
    channels, taps = x.shape[2] // groups, kernel[0] * kernel[1]
    rest = np.full((*size, groups, channels, taps), pad_value, np.float32)
    counts = np.full((*size, channels, taps), pad_value != 0)
    for oy, ox, tap, y, x_, inside in _windows(x.shape, size, kernel, stride, padding, dilation):
        if inside:
            rest[oy, ox, :, :, tap] = x[y, x_].reshape(groups, channels)
            counts[oy, ox, :, tap] = True
    rest, counts = rest.reshape(*size, groups, -1), counts.reshape(*size, -1)
    means = np.zeros((*size, groups), np.float32)
    for place in np.ndindex(*size, groups):
        for step in range(index + 1):
            if step:
                for n in np.flatnonzero(counts[place[:2]]):
                    rest[place][n] -= means[place] if rest[place][n] >= 0 else -means[place]
            means[place] = math.fsum(abs(float(v)) for v in rest[place]) / rest.shape[-1]
    return rest, means, counts


def suppress(boxes: np.ndarray, labels: np.ndarray, threshold: float, limit: int) -> list[int]:
    """Indices of the boxes that greedy suppression within each label leaves, float32 (N, 4) by falling score."""
    kept: list[int] = []
    for n, box in enumerate(boxes):
        if len(kept) < limit and all(
            labels[m] != labels[n] or not _iou_float32(boxes[m], box) > threshold for m in kept
        ):
            kept.append(n)
    return kept


def _iou_float32(a: np.ndarray, b: np.ndarray) -> float:
    """IoU rounded to float32 after each step; nan where neither has area."""
    zero = np.float32(0)
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), zero) * max(min(a[3], b[3]) - max(a[1], b[1]), zero)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return float(shared / union) if union else math.nan
