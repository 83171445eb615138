"""GroupNet: a stage as K parallel binary branches with soft gates (Zhuang et al., Structured Binary Neural Networks, 2019)."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from bnn_tasks.backbones.block import Block
from bnn_tasks.backbones.stages import BlockFactory, BlockStage, Stage


class WeightedSum(nn.Module):
    """Base class: y = Σ_k w_k · x_k over maps of one shape, w scalars; one operation of the runtime."""

    def weights(self) -> Tensor:
        """w, (K,), in the order of the maps."""
        raise NotImplementedError

    def forward(self, *maps: Tensor) -> Tensor:
        """Add up K maps (N, C, H, W)."""
        weights = self.weights().to(maps[0].dtype)
        y = weights[0] * maps[0]
        for weight, x in zip(weights[1:], maps[1:]):
            y = y + weight * x
        return y


class BranchMean(WeightedSum):
    """y = (1/K) Σ_k x_k.

    Args:
        branches: K.
    """

    weight: Tensor

    def __init__(self, branches: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.full((branches,), 1 / branches), persistent=False)

    def weights(self) -> Tensor:
        """1/K, K times."""
        return self.weight


class BranchSum(WeightedSum):
    """y = Σ_k λ_k · x_k, λ learned, 1/K at first.

    Args:
        branches: K.
    """

    def __init__(self, branches: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((branches,), 1 / branches))

    def weights(self) -> Tensor:
        """λ."""
        return self.weight


class SoftGate(WeightedSum):
    """y = σ(θ) · x + (1 - σ(θ)) · m, θ learned, 0 at first: how far a branch keeps to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(()))

    def weights(self) -> Tensor:
        """σ(θ), 1 - σ(θ)."""
        own = torch.sigmoid(self.theta)
        return torch.stack([own, 1 - own])

    def forward(self, *maps: Tensor) -> Tensor:
        """Mix a branch and the branches' mean, both (N, C, H, W)."""
        x, mean = maps
        return mean + torch.sigmoid(self.theta).to(x.dtype) * (x - mean)  # exactly x where the two agree


class SoftGates(nn.Module):
    """A `SoftGate` a branch: x_k = σ(θ_k) · F_k + (1 - σ(θ_k)) · mean_j F_j.

    Args:
        branches: K.
    """

    def __init__(self, branches: int) -> None:
        super().__init__()
        self.mean = BranchMean(branches)
        self.gates = nn.ModuleList(SoftGate() for _ in range(branches))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Mix the branches' `maps`, K of one shape (N, C, H, W)."""
        mean = self.mean(*maps)
        return [gate(x, mean) for gate, x in zip(self.gates, maps)]


class GroupStage(Stage):
    """K branches of blocks, mixed between blocks by soft gates, added up at the end.

    x_k = σ(θ) · F_k + (1 - σ(θ)) · mean_j F_j between two blocks: 1 keeps the branches apart (the paper's group-wise
    decomposition), 0 joins them after every block (its layer-wise one). The first blocks all read the stage's input.
    One branch is a `BlockStage`.

    Args:
        block: (in_channels, out_channels, stride) -> residual block.
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first block.
        count: blocks a branch, >= 1.
        branches: K >= 1; 5 is the paper's.
        dilations: one a branch, which gives each its own context (BPAC, the paper's segmentation nets: 2 to 6 and 6 to
            10 in the last two stages, where the published code gives all branches the last one); None is 1 for all.

    Raises:
        ValueError: `branches` or `count` is below 1, or `dilations` are not as many numbers >= 1.
    """

    def __init__(
        self,
        block: BlockFactory,
        in_channels: int,
        out_channels: int,
        stride: int,
        count: int,
        branches: int = 5,
        dilations: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if branches < 1:
            raise ValueError(f"Expected `branches` to be >= 1, but got {branches}.")
        blocks = [block] * branches
        if dilations is not None:
            if len(dilations) != branches or min(dilations) < 1:
                raise ValueError(
                    f"Expected `dilations` to be {branches} numbers >= 1, one a branch, but got {list(dilations)}."
                )
            blocks = [partial(block, dilation=dilation) for dilation in dilations]
        self.branches = nn.ModuleList(BlockStage(b, in_channels, out_channels, stride, count) for b in blocks)
        self.gates = nn.ModuleList(SoftGates(branches) for _ in range(count - 1))
        self.sum = BranchSum(branches)

    @property
    def entry(self) -> Block:
        """The first block of the first branch."""
        first = self.branches[0]
        assert isinstance(first, BlockStage)
        return first.entry

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x`, (N, in_channels, H, W)."""
        maps = [branch[0](x) for branch in self.branches]  # type: ignore[index]
        for index, gates in enumerate(self.gates, start=1):
            maps = [branch[index](own) for branch, own in zip(self.branches, gates(maps))]  # type: ignore[index]
        y: Tensor = self.sum(*maps)
        return y
