"""Defensive quantisation: layers that do not amplify what their input is disturbed by."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_tasks.robustness.weight_views import WeightView


class GramPenalty:
    """Base class: how far a matrix's rows, or its columns where they are fewer, are from orthogonal.

    Attributes:
        name: under which results are reported.
    """

    name: str

    def of_rows(self, rows: Tensor) -> Tensor:
        """The penalty, a scalar >= 0, of matrices (G, m, n), m <= n."""
        raise NotImplementedError

    def __call__(self, matrix: Tensor) -> Tensor:
        """The penalty of matrices (G, o, n), summed over the G: of W·Wᵀ where o <= n, else of Wᵀ·W."""
        rows = matrix if matrix.shape[1] <= matrix.shape[2] else matrix.transpose(1, 2)
        return self.of_rows(rows)


class FrobeniusPenalty(GramPenalty):
    """‖G - I‖²: orthogonal and of length 1. It can only reach 0 on the smaller side; the larger one's is |o - n| more.

    Rows of α·sign(W) have length α·√n. Where α is not free, the lengths cannot be 1, and `CosinePenalty` leaves them alone.
    """

    name = "gram"

    def of_rows(self, rows: Tensor) -> Tensor:
        """See the class."""
        gram = rows @ rows.transpose(1, 2)
        return (gram - torch.eye(gram.shape[1], device=gram.device)).square().sum()


class CosinePenalty(GramPenalty):
    """Σ_{i≠j} cos²(w_i, w_j): orthogonal, of whatever length; ours, since signs fix the lengths.

    A row of zeros, as a BatchNorm whose scale starts at 0 makes them, has a cosine of 0 to every other, and no gradient.
    """

    name = "cosine"

    def of_rows(self, rows: Tensor) -> Tensor:
        """See the class."""
        units = F.normalize(rows, dim=2)
        cosines = (units @ units.transpose(1, 2)).square()
        return cosines.sum() - cosines.diagonal(dim1=1, dim2=2).sum()


def orthogonality(model: nn.Module, images: Tensor, view: WeightView, penalty: GramPenalty) -> Tensor:
    """1/2·Σ_l penalty(W_l), a scalar, in float32 whatever autocast says: in bfloat16 G - I would be rounding.

    DQ-style: Lin, Gan and Han, Defensive Quantization, ICLR 2019, add β/2·Σ_l ‖W_lᵀ·W_l - I‖² to the loss of nets of 1 to 5
    bits. Which weights a binary net should be regularised in is not said there: `view` names one.

    Args:
        model: the net.
        images: (B, C, H, W) in [0, 1], B >= 1; see `WeightView.matrices`.
        view: the matrices W_l.
        penalty: what is summed.

    Raises:
        ValueError: the net has no layer to look at.
    """
    with torch.autocast(images.device.type, enabled=False):
        matrices = view.matrices(model, images)
        if not matrices:
            raise ValueError(
                "Expected a model with convolutions or linear layers besides depthwise and real 1×1 ones, but got none. Cure: "
                "leave the orthogonality loss out."
            )
        return torch.stack([penalty(matrix) for matrix in matrices.values()]).sum() / 2
