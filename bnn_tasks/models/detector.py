"""What every detector offers: one forward that serves loss, boxes and export."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bnn_tasks.binary import untied_layers

# Mean and standard deviation of ImageNet's RGB values in [0, 1], as torchvision and timm use them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# forward's result: name -> one tensor per pyramid level.
RawOutputs = dict[str, list[Tensor]]


class BoxTarget(Protocol):
    """Ground truth of one image as the losses read it.

    Attributes:
        boxes: (G, 4) float32, xyxy in pixels of the network's input.
        labels: (G,) int64 in [0, num_classes).
        ignore: (G,) bool; such an object is neither found nor missed: VOC's difficult ones, COCO's crowds.
        crowd: (G,) bool; those of them that stand for many objects, none of which is background either.
    """

    boxes: Tensor
    labels: Tensor
    ignore: Tensor
    crowd: Tensor


@dataclass(frozen=True)
class Boxes:
    """Detections of one image.

    Attributes:
        boxes: (D, 4) float32, xyxy in pixels of the network's input.
        scores: (D,) float32 in [0, 1], falling.
        labels: (D,) int64 in [0, num_classes).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@dataclass(frozen=True)
class DecodeNode:
    """One node that follows the raw outputs in the exported graph (its operation is one of the runtime's).

    Attributes:
        op: the runtime's operation.
        inputs: names of values: another node's output, or ``name.level`` for a raw output.
        outputs: names of the produced values.
        attrs: the operation's attributes.
        tensors: the operation's tensors by role.
    """

    op: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class StageNode:
    """A part of the model that follows in the exported graph, traced like ``dense``.

    Attributes:
        module: name of the submodule, as ``get_submodule`` takes it.
        input: name of the value that it reads.
        outputs: names of its outputs, in the order of the dict that its ``forward`` returns.
    """

    module: str
    input: str
    outputs: list[str]


class Normalize(nn.Module):
    """y = (x - mean_c) / std_c: the first node of every model, so that nobody else normalises.

    Its number of values is the number of channels that the model takes. For images of one channel, grey or infrared,
    mean [0.449] and std [0.226], the averages of ImageNet's, do where the set's own are not known.

    Args:
        mean: per channel, in [0, 1]; ImageNet's RGB ones by default.
        std: per channel, > 0; ImageNet's RGB ones by default.

    Raises:
        ValueError: a value is out of range, or `std` is not as long as `mean`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        if len(mean) < 1 or len(mean) != len(std):
            raise ValueError(
                f"Expected `mean` and `std` to have a value for every channel, but got {len(mean)} and {len(std)} values."
            )
        if not all(0 <= value <= 1 for value in mean) or not all(0 < value < math.inf for value in std):
            raise ValueError(
                f"Expected `mean` in [0, 1] and `std` > 0 and finite, but got {list(mean)} and {list(std)}. "
                "Cure: values of images in [0, 1], those of bytes over 255."
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x`, (N, C, H, W), in [0, 1]; ValueError if C is not the number of values."""
        if isinstance(x, Tensor) and x.shape[-3] != len(self.mean):  # in tracing there is nothing to check
            raise ValueError(
                f"Expected images of {len(self.mean)} channel(s), as many as `mean` and `std` have values, but got "
                f"{x.shape[-3]}. Cure: as many values, and the backbone's `in_channels` the same; or the data's `channels`."
            )
        return (x - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)


def input_channels(model: nn.Module) -> int:
    """Channels of the images that a model takes, as its first node says; 3 where it has none that normalises.

    Args:
        model: a detector, a classifier, or another module.
    """
    for module in model.modules():
        if isinstance(module, Normalize):
            return module.mean.numel()
    return 3


class Detector(nn.Module):
    """Base class of the detectors. ``forward`` never changes meaning with ``training``.

    Attributes:
        num_classes: K; labels are 0 … K-1, there is no background label.
        feature_channels: of the maps that ``features`` returns, fine to coarse.
        feature_strides: pixels between their positions.
    """

    num_classes: int
    feature_channels: list[int]
    feature_strides: list[int]

    def features(self, images: Tensor) -> list[Tensor]:
        """The maps that the dense predictions read, fine to coarse.

        Args:
            images: (N, 3, H, W) RGB in [0, 1].
        """
        raise NotImplementedError

    def predict(self, features: list[Tensor]) -> RawOutputs:
        """Dense outputs of every level.

        Args:
            features: what ``features`` returned.
        """
        raise NotImplementedError

    def dense(self, images: Tensor) -> RawOutputs:
        """``predict(features(images))``: the part that a tracer follows; no value decides what it computes."""
        return self.predict(self.features(images))

    def raw_outputs(self, features: list[Tensor], size: tuple[int, int]) -> RawOutputs:
        """``predict``, and what a detector of several stages chooses from it.

        Args:
            features: what ``features`` returned.
            size: (H, W) of the images.
        """
        return self.predict(features)

    def forward(self, images: Tensor) -> RawOutputs:
        """Raw outputs.

        Args:
            images: (N, 3, H, W) RGB in [0, 1].
        """
        return self.raw_outputs(self.features(images), (images.shape[2], images.shape[3]))

    def loss(self, outputs: RawOutputs, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """Training losses by name, scalars; their sum is what is minimised.

        Args:
            outputs: what ``forward`` returned for a batch.
            targets: ground truth, one an image; images without objects are legal.
        """
        raise NotImplementedError

    def decode(self, outputs: RawOutputs, size: tuple[int, int]) -> list[Boxes]:
        """Detections, one `Boxes` an image; gradients flow through their scores.

        Args:
            outputs: what ``forward`` returned for a batch.
            size: (H, W) of the images.
        """
        raise NotImplementedError

    def export_graph(self) -> list[DecodeNode | StageNode]:
        """What the runtime does after ``dense``; the last node gives ``boxes``, ``scores`` and ``labels``."""
        raise NotImplementedError


def check_every_size(detector: nn.Module) -> None:
    """Raise ValueError where a layer's method works at one input size only.

    Args:
        detector: with all its parts.
    """
    if untied := untied_layers(detector):
        raise ValueError(
            "Expected methods that work at every input size, as a detector does, but these layers' scales have a value for "
            f"every place: {', '.join(untied[:3])}. Cure: method 'xnor_pp'."
        )
