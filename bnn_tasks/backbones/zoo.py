"""timm's own networks, for binarisation."""

import timm
from torch import nn

from bnn_tasks.binary.names import nearest


def timm_net(name: str, num_classes: int, pretrained: bool = False) -> nn.Module:
    """A float network of timm.

    Args:
        name: as in ``timm.list_models()``.
        num_classes: classes of its classifier.
        pretrained: whether to download timm's weights; the classifier's are fresh unless `num_classes` is theirs.

    Raises:
        ValueError: timm has no such network, or its weights could not be had.
    """
    if not timm.is_model(name):
        raise ValueError(
            f"Expected `name` to be one of timm.list_models(), but got {name!r}.{nearest(name, timm.list_models())}"
        )
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=num_classes)
    except Exception as error:  # every hub, proxy and file system raises its own
        if not pretrained:
            raise
        raise ValueError(
            f"Expected the pretrained weights of {name!r} to be at hand, but they could not be loaded "
            f"({type(error).__name__}: {error}). Cure: pretrained=False, or a connection to where timm's weights are."
        ) from error
