"""Amplification and sign flips of one net, an attack beside random noise of its size."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn_tasks.robustness.diagnostics.amplification import noise_amplification
from bnn_tasks.robustness.diagnostics.matched_noise import matched_noise
from bnn_tasks.robustness.diagnostics.signs import sign_flips


@dataclass(frozen=True)
class LayerSensitivity:
    """Means over the images of one layer.

    Attributes:
        name: of the layer.
        adversarial: D_l or flip rate under the attack.
        random: the same under `matched_noise`.
    """

    name: str
    adversarial: float
    random: float


@dataclass(frozen=True)
class Sensitivity:
    """A net's answer to a perturbation, by depth.

    Attributes:
        amplification: D_l of every convolution, linear layer and BatchNorm; see `noise_amplification`.
        flips: share of changed input signs of every binary layer; see `sign_flips`. Empty for a real net.
    """

    amplification: list[LayerSensitivity]
    flips: list[LayerSensitivity]


def sensitivity(model: nn.Module, images: Tensor, adversarial: Tensor, generator: torch.Generator) -> Sensitivity:
    """Measure one net; its twin is measured by a second call, with the images that were attacked through the twin.

    Args:
        model: in evaluation mode.
        images: (B, C, H, W) in [0, 1].
        adversarial: what an attack made of them.
        generator: on the CPU.

    Raises:
        ValueError: the model is in training mode.
    """
    random = matched_noise(images, adversarial, generator)
    return Sensitivity(
        _rows(noise_amplification(model, images, adversarial), noise_amplification(model, images, random)),
        _rows(sign_flips(model, images, adversarial), sign_flips(model, images, random)),
    )


def _rows(adversarial: dict[str, Tensor], random: dict[str, Tensor]) -> list[LayerSensitivity]:
    return [
        LayerSensitivity(name, float(value.mean()), float(random[name].mean())) for name, value in adversarial.items()
    ]
