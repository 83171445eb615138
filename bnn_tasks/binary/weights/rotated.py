"""Weights rotated towards their signs: RBNN."""

import math

import torch
from torch import Tensor, nn

from bnn_tasks.binary.estimators import Estimator, get_estimator, sign
from bnn_tasks.binary.progress import Scheduled
from bnn_tasks.binary.weights.base import Basis, WeightBinarizer, check_spread, per_filter
from bnn_tasks.binary.weights.normalized import standardize

REFRESH = 0.01  # of the run, between two computations of the rotations; the authors' once an epoch, of some hundred
ROUNDS = 3  # alternations each time


def factors(n: int) -> tuple[int, int]:
    """a <= b with a·b = n, as equal as possible."""
    a = next(a for a in range(math.isqrt(n), 0, -1) if n % a == 0)
    return a, n // a


class RotatedSign(Scheduled, WeightBinarizer):
    """W̃_o = α_o·sign(w'), w' = w + abs(sin θ_o)·(R1ᵀ·w·R2 - w) (Lin et al., Rotated BNN, 2020, eqs. 3-12).

    Every filter of n taps, its mean taken off and its spread made 1, is an a×b matrix w, a·b = n. The rotations R1, R2 of the
    layer bring the filters near their signs: they raise Σ_o tr(B_oᵀ·R1ᵀ·w_o·R2), B_o = sign(R1ᵀ·w_o·R2), by alternating over
    B, R1 and R2, the latter two from a singular value decomposition. θ_o is learned, from uniform over (0, π/2) on. As in the
    authors' code the rotated filter is a target without a gradient: ∂w'/∂w = 1 - abs(sin θ). Two starts are ours: R1 and R2 are
    the identity (theirs random), α_o, learned, is 1 (theirs mean(abs(W_o))).

    Args:
        out_channels: O.
        taps: n.
        estimator: the surrogate gradient of the sign, the paper's `TrainingAware`.
    """

    left: Tensor
    right: Tensor
    refreshed: Tensor

    def __init__(self, out_channels: int, taps: int, estimator: str | Estimator) -> None:
        super().__init__()
        self.estimator = get_estimator(estimator)
        self.sides = factors(taps)
        self.register_buffer("left", torch.eye(self.sides[0]))
        self.register_buffer("right", torch.eye(self.sides[1]))
        self.register_buffer("refreshed", torch.tensor(-1.0))
        self.theta = nn.Parameter(torch.rand(out_channels) * (math.pi / 2))
        self.alpha = nn.Parameter(torch.ones(out_channels))

    @torch.no_grad()
    def refresh(self, weight: Tensor) -> None:
        """Bring R1 and R2 nearer to their optimum for a weight (O, ...)."""
        filters, left, right = self._filters(weight.detach().float()), self.left.float(), self.right.float()
        with torch.autocast(weight.device.type, enabled=False):
            for _ in range(ROUNDS):
                signs = sign(left.T @ filters @ right)
                left = _nearest_rotation(torch.einsum("oab,bc,odc->ad", filters, right, signs))
                right = _nearest_rotation(torch.einsum("oab,ac,ocd->bd", filters, left, signs))
        self.left.copy_(left)
        self.right.copy_(right)
        self.refreshed.copy_(self.progress)

    def _filters(self, weight: Tensor) -> Tensor:
        return standardize(weight).reshape(len(weight), *self.sides)

    def rotated(self, weight: Tensor) -> Tensor:
        """w' in the shape of `weight`."""
        filters = self._filters(weight)
        with torch.autocast(weight.device.type, enabled=False):  # the signs of training are those of evaluation
            turned = self.left.T @ filters.detach() @ self.right
        return (filters + torch.sin(self.theta).abs().view(-1, 1, 1) * (turned - filters)).view_as(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """α·sign(w')."""
        if self.training and abs(self.progress - self.refreshed) >= REFRESH:  # back too: a second training starts at 0
            self.refresh(weight)
        signs: Tensor = self.estimator(self.rotated(weight))
        return signs * per_filter(self.alpha, weight)

    def bases(self, weight: Tensor) -> list[Basis]:
        """One; the rotation is spent on the signs and costs nothing at inference."""
        return [Basis(sign(self.rotated(weight)), self.alpha.clone())]

    def check(self, weight: Tensor) -> None:
        """Every filter needs a spread."""
        check_spread(weight, "divides by their standard deviation")


def _nearest_rotation(matrix: Tensor) -> Tensor:
    """The orthogonal R that maximises tr(Rᵀ·M): U·Vᵀ of M = U·S·Vᵀ."""
    u, _, vt = torch.linalg.svd(matrix)
    return u @ vt
