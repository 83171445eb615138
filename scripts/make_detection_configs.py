"""Write the detection configs that differ in data set, depth and what is binary: python scripts/make_detection_configs.py."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from config_text import BF16, EMA, config_text

CONFIGS = Path(__file__).parents[1] / "configs" / "detection"
DEPTHS = (18, 34)
# suffix of the file's name: blocks of the backbone, units of the other parts
KINDS = {"": ("Local", "Real"), "_binary": ("Local", "ReAct"), "_real": ("Real", "Real")}
BOX_UNITS = {"Real": "RealRegionUnit", "ReAct": "BinaryRegionUnit"}


@dataclass(frozen=True)
class Data:
    """What a data set asks of a config.

    Attributes:
        title: first words of the file.
        layout: the comment on how its files lie.
        lines: of the data section.
        trainer: lines of the trainer's section that are its own.
        extra: pyramid levels after the backbone's last.
        channels: of the pyramid.
        depth: units in each of RetinaNet's towers.
        retinanet_scale: anchor size over stride, with the comment.
        faster_rcnn_scale: likewise.
        canonical_size: of RoIAlign, with the comment.
        rates: learning rate by model.
        callbacks: lines of its own.
    """

    title: str
    layout: str
    lines: str
    trainer: str
    extra: int
    channels: int
    depth: int
    retinanet_scale: str
    faster_rcnn_scale: str
    canonical_size: str
    rates: dict[str, str]
    callbacks: str = ""


DATA = {
    "bccd": Data(
        "BCCD blood cells",
        "VOC layout: Annotations, JPEGImages, ImageSets/Main.",
        """class_path: VOCDetectionData
  init_args:
    root: ../shared/data/bccd   # or: --data.init_args.root FOLDER
    sizes: [[240, 320]]
    batch_size: 16
    num_workers: 1
    cache: true
    train_augment:
      class_path: Augment
      init_args: {scale: [0.7, 1.4], vflip: 0.5}""",
        f"max_epochs: 45\n  {BF16}\n  check_val_every_n_epoch: 5\n  log_every_n_steps: 10",
        0,
        128,
        2,
        "2.5   # 20 px at stride 8: a platelet at this input size (training set median 19.7 px)",
        "3.0   # 24, 48, 96 px: near the training set's medians at this input size, platelets 19, RBC 51, WBC 94 px",
        "112   # sides below 112 px are read at stride 8, below 224 px at stride 16",
        {"retinanet": "5.0e-3", "faster_rcnn": "4.0e-3"},
        EMA,
    ),
    "voc07": Data(
        "PASCAL VOC 2007, train -> val",
        "VOC layout below the folder VOC2007; the official test list is left for the end, so test is val here.",
        """class_path: VOCDetectionData
  init_args:
    root: ../shared/data/VOCdevkit/VOC2007   # or: --data.init_args.root FOLDER
    splits: {test: val}
    sizes: [[320, 320]]
    batch_size: 32
    num_workers: 2
    train_augment:
      class_path: Augment
      init_args: {scale: [0.6, 1.6]}""",
        f"max_epochs: 16\n  {BF16}\n  check_val_every_n_epoch: 2\n  log_every_n_steps: 10",
        1,
        128,
        2,
        "3.0   # 24 px at stride 8 to 305 px at stride 64",
        "5.0   # 40 px at stride 8 to 320 px at stride 64",
        "112   # sides below 112 px are read at stride 8, below 224 px at stride 16",
        {"retinanet": "2.0e-3", "faster_rcnn": "2.0e-3"},
        """
    # A start from feature distillation (configs/pretraining/voc07_resnet18_lite0*.yaml), without which 16 epochs are few:
    # - class_path: BackboneWeights
    #   init_args: {path: runs/voc07_resnet18_lite0/checkpoints/last.ckpt}"""
        + EMA,
    ),
    "voc0712": Data(
        "PASCAL VOC 07+12",
        "VOCdevkit with VOC2007 and VOC2012: trained on trainval of both; val and test are both the test list of 2007, as in\n"
        "# the papers, so choose no setting by them. For a GPU: 50 epochs of 16 551 images.",
        """class_path: VOCDevkitData
  init_args:
    root: ../shared/data/VOCdevkit   # or: --data.init_args.root FOLDER (with download: true, fetched there)
    sizes: [[512, 512]]
    batch_size: 32
    num_workers: 8
    train_augment:
      class_path: Augment
      init_args: {scale: [0.5, 2.0]}""",
        f"max_epochs: 50\n  {BF16}\n  check_val_every_n_epoch: 5\n  log_every_n_steps: 50",
        2,
        256,
        4,
        "4.0   # the paper's: 32 px at stride 8",
        "8.0   # the paper's: 32 px at stride 4, here 64 px at stride 8",
        "160   # sides below 160 px are read at stride 8, below 320 px at stride 16",
        {"retinanet": "2.0e-3", "faster_rcnn": "2.0e-3"},
    ),
    "coco": Data(
        "COCO 2017",
        "annotations/instances_{train,val}2017.json, train2017, val2017. For a GPU: 24 epochs of 118 287 images.",
        """class_path: CocoDetectionData
  init_args:
    root: ../shared/data/coco   # or: --data.init_args.root FOLDER
    sizes: [[512, 640], [640, 512]]   # an image goes to the one of the nearest aspect ratio
    batch_size: 32
    num_workers: 8
    train_augment:
      class_path: Augment
      init_args: {scale: [0.5, 2.0]}""",
        f"max_epochs: 24\n  {BF16}\n  check_val_every_n_epoch: 4\n  log_every_n_steps: 50",
        2,
        256,
        4,
        "4.0   # the paper's: 32 px at stride 8",
        "8.0   # the paper's: 32 px at stride 4, here 64 px at stride 8",
        "160   # sides below 160 px are read at stride 8, below 320 px at stride 16",
        {"retinanet": "2.0e-3", "faster_rcnn": "2.0e-3"},
    ),
}

