"""Distillation of segmenters: each term against its formula in numpy, a teacher that leaves no trace, a run by the CLI."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from segmentation_oracle import mask_data, segmentation_config, segmentation_task, tiny_segmenter, trainer, write_set

from bnn_tasks.cli import main
from bnn_tasks.tasks import PairWiseImitation, PixelWiseImitation, SegmentationDistillation, SegmenterTeacher
from bnn_tasks.tasks.checkpoint import load_task
from bnn_tasks.tasks.segmentation_distillation import SegmenterView

VOID = 255


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(0))
    return e / e.sum(0)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_pixel_wise_term_is_its_formula_without_void(temperature: float) -> None:
    torch.manual_seed(0)
    student, teacher = 3 * torch.randn(2, 4, 3, 5), 3 * torch.randn(2, 4, 3, 5)
    masks = torch.randint(4, (2, 6, 10))
    masks[0, :2, :4] = VOID  # the positions (0, 0) and (0, 1)
    masks[1, 2:4, 8:] = VOID  # and (1, 4)
    void = {(0, 0, 0), (0, 0, 1), (1, 1, 4)}
    expected = []
    for n, y, x in np.ndindex(2, 3, 5):
        if (n, y, x) not in void:
            p, q = (softmax(z[n, :, y, x].double().numpy() / temperature) for z in (teacher, student))
            expected.append(float((p * np.log(p / q)).sum()))
    found = PixelWiseImitation(2.0, temperature)([], student, masks, SegmenterView([], teacher))
    assert float(found) == pytest.approx(2 * temperature**2 * np.mean(expected), rel=1e-4)
    assert float(PixelWiseImitation()([], student, masks, SegmenterView([], student + 7))) == pytest.approx(0, abs=1e-6)


def test_a_batch_of_void_teaches_nothing() -> None:
    student = torch.randn(1, 3, 4, 4, requires_grad=True)
    masks = torch.full((1, 8, 8), VOID)
    PixelWiseImitation()([], student, masks, SegmenterView([], torch.randn(1, 3, 4, 4))).backward()
    assert student.grad is not None
    assert (student.grad == 0).all()


def test_the_teachers_logits_come_at_the_students_resolution() -> None:
    teacher = torch.randn(1, 3, 4, 6)
    finer = torch.nn.functional.interpolate(teacher, (8, 12), mode="bilinear")
    masks = torch.zeros(1, 16, 24, dtype=torch.long)
    assert float(PixelWiseImitation()([], finer, masks, SegmenterView([], teacher))) == pytest.approx(0, abs=1e-6)


def test_the_pair_wise_term_is_its_formula() -> None:
    torch.manual_seed(0)
    mine, theirs = torch.randn(2, 5, 6, 8), torch.randn(2, 7, 6, 8)  # channels may differ
    expected = []
    for n in range(2):
        matrices = []
        for x in (mine[n].double().numpy(), theirs[n].double().numpy()):
            cells = [x[:, 3 * i : 3 * i + 3, 4 * j : 4 * j + 4].mean((1, 2)) for i in range(2) for j in range(2)]
            matrices.append([[a @ b / math.sqrt((a @ a) * (b @ b)) for b in cells] for a in cells])
        expected.append(np.square(np.subtract(*matrices)).mean())
    term = PairWiseImitation(3.0, grid=2, level=1)
    nothing, masks = torch.zeros(2, 3, 2, 2), torch.zeros(2, 8, 8, dtype=torch.long)
    found = term([nothing, mine], nothing, masks, SegmenterView([nothing, theirs], nothing))
    assert float(found) == pytest.approx(3 * np.mean(expected), rel=1e-4)
    scaled = term([nothing, 9 * theirs], nothing, masks, SegmenterView([nothing, theirs], nothing))
    assert float(scaled) == pytest.approx(0, abs=1e-6), "magnitudes play no part"


def test_imitation_ends_where_it_is_told_to() -> None:
    class Refuse(SegmenterTeacher):
        def __call__(self, images: torch.Tensor) -> SegmenterView:
            raise AssertionError("not to be asked")

    extra = SegmentationDistillation(Refuse("nowhere"), [PixelWiseImitation()], until=0.5)
    nothing = torch.zeros(1)
    assert extra(tiny_segmenter(2), nothing, [nothing], nothing, nothing, 0.6) == {}


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: PixelWiseImitation(-1), "`weight` >= 0"),
        (lambda: PixelWiseImitation(temperature=0), "`temperature` > 0"),
        (lambda: PairWiseImitation(grid=1), "`grid` >= 2"),
        (lambda: SegmentationDistillation(SegmenterTeacher("x"), []), "at least one of `terms`"),
        (lambda: SegmentationDistillation(SegmenterTeacher("x"), [PairWiseImitation()], 0), "`until` in"),
        (lambda: SegmentationDistillation(SegmenterTeacher("x"), [PairWiseImitation()] * 2), "imitate_pairs twice"),
        (lambda: PairWiseImitation(level=4).bind(tiny_segmenter(2)), r"4 map\(s\), but got 4. Cure: -4 … 3"),
        (lambda: SegmenterTeacher("nowhere.ckpt").load(), "'nowhere.ckpt' to exist"),
    ],
)
def test_bad_input_is_refused(make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


def test_a_teacher_without_such_a_map_is_refused() -> None:
    masks = torch.zeros(1, 4, 4, dtype=torch.long)
    view = SegmenterView([torch.rand(1, 2, 4, 4)], torch.rand(1, 3, 4, 4))
    with pytest.raises(ValueError, match="to have a map 1, but it has 1"):
        PairWiseImitation(level=1)([torch.rand(1, 2, 4, 4)] * 2, torch.rand(1, 3, 4, 4), masks, view)


def fit(config: dict[str, Any]) -> Path:
    folder = Path(config["trainer"]["default_root_dir"])
    folder.mkdir()
    config["trainer"]["callbacks"] = [{"class_path": "LastCheckpoint"}]
    (folder / "config_in.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(folder / "config_in.yaml")])
    return folder / "checkpoints" / "last.ckpt"


def test_a_student_learns_from_its_twin_and_opens_without_it(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", train=4, val=1)
    checkpoint = fit(segmentation_config(tmp_path / "twin", root))
    before = torch.load(checkpoint, weights_only=True)["state_dict"]
    extra = SegmentationDistillation(SegmenterTeacher(str(checkpoint)), [PixelWiseImitation(), PairWiseImitation()])
    direct = trainer(tmp_path / "direct", max_epochs=1)
    direct.fit(segmentation_task(auxiliary=[extra]), mask_data(root))
    parts = [float(direct.callback_metrics[f"train/{x}"]) for x in ("cross_entropy", "imitate_pixels", "imitate_pairs")]
    assert float(direct.callback_metrics["train/loss"]) == pytest.approx(sum(parts), rel=1e-5)
    assert min(parts) > 0

    classes = direct.lightning_module.classes
    for term, others in ((PixelWiseImitation(), classes[::-1]), (PixelWiseImitation(), classes[:-1])):
        with pytest.raises(ValueError, match=r"twin.*student's classes .*, in their order"):
            SegmentationDistillation(SegmenterTeacher(str(checkpoint)), [term]).check_classes(others)
    SegmentationDistillation(extra.teacher, [PairWiseImitation()]).check_classes(
        classes[::-1]
    )  # features have no classes
    missing = SegmentationDistillation(SegmenterTeacher("nowhere.ckpt"), [PixelWiseImitation()])
    with pytest.raises(ValueError, match=r"'nowhere\.ckpt' to exist"):
        trainer(tmp_path / "missing", max_epochs=1).fit(segmentation_task(auxiliary=[missing]), mask_data(root))

    config = segmentation_config(tmp_path / "student", root)
    terms = [{"class_path": "PixelWiseImitation"}, {"class_path": "PairWiseImitation", "init_args": {"grid": 4}}]
    source = {"class_path": "SegmenterTeacher", "init_args": {"path": str(checkpoint)}}
    config["model"]["init_args"]["auxiliary"] = [
        {"class_path": "SegmentationDistillation", "init_args": {"teacher": source, "terms": terms}}
    ]
    student = fit(config)
    after = extra.teacher.module(torch.zeros(1)).state_dict()
    assert all(torch.equal(tensor, before[f"model.{name}"]) for name, tensor in after.items())
    checkpoint.unlink()
    assert {name.split(".")[0] for name in torch.load(student, weights_only=True)["state_dict"]} == {"model"}
    assert load_task(student).model.num_classes == 4
