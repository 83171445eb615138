"""The float twin in torch, eager, channels last."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bnn_tasks.bench.material import Net
from bnn_tasks.bench.peers.base import Contender, framed
from bnn_tasks.bench.simplify import float_net
from bnn_tasks.bench.twin import make_twin
from bnn_tasks.runtime.format import load


class _Model:
    about: dict[str, str]

    def __init__(self, net: Net) -> None:
        self._twin = make_twin(float_net(*load(net.float_artifact))).to(memory_format=torch.channels_last)
        self.about = {"runs": "eager, channels last, inference mode"}

    def feed(self, image: np.ndarray, given: Sequence[np.ndarray]) -> Any:
        # A view: channels last is what the image is.
        return [torch.from_numpy(image)[None].permute(0, 3, 1, 2), *(torch.from_numpy(value) for value in given)]

    def infer(self, fed: Any) -> list[np.ndarray]:
        with torch.inference_mode():
            return [y.numpy() for y in self._twin(*fed)]


def open_torch(net: Net, threads: int, options: Mapping[str, Any]) -> Contender:
    """The twin of the net's float artifact.

    Args:
        net: its material is ready.
        threads: within an operation.
        options: none.
    """
    torch.set_num_threads(threads)
    return framed(net, _Model(net))
