"""Detectors that teach: frozen, in eval mode, never in a checkpoint, loaded when they are first needed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import detection, get_model, list_models

from bnn_tasks.binary.names import nearest
from bnn_tasks.models import Boxes, Detector, Normalize, RawOutputs
from bnn_tasks.tasks.distillation.frozen import FrozenTeacher, TrainedTeacher

PROBE = 256  # pixels; on it every stride up to 128 leaves a map of more than one position a side


@dataclass
class TeacherView:
    """What a teacher sees in a batch.

    Attributes:
        features: (N, C, h, w) a level, fine to coarse.
        strides: pixels between positions, one a level.
        outputs: raw outputs, where the teacher is a detector of this package; else None.
        find: gives the teacher's detections, one `Boxes` an image; not called where no term needs them.
    """

    features: list[Tensor]
    strides: list[int]
    outputs: RawOutputs | None
    find: Callable[[], list[Boxes]]

    @cached_property
    def found(self) -> list[Boxes]:
        """The teacher's detections, computed once."""
        with torch.no_grad():
            return self.find()


class DetectorTeacher(FrozenTeacher):
    """Base class of the teachers; a subclass loads a module and looks at images with it."""

    def view(self, module: nn.Module, images: Tensor) -> TeacherView:
        """Features and outputs of the loaded module for `images`, (N, 3, H, W) in [0, 1]."""
        raise NotImplementedError

    @torch.no_grad()
    def __call__(self, images: Tensor) -> TeacherView:
        """Look at a batch.

        Args:
            images: (N, 3, H, W) RGB in [0, 1], on any device.
        """
        return self.view(self.module(images), images)


class CheckpointTeacher(TrainedTeacher, DetectorTeacher):
    """Any detector of this suite, for instance the student's real-valued twin.

    Args:
        path: a checkpoint of ``bnn-tasks fit``; read at the start of a fit.
    """

    kind, noun = Detector, "a detector"

    def view(self, module: nn.Module, images: Tensor) -> TeacherView:
        """The detector's own features and raw outputs."""
        assert isinstance(module, Detector)
        size = (images.shape[2], images.shape[3])
        features = module.features(images)
        outputs = module.raw_outputs(features, size)
        return TeacherView(features, module.feature_strides, outputs, lambda: module.decode(outputs, size))


class TorchvisionDetectorTeacher(DetectorTeacher):
    """One of torchvision's RetinaNet or Faster R-CNN models with a feature pyramid; its classes play no part.

    Args:
        name: as ``torchvision.models.get_model`` takes it, for instance ``retinanet_resnet50_fpn_v2``.
        weights: ``DEFAULT`` (downloaded by torchvision), or a file that ``torch.save(model.state_dict(), path)`` wrote.
        num_classes: of the weight file, background included; None is COCO's 91.

    Raises:
        ValueError: torchvision has no such detector, or it has no pyramid.
    """

    def __init__(self, name: str, weights: str = "DEFAULT", num_classes: int | None = None) -> None:
        super().__init__()
        known = [found for found in list_models(module=detection) if "_fpn" in found]
        if name not in known:
            raise ValueError(
                f"Expected `name` to be a torchvision detector with a feature pyramid, but got {name!r}."
                f"{nearest(name, known)} Cure: one of {', '.join(known)}."
            )
        self.name, self.weights, self.num_classes = name, weights, num_classes
        self._normalize = Normalize()
        self._strides: list[int] = []

    def load(self) -> nn.Module:
        """The model.

        Raises:
            ValueError: it cannot be downloaded, or the file does not fit.
        """
        if self.weights == "DEFAULT":
            try:
                model: nn.Module = get_model(self.name, weights="DEFAULT")
            except (URLError, OSError) as error:
                raise ValueError(
                    f"Expected to download the weights of {self.name!r}, but that failed: {error}. "
                    "Cure: a connection, or `weights` with a file on this machine."
                ) from error
        else:
            more = {} if self.num_classes is None else {"num_classes": self.num_classes}
            model = get_model(self.name, weights=None, weights_backbone=None, **more)
            try:
                with open(self.weights, "rb") as file:
                    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
            except (OSError, RuntimeError, TypeError) as error:
                raise ValueError(
                    f"Expected {self.weights!r} to hold the state_dict of a {self.name!r}, but: {str(error)[:300]}."
                ) from error
        maps = model.eval().get_submodule("backbone")(torch.zeros(1, 3, PROBE, PROBE))
        self._strides = [PROBE // x.shape[2] for x in maps.values()]  # MobileNet's pyramids have 32, 32, 64
        return model

    def view(self, module: nn.Module, images: Tensor) -> TeacherView:
        """The pyramid at the images' own size; detections go through the model's own resizing."""
        backbone = module.get_submodule("backbone")
        self._normalize.to(images.device)
        features = list(backbone(self._normalize(images)).values())
        return TeacherView(features, self._strides, None, lambda: _found(module(list(images))))


def _found(results: list[dict[str, Tensor]]) -> list[Boxes]:
    return [Boxes(found["boxes"], found["scores"], found["labels"]) for found in results]
