"""AlexNet as XNOR-Net binarises it (Rastegari et al., XNOR-Net, 2016; Krizhevsky et al., 2012)."""

from collections.abc import Callable, Sequence

from timm.models import FeatureInfo
from torch import Tensor, nn

from bnn_tasks.backbones.pooled_units import BACPUnit, max_pool
from bnn_tasks.backbones.stages import StagedBackbone
from bnn_tasks.backbones.units import Unit


class AlexNet(StagedBackbone):
    """conv1 real, conv2 to conv5 units; fc6 to fc8 are the head's (`AlexNetHead` in bnn_tasks.models).

    Pads so that a map of stride r has ⌈H/r⌉ pixels, as every backbone here: 7×7 for 224×224, where the original has 6×6.

    For output stride 16 conv5 goes without its pool; for 8 conv2 does too, and the taps of conv3 to conv5 lie twice as far
    apart, so that they see what they saw (Chen et al., DeepLab, 2015).

    Args:
        unit: (in_channels, out_channels, stride), and by name kernel_size, pool_kernel and dilation -> unit with a pool for
            stride 2: `BACPUnit`, `CBAPUnit`, their real twin `RealPooledUnit`, or `WeightOnlyPooledUnit`.
        width: a 3rd of conv1's channels, >= 1; conv2 to conv5 have 8, 12, 12, 8 times as many. 32 is the original's.
        out_indices: which maps to return, of 0 (after conv1's pool, stride 8), 1 (conv2's, 16) and 2 (conv5's, 32); no stride
            is above `output_stride`.
        output_stride: pixels between the positions of the last map: 8, 16 or 32 (the original's).
        in_channels: channels of the images, >= 1; 3 is RGB, 1 grey or infrared.

    Raises:
        ValueError: an argument is out of range.
        TypeError: `unit` has no pool of its own.
    """

    def __init__(
        self,
        unit: Callable[[int, int, int], Unit] = BACPUnit,
        width: int = 32,
        out_indices: Sequence[int] = (2,),
        output_stride: int = 32,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"Expected `width` to be >= 1, but got {width}.")
        if in_channels < 1:
            raise ValueError(f"Expected `in_channels` to be >= 1, but got {in_channels}.")
        if output_stride not in (8, 16, 32):
            raise ValueError(f"Expected `output_stride` to be 8, 16 or 32, but got {output_stride}.")
        self._set_out_indices(out_indices, 3)
        build: Callable[..., Unit] = unit
        conv2_stride, dilation = (1, 2) if output_stride == 8 else (2, 1)
        conv5_stride = 2 if output_stride == 32 else 1
        channels = [3 * width, 8 * width, 12 * width, 12 * width, 8 * width]
        self.conv1 = nn.Conv2d(in_channels, channels[0], 11, 4, 5, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.act1 = nn.ReLU()
        self.maxpool = max_pool(3)
        self.bn2 = nn.BatchNorm2d(channels[0])  # the units take signs, which a ReLU's output has not
        try:
            stages = [
                nn.Sequential(build(channels[0], channels[1], conv2_stride, kernel_size=5, pool_kernel=3)),
                nn.Sequential(
                    build(channels[1], channels[2], 1, dilation=dilation),
                    build(channels[2], channels[3], 1, dilation=dilation),
                    build(channels[3], channels[4], conv5_stride, pool_kernel=3, dilation=dilation),
                ),
            ]
        except TypeError as error:
            raise TypeError(
                "Expected `unit` to be one with a pool of its own (BACPUnit, CBAPUnit, RealPooledUnit, WeightOnlyPooledUnit), "
                f"but building it failed: {error}."
            ) from error
        self._add_stages(stages[: max(out_indices)])
        self.feature_info = FeatureInfo(
            [
                {"num_chs": channels[0], "reduction": 8, "module": "bn2"},
                {"num_chs": channels[1], "reduction": min(16, output_stride), "module": "layer1"},
                {"num_chs": channels[4], "reduction": output_stride, "module": "layer2"},
            ],
            self.out_indices,
        )
        self._initialise_real_convolutions()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Extract features from `x`, (N, in_channels, H, W), normalised; one map per entry of ``out_indices``."""
        stem = self.bn2(self.maxpool(self.act1(self.bn1(self.conv1(x)))))
        maps = [stem, *self._run_stages(stem)]
        return [maps[index] for index in self.out_indices]
