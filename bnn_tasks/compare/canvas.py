"""The artifact's way from a picture to the net's input, put in front of the torch net."""

import numpy as np
import torch
from torch import Tensor

from bnn_tasks.runtime import Session
from bnn_tasks.runtime.images import Placement, Size, to_channels


class Canvas:
    """A picture as the net takes it: resized by the artifact's rule, RGB or its luma, in [0, 1].

    Args:
        session: the artifact, which declares a resize rule.
    """

    def __init__(self, session: Session) -> None:
        assert session.resize is not None
        self.resize, self.channels = session.resize, session.graph.channels

    def __call__(self, image: np.ndarray) -> tuple[Tensor, Placement]:
        """The net's input for one picture, (1, C, H, W) float32, and where the picture lies on it.

        Args:
            image: (height, width, 3) uint8 RGB.
        """
        canvas, placement = self.resize.fit(image)
        return torch.from_numpy(to_channels(canvas, self.channels)).permute(2, 0, 1)[None].float() / 255, placement


def input_size(x: Tensor) -> Size:
    """(H, W) of an input.

    Args:
        x: (N, C, H, W).
    """
    return x.shape[2], x.shape[3]
