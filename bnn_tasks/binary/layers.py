"""Binary convolution and linear layers: ±1 activations times ±1 weights, and their scales."""

import torch
from torch import Tensor, nn

from bnn_tasks.binary.geometry import Geometry, LayerShape, LinearGeometry, Pair
from bnn_tasks.binary.methods.method import Method
from bnn_tasks.binary.methods.registry import get_method
from bnn_tasks.binary.terms import Ones, Term, Terms, evaluate

PAD_VALUES = (0, 1, -1)


def _pair(name: str, value: int | tuple[int, int], minimum: int) -> Pair:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or any(not isinstance(v, int) or v < minimum for v in pair):
        raise ValueError(f"Expected `{name}` to be an integer or a pair of integers >= {minimum}, but got {value!r}.")
    return pair[0], pair[1]


class _BinaryLayer(nn.Module):
    """What the two layers share: latent weight, the binarisers, bias.

    Attributes:
        weight: the latent weight.
        float_shape: of a float layer's weight: (O, C/groups, kh, kw), or (O, C) of a linear layer.
    """

    def __init__(self, shape: LayerShape, geometry: Geometry, bias: bool, method: str | Method) -> None:
        super().__init__()
        method = get_method(method)
        self.method_name = method.name
        self.geometry = geometry
        self.float_shape = shape.weight
        self.weight_binarizer = method.weight(shape)
        self.activation_binarizer = method.activation(shape)
        self.output_scale = method.output(shape)
        self.weight = nn.Parameter(self.weight_binarizer.initial_latent(torch.empty(shape.weight)).clone())
        self.bias = nn.Parameter(torch.zeros(shape.out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier-uniform latent weights (Glorot & Bengio, 2010), inside the window in which clipped STEs learn."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @torch.no_grad()
    def load_float(self, weight: Tensor, bias: Tensor | None) -> None:
        """Start from a float layer.

        Args:
            weight: of ``float_shape``.
            bias: (O,), or None.
        """
        self.weight.copy_(self.weight_binarizer.initial_latent(weight))
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias)

    @property
    def ready(self) -> bool:
        """Whether weights and activations are binary by now, or a schedule has still to harden them."""
        return self.weight_binarizer.ready and self.activation_binarizer.ready

    def check(self) -> None:
        """Raise ValueError if the latent weight cannot be binarised: NaN, infinite, or without the spread the method needs."""
        if not bool(torch.isfinite(self.weight).all()):
            raise ValueError(
                "Expected finite latent weights, but some are NaN or infinite. Cure: an earlier checkpoint."
            )
        self.weight_binarizer.check(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply.

        Where no gradient is wanted the canonical form is computed: sums of ±1, exact integers in float32, then the scales.
        Where one is, the scales go into the weight, which saves passes over the map; the two differ by rounding alone.

        Args:
            x: (N, in_channels, H, W) real; of a linear layer (N, in_features).

        Returns:
            (N, out_channels, H', W') real, or (N, out_features).
        """
        if not torch.is_grad_enabled() and self.ready:
            return evaluate(self.terms(), x)
        y = self.activation_binarizer.product(x, self.weight_binarizer(self.weight), self.geometry)
        y = self.output_scale(y, x, self.geometry)
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, *[1] * (y.dim() - 2))

    @torch.no_grad()
    def terms(self) -> Terms:
        """The layer in canonical form, detached copies: every basis of the weight with every plane of the activation.

        Raises:
            ValueError: a schedule has not reached hard signs, the latent weight cannot be binarised, or the layer's scales are
                tied to a size of input that is not fixed.
        """
        if not self.ready:
            raise ValueError(
                f"Expected a net whose training is finished, but method {self.method_name!r} has real values in it before. "
                f"Cure: {self.weight_binarizer.cure}."
            )
        self.check()
        factor = self.output_scale.factor()
        planes = self.activation_binarizer.planes()
        geometry = self.geometry
        terms = []
        for basis in self.weight_binarizer.bases(self.weight.detach()):
            signs = basis.signs.to(torch.int8)
            for plane in planes:
                scale = _multiply(basis.scale, plane.scale, factor, len(signs))
                terms.append(
                    Term(
                        weight=signs,
                        activation=plane.operand,
                        scale=scale,
                        stride=geometry.stride,
                        padding=geometry.padding,
                        dilation=geometry.dilation,
                        groups=geometry.groups,
                        pad_value=abs(geometry.pad_value) if isinstance(plane.operand, Ones) else geometry.pad_value,
                        window_mean=self.output_scale.window_mean,
                    )
                )
        return Terms(tuple(terms), None if self.bias is None else self.bias.detach().float().clone(), geometry)


def _multiply(weight: Tensor | None, plane: Tensor | None, factor: Tensor | None, outputs: int) -> Tensor | None:
    """The scale of a term: (O,), (O, H', W') with a spatial factor, None for 1."""
    given = [scale for scale in (weight, plane) if scale is not None]
    if not given and factor is None:
        return None
    # Constants of a method lie on the CPU, what it learned on the layer's device: the scale goes to the latter.
    parts = [*given, *([] if factor is None else [factor])]
    device = next((part.device for part in parts if part.device.type != "cpu"), torch.device("cpu"))
    scale = torch.ones(outputs, device=device)
    for part in given:
        scale = scale * part.detach().to(device, torch.float32)
    if factor is None:
        return scale
    return scale * factor.to(device) if factor.dim() == 1 else scale.view(-1, 1, 1) * factor.to(device)


class BinaryConv2d(_BinaryLayer):
    """y = Σ scale · (A ⊛ B) + bias, with the binarisers of a method: A of the input, B of the latent weight, both ±1.

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
        sizes = (groups, in_channels, out_channels)
        if (
            any(not isinstance(size, int) or size < 1 for size in sizes)
            or in_channels % groups
            or out_channels % groups
        ):
            raise ValueError(
                f"Expected `groups` to divide `in_channels` and `out_channels`, but got groups={groups!r}, "
                f"in_channels={in_channels!r}, out_channels={out_channels!r}."
            )
        if pad_value not in PAD_VALUES:
            raise ValueError(f"Expected `pad_value` to be one of {PAD_VALUES}, but got {pad_value!r}.")
        geometry = Geometry(
            kernel,
            _pair("stride", stride, 1),
            _pair("padding", padding, 0),
            _pair("dilation", dilation, 1),
            groups,
            pad_value,
        )
        super().__init__(LayerShape(out_channels, in_channels, kernel, groups), geometry, bias, method)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = geometry.kernel, geometry.stride, geometry.padding
        self.dilation, self.groups, self.pad_value = geometry.dilation, groups, pad_value

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
        if any(not isinstance(size, int) or size < 1 for size in (in_features, out_features)):
            raise ValueError(f"Expected feature counts >= 1, but got {in_features!r} and {out_features!r}.")
        super().__init__(LayerShape(out_features, in_features, linear=True), LinearGeometry(), bias, method)
        self.in_features, self.out_features = in_features, out_features

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x`, (..., in_features) real; gives (..., out_features)."""
        if x.dim() != 2:  # per-feature thresholds and scales lie along dimension 1
            rows: Tensor = super().forward(x.reshape(-1, self.in_features))
            return rows.view(*x.shape[:-1], self.out_features)
        return super().forward(x)

    def extra_repr(self) -> str:
        """Sizes and method."""
        return f"{self.in_features}, {self.out_features}, method={self.method_name}"
