"""Classifiers made by binarize() from the networks of timm and torchvision."""

from collections.abc import Sequence

import torchvision
from torch import Tensor, nn

from bnn_tasks.backbones import timm_net
from bnn_tasks.binary import Method, binarize
from bnn_tasks.binary.names import nearest
from bnn_tasks.models.classifier import ImageClassifier
from bnn_tasks.models.detector import IMAGENET_MEAN, IMAGENET_STD

# Their auxiliary heads run in training alone, which no graph holds; unasked, they warn of how they initialise.
ARGUMENTS = {name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")}


def torchvision_net(name: str, num_classes: int, pretrained: bool = False) -> nn.Module:
    """A float network of torchvision, without auxiliary heads.

    Args:
        name: as in ``torchvision.models.list_models()``.
        num_classes: classes of its classifier.
        pretrained: whether to download torchvision's weights, all but the classifier's if that has other classes.

    Raises:
        ValueError: torchvision has no such network, or its weights could not be had.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ValueError(
            f"Expected `name` to be one of torchvision.models.list_models(module=torchvision.models), but got {name!r}."
            + nearest(name, known)
        )
    net: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=num_classes, **ARGUMENTS.get(name, {})
    )
    if not pretrained:
        return net
    try:  # by its own builder, which knows the names that old files have
        published = torchvision.models.get_model(name, weights="DEFAULT", progress=False).state_dict()
    except Exception as error:  # the download raises a dozen kinds
        raise ValueError(
            f"Expected the pretrained weights of {name!r} to be at hand, but they could not be loaded "
            f"({type(error).__name__}: {error}). Cure: pretrained=False, or a connection to where torchvision's weights are."
        ) from error
    net.load_state_dict(
        {k: published[k] if published[k].shape == own.shape else own for k, own in net.state_dict().items()}
    )
    return net


class BinarizedClassifier(ImageClassifier):
    """Normalisation and a binary copy of a float classifier.

    Args:
        num_classes: K >= 1; labels are 0 … K-1.
        net: normalised images -> logits (N, K). It is not changed.
        method: how weights and activations become ±1.
        keep: names or shell patterns of the layers that stay real, as for `binarize`.
        mean: per channel, in [0, 1]; ImageNet's by default.
        std: per channel, > 0; ImageNet's by default.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        input_size: (H, W) of every image, for methods whose scales have a value for every place (XNOR-Net++, cases 2 to 4);
            None takes images of any size.

    Raises:
        ValueError: an argument is out of range, `binarize` cannot convert the network, or such a method is used without
            `input_size`.
    """

    def __init__(
        self,
        num_classes: int,
        net: nn.Module,
        method: str | Method,
        keep: Sequence[str],
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        label_smoothing: float = 0.0,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(num_classes, mean, std, label_smoothing)
        self.net = binarize(net, method, keep=keep)
        self._fix_size(input_size)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of `images`, (N, C, H, W) in [0, 1]."""
        logits: Tensor = self.net(self.normalize(images))
        return logits


class BinarizedTimm(BinarizedClassifier):
    """Any network of timm by name, binarised.

    Args:
        num_classes: K >= 1; labels are 0 … K-1.
        name: as in ``timm.list_models()``.
        method: how weights and activations become ±1.
        keep: names or shell patterns of the layers that stay real: at least the first convolution, the classifier and the
            1×1 shortcuts (``[conv1, fc, "*downsample*"]`` for a ResNet).
        pretrained: whether to start from timm's weights, which are downloaded.
        mean: per channel, in [0, 1]; ImageNet's by default.
        std: per channel, > 0; ImageNet's by default.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        input_size: (H, W) of every image, for methods whose scales have a value for every place (XNOR-Net++, cases 2 to 4);
            None takes images of any size.

    Raises:
        ValueError: the network is unknown, its weights could not be had, or as for `BinarizedClassifier`.
    """

    def __init__(
        self,
        num_classes: int,
        name: str,
        method: str | Method,
        keep: Sequence[str],
        pretrained: bool = False,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        label_smoothing: float = 0.0,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        net = timm_net(name, pretrained, num_classes=num_classes)
        super().__init__(num_classes, net, method, keep, mean, std, label_smoothing, input_size)


class BinarizedTorchvision(BinarizedClassifier):
    """Any classification network of torchvision by name, without auxiliary heads, binarised.

    The published weights of googlenet and inception_v3 expect images of `mean` and `std` [0.5, 0.5, 0.5].

    Args:
        num_classes: K >= 1; labels are 0 … K-1.
        name: as in ``torchvision.models.list_models()``.
        method: how weights and activations become ±1.
        keep: names or shell patterns of the layers that stay real: at least the first convolution, the classifier and the
            1×1 shortcuts (``[conv1, fc, "*downsample*"]`` for a ResNet).
        pretrained: whether to start from torchvision's weights, which are downloaded.
        mean: per channel, in [0, 1]; ImageNet's by default.
        std: per channel, > 0; ImageNet's by default.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        input_size: (H, W) of every image, for methods whose scales have a value for every place (XNOR-Net++, cases 2 to 4);
            None takes images of any size.

    Raises:
        ValueError: the network is unknown, its weights could not be had, or as for `BinarizedClassifier`.
    """

    def __init__(
        self,
        num_classes: int,
        name: str,
        method: str | Method,
        keep: Sequence[str],
        pretrained: bool = False,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        label_smoothing: float = 0.0,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        net = torchvision_net(name, num_classes, pretrained)
        super().__init__(num_classes, net, method, keep, mean, std, label_smoothing, input_size)
