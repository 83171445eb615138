"""timm's own networks, for binarisation."""

from typing import Any

import timm
from torch import nn

from bnn_tasks.binary.names import nearest


def check_timm_name(name: str) -> None:
    """Raise ValueError unless `name` is one of ``timm.list_models()``."""
    if not timm.is_model(name):
        raise ValueError(
            f"Expected `name` to be one of timm.list_models(), but got {name!r}.{nearest(name, timm.list_models())}"
        )


def timm_net(name: str, pretrained: bool = False, **arguments: Any) -> nn.Module:
    """A float network of timm.

    Args:
        name: as in ``timm.list_models()``.
        pretrained: whether to download timm's weights; a classifier's are fresh where its classes are not theirs.
        arguments: further ones of ``timm.create_model``, as ``num_classes``.

    Raises:
        ValueError: timm has no such network, or its weights could not be had.
    """
    check_timm_name(name)
    try:
        return timm.create_model(name, pretrained=pretrained, **arguments)
    except Exception as error:  # every hub, proxy and file system raises its own
        if not pretrained:
            raise
        raise ValueError(
            f"Expected the pretrained weights of {name!r} to be at hand, but they could not be loaded "
            f"({type(error).__name__}: {error}). Cure: pretrained=False, or a connection to where timm's weights are."
        ) from error
