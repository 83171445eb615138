"""Feature map -> logits."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from bnn_tasks.backbones.units import binary_activations, weights_only
from bnn_tasks.binary import BinaryLinear, Method


class Head(nn.Module):
    """Base class of the classifiers' heads: (N, in_channels, h, w) -> logits (N, num_classes)."""


class LinearHead(Head):
    """Global average pooling and a real linear layer, for maps of any size.

    Args:
        in_channels: channels of the map.
        num_classes: K.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of `x`, (N, in_channels, h, w)."""
        y: Tensor = self.fc(self.flatten(self.pool(x)))
        return y


def check_map(x: Tensor, size: Sequence[int]) -> None:
    """Refuse a map of another size than a flattening head was built for; in tracing there is nothing to check.

    Args:
        x: (N, C, h, w).
        size: (h, w) expected.

    Raises:
        ValueError: the sizes differ.
    """
    if isinstance(x, Tensor) and tuple(x.shape[-2:]) != tuple(size):
        raise ValueError(
            f"Expected a map of {size[0]}×{size[1]} pixels, but got {x.shape[-2]}×{x.shape[-1]}. Cure: the head's `size`, or "
            "LinearHead, which takes any."
        )


class FlattenHead(Head):
    """A real linear layer over every pixel of the map: VGG-small's.

    logits = W · flatten(activation(x)) + b.

    Args:
        in_channels: channels of the map.
        num_classes: K.
        size: side of the map, or (height, width); 4 for 32×32 images at stride 8.
        activation: the nonlinearity before the layer, of a unit's signed output; ``nn.Hardtanh`` is IR-Net's.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        size: int | tuple[int, int] = 4,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.activation = activation()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(in_channels * self.size[0] * self.size[1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of `x`, (N, in_channels, *size)."""
        check_map(x, self.size)
        y: Tensor = self.fc(self.flatten(self.activation(x)))
        return y


class LinearUnit(nn.Module):
    """Base class: a linear layer with its activation and BatchNorm, (N, in_features) -> (N, out_features)."""


class BinaryLinearUnit(LinearUnit):
    """BatchNorm(blinear(x)).

    Args:
        in_features: length of the input.
        out_features: length of the output.
        method: how weights and activations become ±1.

    Raises:
        ValueError: a size is below 1, or the method is unknown or binarises weights only.
    """

    def __init__(self, in_features: int, out_features: int, method: str | Method = "xnor") -> None:
        super().__init__()
        self.linear = BinaryLinear(in_features, out_features, method=binary_activations(method))
        self.bn = nn.BatchNorm1d(out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_features)."""
        y: Tensor = self.bn(self.linear(x))
        return y


class RealLinearUnit(LinearUnit):
    """BatchNorm(linear(ReLU(x))): the real twin.

    Args:
        in_features: length of the input.
        out_features: length of the output.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.activation = nn.ReLU()
        self.linear: nn.Module = nn.Linear(in_features, out_features, bias=False)
        self.bn = nn.BatchNorm1d(out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_features)."""
        y: Tensor = self.bn(self.linear(self.activation(x)))
        return y


class WeightOnlyLinearUnit(RealLinearUnit):
    """BatchNorm(blinear(ReLU(x))): binary weights on real activations, for BinaryConnect and BWN.

    Args:
        in_features: length of the input.
        out_features: length of the output.
        method: how weights become ±1; one that leaves activations real.

    Raises:
        ValueError: a size is below 1, or the method is unknown or binarises activations.
    """

    def __init__(self, in_features: int, out_features: int, method: str | Method = "bwn") -> None:
        super().__init__(in_features, out_features)
        self.linear = BinaryLinear(in_features, out_features, method=weights_only(method))


class AlexNetHead(Head):
    """AlexNet's fc6, fc7 and fc8 as XNOR-Net has them: two units and a real linear layer after a ReLU.

    Args:
        in_channels: channels of the map.
        num_classes: K.
        size: side of the map, or (height, width); 7 for 224×224 images at stride 32.
        hidden: length of fc6's and fc7's outputs, >= 1.
        unit: (in_features, out_features) -> unit of fc6 and fc7.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        size: int | tuple[int, int] = 7,
        hidden: int = 4096,
        unit: Callable[[int, int], LinearUnit] = BinaryLinearUnit,
    ) -> None:
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.flatten = nn.Flatten()
        self.fc6 = unit(in_channels * self.size[0] * self.size[1], hidden)
        self.fc7 = unit(hidden, hidden)
        self.activation = nn.ReLU()
        self.fc8 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of `x`, (N, in_channels, *size)."""
        check_map(x, self.size)
        y: Tensor = self.fc8(self.activation(self.fc7(self.fc6(self.flatten(x)))))
        return y
