"""Write the segmentation configs, each as a binary net and its real twin: python scripts/make_segmentation_configs.py."""

import argparse
import re
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

from config_text import BF16, EMA, config_text

CONFIGS = Path(__file__).parents[1] / "configs" / "segmentation"


@dataclass(frozen=True)
class Data:
    """What a data set asks of a config.

    Attributes:
        title: first words of the file.
        layout: the comment on how its files lie.
        lines: of the data section.
        trainer: lines of the trainer's section that are its own.
        channels: of context module and decoder.
        rates: of ASPP, with the comment.
        rate: learning rate of the binary nets.
        real_rate: of the real ones.
        bpac: channels of BPAC.
        branched: how many of the last stages have five branches.
        callbacks: lines of its own.
    """

    title: str
    layout: str
    lines: str
    trainer: str
    channels: int
    rates: str
    rate: str
    real_rate: str
    bpac: int
    branched: int
    callbacks: str = ""

    @property
    def stages(self) -> str:
        """GroupNet's stages of a backbone, each branch with a rate of its own."""
        group = "class_path: GroupStage\n  init_args: {branches: 5, dilations: [1, 2, 3, 4, 5]}"
        kinds = ["class_path: BlockStage"] * (4 - self.branched) + [group] * self.branched
        return textwrap.indent("\n".join("- " + kind for kind in kinds), " " * 14)

    def going_on(self, run: str, epochs: int) -> "Data":
        """The same for a run that begins where another ended.

        Args:
            run: the other's name.
            epochs: of this one.
        """
        trainer = re.sub("max_epochs: [0-9]+", f"max_epochs: {epochs}", self.trainer)
        return replace(self, trainer=trainer, callbacks=START.format(run=run) + self.callbacks)


DATA = {
    "camvid": Data(
        "CamVid, train -> val",
        "SegNet's folders train, trainannot, val, valannot; 11 classes. The test list is left for the end.",
        """class_path: CamVidData
  init_args:
    root: ../shared/data/camvid   # or: --data.init_args.root FOLDER
    sizes: [[240, 320]]
    batch_size: 8
    num_workers: 1
    cache: true
    train_augment:
      class_path: ScaleCropFlip
      init_args: {scale: [0.7, 1.6]}""",
        f"max_epochs: 50\n  {BF16}\n  check_val_every_n_epoch: 5\n  log_every_n_steps: 10",
        128,
        "[3, 6, 9]   # of 15x20 positions; the paper's 6, 12, 18 are for 32x32",
        "4.0e-3",
        "2.0e-3",
        64,
        1,  # as many branches in the last two would take more than an hour on two cores
        EMA,
    ),
    "voc07": Data(
        "PASCAL VOC 2007's masks, train -> val",
        "209 training pictures, 213 val pictures, 21 classes with background; below the folder VOC2007.",
        """class_path: VOCSegmentationData
  init_args:
    root: ../shared/data/VOCdevkit/VOC2007   # or: --data.init_args.root FOLDER
    splits: {test: val}
    sizes: [[320, 320]]
    batch_size: 8
    num_workers: 1
    cache: true
    train_augment:
      class_path: ScaleCropFlip
      init_args: {scale: [0.7, 1.6]}""",
        f"max_epochs: 60\n  {BF16}\n  check_val_every_n_epoch: 10\n  log_every_n_steps: 10",
        128,
        "[4, 8, 12]   # of 20x20 positions; the paper's 6, 12, 18 are for 32x32",
        "4.0e-3",
        "2.0e-3",
        64,
        1,
        """
    # A start from feature distillation (configs/pretraining/voc07_resnet18_lite0.yaml), without which 209 pictures are few:
    # - class_path: BackboneWeights
    #   init_args: {path: runs/voc07_resnet18_lite0/checkpoints/last.ckpt}"""
        + EMA,
    ),
    "voc": Data(
        "PASCAL VOC 2012",
        "VOCdevkit/VOC2012 with SBD's masks as the folder SegmentationClassAug and the list trainaug.txt, as in the papers;\n"
        "# without them: masks: SegmentationClass, splits: {train: train}. For a GPU: 50 epochs of 10 582 images.",
        """class_path: VOCSegmentationData
  init_args:
    root: ../shared/data/VOCdevkit/VOC2012   # or: --data.init_args.root FOLDER
    masks: SegmentationClassAug
    splits: {train: trainaug, test: val}
    sizes: [[512, 512]]
    batch_size: 16
    num_workers: 8
    train_augment:
      class_path: ScaleCropFlip
      init_args: {scale: [0.5, 2.0]}""",
        f"max_epochs: 50\n  {BF16}\n  check_val_every_n_epoch: 5\n  log_every_n_steps: 50",
        256,
        "[6, 12, 18]   # the paper's, for an output stride of 16",
        "2.0e-3",
        "1.0e-3",
        256,
        2,
    ),
}


