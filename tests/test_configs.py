"""Every config of the project parses and fits a batch, on a tiny generated set of its own format."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from configs_for_tests import shrink, tiny_classification_config
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from bnn_tasks.cli import main
from bnn_tasks.data import ImageFolderData, VOCDetectionData
from bnn_tasks.data.detection.coco import ANNOTATIONS, IMAGES
from bnn_tasks.data.synthetic import generate
from bnn_tasks.data.synthetic.class_folders import generate_classes
from bnn_tasks.data.synthetic.mask_folders import generate_masks
from bnn_tasks.tasks.distillation import teacher

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
SIZE = [64, 64]
SSD_SIZE = [288, 288]  # its last layers do not pad


def voc(root: Path, data: dict[str, Any]) -> None:
    """VOC's layout, with the split lists and the classes that the config names."""
    arguments = data["init_args"]
    generate(root, 10, (48, 64))
    for split, name in arguments.get("splits", {}).items():
        lists = root / "ImageSets" / "Main"
        if not (lists / f"{name}.txt").exists():
            shutil.copy(lists / f"{split}.txt", lists / f"{name}.txt")
    names = dict(zip(("circle", "square", "triangle"), arguments.get("classes", ())))
    for path in (root / "Annotations").iterdir():
        text = path.read_text()
        for shape, name in names.items():
            text = text.replace(f"<name>{shape}</name>", f"<name>{name}</name>")
        path.write_text(text)


def devkit(root: Path, data: dict[str, Any]) -> None:
    """The years that the default lists name, with VOC's classes."""
    data["init_args"] |= {"root": str(root)}
    for year, lists in (("2007", ("trainval", "test")), ("2012", ("trainval",))):
        folder = root / f"VOC{year}"
        voc(folder, {"init_args": {"classes": ["bird", "cat", "dog"]}})
        for name in lists:
            shutil.copy(folder / "ImageSets" / "Main" / "train.txt", folder / "ImageSets" / "Main" / f"{name}.txt")


def coco(root: Path, data: dict[str, Any]) -> None:
    """COCO's layout, with the files that the config names."""
    arguments = data["init_args"]
    source = root.with_name("source")
    voc(source, {"init_args": {}})
    content = VOCDetectionData(source, [(64, 64)])
    for split, name in arguments.get("annotations", ANNOTATIONS).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content.ground_truth(split)))
        shutil.copytree(source / "JPEGImages", root / arguments.get("images", IMAGES)[split], dirs_exist_ok=True)


def nothing(root: Path, data: dict[str, Any]) -> None:
    """The set makes itself."""
    data["init_args"] |= {"images": 15, "image_size": [48, 64]}


def folders(root: Path, data: dict[str, Any]) -> None:
    """A folder a class, in the split folders and of the classes that the config names; a zip of it where it wants one."""
    arguments = data["init_args"]
    wanted = Path(arguments["root"])
    folder = root.with_name("folders") if wanted.suffix == ".zip" else root
    generate_classes(folder, 15)
    (folder / "synthetic.json").unlink()
    for split in ("train", "val", "test"):
        for shape, name in zip(("circle", "square", "triangle"), arguments.get("classes", ())):
            (folder / split / shape).rename(folder / split / name)
        (folder / split).rename(folder / arguments.get("splits", {}).get(split, split))
    if wanted.suffix == ".zip":
        shutil.make_archive(str(root), "zip", folder)
        Path(f"{root}.zip").rename(root)
    arguments["classes"] = arguments.get("classes", ["circle", "square", "triangle"])[:3]


def official(root: Path, data: dict[str, Any]) -> None:
    """torchvision checks the digests of such a set, so a folder of generated pictures stands in for it."""
    data["class_path"] = "ImageFolderData"
    data["init_args"].pop("download", None)
    folders(root, data)


def pictures(root: Path, data: dict[str, Any]) -> None:
    """Pictures alone, in the folders that the config names."""
    for folder in data["init_args"].get("folders", ["below"]):
        generate(root / folder, 10, (48, 64))


def masks(root: Path, data: dict[str, Any]) -> None:
    """SegNet's folders: three of CamVid's classes in masks that are the generator's."""
    generate_masks(root, 10, (48, 64))
    for split in ("train", "val"):
        (root / "images" / split).rename(root / split)
        (root / "masks" / split).rename(root / f"{split}annot")


