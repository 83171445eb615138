"""Any timm net as a teacher."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from bnn_tasks.binary.names import nearest
from bnn_tasks.tasks.teachers.base import FeatureTeacher
from bnn_tasks.tasks.teachers.weights import check_weights, read_weights


def timm_features(name: str, out_indices: Sequence[int] | None, state: dict[str, Tensor], source: str) -> nn.Module:
    """A timm net's feature maps, with the weights of a state_dict.

    Args:
        name: as in ``timm.list_models()``.
        out_indices: which of its maps; None gives all.
        state: of ``timm.create_model(name)``; its classifier may be of any size, or missing.
        source: of the weights, for the message.

    Raises:
        ValueError: the state_dict is not of this net.
    """
    with torch.device("meta"):
        whole: Any = timm.create_model(name)
    classifier = whole.pretrained_cfg["classifier"]
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    body = {k: v.shape for k, v in whole.state_dict().items() if not k.startswith(tuple(f"{h}." for h in heads))}
    check_weights(state, body, name, source)
    # As pretrained weights they go in before timm takes the net apart, under the names of the whole net.
    return timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, features_only=True, **_indices(out_indices)
    )


def _indices(out_indices: Sequence[int] | None) -> dict[str, Any]:
    return {} if out_indices is None else {"out_indices": tuple(out_indices)}


class TimmTeacher(FeatureTeacher):
    """The feature maps of a timm net, normalised as the net was trained (its ``pretrained_cfg``).

    Args:
        name: as in ``timm.list_models(pretrained=True)``, with or without the weights' tag (``resnet50.a1_in1k``).
        pretrained: whether to download timm's weights; without them and without `checkpoint` the net is random.
        checkpoint: state_dict of ``timm.create_model(name)`` in a local file, used instead of a download.
        out_indices: which of the net's maps to give, as timm numbers them; None gives all.

    Raises:
        ValueError: timm has no such net, or it gives no such maps; at the first call, the weights cannot be had.
    """

    def __init__(
        self,
        name: str,
        pretrained: bool = True,
        checkpoint: str | None = None,
        out_indices: Sequence[int] | None = None,
    ) -> None:
        if not timm.is_model(name):
            raise ValueError(
                f"Expected `name` to be one of timm.list_models(), but got {name!r}.{nearest(name, timm.list_models())}"
            )
        try:
            with torch.device("meta"):  # its shape alone
                whole: Any = timm.create_model(name)
                net: Any = timm.create_model(name, features_only=True, **_indices(out_indices))
        except Exception as error:  # each family of timm has its own way to refuse
            raise ValueError(
                f"Expected {name!r} to give the feature maps `out_indices` {out_indices}, but timm says: {error}. "
                "Cure: other indices, or a net of another family."
            ) from error
        maps, config = net.feature_info, whole.pretrained_cfg
        super().__init__(maps.reduction(), maps.channels(), config["mean"], config["std"])
        self.name = name
        self.pretrained = pretrained
        self.checkpoint = checkpoint
        self.out_indices = out_indices

    def load(self) -> nn.Module:
        """Build the net with the weights of the file, the hub, or none."""
        if self.checkpoint is not None:
            return timm_features(self.name, self.out_indices, read_weights(self.checkpoint), self.checkpoint)
        try:
            return timm.create_model(
                self.name, pretrained=self.pretrained, features_only=True, **_indices(self.out_indices)
            )
        except Exception as error:  # every hub, proxy and file system raises its own
            raise ValueError(
                f"Expected the pretrained weights of the teacher {self.name!r} to be at hand, but they could not be loaded "
                f"({type(error).__name__}: {error}). Cure: a connection to where timm's weights are, a local file "
                "(`checkpoint`), or EfficientNetLite0Teacher, which needs no connection."
            ) from error
