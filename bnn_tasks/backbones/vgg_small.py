"""VGG-small, the binary literature's second network on CIFAR (Hubara et al., Binarized Neural Networks, 2016)."""

from collections.abc import Callable, Sequence

from timm.models import FeatureInfo
from torch import Tensor, nn

from bnn_tasks.backbones.pooled_units import BACPUnit
from bnn_tasks.backbones.stages import StagedBackbone
from bnn_tasks.backbones.units import Unit


class VGGSmall(StagedBackbone):
    """128-128-P-256-256-P-512-512-P: a real first convolution, five units, a pool in every second one.

    The literature's net is this with `FlattenHead` (size 4 for 32×32 images). Any unit fits: `BACPUnit`, `CBAPUnit` and
    their real twin `RealPooledUnit` pool; others (`ReActUnit`, `RealUnit`) halve the map by the convolution's stride.

    Args:
        unit: (in_channels, out_channels, stride) -> the 3×3 unit.
        width: channels of the first two layers, >= 1; the next have 2 and 4 times as many.
        out_indices: which maps to return, of 0, 1, 2: after each pool, of stride 2, 4, 8.
        in_channels: channels of the images, >= 1; 3 is RGB, 1 grey or infrared.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        unit: Callable[[int, int, int], Unit] = BACPUnit,
        width: int = 128,
        out_indices: Sequence[int] = (2,),
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"Expected `width` to be >= 1, but got {width}.")
        if in_channels < 1:
            raise ValueError(f"Expected `in_channels` to be >= 1, but got {in_channels}.")
        self._set_out_indices(out_indices, 3)
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages = [
            nn.Sequential(unit(width, width, 2)),
            nn.Sequential(unit(width, 2 * width, 1), unit(2 * width, 2 * width, 2)),
            nn.Sequential(unit(2 * width, 4 * width, 1), unit(4 * width, 4 * width, 2)),
        ]
        self._add_stages(stages[: max(out_indices) + 1])
        self.feature_info = FeatureInfo(
            [
                {"num_chs": width * 2**index, "reduction": 2 ** (index + 1), "module": f"layer{index + 1}"}
                for index in range(3)
            ],
            self.out_indices,
        )
        self._initialise_real_convolutions()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Extract features from `x`, (N, in_channels, H, W), normalised; one map per entry of ``out_indices``."""
        maps = self._run_stages(self.bn1(self.conv1(x)))
        return [maps[index] for index in self.out_indices]
