"""Nothing is called binary that is not: a detection or segmentation config's name and header against the net it builds.

A header says "binary PARTS (real: KINDS)", perhaps with "; PARTS are real", or "the real-valued twin, without a binary
layer"; the words are those of `PARTS` and `KINDS`.
"""

import copy
import importlib
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from configs_for_tests import shrink
from jsonargparse import ArgumentParser
from torch import nn

from bnn_tasks import backbones, models  # noqa: F401  (makes short class names known)
from bnn_tasks.backbones import DepthwisePath
from bnn_tasks.binary import BinaryConv2d, BinaryLinear
from bnn_tasks.binary.profile import LayerProfile, profile
from bnn_tasks.models import SSD, Detector, L2Norm, Segmenter
from bnn_tasks.named_classes import own_defaults

ROOT = Path(__file__).parents[1]
FOLDERS = ("detection", "segmentation")
TEXTS = {
    path.stem: path.read_text("utf-8")
    for folder in FOLDERS
    for path in sorted((ROOT / "configs" / folder).glob("*.yaml"))
}
GENERATORS = ("make_detection_configs", "make_segmentation_configs")
# Written by hand: all others are the generator's.
BY_HAND = {
    "bccd_ssd300_vgg16_binary",
    "coco_retinanet_r18_fqn",
    "synthetic_retinanet_r18",
    "voc0712_faster_rcnn_r18_idadet",
    "voc0712_ssd300_vgg16",
    "voc0712_ssd300_vgg16_bidet",
    "voc0712_ssd300_vgg16_binary",
    "voc0712_ssd300_vgg16_real",
}
# Without a suffix the backbone alone is binary, SSD's further layers being its end, but for those named after a whole recipe.
RECIPES = {"coco_retinanet_r18_fqn", "synthetic_retinanet_r18", "voc0712_faster_rcnn_r18_idadet"}
BACKBONE = {"backbone", "extras"}

PARTS = {
    "backbone": "backbone",
    "extra layers": "extras",
    "FPN": "neck",
    "towers": "head",
    "predictors": "head",
    "RPN": "rpn_head",
    "box head": "box_head",
    "decoder": "decoder",
}
TWIN = "the real-valued twin, without a binary layer"
CLAIM = re.compile(
    r"binary (?P<binary>[^;:.()]+) \(real: (?P<kinds>[^()]+)\)(?:; (?P<real>[^;:.()]+?) (?:is|are) real)?\."
)
BINARY_WORD = re.compile(r"\b(binar\w*|1-bit|one-bit|xnor)\b", re.IGNORECASE)


def one_by_one(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)


# What a header may list as real -> whether (name, layer) is of that kind.
KINDS: dict[str, Callable[[str, nn.Module], bool]] = {
    "stem": lambda name, layer: name in ("backbone.conv1", "backbone.conv1_1"),
    "1x1 shortcuts": lambda name, layer: name.endswith(".shortcut.conv") and one_by_one(layer),
    "1x1 laterals": lambda name, layer: (
        re.fullmatch(r"(neck\.laterals\.\d+|decoder\.(laterals\.\d+|reduce\.\d+|entry|low|context\.entry))\.conv", name)
        is not None
        and one_by_one(layer)
    ),
    "image pooling": lambda name, layer: name == "decoder.context.pooling.conv",
    "classifier": lambda name, layer: name == "decoder.classifier.conv" and one_by_one(layer),
    "classifiers": lambda name, layer: (
        re.fullmatch(r"decoder\.scores\.\d+\.conv", name) is not None and one_by_one(layer)
    ),
    "3x3 filters a channel on the paths": lambda name, layer: isinstance(layer, DepthwisePath),
    "L2Norm": lambda name, layer: isinstance(layer, L2Norm),
    "output convolutions": lambda name, layer: name in ("head.cls_logits", "head.box_deltas"),
    "output layers": lambda name, layer: (
        re.fullmatch(r"(rpn_head|box_head)\.(objectness|cls_logits|box_deltas)", name) is not None
    ),
    "RPN outputs": lambda name, layer: re.fullmatch(r"rpn_head\.(objectness|box_deltas)", name) is not None,
}


