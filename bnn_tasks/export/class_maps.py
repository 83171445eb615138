"""Prove that an artifact's class map is the module's, but for pixels whose two best classes score alike."""

import numpy as np
import torch
from torch import Tensor

from bnn_tasks.export.builder import ParityError
from bnn_tasks.export.rounding import spread
from bnn_tasks.models import Segmenter
from bnn_tasks.models.resize import resize_bilinear

ROUNDING = 1e-6  # of the logits' standard deviation: what resizing may round differently


def check_class_map(model: Segmenter, logits: Tensor, runtime_logits: Tensor, class_map: np.ndarray) -> tuple[int, int]:
    """Compare the classes of one image.

    Resized logits are convex combinations of logits, and no further from torch's than the logits are. So where classes
    differ, the runtime's must score within twice that distance of the best one in torch.

    Args:
        model: the segmenter.
        logits: of the module, (1, K, h, w), with the runtime's planes forced into its layers.
        runtime_logits: of the runtime.
        class_map: of the runtime, (H, W) uint8.

    Returns:
        Pixels compared, and how many differ.

    Raises:
        ParityError: a pixel differs that is no such tie, or the class map has another size.
    """
    size = (class_map.shape[0], class_map.shape[1])
    expected, found = model.decode(logits, size), torch.from_numpy(class_map.astype(np.int64))[None]
    scores = resize_bilinear(logits, size)
    gap = (scores.amax(1) - scores.gather(1, found[:, None])[:, 0])[expected != found]
    limit = 2 * float((logits - runtime_logits).abs().max()) + ROUNDING * max(spread(logits), float(logits.abs().max()))
    if gap.numel() and not float(gap.max()) <= limit:
        raise ParityError(
            f"Expected the runtime's class map to be torch's except where classes score alike, but one class scores "
            f"{float(gap.max()):.3g} below the best (a tie is at most {limit:.3g})."
        )
    return found.numel(), gap.numel()
