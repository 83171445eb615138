"""The artifacts that docs/benchmarks.md measures, of nets that nobody trained: speed does not depend on what a net has learnt.

Weights are drawn with a seed. BatchNorm statistics are those of noise images; its affine parameters, thresholds and slopes are
drawn around their usual values, so that signs are mixed and no layer is constant. A detector's class logits are shifted until
about CANDIDATES of them an image pass the score threshold: suppression has as much to do as after training.

`*_real` are the float nets that a user would run instead, ordinary residual blocks with ReLU, for `bench --float-net`.
"""

import argparse
import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from bnn_tasks.backbones import BiRealBlock, Block, ReActBlock, ReActUnit, RealBlock, RealUnit, ResNet, Unit
from bnn_tasks.binary import BinaryConv2d, RPReLU
from bnn_tasks.cli import errors_in_a_line
from bnn_tasks.export import export
from bnn_tasks.models import FPN, Classifier, RetinaNet, RetinaNetHead
from bnn_tasks.runtime import Resize

CANDIDATES = 1000  # class scores of an image above the threshold
VOC_CLASSES = 20


def classifier(block: type[Block]) -> nn.Module:
    """ResNet-18 with 1000 classes."""
    return Classifier(1000, ResNet(18, block))


def detector(block: type[Block], unit: type[Unit]) -> nn.Module:
    """RetinaNet-R18-FPN with 256 channels, towers of depth 4, 20 classes."""
    neck = partial(FPN, channels=256, unit=unit)
    return RetinaNet(VOC_CLASSES, ResNet(18, block), neck, partial(RetinaNetHead, unit=unit))


@torch.no_grad()
def settle(net: nn.Module, images: Tensor, seed: int) -> nn.Module:
    """Give a net statistics that training would have given it; in eval mode."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Tensor, mean: float, std: float) -> None:
        tensor.copy_(mean + std * torch.randn(tensor.shape, generator=generator))

    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics of all that it sees
            normal(module.weight, 1.0, 0.2)
            normal(module.bias, 0.0, 0.2)
        elif isinstance(module, BinaryConv2d):
            for parameter in module.activation_binarizer.parameters():
                normal(parameter, 0.0, 0.1)
        elif isinstance(module, RPReLU):
            normal(module.shift_in, 0.0, 0.1)
            normal(module.shift_out, 0.0, 0.1)
    net.train()(images)
    return net.eval()


@torch.no_grad()
def settle_scores(net: RetinaNet, images: Tensor) -> None:
    """Spread the class logits, and shift them until CANDIDATES an image pass the score threshold."""
    logits = torch.cat([level.flatten(1) for level in net(images)["cls_logits"]], dim=1)
    assert net.head.cls_logits.bias is not None
    spread = 1.0 / logits.std()
    net.head.cls_logits.weight.mul_(spread)
    logits = (logits - net.head.cls_logits.bias[0]) * spread
    passing = (
        logits.quantile(1 - CANDIDATES / logits.shape[1], dim=1).mean() if logits.numel() < 2**24 else logits.max()
    )
    limit = math.log(net.score_threshold / (1 - net.score_threshold))
    net.head.cls_logits.bias.fill_(limit - float(passing))


def main() -> None:
    """Write the artifacts and say what each export proved."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    nets = {
        "bireal_resnet18_224": (partial(classifier, BiRealBlock), 224, 1000),
        "resnet18_224_real": (partial(classifier, RealBlock), 224, 1000),
        "retinanet_r18_320": (partial(detector, ReActBlock, ReActUnit), 320, VOC_CLASSES),
        "retinanet_r18_320_real": (partial(detector, RealBlock, RealUnit), 320, VOC_CLASSES),
    }
    for name, (make, side, classes) in nets.items():
        torch.manual_seed(options.seed)
        images = torch.rand(2, 3, side, side)
        net = settle(make(), images, options.seed)
        if isinstance(net, RetinaNet):
            settle_scores(net, images)
        labels = [f"class {label}" for label in range(classes)]
        report = export(
            net,
            options.folder / f"{name}.safetensors",
            example=images[:1],
            classes=labels,
            resize=Resize(((side, side),)),
        )
        print(report, flush=True)


if __name__ == "__main__":
    with errors_in_a_line("make_bench_artifacts.py"):
        main()
