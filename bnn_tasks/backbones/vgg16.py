"""VGG-16 as detectors read it (Simonyan & Zisserman, 2015; fully convolutional as in Liu et al., SSD, 2016, §2.2)."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from timm.models import FeatureInfo
from torch import Tensor, nn

from bnn_tasks.backbones.activated_units import ReActUnit
from bnn_tasks.backbones.pooled_units import max_pool
from bnn_tasks.backbones.stages import StagedBackbone
from bnn_tasks.backbones.units import Unit

WIDTHS = (1, 2, 4, 8, 8)  # channels of conv1 to conv5 over `width` (Simonyan & Zisserman, 2015, table 1)
DEPTHS = (2, 2, 3, 3, 3)  # their convolutions, column D


class VGG16(StagedBackbone):
    """conv1_1 real, conv1_2 to conv5_3 units, then fc6 and fc7 as units: conv6 3×3 of dilation 6, conv7 1×1.

    Real are conv1_1 with its BatchNorm, the max-pools with a BatchNorm each, and whatever the unit has around its convolution:
    `ReActUnit` and `BiRealUnit` have by default a real 1×1 where channels grow (conv2_1, conv3_1, conv4_1, conv6), and none
    with ``path`` `ChannelPath`. A unit's output is signed, a BatchNorm's or a sum, and so are the maps: a `RealUnit` starts
    with its ReLU.

    The maximum of signed values is mostly positive, so that a sign right after a pool would be mostly +1; the pool's BatchNorm
    balances it again (XNOR-Net's order of layers, Rastegari et al., 2016).

    pool5 is 3×3 of stride 1, and the others round up, so that 300×300 px give 38×38 at stride 8 and 19×19 at stride 16. For
    stride 8 pool4 is so too and conv5 and conv6 double their taps' distance (Chen et al., DeepLab, 2015); for stride 32 pool5
    is the original's, and conv6's taps lie half as far apart.

    Args:
        unit: (in_channels, out_channels, stride), and by name kernel_size and dilation -> unit, real or binary.
        width: channels of conv1, >= 1; conv2 to conv5 have 2, 4, 8, 8 times as many, conv6 and conv7 16. 64 is the original's.
        out_indices: which maps to return, of 0 … 4: after conv1_2, conv2_2, conv3_3, conv4_3 and conv7, of stride 1, 2, 4,
            8 and `output_stride`; SSD's are 3 and 4.
        output_stride: pixels between the positions of the last map: 8, 16 (SSD's) or 32.
        in_channels: channels of the images, >= 1; 3 is RGB, 1 grey or infrared.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        unit: Callable[[int, int, int], Unit] = ReActUnit,
        width: int = 64,
        out_indices: Sequence[int] = (3, 4),
        output_stride: int = 16,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"Expected `width` to be >= 1, but got {width}.")
        if in_channels < 1:
            raise ValueError(f"Expected `in_channels` to be >= 1, but got {in_channels}.")
        if output_stride not in (8, 16, 32):
            raise ValueError(f"Expected `output_stride` to be 8, 16 or 32, but got {output_stride}.")
        self._set_out_indices(out_indices, 5)
        build: Callable[..., Unit] = unit
        self.conv1_1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1_1 = nn.BatchNorm2d(width)
        stages = []
        channels = width
        for index, (factor, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            dilated = index == 4 and output_stride == 8
            if index > 0:
                layers[f"pool{index}"] = nn.MaxPool2d(3, 1, 1) if dilated else max_pool(2)
                layers[f"pool{index}_bn"] = nn.BatchNorm2d(channels)
            for number in range(2 if index == 0 else 1, depth + 1):
                layers[f"conv{index + 1}_{number}"] = build(channels, factor * width, 1, dilation=1 + dilated)
                channels = factor * width
            stages.append(layers)
        stages[-1]["pool5"] = max_pool(2) if output_stride == 32 else nn.MaxPool2d(3, 1, 1)
        stages[-1]["pool5_bn"] = nn.BatchNorm2d(channels)
        stages[-1]["conv6"] = build(channels, 16 * width, 1, dilation=6 * 16 // output_stride)
        stages[-1]["conv7"] = build(16 * width, 16 * width, 1, kernel_size=1)
        self._add_stages([nn.Sequential(layers) for layers in stages[: max(out_indices) + 1]])
        self.feature_info = FeatureInfo(
            [
                {"num_chs": width * factor, "reduction": reduction, "module": f"layer{index + 1}"}
                for index, (factor, reduction) in enumerate(
                    zip((*WIDTHS[:4], 16), (1, 2, 4, 8, output_stride), strict=True)
                )
            ],
            self.out_indices,
        )
        self._initialise_real_convolutions()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Extract features from `x`, (N, in_channels, H, W), normalised; one map per entry of ``out_indices``."""
        maps = self._run_stages(self.bn1_1(self.conv1_1(x)))
        return [maps[index] for index in self.out_indices]
