"""Sets of one channel, grey or infrared, from the file to the artifact."""

import json
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from configs_for_tests import tiny_config
from PIL import Image
from voc_sets import picture, voc_xml, write_voc, write_xml

from bnn_tasks.backbones import CifarResNet, ResNet
from bnn_tasks.cli import main
from bnn_tasks.data import Augment, Mosaic, VOCDetectionData, check
from bnn_tasks.export import ExportReport
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.images import image_size, read_image, to_channels
from bnn_tasks.training import export_checkpoint, load_task

SPLITS = {"train": "abcdef", "val": "gh", "test": "ij"}
BOX = (11, 9, 40, 36)


def write_thermal(root, mode="I;16"):
    """Warm rectangles on a cold, noisy ground, as 16- or 8-bit grey PNG."""
    write_voc(root, "abcdefghij", [("person", BOX)], SPLITS)
    for seed, name in enumerate("abcdefghij"):
        values = np.random.default_rng(seed).integers(0, 20_000, (48, 64))
        values[BOX[1] - 1 : BOX[3], BOX[0] - 1 : BOX[2]] += 40_000
        dtype = np.uint16 if mode == "I;16" else np.uint8
        Image.fromarray((values if mode == "I;16" else values // 257).astype(dtype)).save(
            root / "JPEGImages" / f"{name}.png"
        )
    return root


@pytest.mark.parametrize("mode", ["I;16", "L"])
@pytest.mark.parametrize("cache", [False, True])
def test_batches_have_the_pictures_own_values(tmp_path, mode, cache):
    data = VOCDetectionData(write_thermal(tmp_path, mode), [(48, 64)], channels=1, cache=cache, batch_size=6)
    (batch,) = data.val_dataloader()
    assert batch.images.shape == (2, 1, 48, 64)
    assert batch.images.is_contiguous()
    for image, target in zip(batch.images, batch.targets):
        with Image.open(tmp_path / "JPEGImages" / target.file_name) as file:
            assert file.mode == mode
            values = np.asarray(file, np.float64)
        expected = np.rint(values / 257 if mode == "I;16" else values) / 255
        np.testing.assert_allclose(image[0], expected, atol=1e-7)
    rgb = next(iter(VOCDetectionData(tmp_path, [(48, 64)], batch_size=6).val_dataloader()))
    assert torch.equal(rgb.images, batch.images.expand(-1, 3, -1, -1))


def test_colours_become_luma():
    image = np.asarray(picture(3))
    luma = np.rint(image @ np.array([0.299, 0.587, 0.114]))
    np.testing.assert_allclose(to_channels(image, 1)[..., 0].astype(int), luma, atol=1)
    assert to_channels(image, 3) is image
    with pytest.raises(ValueError, match="Expected `channels`"):
        to_channels(image, 2)
    every_grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, -1, 1), 3, 2)
    np.testing.assert_array_equal(to_channels(every_grey, 1)[0, :, 0], np.arange(256))


@pytest.mark.parametrize("sizes", [[(48, 64)], [(24, 32), (32, 24)]])
def test_augmented_batches_have_one_channel(tmp_path, sizes):
    augments = (Augment(), Mosaic(Augment(), Augment(), 1))
    for augment in augments:
        data = VOCDetectionData(write_thermal(tmp_path), sizes, channels=1, train_augment=augment, batch_size=3)
        assert all(batch.images.shape == (3, 1, *sizes[0]) for batch in data.train_dataloader())


def test_check_says_what_channels_mean(tmp_path):
    write_thermal(tmp_path)
    assert any("no image has colours" in text for text in check(VOCDetectionData(tmp_path, [(48, 64)])).suggestions)
    report = check(VOCDetectionData(tmp_path, [(48, 64)], channels=1))
    assert (report.errors, report.warnings, report.suggestions) == ([], [], [])
    picture(0).save(tmp_path / "JPEGImages" / "a.png")
    (warning,) = check(VOCDetectionData(tmp_path, [(48, 64)], channels=1)).warnings
    assert warning.startswith("1 of 10 images have colours")


