"""Any torchvision classifier as a teacher."""

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from bnn_tasks.binary.names import nearest
from bnn_tasks.tasks.teachers.base import FeatureTeacher
from bnn_tasks.tasks.teachers.weights import check_weights, read_weights

PROBE = 256  # pixels; on it every stride up to 32 of any net leaves a map of its own size


class _Maps(nn.Module):
    """The values of some nodes, in order."""

    def __init__(self, net: nn.Module, nodes: Sequence[str]) -> None:
        super().__init__()
        self.extractor = create_feature_extractor(net, list(nodes))
        self.nodes = list(nodes)

    def forward(self, x: Tensor) -> list[Tensor]:
        values = self.extractor(x)
        return [values[node] for node in self.nodes]


class TorchvisionTeacher(FeatureTeacher):
    """Feature maps of a torchvision classifier, with ImageNet's normalisation.

    Args:
        name: as in ``torchvision.models.list_models(module=torchvision.models)``.
        nodes: whose values are the maps, fine to coarse: ``[layer2, layer3, layer4]`` of a ResNet; the names are those of
            ``torchvision.models.feature_extraction.get_graph_node_names``, where a module's name is its last value.
        weights: ``DEFAULT`` downloads torchvision's best; else the path of a state_dict of this net; None leaves it random.

    Raises:
        ValueError: torchvision has no such net, or it has no such nodes, or their values are no maps; at the first call, the
            weights cannot be had.
    """

    def __init__(self, name: str, nodes: Sequence[str], weights: str | None = "DEFAULT") -> None:
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise ValueError(
                "Expected `name` to be one of torchvision.models.list_models(module=torchvision.models), but got "
                f"{name!r}.{nearest(name, known)}"
            )
        net = _net(name)
        try:
            values = _Maps(net, nodes)(torch.zeros(1, 3, PROBE, PROBE))
        except (ValueError, RuntimeError, AssertionError) as error:
            raise ValueError(
                f"Expected `nodes` to be of {name!r}, and {name!r} to take images of any size, but got {list(nodes)}: {error} "
                "Cure: names that torchvision.models.feature_extraction.get_graph_node_names gives, of a convolutional net."
            ) from error
        for node, value in zip(nodes, values):
            if not isinstance(value, Tensor) or value.dim() != 4 or value.shape[2] < 2 or PROBE % value.shape[2]:
                raise ValueError(
                    f"Expected `nodes` of {name!r} to be feature maps (N, C, H, W), but {node!r} gives "
                    f"{tuple(value.shape)} for images of {PROBE}×{PROBE}. Cure: nodes before the pooling and the classifier."
                )
        super().__init__([PROBE // value.shape[2] for value in values], [value.shape[1] for value in values])
        self.name = name
        self.nodes = list(nodes)
        self.weights = weights

    def load(self) -> nn.Module:
        """Build the net with the weights of the file, the download, or none."""
        net = _net(self.name)
        if self.weights == "DEFAULT":
            net.load_state_dict(self._download())
        elif self.weights is not None:
            state = read_weights(self.weights)
            head = list(net.children())[-1]  # the classifier may be of any size
            own = {id(tensor) for tensor in head.state_dict(keep_vars=True).values()}
            body = {k: v.shape for k, v in net.state_dict(keep_vars=True).items() if id(v) not in own}
            check_weights(state, body, self.name, self.weights)
            net.load_state_dict({key: state[key] for key in body if key in state}, strict=False)
        return _Maps(net, self.nodes)

    def _download(self) -> dict[str, Tensor]:
        try:
            state: dict[str, Tensor] = torchvision.models.get_model_weights(self.name).DEFAULT.get_state_dict(
                progress=False, check_hash=True
            )
        except Exception as error:  # the download raises a dozen kinds
            raise ValueError(
                f"Expected the pretrained weights of the teacher {self.name!r} to be at hand, but they could not be loaded "
                f"({type(error).__name__}: {error}). Cure: a connection to where torchvision's weights are, the path of a "
                "local file (`weights`), or EfficientNetLite0Teacher, which needs no connection."
            ) from error
        return state


def _net(name: str) -> nn.Module:
    net: nn.Module = torchvision.models.get_model(name, weights=None)
    return net.eval()
