"""What multiplies a layer's sums besides the scales of its weight: factors of the place, or of the input."""

from typing import Any

import torch
from torch import Tensor, nn

from bnn_tasks.binary.geometry import Geometry
from bnn_tasks.binary.terms import check_tied


class OutputScale(nn.Module):
    """Base class, and the scale 1."""

    window_mean = False

    def forward(self, y: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
        """Scale the sums in training.

        Args:
            y: sums, (N, O, H', W') or (N, O).
            x: the layer's real input, (N, C, H, W) or (N, C).
            geometry: of the layer.
        """
        return y

    def factor(self) -> Tensor | None:
        """The scale as a constant, (O,) or (O, H', W'), a detached copy; None is 1."""
        return None


class WindowMean(OutputScale):
    """K[p], the mean magnitude of the taps under the window: K = mean_c(abs(I)) * box/(w·h).

    Rastegari et al., XNOR-Net, 2016, §3.2. Padded taps count as abs(`pad_value`) in the mean. The paper states no gradient for
    K: it is held constant.
    """

    window_mean = True

    def forward(self, y: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
        """y · K."""
        means = geometry.window_mean(x.detach().abs()).to(y.dtype)
        return y * means.repeat_interleave(y.shape[1] // means.shape[1], dim=1)


class SpatialScale(OutputScale):
    """Base class of XNOR-Net++'s scales that differ from place to place: they tie a layer to one size of output.

    ``tie_to_size`` fixes the size, or a state dict of a tied layer; until then the layer cannot run.

    Args:
        out_channels: O.
    """

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.factors = nn.ParameterList()

    @property
    def tied(self) -> bool:
        """Whether the size is fixed."""
        return len(self.factors) > 0

    def tie(self, height: int, width: int) -> None:
        """Make the factors, ones, for an output of `height` × `width` pixels; those that fit already are left as they are."""
        shapes = self.shapes(height, width)
        if [tuple(factor.shape) for factor in self.factors] != shapes:
            self.factors = nn.ParameterList([torch.ones(shape) for shape in shapes])

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        saved = [tensor for name, tensor in state_dict.items() if name.startswith(f"{prefix}factors.")]
        if saved and not self.tied:
            self.tie(*torch.broadcast_shapes(*(tensor.shape for tensor in saved))[1:])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        """Shapes of the factors, broadcastable to (O, height, width)."""
        raise NotImplementedError

    def gamma(self) -> Tensor:
        """Γ, (O, H', W')."""
        if not self.tied:
            raise ValueError(
                "Expected a net whose input size is fixed, since XNOR-Net++'s spatial scales have a value for every output "
                "pixel, but this one takes any size. Cure: method 'xnor_pp', or bnn_tasks.binary.tie_to_size(net, example) "
                "where the size never changes."
            )
        gamma: Tensor = self.factors[0]
        for factor in self.factors[1:]:
            gamma = gamma * factor
        return gamma

    def forward(self, y: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
        """y · Γ."""
        gamma = self.gamma()
        check_tied(y, gamma)
        return y * gamma.to(y.dtype)

    def factor(self) -> Tensor:
        """Γ."""
        return self.gamma().detach().float().clone()


class FullScale(SpatialScale):
    """Γ of every output value, O·H'·W' (Bulat & Tzimiropoulos, XNOR-Net++, 2019, case 2)."""

    def shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        """One factor."""
        return [(self.out_channels, height, width)]


class ChannelPlaceScale(SpatialScale):
    """Γ = α(o) ⊗ β(h, w) (XNOR-Net++, case 3)."""

    def shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        """Two factors."""
        return [(self.out_channels, 1, 1), (1, height, width)]


class SeparableScale(SpatialScale):
    """Γ = α(o) ⊗ β(h) ⊗ γ(w), O + H' + W' numbers (XNOR-Net++, case 4, the paper's best)."""

    def shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        """Three factors."""
        return [(self.out_channels, 1, 1), (1, height, 1), (1, 1, width)]


class _QuantizedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, bits: int) -> Tensor:
        ctx.bits = bits
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return quantize_gradient(grad, ctx.bits), None


def quantize_gradient(grad: Tensor, bits: int) -> Tensor:
    """f(dr) = 2·max0·(quantize_k(dr/(2·max0) + 1/2 + N) - 1/2), N uniform in ±1/2 of a step (DoReFa-Net, eq. 12).

    max0 = max(abs(dr)) of every sample; quantize_k(r) = round((2^k - 1)·r)/(2^k - 1). The noise makes f(dr) right on average.

    Args:
        grad: dr, (N, ...).
        bits: k >= 1.
    """
    levels = 2**bits - 1
    # In float32: bfloat16 has no more steps than 8 bits, and its rounding would be no noise but an error.
    exact = grad.float()
    largest = exact.abs().flatten(1).amax(dim=1).view(-1, *[1] * (grad.dim() - 1))
    unit = exact / (2 * largest.clamp_min(torch.finfo(exact.dtype).tiny)) + 0.5
    noise = torch.rand_like(unit) - 0.5
    # The noise leads beyond [0, 1] at its ends, where no level is.
    level = torch.round(unit * levels + noise).clamp_(0, levels)
    return (2 * largest * (level / levels - 0.5)).to(grad.dtype)


class QuantizedGradient(OutputScale):
    """The scale 1, whose gradient is quantised stochastically to k bits (Zhou et al., DoReFa-Net, 2016, §2.5).

    Args:
        bits: k, in [1, 16].

    Raises:
        ValueError: `bits` is out of range.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        if not 1 <= bits <= 16:
            raise ValueError(f"Expected `bits` to be in [1, 16], but got {bits}.")
        self.bits = bits

    def forward(self, y: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
        """`y` itself."""
        result: Tensor = _QuantizedGradient.apply(y, self.bits)
        return result
