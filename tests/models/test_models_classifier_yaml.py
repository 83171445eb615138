"""Classifiers as a config names them: a callable that lacks the number of classes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import nn

from bnn_tasks import backbones, models  # noqa: F401  (makes short class names known)
from bnn_tasks.backbones import CBAPUnit, ChannelScale, GroupStage, WeightOnlyPooledUnit
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.models import ImageClassifier

CONFIGS = {
    "cifar": """
      class_path: Classifier
      init_args:
        backbone:
          class_path: CifarResNet
          init_args: {depth: 8, width: 4, block: {class_path: ClippedBlock, init_args: {method: ir_net}}}
        mean: [0.5, 0.5, 0.5]
        std: [0.25, 0.25, 0.25]
        label_smoothing: 0.1
    """,
    "group": """
      class_path: Classifier
      init_args:
        backbone:
          class_path: CifarResNet
          init_args:
            depth: 14
            width: 4
            block: {class_path: BiRealBlock, init_args: {method: group_net}}
            stage: {class_path: GroupStage, init_args: {branches: 2, dilations: [1, 2]}}
    """,
    "group_of_its_own": """
      class_path: Classifier
      init_args:
        backbone:
          class_path: CifarResNet
          init_args:
            depth: 8
            width: 4
            block: {class_path: GatedBlock}
            stage: [{class_path: BlockStage}, {class_path: BlockStage}, {class_path: GroupStage, init_args: {branches: 2}}]
    """,
    "bottleneck": """
      class_path: Classifier
      init_args:
        backbone:
          class_path: ResNet
          init_args: {depth: 50, width: 4, stem_kernel: 3, block: {class_path: ReActBottleneck}}
    """,
    "vgg": """
      class_path: Classifier
      init_args:
        backbone:
          class_path: VGGSmall
          init_args: {width: 4, unit: {class_path: CBAPUnit, init_args: {method: bnn}}}
        head: {class_path: FlattenHead, init_args: {size: 4, activation: {class_path: torch.nn.Hardtanh}}}
    """,
    "alexnet": """
      class_path: Classifier
      init_args:
        backbone:
          class_path: AlexNet
          init_args: {width: 2, unit: {class_path: WeightOnlyPooledUnit, init_args: {method: bwn}}}
        head:
          class_path: AlexNetHead
          init_args: {size: 1, hidden: 8, unit: {class_path: WeightOnlyLinearUnit, init_args: {method: bwn}}}
    """,
    "timm": """
      class_path: BinarizedTimm
      init_args: {name: test_resnet, method: bireal, keep: ["conv1.0", fc, "*downsample*"]}
    """,
    "torchvision": """
      class_path: BinarizedTorchvision
      init_args: {name: resnet18, method: react, keep: [conv1, fc, "*downsample*"]}
    """,
}
PARTS: dict[str, type[nn.Module]] = {
    "group": GroupStage,
    "group_of_its_own": ChannelScale,
    "vgg": CBAPUnit,
    "alexnet": WeightOnlyPooledUnit,
}


def build(config: str) -> Callable[[int], ImageClassifier]:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--model", type=Callable[[int], ImageClassifier])
    arguments = parser.parse_object({"model": yaml.safe_load(config)})
    built: Any = parser.instantiate_classes(arguments)
    return built.model


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_builds_it(name: str) -> None:
    net = build(CONFIGS[name])(7)
    assert net.num_classes == 7
    assert net.eval()(torch.rand(1, 3, 32, 32)).shape == (1, 7)
    assert [m for m in net.modules() if isinstance(m, BinaryConv2d)]
    assert [m for m in net.modules() if isinstance(m, PARTS.get(name, nn.Module))]
