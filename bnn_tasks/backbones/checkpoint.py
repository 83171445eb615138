"""Start a ResNet of any block from a float checkpoint of the same topology (torchvision's or timm's ResNet)."""

import logging
import os
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from bnn_tasks.backbones.block import Block
from bnn_tasks.backbones.resnet import ResNet
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.binary.start import OWN, LoadReport

STAGES = ("layer1", "layer2", "layer3", "layer4")

_log = logging.getLogger(__name__)
_DOWNSAMPLE = re.compile(r"downsample\.(\d+)\.(.+)")


def _is_optional(name: str) -> bool:
    # Checkpoints from before torch 0.4.1 lack BatchNorm's counter.
    return OWN.search(name) is not None or name.endswith("num_batches_tracked")


def _check_names(state: Mapping[str, object]) -> None:
    """Raise ValueError where the dictionary is a wrapper of the one that is meant, or a wrapper's."""
    inner = [name for name, value in state.items() if isinstance(value, dict)]
    if inner:
        raise ValueError(f"Expected `state` to map names to tensors, but it maps {inner}. Cure: state[{inner[0]!r}].")
    stems = [name.removesuffix("conv1.weight") for name in state if name.endswith(".conv1.weight")]
    prefix = min(stems, key=len, default="")
    if "conv1.weight" not in state and f"{prefix}layer1.0.conv1.weight" in state:
        raise ValueError(
            f"Expected names as 'conv1.weight', but they start with {prefix!r}. Cure: "
            f"{{name.removeprefix({prefix!r}): tensor for name, tensor in state.items()}}."
        )


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


def load_float_state_dict(backbone: ResNet, state: dict[str, Tensor]) -> LoadReport:
    """Copy a float ResNet's tensors into a backbone, strictly.

    The float weights become the latent weights; BatchNorms keep their statistics. A strided 1×1 shortcut becomes the
    1×1 after average pooling.

    Args:
        backbone: any `ResNet` of the same depth, width and stem as the checkpoint.
        state: state_dict of torchvision's or timm's ResNet.

    Returns:
        What was loaded, left out (the classifier, stages that were not built, 1×1 shortcuts where the block's path has no
        weights) and kept; also logged.

    Raises:
        TypeError: `backbone` is no `ResNet`.
        ValueError: a tensor that belongs to the built part has no place, a shape differs, or one is missing.
    """
    if not isinstance(backbone, ResNet):
        raise TypeError(
            f"Expected `backbone` to be a bnn_tasks.backbones.ResNet, but got a {type(backbone).__name__}. Cure: the "
            "`.backbone` of what timm.create_model or Classifier built on one."
        )
    _check_names(state)
    convolutions = {
        name.removesuffix(".weight") for name, tensor in state.items() if ".downsample." in name and tensor.dim() == 4
    }
    own = backbone.state_dict()
    # A method decides how its latent weight starts from a float one; their shapes may differ.
    binary = {f"{name}.weight": m for name, m in backbone.named_modules() if isinstance(m, BinaryConv2d)}
    shapes = {name: tensor.shape for name, tensor in own.items()}
    for name, layer in binary.items():
        shapes[name] = torch.Size(layer.float_shape)
    loaded: dict[str, Tensor] = {}
    left_out = []
    for name, tensor in state.items():
        target = _target(name, backbone, convolutions)
        if target is None:
            left_out.append(name)
            continue
        if target not in own:
            stage = name.split(".")[0]
            if stage != "fc" and (stage not in STAGES or stage in backbone.stages):
                raise ValueError(
                    f"Expected a checkpoint of the backbone's topology, but {name!r} has no place in it. "
                    "Cure: build the backbone with the checkpoint's depth; of stems there is the plain one, conv1 and bn1."
                )
            left_out.append(name)
            continue
        if name == "conv1.weight" and shapes[target][1] != tensor.shape[1]:
            raise ValueError(
                f"Expected 'conv1.weight' for {shapes[target][1]} channel(s), but got one for {tensor.shape[1]}. Cure for grey "
                "pictures: state['conv1.weight'] = state['conv1.weight'].sum(1, keepdim=True)."
            )
        if shapes[target] != tensor.shape:
            raise ValueError(
                f"Expected {name!r} to have shape {tuple(shapes[target])}, but got {tuple(tensor.shape)}. "
                "Cure: build the backbone with the checkpoint's width and stem_kernel (7 for torchvision's ResNet)."
            )
        loaded[target] = tensor
    missing = sorted(name for name in own.keys() - loaded.keys() if not _is_optional(name))
    if missing:
        raise ValueError(f"Expected the checkpoint to have every tensor of a float ResNet, but it lacks {missing}.")
    backbone.load_state_dict({name: tensor for name, tensor in loaded.items() if name not in binary}, strict=False)
    for name, layer in binary.items():
        layer.load_float(loaded[name], None)
    report = LoadReport(sorted(loaded), sorted(left_out), sorted(own.keys() - loaded.keys()))
    _log.info("%s", report)
    return report


def load_float_checkpoint(backbone: ResNet, path: str | os.PathLike[str]) -> LoadReport:
    """`load_float_state_dict` from a file that ``torch.save(model.state_dict(), path)`` wrote.

    Args:
        backbone: the backbone to fill.
        path: the file; loaded with ``weights_only``, so no code in it can run.

    Raises:
        TypeError: `backbone` is no `ResNet`.
        ValueError: the file is not a dictionary of tensors, or does not fit.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises a dozen kinds, and for some of them advises to run the file's code
            raise ValueError(
                f"Expected {name!r} to hold a state_dict, but it is damaged, of another kind, or holds code "
                f"({type(error).__name__}). Cure: torch.save(model.state_dict(), path)."
            ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(
            f"Expected {name!r} to hold a state_dict (names to tensors), but it does not. "
            "Cure: save the inner dictionary, for instance torch.load(path)['state_dict'], to a file of its own."
        )
    try:
        return load_float_state_dict(backbone, state)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