def voc_masks(root: Path, data: dict[str, Any]) -> None:
    """VOC's layout with masks, the folder and the split lists that the config names."""
    arguments = data["init_args"]
    source = root.with_name("source")
    generate_masks(source, 10, (48, 64))
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split, name in {"train": "train", "val": "val", **arguments.get("splits", {})}.items():
        folder = source / "images" / ("val" if split == "test" else split)
        names = sorted(path.stem for path in folder.iterdir())
        (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(names))
    for split in ("train", "val"):
        shutil.copytree(source / "images" / split, root / "JPEGImages", dirs_exist_ok=True)
        shutil.copytree(
            source / "masks" / split, root / arguments.get("masks", "SegmentationClass"), dirs_exist_ok=True
        )


WRITERS = {
    "CamVidData": masks,
    "VOCSegmentationData": voc_masks,
    "VOCDetectionData": voc,
    "VOCDevkitData": devkit,
    "CocoDetectionData": coco,
    "SyntheticDetectionData": nothing,
    "SyntheticClassificationData": nothing,
    "ImageFolderData": folders,
    "CIFAR10Data": official,
    "CIFAR100Data": official,
    "MNISTData": official,
    "UnlabelledImageData": pictures,
}


def distil_without_package(config: dict[str, Any]) -> None:
    """The teacher's weights are in a package that is an extra; the same net with random ones stands in for it."""
    config["model"]["init_args"]["teacher"] = {
        "class_path": "TimmTeacher",
        "init_args": {"name": "tf_efficientnet_lite0", "pretrained": False},
    }


def small_torchvision_detector(name: str, weights: str) -> nn.Module:
    """In the place of weights to download: a pyramid of the same strides, 4 to 64, and 256 channels, on small images."""
    pyramid = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    return FasterRCNN(pyramid, num_classes=91, min_size=SIZE[0], max_size=SIZE[0])


def test_there_are_configs() -> None:
    assert CONFIGS


ATTACKS = [path for path in CONFIGS if path.parent.name == "robustness"]
STUDIES = [path for path in ATTACKS if path.stem.startswith("cifar10")]
EXAMINED = {
    "TransferMatrix": {"steps": 1},
    "LossSlices": {"points": 3, "images": 1},
    "GradientCosines": {"radii": [1]},
    "SpectralNorms": {"view": {"class_path": "LatentWeights"}},
}


def fewest_steps(value: Any) -> None:
    """One step of every attack; ten of SEA, whose three radii need them."""
    if isinstance(value, dict):
        if str(value.get("class_path")) == "PGD":
            value["init_args"] = {"steps": 1}
        if str(value.get("class_path")).endswith(".sea"):
            value["init_args"] = {"steps": 10}
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        fewest_steps(part)


def run_what_it_goes_on_from(config: dict[str, Any]) -> None:
    """Fit a batch of each run whose checkpoint a config names: a start, a teacher."""
    for name in sorted(set(re.findall(r"runs/(\w+)/checkpoints/last.ckpt", yaml.safe_dump(config)))):
        (path,) = (one for one in CONFIGS if one.stem == name)
        earlier = yaml.safe_load(path.read_text())
        shrink(earlier["model"])
        earlier["data"] = config["data"]
        earlier["trainer"] |= {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 0, "accelerator": "cpu"}
        earlier["trainer"] |= {"devices": 1, "enable_progress_bar": False, "precision": "32-true"}
        earlier["trainer"]["callbacks"] = [{"class_path": "LastCheckpoint"}]
        Path("earlier.yaml").write_text(yaml.safe_dump(earlier))
        main(["fit", "--config", "earlier.yaml"])


