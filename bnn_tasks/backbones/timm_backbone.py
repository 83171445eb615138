"""Any convolutional net of timm as a backbone, binarised."""

from collections.abc import Callable, Sequence
from typing import Any

import timm
import torch
from timm.models import FeatureInfo
from torch import Tensor, fx, nn

from bnn_tasks.backbones.base import Backbone
from bnn_tasks.backbones.zoo import check_timm_name, timm_net
from bnn_tasks.binary import Method, binarize
from bnn_tasks.binary.tracing import trace


def _shapes_alone(name: str, expected: str, **arguments: Any) -> Any:
    """The net that gives feature maps, on the meta device; ValueError with `expected` in it if timm refuses."""
    try:
        with torch.device("meta"):
            return timm.create_model(name, features_only=True, **arguments).eval()
    except Exception as error:  # each family of timm has its own way to refuse
        raise ValueError(f"Expected {expected}, but timm's {name!r} refuses: {error!r}.") from error


def _traced(name: str, net: nn.Module) -> fx.GraphModule:
    """The net as a graph, without the layers that no map needs; ValueError with its name if it has none."""
    try:
        graph_module = trace(net)
    except (ValueError, RuntimeError) as error:  # RuntimeError: tensors that cannot be copied
        raise ValueError(f"{name}: {error}") from error
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
    return graph_module


def _check_maps(name: str, net: nn.Module, info: FeatureInfo, in_channels: int) -> None:
    """Raise ValueError unless the maps of a net on the meta device are as `info` says, at a size that it was not made for."""
    size = 4 * max(info.reduction())
    expected = [
        (1, channels, size // stride, size // stride) for channels, stride in zip(info.channels(), info.reduction())
    ]
    found: Any
    try:
        found = [tuple(x.shape) for x in net(torch.empty(1, in_channels, size, size, device="meta"))]
    except Exception as error:  # whatever a layer says of the size
        found = repr(error)
    if found != expected:
        raise ValueError(
            f"Expected `name` to be a net whose graph makes maps of shapes {expected} of an image of {size}×{size} px, but "
            f"{name!r} gives {found}. Cure: a net whose convolutions pad, and whose maps timm takes without hooks."
        )


def _usual(net: nn.Module) -> Callable[[str, nn.Module], bool]:
    """What `keep` is if none is given."""
    first = next(name for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d))
    return lambda name, layer: name == first or "downsample" in name


class TimmBackbone(Backbone):
    """The feature maps of a net of timm by name (its ``features_only``), binarised.

    A map is timm's, mostly a ReLU's output: what reads it first is best real, as the laterals of `FPN` and the decoders are.
    Where its pools or strided convolutions do not pad (VGG, DenseNet, ConvNeXt), a net rounds the sizes of its maps down;
    some (DLA, HRNet) take sides alone that their largest stride divides.

    Args:
        name: as in ``timm.list_models()``: a net of convolutions.
        method: how weights and activations become ±1; None leaves every layer real: the real twin, of the same names.
        keep: names or shell patterns of the layers that stay real, as for `binarize`; None is the first convolution and
            timm's ``*downsample*``, the shortcuts of a ResNet.
        out_indices: which maps to return, as timm numbers them; None is all that timm gives.
        output_stride: pixels between the positions of the last map, 8, 16 or 32, for the nets that can dilate their
            convolutions instead; None is the net's own.
        in_channels: channels of the images, >= 1; 3 is RGB, 1 grey or infrared.
        pretrained: whether to start from timm's weights, which are downloaded.

    Raises:
        ValueError: an argument is out of range, timm has no such net, it does not give such maps, its weights could not be
            had, or `binarize` cannot convert it.
    """

    def __init__(
        self,
        name: str,
        method: str | Method | None = "react",
        keep: Sequence[str] | None = None,
        out_indices: Sequence[int] | None = None,
        output_stride: int | None = None,
        in_channels: int = 3,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        check_timm_name(name)
        if in_channels < 1:
            raise ValueError(f"Expected `in_channels` to be >= 1, but got {in_channels}.")
        arguments: dict[str, Any] = {"in_chans": in_channels}
        maps = len(_shapes_alone(name, "`name` to be a net that gives feature maps", **arguments).feature_info.info)
        if out_indices is not None:
            if not out_indices or list(out_indices) != sorted(set(out_indices) & set(range(maps))):
                raise ValueError(
                    f"Expected `out_indices` to be increasing numbers from 0 to {maps - 1}, the maps of {name!r}, but got "
                    f"{out_indices}."
                )
            arguments["out_indices"] = tuple(out_indices)
        if output_stride is not None:
            arguments["output_stride"] = output_stride
        asked = f"`out_indices` {out_indices} and `output_stride` {output_stride} to be the net's"
        shapes = _shapes_alone(name, asked, **arguments)
        self.feature_info = shapes.feature_info
        _check_maps(name, _traced(name, shapes), self.feature_info, in_channels)
        real = _traced(name, timm_net(name, pretrained, features_only=True, **arguments))
        self.net = real if method is None else binarize(real, method, keep=_usual(real) if keep is None else keep)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Extract features from `x`, (N, in_channels, H, W), normalised; one map per entry of ``out_indices``."""
        maps: list[Tensor] = self.net(x)
        return maps