def test_check_finds_pictures_that_use_few_levels(tmp_path):
    write_thermal(tmp_path)
    for seed, name in enumerate("abcdefghij"):
        counts = np.random.default_rng(seed).integers(20_000, 25_000, (48, 64)).astype(np.uint16)
        Image.fromarray(counts).save(tmp_path / "JPEGImages" / f"{name}.png")
    (suggestion,) = check(VOCDetectionData(tmp_path, [(48, 64)], channels=1)).suggestions
    assert "are in [78, 97] of [0, 255]" in suggestion


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_channels_are_refused(tmp_path, channels):
    with pytest.raises(ValueError, match="Expected `channels`"):
        VOCDetectionData(tmp_path, [(48, 64)], channels=channels)


def config(folder):
    config = tiny_config(folder)
    net = config["model"]["init_args"]["model"]["init_args"]
    net["backbone"]["init_args"]["in_channels"] = 1
    net["score_threshold"] = 0.001  # an untrained net has no higher scores
    net["normalize"] = {"class_path": "Normalize", "init_args": {"mean": [0.449], "std": [0.226]}}
    augment = {"class_path": "Augment", "init_args": {"scale": [0.8, 1.25]}}
    mosaic = {"class_path": "Mosaic", "init_args": {"tile": augment, "single": augment, "probability": 0.5}}
    options = {"root": str(folder / "set"), "sizes": [[48, 64]], "batch_size": 3, "channels": 1, "cache": True}
    config["data"] = {"class_path": "VOCDetectionData", "init_args": {**options, "train_augment": mosaic}}
    return config


def test_a_net_of_one_channel_from_fit_to_run(tmp_path, capsys):
    write_thermal(tmp_path / "set")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config(tmp_path)))
    main(["fit", "--config", str(path)])
    checkpoint, artifact = str(tmp_path / "checkpoints" / "last.ckpt"), tmp_path / "net.safetensors"
    report = export_checkpoint(checkpoint, str(artifact), None)
    assert isinstance(report, ExportReport)
    session = Session(artifact)
    assert session.graph.channels == 1
    source = tmp_path / "set" / "JPEGImages" / "g.png"
    image = read_image(source)
    net = load_task(checkpoint).model
    with torch.no_grad():
        x = torch.from_numpy(to_channels(image, 1)).permute(2, 0, 1)[None] / 255
        (expected,) = net.decode(net(x), image_size(source))
    (found,) = session([image])
    assert len(found.scores) == len(expected.scores) > 0
    np.testing.assert_allclose(np.sort(found.scores)[::-1], expected.scores, atol=1e-4)
    main(["run", str(artifact), str(source), "--out", str(tmp_path / "out")])
    assert isinstance(json.loads((tmp_path / "out" / "predictions.json").read_text()), list)
    assert "1 image(s)" in capsys.readouterr().out
    main(["profile", checkpoint])


@pytest.mark.parametrize("build", [partial(ResNet, 18, width=4), partial(CifarResNet, 8, width=4)])
def test_backbones_take_any_number_of_channels(build):
    for channels in (1, 3, 4):
        maps = build(in_channels=channels)(torch.rand(2, channels, 32, 32))
        assert [len(found) for found in maps] == [2] * len(maps)
    with pytest.raises(ValueError, match="Expected `in_channels`"):
        build(in_channels=0)


def test_a_net_and_a_set_of_other_channels_are_refused_before_anything_runs(tmp_path, capsys):
    write_thermal(tmp_path / "set")
    wrong = config(tmp_path)
    wrong["data"]["init_args"]["channels"] = 3
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(wrong))
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(path)])
    error = capsys.readouterr().err
    assert "the model's 1 channel(s), but got 3" in error
    assert "Cure: `channels` of the data" in error


def test_raw_images_one_grey_one_damaged_and_no_lists(tmp_path, caplog):
    root = write_voc(tmp_path, "abcdefghij", [("cat", (1, 1, 20, 30))], folders=(".", "."))
    Image.fromarray(np.full((48, 64), 90, np.uint8)).save(root / "b.png")
    (root / "c.png").write_bytes((root / "c.png").read_bytes()[:300])
    write_xml(root, "d", voc_xml(), ".")
    data = VOCDetectionData(root, [(48, 64)], batch_size=8)
    data.setup("fit")
    (batch,) = data.train_dataloader()
    assert batch.images.shape == (8, 3, 48, 64)
    assert batch.damaged == ["c.png"]
    assert [len(loaded.targets) for loaded in data.val_dataloader()] == [2]
    errors = check(data).errors
    assert len(errors) == 1
    assert "c.png" in errors[0]