@pytest.mark.parametrize("path", [path for path in CONFIGS if path not in ATTACKS], ids=lambda p: p.stem)
def test_config_fits_a_batch(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(teacher, "get_model", small_torchvision_detector)
    config = yaml.safe_load(path.read_text())
    data = config["data"]
    arguments = data["init_args"]
    WRITERS[data["class_path"].split(".")[-1]](tmp_path / "set", data)
    model = config["model"]["init_args"].get("model", {})
    side = SSD_SIZE if model.get("class_path") == "SSD" else SIZE
    size = {"sizes": [side]} if "sizes" in arguments else {"size": side}
    arguments |= {"root": str(tmp_path / "set"), **size, "batch_size": 2, "num_workers": 0}
    shrink(config["model"])
    run_what_it_goes_on_from(config)
    if config["model"]["init_args"].get("teacher") == {"class_path": "EfficientNetLite0Teacher"}:
        distil_without_package(config)
    if config["model"]["init_args"].get("compile"):
        config["model"]["init_args"]["compile"] = False  # a minute and a C++ compiler, for the same result
    config["trainer"] |= {"fast_dev_run": 1, "accelerator": "cpu", "default_root_dir": str(tmp_path), "devices": 1}
    # In bf16, oneDNN's weight gradients of maps with so few channels and positions are now and then NaN.
    config["trainer"] |= {"enable_progress_bar": False, "enable_model_summary": False, "precision": "32-true"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(tmp_path / "config.yaml")])


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_config_studies_an_image(path: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    WRITERS[config["data"]["class_path"]](tmp_path / "set", config["data"])
    config["data"]["init_args"] |= {"root": str(tmp_path / "set"), "batch_size": 3}
    training = tiny_classification_config(tmp_path / "victim", 1)
    training["trainer"] |= {"limit_train_batches": 2, "callbacks": [{"class_path": "LastCheckpoint"}]}
    training["data"] = {"class_path": config["data"]["class_path"], "init_args": dict(config["data"]["init_args"])}
    (tmp_path / "victim.yaml").write_text(yaml.safe_dump(training))
    main(["fit", "--config", str(tmp_path / "victim.yaml")])
    task = config["model"]["init_args"]
    for victim in (task["victim"], *task["others"]):
        victim["init_args"]["path"] = str(tmp_path / "victim" / "checkpoints" / "last.ckpt")
    study = task["study"]["init_args"]
    study |= {"sweep": study["sweep"][:1], "step_counts": [1, 2], "ladder": [0, 1]}
    study["arsenal"]["init_args"] |= {"steps": 1, "queries": 2}
    fewest_steps(study["arsenal"])
    for one in study["examinations"]:
        one["init_args"] = EXAMINED[one["class_path"]]
    config["trainer"] |= {"accelerator": "cpu", "default_root_dir": str(tmp_path), "enable_progress_bar": False}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    main(["test", "--config", str(tmp_path / "config.yaml")])
    assert (tmp_path / "robustness" / "results.json").exists()


@pytest.mark.parametrize("path", [path for path in ATTACKS if path not in STUDIES], ids=lambda p: p.stem)
def test_config_attacks_what_the_config_it_names_has_trained(path: Path, tmp_path: Path) -> None:
    if path.stem.endswith("corruptions"):
        pytest.importorskip("imagecorruptions", reason="the extra `robust` is not installed")
    config = yaml.safe_load(path.read_text())
    task, data = config["model"]["init_args"], config["data"]
    name = Path(task["checkpoint"]).parts[1]
    (trained,) = (one for one in CONFIGS if one.stem == name)
    training = yaml.safe_load(trained.read_text())
    WRITERS[data["class_path"]](tmp_path / "set", data)
    for one in (data, training["data"]):
        one["init_args"] |= {"root": str(tmp_path / "set"), "sizes": [SIZE], "batch_size": 2, "num_workers": 0}
    shrink(training["model"])
    settings = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "enable_model_summary": False}
    training["trainer"] |= settings | {"default_root_dir": str(tmp_path / "victim"), "precision": "32-true"}
    training["trainer"] |= {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 0}
    training["trainer"]["callbacks"] = [{"class_path": "LastCheckpoint"}]
    (tmp_path / "victim.yaml").write_text(yaml.safe_dump(training))
    main(["fit", "--config", str(tmp_path / "victim.yaml")])
    fewest_steps(config)
    task |= {"checkpoint": str(tmp_path / "victim" / "checkpoints" / "last.ckpt"), "batches": 1}
    task |= {"eps": [1]} if "eps" in task else {"corruptions": ["contrast"]}
    config["trainer"] |= settings | {"default_root_dir": str(tmp_path)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    main(["test", "--config", str(tmp_path / "config.yaml")])
    assert len(list((tmp_path / "robustness").glob("*.json"))) == 1


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config_says_how_it_runs(path: Path) -> None:
    """`runs as it stands`: its header names the command with its own path."""
    text = path.read_text()
    relative = path.relative_to(Path(__file__).parents[1])
    verb = "test" if path in ATTACKS else "fit"
    assert f"bnn-tasks {verb}  --config {relative}" in text or f"bnn-tasks {verb} --config {relative}" in text
    config = yaml.safe_load(text)
    assert path.stem in config["trainer"]["default_root_dir"]
    assert not Path(config["data"]["init_args"]["root"]).is_absolute()


@pytest.mark.parametrize("arguments", [{}, {"splits": {"val": "valid"}}, {"classes": ["x", "y", "z"]}])
@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_folder_sets_are_what_their_configs_say(arguments: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    """The writer that stands in for a config's own folder is read by the class it names."""
    arguments = {"root": f"data/pictures{suffix}", **arguments}
    folders(tmp_path / "set", {"init_args": arguments})
    data = ImageFolderData(**(arguments | {"root": tmp_path / "set", "size": (32, 32)}))
    assert data.class_names == arguments["classes"]
    assert [len(data.samples(split)) for split in ("train", "val", "test")] == [9, 3, 3]
    data.pictures("val").read(0)
