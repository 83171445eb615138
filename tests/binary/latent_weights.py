"""What the tests of weights share."""

import numpy as np
import torch


def latent(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def as_rows(weight: torch.Tensor) -> np.ndarray:
    return weight.detach().flatten(1).numpy()


def sgn(x: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, 1.0, -1.0)


def signs_and_scale(binarizer: torch.nn.Module, weight: torch.Tensor) -> tuple[np.ndarray, np.ndarray | None]:
    """B as rows and α of the one basis, checked against the effective weight."""
    with torch.no_grad():
        (basis,) = binarizer.bases(weight)
        effective = binarizer(weight)
    scale = None if basis.scale is None else basis.scale.numpy()
    expected = as_rows(basis.signs) * (1 if scale is None else scale[:, None])
    np.testing.assert_allclose(as_rows(effective), expected, rtol=1e-12)
    return as_rows(basis.signs), scale


def gradients(binarizer: torch.nn.Module, weight: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """dL/dW and G = dL/dW̃, rows, for L = Σ G·W̃."""
    generator = torch.Generator().manual_seed(1)
    above = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    (above * binarizer(weight)).sum().backward()
    return as_rows(weight.grad), as_rows(above)
