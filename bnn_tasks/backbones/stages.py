"""A stage is what stands between two maps of a backbone: blocks one after another, or something built from them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from bnn_tasks.backbones.base import Backbone
from bnn_tasks.backbones.block import Block

BlockFactory = Callable[..., Block]  # (in_channels, out_channels, stride), and dilation by name


class Stage(nn.Module):
    """Base class of the stages: (N, in, H, W) -> (N, out, ⌈H/s⌉, ⌈W/s⌉)."""

    @property
    def entry(self) -> Block:
        """A block that reads the stage's input."""
        raise NotImplementedError


class BlockStage(nn.Sequential, Stage):
    """Blocks one after another: the first takes the stride and the change of channels.

    Args:
        block: (in_channels, out_channels, stride) -> residual block.
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first block.
        count: blocks, >= 1.

    Raises:
        ValueError: `count` is below 1.
    """

    def __init__(self, block: BlockFactory, in_channels: int, out_channels: int, stride: int, count: int) -> None:
        if count < 1:
            raise ValueError(f"Expected `count` to be >= 1, but got {count}.")
        super().__init__(
            block(in_channels, out_channels, stride),
            *(block(out_channels, out_channels, 1) for _ in range(count - 1)),
        )

    @property
    def entry(self) -> Block:
        """The first block."""
        first = self[0]
        assert isinstance(first, Block)
        return first


# (block, in_channels, out_channels, stride, count) -> stage
StageFactory = Callable[[Any, int, int, int, int], Stage]


class StagedBackbone(Backbone):
    """Base class of the backbones that are a stem and stages.

    Attributes:
        stages: names of the stages, which are children of the backbone.
        out_indices: which maps to return.
    """

    stages: list[str]
    out_indices: tuple[int, ...]

    def _set_out_indices(self, out_indices: Sequence[int], maps: int) -> None:
        if not out_indices or sorted(set(out_indices)) != list(out_indices) or not set(out_indices) <= set(range(maps)):
            raise ValueError(
                f"Expected `out_indices` to be increasing numbers from 0 to {maps - 1}, but got {out_indices}."
            )
        self.out_indices = tuple(out_indices)

    def _add_stages(self, stages: Sequence[nn.Module]) -> None:
        self.stages = [f"layer{index + 1}" for index in range(len(stages))]
        for name, stage in zip(self.stages, stages, strict=True):
            self.add_module(name, stage)

    def _initialise_real_convolutions(self) -> None:
        for module in self.modules():
            if type(module) is nn.Conv2d:  # a DepthwisePath begins as the identity
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _run_stages(self, x: Tensor) -> list[Tensor]:
        maps = []
        for name in self.stages:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return maps


def build_stages(
    stage: StageFactory | Sequence[StageFactory],
    block: BlockFactory,
    in_channels: int,
    sizes: Sequence[tuple[int, int, int]],
    total: int,
    dilations: Sequence[int] | None = None,
) -> list[Stage]:
    """The stages of a residual network.

    Args:
        stage: what builds a stage, or one builder for each of `total` stages.
        block: (in_channels, out_channels, stride) -> residual block.
        in_channels: channels of the first stage's input.
        sizes: (out_channels, stride, count) of the stages to build, the first ones of `total`.
        total: how many stages the network has.
        dilations: distance of the taps in each of the `total` stages; None is 1 for all.

    Raises:
        ValueError: `stage` is a list of another length.
    """
    builders = [stage] * total if callable(stage) else list(stage)
    if len(builders) != total:
        raise ValueError(f"Expected `stage` to be one stage or a list of {total}, but got {len(builders)}.")
    stages = []
    distances = [1] * total if dilations is None else dilations
    for build, (out_channels, stride, count), dilation in zip(builders, sizes, distances, strict=False):
        own = block if dilation == 1 else partial(block, dilation=dilation)
        stages.append(build(own, in_channels, out_channels, stride, count))
        in_channels = out_channels
    return stages
