"""What a teacher of features offers: its strides and channels at once, its maps once its weights are loaded."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnn_tasks.models import Normalize
from bnn_tasks.models.detector import IMAGENET_MEAN, IMAGENET_STD


class FeatureTeacher(ABC):
    """A frozen net that gives a list of feature maps; base class.

    It is no ``nn.Module``: a task that holds one has none of its tensors among its parameters, in its checkpoint or in its
    optimiser. The weights are read at the first call, so that a checkpoint opens where the teacher's file is not. It always
    computes as in evaluation and without gradients, in the precision of the autocast around it.

    Args:
        strides: of the maps, fine to coarse, each >= 1.
        channels: of the maps, in the same order, each >= 1.
        mean: what the net's inputs are normalised with, per channel, in [0, 1]; ImageNet's by default.
        std: as ``mean``, > 0.
    """

    def __init__(
        self,
        strides: Sequence[int],
        channels: Sequence[int],
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        self.strides = tuple(strides)
        self.channels = tuple(channels)
        self.mean = tuple(mean)
        self.std = tuple(std)
        self._net: nn.Module | None = None

    @abstractmethod
    def load(self) -> nn.Module:
        """Build the net with its weights: normalised images (N, 3, H, W) -> list of the maps.

        Raises:
            ValueError: the weights cannot be had; the message says why, and the cure.
        """

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The feature maps, one (N, channels[i], h, w) a stride, on the images' device, without gradients.

        Args:
            images: (N, 3, H, W) RGB in [0, 1].

        Raises:
            ValueError: at the first call, the weights cannot be had.
        """
        if self._net is None:
            net = nn.Sequential(Normalize(self.mean, self.std), self.load())
            self._net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._net.to(images.device)
        with torch.no_grad():
            return list(self._net(images))

    def __getstate__(self) -> dict[str, Any]:
        # A copy of a task (averaged weights, another process) loads its teacher itself.
        return self.__dict__ | {"_net": None}