@dataclass(frozen=True)
class Model:
    """A net.

    Attributes:
        title: as the header has it.
        maps: of the backbone.
        backbone: further lines of the backbone, binary; real.
        decoder: lines.
        real_layers: of the binary net's decoder, as the header has it.
        data: which sets have it.
    """

    title: str
    maps: str
    backbone: tuple[str, str]
    decoder: str
    real_layers: str
    data: tuple[str, ...] = ("camvid", "voc")


STAGES = "\n            stage:   # five branches in the last {branched}, each with a rate of its own\n{stages}"
OUTPUT_STRIDE = "\n            output_stride: 16"

PATHS = "3x3 filters a channel on the paths"
MODELS = {
    "skip_r18": Model(
        "ResNet-18 with the ladder of real-valued skip paths",
        "[0, 1, 2, 3, 4]",
        ("", ""),
        """class_path: SkipDecoder
          init_args:
            channels: [32, 64, {c}, {c}, {c}]
            unit: {{class_path: {unit}}}""",
        "1x1 shortcuts and laterals, 3x3 filters a channel on the paths and classifier",
        ("camvid", "voc07", "voc"),
    ),
    "fcn_r18": Model(
        "FCN-8s on ResNet-18",
        "[2, 3, 4]",
        ("", ""),
        """class_path: FCNDecoder
          init_args:
            scores: 3   # strides 8, 16 and 32: FCN-8s
            channels: {c}
            unit: {{class_path: {unit}}}""",
        "1x1 shortcuts and laterals, 3x3 filters a channel on the paths and classifiers",
    ),
    "deeplabv3plus_r18": Model(
        "DeepLabV3+ on ResNet-18",
        "[1, 4]",
        (OUTPUT_STRIDE, OUTPUT_STRIDE),
        """class_path: DeepLabV3PlusDecoder
          init_args:
            context:
              class_path: ASPP
              init_args:
                channels: {c}
                rates: {rates}
                unit: {{class_path: {unit}}}
                projection: {join}
            entry: {join}
            unit: {{class_path: {unit}}}""",
        "1x1 shortcuts and laterals, 3x3 filters a channel on the paths, image pooling and classifier",
    ),
    "bpac_r18": Model(
        "GroupNet-BPAC on ResNet-18",
        "[1, 2, 3, 4]",
        (STAGES, ""),
        """class_path: DeepLabV3PlusDecoder
          init_args:
            context:
              class_path: BPAC
              init_args:
                channels: {bpac}
                rates: [1, 2, 3, 4, 5]
                unit: {{class_path: {unit}}}
            entry: {join}
            unit: {{class_path: {unit}}}""",
        "1x1 shortcuts and laterals, 3x3 filters a channel on the paths and classifier",
    ),
}
REACT_JOIN = "{class_path: ReActUnit, init_args: {path: ChannelPath}}"


@dataclass(frozen=True)
class Kind:
    """What the parts are made of.

    Attributes:
        block: of the backbone.
        unit: of the decoder.
        join: the unit that joins concatenated maps.
        title: as the header has it, behind the model's.
        paths: whether the blocks' paths have filters of their own.
        data: which sets have it; empty for all.
        models: which models have it; empty for all.
        dice: whether Dice is added to the cross-entropy.
        start: the kind whose run this one goes on from, with `epochs` and `rate` of its own.
        teacher: the kind whose run is imitated.
    """

    block: str
    unit: str
    join: str
    title: str = ""
    paths: bool = False
    data: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    dice: bool = False
    start: str = ""
    epochs: int = 0
    rate: str = ""
    teacher: str = ""


