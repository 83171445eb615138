"""What a `ResNet` of any block takes from a float checkpoint of the same topology (torchvision's or timm's ResNet)."""

import re

import torch
from torch import Tensor

from bnn_tasks.backbones.block import Block
from bnn_tasks.backbones.resnet import ResNet
from bnn_tasks.backbones.state_dicts import check_channels, check_names
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.binary.start import OWN

STAGES = ("layer1", "layer2", "layer3", "layer4")

_DOWNSAMPLE = re.compile(r"downsample\.(\d+)\.(.+)")


def _is_optional(name: str) -> bool:
    # Checkpoints from before torch 0.4.1 lack BatchNorm's counter.
    return OWN.search(name) is not None or name.endswith("num_batches_tracked")


def _target(name: str, backbone: ResNet, downsample_conv: set[str]) -> str | None:
    """Name in the backbone of the checkpoint's tensor `name`; None if its block does without."""
    match = re.fullmatch(r"(layer\d)\.(\d+)\.(.+)", name)
    if match is None:
        return name
    stage, index, rest = match.groups()
    if stage not in backbone.stages:
        return name
    blocks = dict(backbone.named_children())[stage]
    if int(index) >= len(list(blocks.children())):
        return name
    block = list(blocks.children())[int(index)]
    if not isinstance(block, Block):
        raise ValueError(
            f"Expected {stage!r} to be a sequence of blocks (BlockStage), but got {type(blocks).__name__}: branches that start "
            "from one float block would stay equal. Cure: train from scratch, or load a checkpoint of the same stages."
        )
    if rest.startswith(block.float_left_out):
        return None
    down = _DOWNSAMPLE.fullmatch(rest)
    if down is not None:
        # The 1×1 convolution is the one with a 4-d weight; torchvision numbers it 0, timm's average-pooled variant 1.
        part = "conv" if f"{stage}.{index}.downsample.{down[1]}" in downsample_conv else "bn"
        rest = f"downsample.{part}.{down[2]}"
    for source, target in block.float_names.items():
        if rest.startswith(source + "."):
            return f"{stage}.{index}.{target}{rest[len(source) :]}"
    return name


def resnet_tensors(backbone: ResNet, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The backbone's tensors, strictly: BatchNorms keep their statistics, a strided 1×1 shortcut is the 1×1 after pooling.

    Args:
        backbone: of the same depth, width and stem as the checkpoint.
        state: state_dict of torchvision's or timm's ResNet.

    Returns:
        Tensors by their names in the backbone, of the shapes of a float one's; names in the checkpoint of what is left out:
        the classifier, stages that were not built, 1×1 shortcuts where the block's path has no weights.

    Raises:
        ValueError: a tensor that belongs to the built part has no place, a shape differs, or one is missing.
    """
    check_names(state, "conv1.weight", "layer1.0.conv1.weight")
    convolutions = {
        name.removesuffix(".weight") for name, tensor in state.items() if ".downsample." in name and tensor.dim() == 4
    }
    shapes = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    for name, layer in backbone.named_modules():
        if isinstance(layer, BinaryConv2d):
            shapes[f"{name}.weight"] = torch.Size(layer.float_shape)
    tensors: dict[str, Tensor] = {}
    left_out = []
    for name, tensor in state.items():
        target = _target(name, backbone, convolutions)
        if target is None:
            left_out.append(name)
            continue
        if target not in shapes:
            stage = name.split(".")[0]
            if stage != "fc" and (stage not in STAGES or stage in backbone.stages):
                raise ValueError(
                    f"Expected a checkpoint of the backbone's topology, but {name!r} has no place in it. "
                    "Cure: build the backbone with the checkpoint's depth; of stems there is the plain one, conv1 and bn1."
                )
            left_out.append(name)
            continue
        if name == "conv1.weight":
            check_channels(name, tensor, shapes[target][1])
        if shapes[target] != tensor.shape:
            raise ValueError(
                f"Expected {name!r} to have shape {tuple(shapes[target])}, but got {tuple(tensor.shape)}. "
                "Cure: build the backbone with the checkpoint's width and stem_kernel (7 for torchvision's ResNet)."
            )
        tensors[target] = tensor
    missing = sorted(name for name in shapes.keys() - tensors.keys() if not _is_optional(name))
    if missing:
        raise ValueError(f"Expected the checkpoint to have every tensor of a float ResNet, but it lacks {missing}.")
    return tensors, left_out
