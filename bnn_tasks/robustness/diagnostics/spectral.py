"""The largest singular value of every layer: the most by which it can stretch a disturbance."""

import torch
from torch import Tensor, nn

from bnn_tasks.robustness.weight_views import WeightView


def spectral_norm(matrix: Tensor, generator: torch.Generator, iterations: int = 100) -> float:
    """σ_1 by power iteration on M·Mᵀ: v ← M·Mᵀ·v / ‖…‖, then ‖Mᵀ·v‖; the largest of the G matrices'.

    It never exceeds σ_1, and falls short of it by a factor of at most about (σ_2/σ_1)^(4·iterations) of the start's error.

    Args:
        matrix: (G, o, n).
        generator: on the CPU; draws the start.
        iterations: >= 1.

    Raises:
        ValueError: `iterations` is out of range.
    """
    if iterations < 1:
        raise ValueError(f"Expected `iterations` to be >= 1, but got {iterations}.")
    rows = matrix.detach().double()
    if rows.shape[1] > rows.shape[2]:
        rows = rows.transpose(1, 2)
    gram = rows @ rows.transpose(1, 2)
    v = torch.randn(len(gram), gram.shape[1], 1, generator=generator, dtype=torch.float64).to(gram.device)
    v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True)
    for _ in range(iterations):
        v = gram @ v
        v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)
    return float(torch.linalg.vector_norm(rows.transpose(1, 2) @ v, dim=1).max())


def spectral_norms(
    model: nn.Module, images: Tensor, view: WeightView, generator: torch.Generator, iterations: int = 100
) -> dict[str, float]:
    """σ_1 of every layer's matrix, by name; of a convolution that of its kernel, see `WeightView`.

    Args:
        model: the net.
        images: (B, C, H, W) in [0, 1], B >= 1; see `WeightView.matrices`.
        view: which matrices.
        generator: on the CPU.
        iterations: of the power method, >= 1.
    """
    with torch.no_grad():
        matrices = view.matrices(model, images)
    return {name: spectral_norm(matrix, generator, iterations) for name, matrix in matrices.items()}
