"""The backbones as timm models: ``timm.create_model("bnn_resnet18", features_only=True, method="react")``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import timm
import torch.nn.functional as F
from timm.models import register_model
from torch import Tensor, nn

from bnn_tasks.backbones.base import Backbone
from bnn_tasks.backbones.block import Block
from bnn_tasks.backbones.blocks import BLOCKS
from bnn_tasks.backbones.bottlenecks import BOTTLENECKS
from bnn_tasks.backbones.cifar_resnet import CifarResNet
from bnn_tasks.backbones.resnet import ResNet


class ResNetClassifier(nn.Module):
    """A backbone with global average pooling and a real linear classifier: timm's model surface.

    Args:
        backbone: a backbone that returns its last stage alone.
        num_classes: classes; 0 for pooled features.
    """

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.feature_info = backbone.feature_info
        self.num_features = backbone.feature_info.channels()[-1]
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one for `num_classes`; 0 leaves the pooled features, as in timm."""
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()

    def get_classifier(self) -> nn.Module:
        """The linear classifier."""
        return self.fc

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map, (N, num_features, h, w)."""
        last: Tensor = self.backbone(x)[-1]
        return last

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pooled features of a map `x`, or their logits (N, num_classes)."""
        pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return pooled if pre_logits else self.fc(pooled)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images `x`, (N, 3, H, W), normalised."""
        return self.forward_head(self.forward_features(x))


@dataclass(frozen=True)
class _Family:
    """What the entry points of one kind of network share.

    Attributes:
        build: depth, and by name block, out_indices, in_channels and `options` -> backbone.
        blocks: the blocks it may be built of, by name.
        maps: how many maps it can return.
        options: further arguments.
    """

    build: Callable[..., Backbone]
    blocks: Mapping[str, type[Block]]
    maps: int
    options: frozenset[str]


_RESNET = frozenset({"width", "stem_kernel", "stage", "entry_stride", "output_stride"})
_BASIC = _Family(ResNet, BLOCKS, 5, _RESNET)
_BOTTLENECK = _Family(ResNet, BOTTLENECKS, 5, _RESNET)
_CIFAR = _Family(CifarResNet, BLOCKS, 3, frozenset({"width", "stage"}))


def _block(blocks: Mapping[str, type[Block]], name: str, method: str | None) -> Any:
    if name not in blocks:
        raise ValueError(f"Expected `block` to be one of {sorted(blocks)}, but got {name!r}.")
    block = blocks[name]
    if method is not None and not block.binary:
        raise ValueError(
            f"Expected no `method` for the real block {name!r}, but got {method!r}. Cure: another `block`."
        )
    return block if method is None else partial(block, method=method)


def _create(
    family: _Family,
    depth: int,
    pretrained: bool = False,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    num_classes: int = 1000,
    in_chans: int = 3,
    block: str = "react",
    method: str | None = None,
    **arguments: Any,
) -> Backbone | ResNetClassifier:
    if pretrained:
        raise ValueError(
            "Expected `pretrained` to be False, but got True: no weights are published for binary backbones. "
            "Start from a float checkpoint with bnn_tasks.backbones.load_float_checkpoint instead."
        )
    options = {name: value for name, value in arguments.items() if name in family.options}
    # timm passes these three to every entry point; they say where pretrained weights would come from.
    unknown = arguments.keys() - options.keys() - {"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}
    if unknown:
        raise TypeError(f"Expected no other arguments than {sorted(family.options)}, but got {sorted(unknown)}.")
    build = partial(family.build, depth, block=_block(family.blocks, block, method), in_channels=in_chans, **options)
    if features_only:
        indices = range(family.maps) if out_indices is None else out_indices
        return build(out_indices=tuple(index + family.maps if index < 0 else index for index in indices))
    return ResNetClassifier(build(out_indices=(family.maps - 1,)), num_classes)


@register_model
def bnn_resnet18(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-18 of basic blocks.

    Args:
        pretrained: must be False; no weights are published.
        **kwargs: ``features_only``, ``out_indices``, ``num_classes``, ``in_chans`` as in timm; ``block`` (a name in `BLOCKS`),
            ``method`` (a registered method; None is the block's own), ``width``, ``stem_kernel``, ``stage``, ``entry_stride``,
            ``output_stride`` as for `ResNet`.

    Raises:
        ValueError: pretrained weights, an unknown block or an unknown method are asked for.
        TypeError: an argument is unknown.
    """
    return _create(_BASIC, 18, pretrained, **kwargs)


@register_model
def bnn_resnet34(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-34 of basic blocks; arguments and errors as for `bnn_resnet18`."""
    return _create(_BASIC, 34, pretrained, **kwargs)


@register_model
def bnn_resnet50(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-50 of bottlenecks; arguments and errors as for `bnn_resnet18`, ``block`` is a name in `BOTTLENECKS`."""
    return _create(_BOTTLENECK, 50, pretrained, **kwargs)


@register_model
def bnn_resnet20(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-20 for small images; as `bnn_resnet18`, but of `CifarResNet`'s own options there are ``width`` and ``stage``."""
    return _create(_CIFAR, 20, pretrained, **kwargs)


@register_model
def bnn_resnet32(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-32 for small images; arguments and errors as for `bnn_resnet20`."""
    return _create(_CIFAR, 32, pretrained, **kwargs)


@register_model
def bnn_resnet44(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-44 for small images; arguments and errors as for `bnn_resnet20`."""
    return _create(_CIFAR, 44, pretrained, **kwargs)


@register_model
def bnn_resnet56(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-56 for small images; arguments and errors as for `bnn_resnet20`."""
    return _create(_CIFAR, 56, pretrained, **kwargs)


def list_backbones() -> list[str]:
    """Names of all backbones of this package that timm knows."""
    return timm.list_models("bnn_*")