@cache
def generators(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The scripts that write configs, imported as they are when they run: from their own folder."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return {name: importlib.import_module(name) for name in GENERATORS}


@cache
def layers(model: str) -> tuple[Detector | Segmenter, list[LayerProfile]]:
    """The narrow net of a config's model, as JSON, and its rows."""
    own_defaults()  # as the command line has it
    parser = ArgumentParser()
    base = Segmenter if json.loads(model)["class_path"] == "Segmenter" else Detector
    parser.add_argument("--model", type=Callable[[int], base])  # type: ignore[valid-type]
    net: Detector | Segmenter = parser.instantiate_classes(parser.parse_object({"model": json.loads(model)})).model(3)
    size = (net.smallest, net.smallest) if isinstance(net, SSD) else (64, 64)
    return net, profile(net, torch.rand(1, 3, *size), lambda x: net.decode(net(x), size))


def build(config: dict[str, Any]) -> tuple[Detector | Segmenter, list[LayerProfile]]:
    """`layers`, one net for configs that differ only in where anchors and regions lie."""
    model = copy.deepcopy(config["model"]["init_args"]["model"])
    shrink(model)
    for where in ("anchor_scale", "roi_align", "proposals", "sampler", "input_size", "scales"):
        model["init_args"].pop(where, None)
    return layers(json.dumps(model, sort_keys=True))


def items(words: str, vocabulary: dict[str, Any], name: str) -> list[str]:
    """The entries of a list such as "a, 1x1 b and c" or "1x1 b and c", which is "1x1 b, 1x1 c"."""
    found: list[str] = []
    for word in re.split(r", | and ", words.strip()):
        spelled = word if word in vocabulary else f"1x1 {word}"
        assert spelled in vocabulary, f"{name}: {word!r} is no word of {sorted(vocabulary)}"
        found.append(spelled)
    return found


def header(text: str, name: str) -> str:
    """The prose on top of a config, in one line, without the commands."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append("" if line.startswith("#   bnn-tasks") else line.removeprefix("#").strip())
    assert lines, f"{name}: no header"
    return " ".join(lines)


def is_binary(row: LayerProfile) -> bool:
    """1-bit weights and activations."""
    return row.bops > 0 and row.flops == 0


def has_binary_weights(layer: nn.Module) -> bool:
    return isinstance(layer, BinaryConv2d | BinaryLinear)


def check(name: str, text: str) -> None:
    """Raise AssertionError, which names config and layer, where the name or the header says what the net is not."""
    said = header(text, name)
    net, rows = build(yaml.safe_load(text))
    named = dict(net.named_modules())
    costly = [row for row in rows if row.bops + row.flops]
    parts = {row.name.partition(".")[0] for row in costly}
    if TWIN in said:
        binary, kinds, said = set(), [], said.replace(TWIN, "")
        assert not name.endswith("_binary"), f"{name}: its name says binary, its header {TWIN!r}"
    else:
        claim = CLAIM.search(said)
        assert claim is not None, f"{name}: its header says neither {TWIN!r} nor 'binary … (real: …)'"
        binary = {PARTS[word] for word in items(claim["binary"], PARTS, name)}
        kinds = items(claim["kinds"], KINDS, name)
        real = {PARTS[word] for word in items(claim["real"], PARTS, name)} if claim["real"] else set()
        assert sorted([*binary, *real]) == sorted(parts), f"{name}: says {binary} and {real} of the parts {parts}"
        assert not name.endswith("_real"), f"{name}: its name says real, its header binary"
        said = said[: claim.start()] + said[claim.end() :]
    assert BINARY_WORD.search(said.replace("_binary", "")) is None, (
        f"{name}: more is called binary than is held: {said}"
    )
    if name.endswith("_binary"):
        assert binary == parts, f"{name}: of its parts {parts} its header calls binary {binary}"
    elif not name.endswith("_real") and name not in RECIPES:
        assert binary == parts & BACKBONE, (
            f"{name}: without a suffix it should be binary in its backbone, not in {binary}"
        )

    for row in costly:
        layer, part = named[row.name], row.name.partition(".")[0]
        if part not in binary:
            assert not has_binary_weights(layer), f"{name}: {row.name} is binary, {part} is said to be real"
        elif not is_binary(row):
            listed = [kind for kind in kinds if KINDS[kind](row.name, layer)]
            assert listed, f"{name}: {row.name} is real and not of the listed {kinds}"
    inside = [row.name for row in rows if row.name.partition(".")[0] in binary or isinstance(named[row.name], L2Norm)]
    for kind in kinds:
        assert any(KINDS[kind](row, named[row]) for row in inside), f"{name}: lists {kind!r}, of which it has none"
    for part in binary:
        assert any(is_binary(row) for row in costly if row.name.startswith(part + ".")), (
            f"{name}: no binary layer in {part}"
        )


@pytest.mark.parametrize("name", TEXTS)
def test_name_and_header_say_what_is_binary(name: str) -> None:
    check(name, TEXTS[name])


def test_files_are_the_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = generators(monkeypatch)
    generated = {name: (text, script) for script in scripts for name, text in scripts[script].configs().items()}
    assert set(generated) | BY_HAND == set(TEXTS)
    assert not set(generated) & BY_HAND
    for name, (text, script) in generated.items():
        assert TEXTS[name] == text, f"{name}: python scripts/{script}.py"


@pytest.mark.parametrize(("unit", "method", "paths"), [("BiRealUnit", "bireal", 0), ("LocalUnit", "react", 2)])
def test_a_class_named_without_arguments_has_its_own_defaults(unit: str, method: str, paths: int) -> None:
    """Not those of `ReActUnit`, which is the default where the unit stands."""
    head = {"class_path": "RetinaNetHead", "init_args": {"depth": 1, "unit": {"class_path": unit}}}
    backbone = {"class_path": "ResNet", "init_args": {"width": 4}}
    neck = {"class_path": "FPN", "init_args": {"channels": 8}}
    parts = {"backbone": backbone, "neck": neck, "head": head}
    net, _ = layers(json.dumps({"class_path": "RetinaNet", "init_args": parts}))
    towers = list(net.get_submodule("head").modules())
    assert {f"method={method}" in layer.extra_repr() for layer in towers if isinstance(layer, BinaryConv2d)} == {True}
    assert sum(isinstance(layer, DepthwisePath) for layer in towers) == paths * 3  # levels


@pytest.mark.parametrize("name", TEXTS)
def test_comments_below_the_header_call_nothing_binary(name: str) -> None:
    comments = re.findall(r"(?<=\s)#.*", "\n".join(x for x in TEXTS[name].splitlines() if not x.startswith("#")))
    assert [comment for comment in comments if BINARY_WORD.search(comment.replace("_binary", ""))] == []


def edited(name: str, old: str, new: str) -> str:
    assert old in TEXTS[name]
    return TEXTS[name].replace(old, new)


WEIGHT_ONLY_BLOCK = "{class_path: WeightOnlyBlock, init_args: {method: bwn}}"
RETINANET, FASTER_RCNN = "bccd_retinanet_r18_binary", "bccd_faster_rcnn_r18_binary"
TOWERS = "depth: 2\n            unit: {class_path: "


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            RETINANET,
            edited(RETINANET, TOWERS + "ReActUnit", TOWERS + "RealUnit"),
            rf"{RETINANET}: head\.cls_tower\S+conv is real and not",
        ),
        (
            FASTER_RCNN,
            edited(FASTER_RCNN, "BinaryRegionUnit", "RealRegionUnit"),
            rf"{FASTER_RCNN}: box_head\.first\.conv is real and not",
        ),
        (
            RETINANET,
            edited(RETINANET, "{class_path: LocalBlock}", WEIGHT_ONLY_BLOCK),
            r"backbone\.layer1\S+conv1 is real and not",
        ),
        (
            RETINANET,
            edited(RETINANET, "LocalBlock", "ReActBlock"),
            "of which it has none",
        ),
        (RETINANET, edited(RETINANET, "real: stem,", "real: stem, gates,"), "'gates' is no word"),
        (RETINANET, edited(RETINANET, "real: stem, ", "real: "), r"backbone\.conv1 is real and not"),
        (RETINANET, edited(RETINANET, "FPN and towers (", "and towers ("), "is no word"),
        (RETINANET, TEXTS["bccd_retinanet_r18"], "its header calls binary"),
        (RETINANET, TEXTS["bccd_retinanet_r18_real"], "its name says binary"),
        ("bccd_retinanet_r18_real", TEXTS[RETINANET], "its name says real"),
        ("bccd_retinanet_r18", TEXTS[RETINANET], "without a suffix"),
        (
            "bccd_retinanet_r18",
            edited("bccd_retinanet_r18", TOWERS + "RealUnit", TOWERS + "ReActUnit"),
            r"head\.cls_tower\S+conv is binary, head is said to be real",
        ),
        (
            "bccd_retinanet_r18_real",
            edited(
                "bccd_retinanet_r18_real", TOWERS + "RealUnit}", TOWERS + "WeightOnlyUnit, init_args: {method: bwn}}"
            ),
            r"head\.cls_tower\S+conv is binary, head is said to be real",
        ),
        (RETINANET, edited(RETINANET, "# VOC layout", "# Binary heads. VOC layout"), "more is called binary"),
    ],
)
def test_doctored_configs_are_found(name: str, text: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(name, text)
