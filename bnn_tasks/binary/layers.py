"""Binary convolution and linear layers: ±1 activations times ±1 weights, and a scale per output channel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_tasks.binary.methods import Method, get_method
from bnn_tasks.binary.terms import Term, Terms

PAD_VALUES = (0, 1, -1)


def _pair(name: str, value: int | tuple[int, int], minimum: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(not isinstance(v, int) or v < minimum for v in pair):
        raise ValueError(f"Expected `{name}` to be an integer or a pair of integers >= {minimum}, but got {value!r}.")
    return pair[0], pair[1]


class _BinaryLayer(nn.Module):
    """What the two layers share: latent weight, the two binarisers, bias."""

    def __init__(self, in_channels: int, shape: tuple[int, ...], bias: bool, method: str | Method) -> None:
        super().__init__()
        method = get_method(method)
        self.method_name = method.name
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        self.weight_binarizer = method.weight(shape[0])
        self.activation_binarizer = method.activation(in_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier-uniform latent weights (Glorot & Bengio, 2010), inside the window in which clipped STEs learn."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _rescale(self, y: Tensor, scale: Tensor | None) -> Tensor:
        shape = (-1, *[1] * (y.dim() - 2))
        if scale is not None:
            y = y * scale.to(y.dtype).view(shape)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype).view(shape)
        return y

    def _terms(self, **geometry: object) -> Terms:
        with torch.no_grad():
            binary, scale = self.weight_binarizer(self.weight)
        term = Term(
            weight=binary.detach().to(torch.int8),
            activation=self.activation_binarizer.threshold(),
            scale=None if scale is None else scale.detach().float().clone(),
            **geometry,  # type: ignore[arg-type]
        )
        return Terms((term,), None if self.bias is None else self.bias.detach().float().clone())


class BinaryConv2d(_BinaryLayer):
    """y = scale · (sign-like(x) ⊛ sign(W)) + bias, with the binarisers of a method.

    The convolution itself runs on ±1 values, so in float32 its sums are exact integers: what the XNOR kernel counts.
    The sign belongs to the layer: feed it a BatchNorm's output, never a ReLU's (whose every sign is +1).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: taps, an integer or (height, width).
        stride: as in torch.nn.Conv2d.
        padding: pixels added on each side, as in torch.nn.Conv2d.
        dilation: as in torch.nn.Conv2d.
        groups: as in torch.nn.Conv2d.
        bias: whether to add a learned real bias.
        pad_value: what a padded tap counts as: 0 adds nothing (exact: the runtime counts valid taps only), ±1 is a bit.
        method: a registered method's name or a `Method`.

    Raises:
        ValueError: a size is out of range, groups do not divide the channels, `pad_value` is not 0, 1 or -1, or the
            method is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        pad_value: int = 0,
        method: str | Method = "react",
    ) -> None:
        kernel = _pair("kernel_size", kernel_size, 1)
        if groups < 1 or in_channels < 1 or in_channels % groups or out_channels < 1 or out_channels % groups:
            raise ValueError(
                f"Expected `groups` to divide `in_channels` and `out_channels`, but got groups={groups}, "
                f"in_channels={in_channels}, out_channels={out_channels}."
            )
        if pad_value not in PAD_VALUES:
            raise ValueError(f"Expected `pad_value` to be one of {PAD_VALUES}, but got {pad_value!r}.")
        super().__init__(in_channels, (out_channels, in_channels // groups, *kernel), bias, method)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = kernel
        self.stride = _pair("stride", stride, 1)
        self.padding = _pair("padding", padding, 0)
        self.dilation = _pair("dilation", dilation, 1)
        self.groups = groups
        self.pad_value = pad_value

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: (N, in_channels, H, W) real.

        Returns:
            (N, out_channels, H', W') real.
        """
        signs = self.activation_binarizer(x)
        weight, scale = self.weight_binarizer(self.weight)
        padding = self.padding
        if self.pad_value != 0 and padding != (0, 0):
            signs = F.pad(signs, (padding[1], padding[1], padding[0], padding[0]), value=float(self.pad_value))
            padding = (0, 0)
        y = F.conv2d(signs, weight.to(signs.dtype), None, self.stride, padding, self.dilation, self.groups)
        return self._rescale(y, scale)

    def terms(self) -> Terms:
        """The layer in canonical form, detached copies."""
        return self._terms(
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            pad_value=self.pad_value,
        )

    def extra_repr(self) -> str:
        """Geometry and method, as torch prints a convolution."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, groups={self.groups}, pad_value={self.pad_value}, "
            f"method={self.method_name}"
        )


class BinaryLinear(_BinaryLayer):
    """y = scale · (sign(W) · sign-like(x)) + bias, with the binarisers of a method.

    Args:
        in_features: length of the input.
        out_features: length of the output.
        bias: whether to add a learned real bias.
        method: a registered method's name or a `Method`.

    Raises:
        ValueError: a size is below 1, or the method is unknown.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = False, method: str | Method = "react") -> None:
        if min(in_features, out_features) < 1:
            raise ValueError(f"Expected feature counts >= 1, but got {in_features} and {out_features}.")
        super().__init__(in_features, (out_features, in_features), bias, method)
        self.in_features, self.out_features = in_features, out_features

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x`, (..., in_features) real; gives (..., out_features)."""
        if x.dim() != 2:  # per-feature thresholds and scales lie along dimension 1
            rows: Tensor = self(x.reshape(-1, self.in_features))
            return rows.view(*x.shape[:-1], self.out_features)
        signs = self.activation_binarizer(x)
        weight, scale = self.weight_binarizer(self.weight)
        return self._rescale(F.linear(signs, weight.to(signs.dtype)), scale)

    def terms(self) -> Terms:
        """The layer in canonical form, detached copies."""
        return self._terms()

    def extra_repr(self) -> str:
        """Sizes and method."""
        return f"{self.in_features}, {self.out_features}, method={self.method_name}"