KINDS = {
    "binary": Kind("LocalBlock", "LocalUnit", REACT_JOIN, paths=True),
    "plain_binary": Kind("PlainBlock", "PlainUnit", "", ", plain blocks", data=("camvid",), models=("skip_r18",)),
    "bireal_binary": Kind(
        "BiRealBlock", "BiRealUnit", "", ", Bi-Real's blocks", data=("camvid",), models=("skip_r18",)
    ),
    "real": Kind("RealBlock", "RealUnit", "{class_path: RealUnit}"),
    "dice_real": Kind(
        "RealBlock",
        "RealUnit",
        "",
        ", ten more epochs with Dice after the run of camvid_skip_r18_real",
        data=("camvid",),
        models=("skip_r18",),
        dice=True,
        start="real",
        epochs=10,
        rate="5.0e-4",
    ),
    "scratch_dice_real": Kind(
        "RealBlock",
        "RealUnit",
        "",
        ", cross-entropy and Dice from the first epoch",
        data=("camvid",),
        models=("skip_r18",),
        dice=True,
    ),
    "dice_binary": Kind(
        "LocalBlock",
        "LocalUnit",
        "",
        ", cross-entropy and Dice from the first epoch",
        paths=True,
        data=("camvid",),
        models=("skip_r18",),
        dice=True,
    ),
    "distilled_binary": Kind(
        "LocalBlock",
        "LocalUnit",
        "",
        ", distilled from the run of camvid_skip_r18_dice_real",
        paths=True,
        data=("camvid",),
        models=("skip_r18",),
        dice=True,
        teacher="dice_real",
    ),
}

BODY = """      class_path: Segmenter
      init_args:
        backbone:
          class_path: ResNet
          init_args:
            depth: 18
            block: {{class_path: {block}}}
            width: 64
            stem_kernel: 3   # keeps the real stem at 1 % of the multiplications
            out_indices: {maps}{backbone}
        decoder:
          {decoder}{activation}{losses}{auxiliary}"""
DICE = """
        losses:
          - class_path: CrossEntropyLoss
          - class_path: DiceLoss"""
AUXILIARY = """
    auxiliary:
      - class_path: SegmentationDistillation
        init_args:
          teacher: {{class_path: SegmenterTeacher, init_args: {{path: runs/{run}/checkpoints/last.ckpt}}}}
          terms:
            - class_path: PixelWiseImitation"""
START = """
    - class_path: ModelWeights
      init_args: {{path: runs/{run}/checkpoints/last.ckpt}}"""
RELU = "\n            activation: {class_path: torch.nn.ReLU}   # before the classifier"


def configs() -> dict[str, str]:
    """Text of every config by its name."""
    texts = {}
    for model_name, model in MODELS.items():
        for data_name in model.data:
            data = DATA[data_name]
            for suffix, kind in KINDS.items():
                if (kind.data and data_name not in kind.data) or (kind.models and model_name not in kind.models):
                    continue
                family, real = f"{data_name}_{model_name}", suffix.endswith("real")
                layers = model.real_layers if kind.paths else model.real_layers.replace(f", {PATHS} and", " and")
                said = f"binary backbone and decoder (real: stem, {layers})"
                if real:
                    said = "the real-valued twin, without a binary layer"
                body = BODY.format(
                    block=kind.block,
                    maps=model.maps,
                    backbone=model.backbone[real].format(
                        stages=data.stages, branched="stage" if data.branched == 1 else f"{data.branched} stages"
                    ),
                    decoder=model.decoder.format(
                        c=data.channels, bpac=data.bpac, unit=kind.unit, join=kind.join, rates=data.rates
                    ),
                    activation=RELU if real else "",
                    losses=DICE if kind.dice else "",
                    auxiliary=AUXILIARY.format(run=f"{family}_{kind.teacher}") if kind.teacher else "",
                )
                title = f"{data.title}, {model.title}{kind.title}: {said}."
                rate, name = kind.rate or (data.real_rate if real else data.rate), f"{family}_{suffix}"
                used = data.going_on(f"{family}_{kind.start}", kind.epochs) if kind.start else data
                texts[name] = config_text("segmentation", name, title, used, "SegmentationTask", "validate", body, rate)
    return texts


def main() -> None:
    """Write them all."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, text in configs().items():
        (CONFIGS / f"{name}.yaml").write_text(text)


if __name__ == "__main__":
    main()
