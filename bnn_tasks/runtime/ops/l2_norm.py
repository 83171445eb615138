"""Normalisation over channels."""

from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime.ops.attrs import Real
from bnn_tasks.runtime.ops.base import Attrs, Context, Role
from bnn_tasks.runtime.ops.elementwise import Elementwise


class L2Norm(Elementwise):
    """scale · x / max(‖x‖₂, eps), the norm over the channels of a pixel; scale (C). SSD's conv4_3 (Liu et al., 2016)."""

    attrs: ClassVar = {"eps": Real(1e-30, 1)}  # above 0: a pixel of zeros stays zeros
    roles: ClassVar = {"scale": Role("float32", 1)}

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Divide, then scale."""
        x = inputs[0]
        norm = np.sqrt(np.einsum("...c,...c->...", x, x))
        return [x / np.maximum(norm, np.float32(attrs["eps"]))[..., None] * prepared["scale"]]
