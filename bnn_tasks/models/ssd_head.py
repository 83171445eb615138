"""SSD's predictors: one 3×3 convolution a map for classes and one for boxes (Liu et al., SSD, 2016, §2.1)."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from bnn_tasks.backbones import PlainUnit, Unit


def real_predictor(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """A real 3×3 convolution with bias, Xavier-uniform at first (as torchvision's SSD).

    Args:
        in_channels: channels of the map.
        out_channels: values predicted at a position.
        stride: of the convolution.
    """
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride, 1)
    nn.init.xavier_uniform_(convolution.weight)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


class SSDPredictors(nn.Module):
    """Base class of the heads: two predictors a map, nothing shared between maps.

    Args:
        predictor: (in_channels, out_channels, stride) -> the 3×3 layer.
        channels: of the maps, fine to coarse.
        boxes: default boxes a position, one number a map.
        num_classes: K >= 1, without the background.
    """

    def __init__(
        self,
        predictor: Callable[[int, int, int], nn.Module],
        channels: Sequence[int],
        boxes: Sequence[int],
        num_classes: int,
    ) -> None:
        super().__init__()
        sizes = list(zip(channels, boxes, strict=True))
        self.cls_logits = nn.ModuleList(predictor(c, count * (num_classes + 1), 1) for c, count in sizes)
        self.box_deltas = nn.ModuleList(predictor(c, count * 4, 1) for c, count in sizes)

    def forward(self, maps: list[Tensor]) -> dict[str, list[Tensor]]:
        """Raw outputs of every map.

        Args:
            maps: (N, channels[i], h_i, w_i), fine to coarse.

        Returns:
            ``cls_logits``: (N, A·(K+1), h, w) a map, channel a·(K+1) + k, the background being k = K; ``box_deltas``:
            (N, A·4, h, w), channel a·4 + j. A is that map's ``boxes``.
        """
        return {
            "cls_logits": [predictor(x) for predictor, x in zip(self.cls_logits, maps, strict=True)],
            "box_deltas": [predictor(x) for predictor, x in zip(self.box_deltas, maps, strict=True)],
        }


class SSDHead(SSDPredictors):
    """The paper's head, and real: it has no 1-bit weight, whatever the rest of the net has.

    Args:
        channels: of the maps, fine to coarse.
        boxes: default boxes a position, one number a map.
        num_classes: K >= 1, without the background.
    """

    def __init__(self, channels: Sequence[int], boxes: Sequence[int], num_classes: int) -> None:
        super().__init__(real_predictor, channels, boxes, num_classes)


class UnitSSDHead(SSDPredictors):
    """A head of 3×3 units, each ending in a BatchNorm: binary where the unit is.

    With `PlainUnit` weights and activations of the predictors are 1-bit, and the BatchNorm on the outputs is real. A unit with
    a path of weights (`shortcut`, the default of `ReActUnit`) would add a real 1×1 convolution to each. BiDet's README (Wang
    et al., 2020) calls such heads binary, while its code and authors keep them real: theirs is `SSDHead`.

    Args:
        channels: of the maps, fine to coarse.
        boxes: default boxes a position, one number a map.
        num_classes: K >= 1, without the background.
        unit: (in_channels, out_channels, stride) -> the 3×3 unit.
    """

    def __init__(
        self,
        channels: Sequence[int],
        boxes: Sequence[int],
        num_classes: int,
        unit: Callable[[int, int, int], Unit] = PlainUnit,
    ) -> None:
        super().__init__(unit, channels, boxes, num_classes)
