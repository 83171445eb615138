"""One task for corruptions of classifiers, detectors and segmenters, from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from configs_for_tests import tiny_classification_config, tiny_config, tiny_segmentation_config

from bnn_tasks.cli import main
from bnn_tasks.data import SyntheticSegmentationData
from bnn_tasks.robustness.corruptions import SEVERITIES
from bnn_tasks.tasks.robustness.performance import judge

pytest.importorskip("imagecorruptions", reason="the corruptions are in the extra `robust`")


CONFIGS = {
    "top1": lambda folder: tiny_classification_config(folder, 1),
    "ap": lambda folder: tiny_config(folder, 1),
    "miou": tiny_segmentation_config,
}


@pytest.mark.parametrize("figure", CONFIGS)
def test_one_report_for_every_task(figure: str, tmp_path: Path) -> None:
    config = CONFIGS[figure](tmp_path)
    config["trainer"]["callbacks"] = [{"class_path": "LastCheckpoint"}, {"class_path": "ResultsWriter"}]
    path = tmp_path / "given.yaml"
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path)])
    main(["test", "--config", str(path), "--ckpt_path", "last"])
    clean = json.loads((tmp_path / "results.json").read_text())["test"]["metrics"][f"test/{figure}"]
    arguments = {
        "checkpoint": str(tmp_path / "checkpoints" / "last.ckpt"),
        "corruptions": ["gaussian_noise", "contrast"],
    }
    config["model"] = {"class_path": "CorruptionTask", "init_args": arguments}
    config["trainer"]["callbacks"] = [{"class_path": "CorruptionReport"}]
    path.write_text(yaml.safe_dump(config))
    main(["test", "--config", str(path)])
    written = json.loads((tmp_path / "robustness" / "corruptions.json").read_text())
    assert written["figure"] == figure
    assert written["clean"] == pytest.approx(clean, abs=1e-6)
    assert [len(values) for values in written["scores"].values()] == [len(SEVERITIES)] * 2
    assert written["mpc"] == pytest.approx(sum(map(sum, written["scores"].values())) / 10)
    assert (tmp_path / "robustness" / "corruptions.png").exists()


def test_corrupted_loaders_show_the_same_pictures_corrupted(tmp_path: Path) -> None:
    data = SyntheticSegmentationData(tmp_path / "set", [(48, 64)], scenes=10, image_size=(48, 64), batch_size=3)
    data.prepare_data()
    data.setup("test")
    clean = next(iter(data.test_dataloader()))
    seen = next(iter(data.corrupted_loader("test", "gaussian_noise", 3)))
    again = next(iter(data.corrupted_loader("test", "gaussian_noise", 3)))
    assert [t.file_name for t in seen.targets] == [t.file_name for t in clean.targets]
    assert torch.equal(seen.masks, clean.masks)
    assert torch.equal(seen.images, again.images)
    assert 0.03 < float((seen.images - clean.images).std()) < 0.3


def test_performance_of_another_task_is_refused() -> None:
    no_task: Any = 3
    with pytest.raises(TypeError, match="int"):
        judge(no_task, [])
