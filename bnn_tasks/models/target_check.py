"""Whether targets are a batch's, before a loss reads them."""

from collections.abc import Sequence

import torch

from bnn_tasks.models.detector import BoxTarget


def check_targets(targets: Sequence[BoxTarget], images: int, num_classes: int) -> None:
    """Raise ValueError unless every image has one target, and every object's label is a class.

    Args:
        targets: ground truth.
        images: N >= 0, of the batch.
        num_classes: K >= 1.
    """
    if len(targets) != images:
        raise ValueError(
            f"Expected one target an image, but got {len(targets)} for {images} images. "
            "Cure: a target with boxes (0, 4) for an image without objects."
        )
    if sum(len(target.labels) for target in targets) == 0:
        return
    # One transfer from the device, whatever the number of images.
    low, high = torch.stack(torch.cat([target.labels for target in targets]).aminmax()).tolist()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"Expected labels in 0 ... {num_classes - 1}, but got {low} ... {high}. "
            "Cure: labels are 0 ... K-1, without a background; torchvision's 1 ... K less one."
        )
