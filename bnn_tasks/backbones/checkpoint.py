"""Start a backbone of any block or unit from a float checkpoint of the same topology."""

import logging
import os

import torch
from torch import Tensor, nn

from bnn_tasks.backbones.resnet import ResNet
from bnn_tasks.backbones.resnet_checkpoint import resnet_tensors
from bnn_tasks.backbones.state_dicts import read_state_dict
from bnn_tasks.backbones.vgg16 import VGG16
from bnn_tasks.backbones.vgg16_checkpoint import vgg16_tensors
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.binary.start import LoadReport

_log = logging.getLogger(__name__)


def _tensors(backbone: nn.Module, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    if isinstance(backbone, ResNet):
        return resnet_tensors(backbone, state)
    if isinstance(backbone, VGG16):
        return vgg16_tensors(backbone, state)
    raise TypeError(
        f"Expected `backbone` to be a ResNet or a VGG16 of bnn_tasks.backbones, but got a {type(backbone).__name__}. Cure: the "
        "`.backbone` of what timm.create_model, a classifier or a detector built on one."
    )


@torch.no_grad()
def load_float_state_dict(backbone: nn.Module, state: dict[str, Tensor]) -> LoadReport:
    """Copy a float network's tensors into a backbone, strictly: nothing is copied unless everything fits.

    The float weights become the latent weights; BatchNorms keep their statistics. A ResNet's strided 1×1 shortcut becomes
    the 1×1 after average pooling. A VGG-16's biases go into the BatchNorms, which become the identity where the checkpoint
    has none; conv6 and conv7 are subsampled from fc6 and fc7 (Liu et al., SSD, 2016, §3).

    Args:
        backbone: any `ResNet` of the same depth, width and stem as the checkpoint, or a `VGG16` of the same width.
        state: state_dict of torchvision's or timm's ResNet, or of torchvision's ``vgg16`` or ``vgg16_bn``.

    Returns:
        What was loaded, left out (the classifier, stages that were not built, 1×1 shortcuts where the block's path has no
        weights) and kept; also logged.

    Raises:
        TypeError: `backbone` is neither.
        ValueError: a tensor that belongs to the built part has no place, a shape differs, or one is missing.
    """
    tensors, left_out = _tensors(backbone, state)
    # A method decides how its latent weight starts from a float one; their shapes may differ.
    binary = {f"{name}.weight": m for name, m in backbone.named_modules() if isinstance(m, BinaryConv2d)}
    backbone.load_state_dict({name: tensor for name, tensor in tensors.items() if name not in binary}, strict=False)
    for name, layer in binary.items():
        if name in tensors:
            layer.load_float(tensors[name], None)
    report = LoadReport(sorted(tensors), sorted(left_out), sorted(backbone.state_dict().keys() - tensors.keys()))
    _log.info("%s", report)
    return report


def load_float_checkpoint(backbone: nn.Module, path: str | os.PathLike[str]) -> LoadReport:
    """`load_float_state_dict` from a file that ``torch.save(model.state_dict(), path)`` wrote.

    Args:
        backbone: the backbone to fill.
        path: the file; loaded with ``weights_only``, so no code in it can run.

    Raises:
        TypeError: `backbone` is neither a `ResNet` nor a `VGG16`.
        ValueError: the file is not a dictionary of tensors, or does not fit.
    """
    state = read_state_dict(path)
    try:
        return load_float_state_dict(backbone, state)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
