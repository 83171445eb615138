"""What every decoder of a segmenter is."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

ActivationFactory = Callable[[], nn.Module]


class SegmentationDecoder(nn.Module):
    """Base class of the decoders: a backbone's maps, fine to coarse -> logits (N, K, h, w)."""

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits, at the decoder's own resolution.

        Args:
            maps: (N, C_i, h_i, w_i), fine to coarse.
        """
        raise NotImplementedError


class PixelClassifier(nn.Sequential):
    """Activation, dropout and a real 1×1 convolution: the logits, as real as every published binary net has them.

    Args:
        channels: of the map that is read.
        num_classes: K >= 1.
        activation: builds what comes before the convolution: a ReLU after real units, which end in a BatchNorm; nothing
            after binary ones, which end in their own nonlinearity.
        dropout: share of channels that training drops, in [0, 1).

    Raises:
        ValueError: `dropout` is out of range.
    """

    def __init__(
        self, channels: int, num_classes: int, activation: ActivationFactory = nn.Identity, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"Expected `dropout` to be in [0, 1), but got {dropout}.")
        self.activation = activation()
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.conv = nn.Conv2d(channels, num_classes, 1)


def check_maps(in_channels: Sequence[int], least: int, decoder: str) -> None:
    """Raise ValueError unless the backbone returns enough maps.

    Args:
        in_channels: of the maps.
        least: how many the decoder reads.
        decoder: its name.
    """
    if len(in_channels) < least:
        raise ValueError(
            f"Expected a backbone that returns at least {least} maps for {decoder}, but got {len(in_channels)}. "
            "Cure: more `out_indices` of the backbone."
        )


def check_positive(**values: int) -> None:
    """Raise ValueError unless every value is >= 1.

    Args:
        **values: arguments by name.
    """
    if wrong := {name: value for name, value in values.items() if value < 1}:
        names, numbers = ", ".join(f"`{name}`" for name in wrong), ", ".join(map(str, wrong.values()))
        raise ValueError(f"Expected {names} to be >= 1, but got {numbers}.")
