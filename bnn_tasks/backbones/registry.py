"""The backbones as timm models: ``timm.create_model("bnn_resnet18", features_only=True, method="react")``."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import timm
import torch.nn.functional as F
from timm.models import register_model
from torch import Tensor, nn

from bnn_tasks.backbones.blocks import BLOCKS, Block
from bnn_tasks.backbones.resnet import ResNet


class ResNetClassifier(nn.Module):
    """A `ResNet` with global average pooling and a real linear classifier: timm's model surface.

    Args:
        backbone: a backbone that returns its last stage alone.
        num_classes: classes; 0 for pooled features.
    """

    def __init__(self, backbone: ResNet, num_classes: int) -> None:
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
        """The last feature map, (N, num_features, ⌈H/32⌉, ⌈W/32⌉)."""
        last: Tensor = self.backbone(x)[-1]
        return last

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pooled features of a map `x`, or their logits (N, num_classes)."""
        pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return pooled if pre_logits else self.fc(pooled)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images `x`, (N, 3, H, W), normalised."""
        return self.forward_head(self.forward_features(x))


def _block(name: str, method: str | None) -> Any:
    if name not in BLOCKS:
        raise ValueError(f"Expected `block` to be one of {sorted(BLOCKS)}, but got {name!r}.")
    block: type[Block] = BLOCKS[name]
    if method is not None and not block.signed_input:
        raise ValueError(
            f"Expected no `method` for the real block {name!r}, but got {method!r}. Cure: another `block`."
        )
    return block if method is None else partial(block, method=method)


def _create(
    depth: int,
    pretrained: bool = False,
    features_only: bool = False,
    out_indices: Sequence[int] = (0, 1, 2, 3, 4),
    num_classes: int = 1000,
    block: str = "react",
    method: str | None = None,
    width: int = 64,
    stem_kernel: int = 7,
    **timm_arguments: Any,
) -> ResNet | ResNetClassifier:
    if pretrained:
        raise ValueError(
            "Expected `pretrained` to be False, but got True: no weights are published for binary backbones. "
            "Start from a float checkpoint with bnn_tasks.backbones.load_float_checkpoint instead."
        )
    # timm passes these three to every entry point; they say where pretrained weights would come from.
    unknown = set(timm_arguments) - {"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}
    if unknown:
        raise TypeError(f"Expected no other arguments, but got {sorted(unknown)}.")
    build = partial(ResNet, depth, _block(block, method), width, stem_kernel)
    if features_only:
        return build(out_indices)
    return ResNetClassifier(build((4,)), num_classes)


@register_model
def bnn_resnet18(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-18 of basic blocks.

    Args:
        pretrained: must be False; no weights are published.
        **kwargs: ``features_only``, ``out_indices``, ``num_classes`` as in timm; ``block`` (real, plain, bireal, react),
            ``method`` (a registered method; None is the block's own), ``width``, ``stem_kernel``.

    Raises:
        ValueError: pretrained weights, an unknown block or an unknown method are asked for.
        TypeError: an argument is unknown.
    """
    return _create(18, pretrained, **kwargs)


@register_model
def bnn_resnet34(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-34 of basic blocks; arguments and errors as for `bnn_resnet18`.

    Args:
        pretrained: must be False; no weights are published.
        **kwargs: as for `bnn_resnet18`.
    """
    return _create(34, pretrained, **kwargs)


def list_backbones() -> list[str]:
    """Names of all backbones of this package that timm knows."""
    return timm.list_models("bnn_*")
