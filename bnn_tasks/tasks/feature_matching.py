"""A student backbone with what feature distillation needs beside it: adapters, and the statistics of the teacher's channels."""

import logging

import torch
from torch import Tensor, nn

from bnn_tasks.backbones import Backbone
from bnn_tasks.models import Normalize
from bnn_tasks.tasks.teachers import FeatureTeacher

_log = logging.getLogger(__name__)

EPSILON = 1e-5  # BatchNorm's: a channel that never moves stays near 0


class ChannelStandardisation(nn.Module):
    """z_c = (t_c - μ_c) / sqrt(σ_c² + ε), with mean and variance of channel c over all that was seen in training.

    The teacher is fixed, so its statistics are too: they are pooled over all batches, each pixel counting alike (Chan,
    Golub and LeVeque, 1979), and settle as 1/batches, where a BatchNorm's moving average would keep the targets trembling.
    Before the first batch z = t.

    Args:
        channels: C, >= 1.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def _update(self, x: Tensor) -> None:
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        total = self.count + x.numel() / x.shape[1]
        share = 1 - self.count / total  # of this batch
        difference = mean - self.mean
        spread = share * (1 - share) * difference.square()
        self.variance.copy_((1 - share) * self.variance + share * variance + spread)
        self.mean.add_(share * difference)
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        """Standardise `x`, (N, C, H, W), without gradients, in float32; in training its statistics count first."""
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            x = x.float()
            if self.training:
                self._update(x)
            scale = torch.rsqrt(self.variance + EPSILON)
            return (x - self.mean.view(-1, 1, 1)) * scale.view(-1, 1, 1)


class FeatureStudent(nn.Module):
    """Normalisation, a backbone, and a 1×1 convolution from each of its maps to the teacher's map of the same stride.

    Of several maps of one stride the last is taken, of both nets: the deepest.

    Args:
        backbone: image -> feature maps; what is wanted in the end.
        teacher: whose strides and channels the adapters have; it is not kept.

    Attributes:
        backbone: the student; in a checkpoint its tensors are ``model.backbone.*``.
        strides: of the matched maps, fine to coarse.

    Raises:
        ValueError: no stride is in both.
    """

    def __init__(self, backbone: Backbone, teacher: FeatureTeacher) -> None:
        super().__init__()
        own = {stride: place for place, stride in enumerate(backbone.feature_info.reduction())}
        wanted = {stride: place for place, stride in enumerate(teacher.strides)}
        self.strides = sorted(own.keys() & wanted.keys())
        if not self.strides:
            raise ValueError(
                f"Expected a map of one stride in both, but the backbone has {sorted(own)} and the teacher {sorted(wanted)}. "
                "Cure: other `out_indices` of the backbone, or another teacher."
            )
        if left_out := sorted(own.keys() - wanted.keys()):
            _log.warning("the teacher has no map of stride %s; what only leads there is not trained", left_out)
        self._own = [own[stride] for stride in self.strides]
        self._wanted = [wanted[stride] for stride in self.strides]
        widths = backbone.feature_info.channels()
        channels = [teacher.channels[place] for place in self._wanted]
        self.normalize = Normalize()
        self.backbone = backbone
        self.adapters = nn.ModuleList(nn.Conv2d(widths[place], count, 1) for place, count in zip(self._own, channels))
        self.standardisations = nn.ModuleList(ChannelStandardisation(count) for count in channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The student's guess at the standardised maps of the teacher, one a matched stride.

        Args:
            images: (N, 3, H, W) RGB in [0, 1].
        """
        maps = self.backbone(self.normalize(images))
        return [adapter(maps[place]) for adapter, place in zip(self.adapters, self._own)]

    def targets(self, maps: list[Tensor]) -> list[Tensor]:
        """The teacher's matched maps, standardised.

        Args:
            maps: what the teacher gave.
        """
        return [standardise(maps[place]) for standardise, place in zip(self.standardisations, self._wanted)]