PYRAMID = """        backbone:
          class_path: ResNet
          init_args:
            depth: {depth}
            block: {{class_path: {block}Block}}
            width: 64
            stem_kernel: 3   # keeps the real stem at 1 % of the multiplications
        neck:
          class_path: FPN
          init_args:
            channels: {data.channels}
            unit: {{class_path: {unit}Unit}}
            extra_levels: {data.extra}
"""
RETINANET = (
    """      class_path: RetinaNet
      init_args:
"""
    + PYRAMID
    + """        head:
          class_path: RetinaNetHead
          init_args:
            depth: {data.depth}
            unit: {{class_path: {unit}Unit}}
        anchor_scale: {data.retinanet_scale}"""
)

FASTER_RCNN = (
    """      class_path: FasterRCNN
      init_args:
"""
    + PYRAMID
    + """        rpn_head:
          class_path: RPNHead
          init_args:
            depth: 1
            unit: {{class_path: {unit}Unit}}
        box_head:
          class_path: TwoLayerBoxHead
          init_args:
            width: 1024
            unit: {{class_path: {box}}}
        roi_align:
          class_path: PyramidRoIAlign
          init_args:
            output_size: 7
            canonical_size: {data.canonical_size}
        proposals:
          class_path: Proposals
          init_args: {{top_k: 500, count: 300}}
        sampler:
          class_path: RegionSampler
          init_args: {{count: 128}}
        anchor_scale: {data.faster_rcnn_scale}"""
)

MODELS = {"retinanet": ("RetinaNet", RETINANET), "faster_rcnn": ("Faster R-CNN", FASTER_RCNN)}
# The words are those that tests/test_honest_configs.py holds against the net.
PATHS = "stem, 1x1 shortcuts{laterals}, 3x3 filters a channel on the paths"
SAID = {
    ("retinanet", ""): f"binary backbone (real: {PATHS.format(laterals='')}); FPN and towers are real",
    ("retinanet", "_binary"): "binary backbone, FPN and towers "
    f"(real: {PATHS.format(laterals=' and laterals')}, output convolutions)",
    ("faster_rcnn", ""): f"binary backbone (real: {PATHS.format(laterals='')}); FPN, RPN and box head are real",
    ("faster_rcnn", "_binary"): "binary backbone, FPN, RPN and box head "
    f"(real: {PATHS.format(laterals=' and laterals')}, output layers)",
}


def configs() -> dict[str, str]:
    """Text of every config by its name."""
    texts = {}
    for data_name, data in DATA.items():
        for model, (model_title, body) in MODELS.items():
            for depth in DEPTHS:
                for suffix, (block, unit) in KINDS.items():
                    name = f"{data_name}_{model}_r{depth}{suffix}"
                    filled = body.format(depth=depth, block=block, unit=unit, box=BOX_UNITS[unit], data=data)
                    said = SAID.get((model, suffix), "the real-valued twin, without a binary layer")
                    title = f"{data.title}, {model_title} on ResNet-{depth}: {said}."
                    texts[name] = config_text(
                        "detection", name, title, data, "DetectionTask", "test", filled, data.rates[model]
                    )
    return texts


def main() -> None:
    """Write them all."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, text in configs().items():
        (CONFIGS / f"{name}.yaml").write_text(text)


if __name__ == "__main__":
    main()
