"""COCO-Stuff's masks: things and stuff in one number a pixel."""

from pathlib import Path
from typing import Any

from bnn_tasks.data.segmentation.batch import VOID
from bnn_tasks.data.segmentation.folder import MaskFolderData

# Of the COCO-Stuff repository's labels.txt, whose ids count from 1, while the masks count from 0.
NOT_IN_COCO = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}  # ids of things that COCO has given up
THINGS = (  # ids 1..91 without those
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, "
    "laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, "
    "scissors, teddy bear, hair drier, toothbrush"
)
STUFF = (  # ids 92..182
    "banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, "
    "ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, "
    "floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, "
    "furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, "
    "mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing, "
    "railroad, river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, "
    "stairs, stone, straw, structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick, "
    "wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, "
    "window-blind, window-other, wood"
)
COCO_STUFF_IDS = [id_ for id_ in range(1, 183) if id_ not in NOT_IN_COCO]
COCO_STUFF_CLASSES = THINGS.split(", ") + STUFF.split(", ")


class CocoStuffData(MaskFolderData):
    """COCO-Stuff (Caesar et al., 2018): 80 things and 91 stuff classes, in grey masks of 0..181 with gaps and 255 for void.

    Below ``root``: the pictures in train2017/ and val2017/, and the folders of stuffthingmaps_trainval2017.zip in
    stuffthingmaps/train2017/ and stuffthingmaps/val2017/. The test split is val.

    Args:
        root: folder of the set.
        sizes: see ``SegmentationData``.
        images: folder of the pictures below ``root``; ``{split}`` stands for the split's name.
        masks: folder of the masks below ``root``.
        splits: see ``SegmentationData``.
        **kwargs: the other arguments of ``SegmentationData``.
    """

    def __init__(
        self,
        root: str | Path,
        sizes: list[tuple[int, int]],
        images: str = "{split}2017",
        masks: str = "stuffthingmaps/{split}2017",
        splits: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            root,
            sizes,
            images=images,
            masks=masks,
            classes=list(COCO_STUFF_CLASSES),
            values=[id_ - 1 for id_ in COCO_STUFF_IDS],
            void=[VOID],
            splits={"test": "val"} | (splits or {}),
            **kwargs,
        )
