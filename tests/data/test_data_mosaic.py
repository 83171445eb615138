import numpy as np
import pytest
import torch
from voc_sets import voc_xml, write_voc, write_xml

from bnn_tasks.data import Augment, Mosaic, VOCDetectionData
from bnn_tasks.data.detection.batch import collate
from bnn_tasks.data.detection.dataset import DetectionDataset
from bnn_tasks.runtime.images import Resize

PLAIN = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
SIZE = (90, 120)
STILL = Augment(scale=(1, 1), aspect=1, hflip=0, **PLAIN)


def mosaic(probability=1.0, **options):
    return Mosaic(Augment(**{"scale": (0.4, 1.2), "min_visible": 0, **PLAIN, **options}), STILL, probability)


def rectangles(seed):
    """Four black pictures, each with a rectangle of a colour of its own, and the rectangles' boxes."""
    rng = np.random.default_rng(seed)
    pictures, boxes = [], []
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)):
        height, width = rng.integers(60, 160, 2)
        x0, y0 = rng.integers(0, width - 30), rng.integers(0, height - 30)
        x1, y1 = rng.integers(x0 + 25, width), rng.integers(y0 + 25, height)
        picture = np.zeros((height, width, 3), np.uint8)
        picture[y0:y1, x0:x1] = colour
        pictures.append(picture)
        boxes.append([[x0, y0, x1, y1]])
    return pictures, np.array(boxes)


@pytest.mark.parametrize("rule", ["letterbox", "stretch"])
@pytest.mark.parametrize("seed", range(20))
def test_four_drawn_rectangles_move_as_their_boxes_do(seed, rule):
    pictures, boxes = rectangles(seed)
    torch.manual_seed(seed)
    augment = mosaic(aspect=1.2, vflip=0.5)
    assert augment.pictures() == 4
    canvas, views = augment.compose(pictures, Resize((SIZE,), rule), SIZE)
    assert canvas.shape == (*SIZE, 3)
    covered = np.zeros(SIZE, int)
    for picture, box, view in zip(pictures, boxes, views, strict=True):
        x0, y0, x1, y1 = view.part
        covered[y0:y1, x0:x1] += 1
        colour = picture[box[0, 1], box[0, 0]]
        bright = (canvas[y0:y1, x0:x1].astype(int) > 127) == (colour > 127)
        grey = (canvas[y0:y1, x0:x1] == 114).all(-1)
        rows, columns = np.nonzero(bright.all(-1) & ~grey)
        (moved,), (kept,) = view.boxes(box, np.zeros(1, bool))
        if min(moved[2:] - moved[:2]) < 2:
            assert len(rows) <= 2 * max(SIZE)
        else:
            extent = [columns.min() + x0, rows.min() + y0, columns.max() + 1 + x0, rows.max() + 1 + y0]
            np.testing.assert_allclose(extent, moved, atol=1.0)
        centre = view.placement.to_canvas(box)[0].reshape(2, 2).mean(0)
        assert kept == bool(x0 < centre[0] < x1 and y0 < centre[1] < y1)
    assert (covered == 1).all()


def test_the_crossing_keeps_its_margin():
    pictures, _ = rectangles(0)
    torch.manual_seed(0)
    corners = [mosaic().compose(pictures, Resize((SIZE,)), SIZE)[1][0].part[2:] for _ in range(200)]
    shares = np.array(corners) / (SIZE[1], SIZE[0])
    assert shares.min() >= 0.2 - 0.5 / 90
    assert shares.max() <= 0.8 + 0.5 / 90
    np.testing.assert_allclose([shares.min(), shares.max()], [0.2, 0.8], atol=0.02)


def test_a_tile_is_as_large_as_on_the_whole_canvas():
    pictures = [np.zeros((90, 120, 3), np.uint8)] * 4
    for seed in range(10):
        torch.manual_seed(seed)
        _, views = Mosaic(STILL, STILL, 1).compose(pictures, Resize((SIZE,)), SIZE)
        for view in views:
            np.testing.assert_allclose((view.placement.scale_x, view.placement.scale_y), 1)


def test_each_image_is_resampled_once(monkeypatch):
    calls = []
    fit = Resize.fit
    monkeypatch.setattr(Resize, "fit", lambda *a, **k: calls.append(1) or fit(*a, **k))
    mosaic().compose(rectangles(0)[0], Resize((SIZE,)), SIZE)
    assert len(calls) == 4


@pytest.fixture
def data(tmp_path):
    root = write_voc(tmp_path, "abcdefghij", splits={"train": "abcdefgh", "val": "i", "test": "j"})
    for seed, name in enumerate("abcdefgh"):
        objects = [(kind, (4 + seed, 5, 30 + seed, 40), int(kind == "dog")) for kind in ("cat", "dog")[: 1 + seed % 2]]
        write_xml(root, name, voc_xml(objects))
    return VOCDetectionData(root, [(48, 64), (64, 48)], batch_size=4, train_augment=mosaic())


def test_a_sample_is_the_joined_targets_of_a_naive_twin(data):
    """The twin draws the same random numbers and moves one box at a time."""
    dataset = DetectionDataset(data.records("train"), data.resize, data.train_augment)
    counts = set()
    for seed in range(20):
        torch.manual_seed(seed)
        target = dataset[seed % 8].target
        torch.manual_seed(seed)
        assert data.train_augment.pictures() == 4
        places = [seed % 8, *torch.randint(8, (3,)).tolist()]
        records = [dataset.records[place] for place in places]
        size = dataset.sizes[seed % 8]
        pictures = [dataset.read(record.path) for record in records]
        _, views = data.train_augment.compose(pictures, data.resize, size)
        boxes, labels, ignore = [], [], []
        for record, view in zip(records, views):
            p, (left, top, right, bottom) = view.placement, view.part
            for box, label in zip(record.boxes, record.labels):
                xs = sorted(x * p.scale_x + p.offset_x for x in box[::2])
                ys = sorted(y * p.scale_y + p.offset_y for y in box[1::2])
                x0, x1 = (min(max(x, left), right) for x in xs)
                y0, y1 = (min(max(y, top), bottom) for y in ys)
                centred = left < sum(xs) / 2 < right and top < sum(ys) / 2 < bottom
                if centred or (label == 1 and x1 > x0 and y1 > y0):  # the second class is to be ignored
                    boxes.append([x0, y0, x1, y1])
                    labels.append(label)
                    ignore.append(label == 1)
        np.testing.assert_allclose(target.boxes, np.reshape(boxes, (-1, 4)), atol=1e-3)
        assert target.labels.tolist() == labels
        assert target.ignore.tolist() == target.difficult.tolist() == ignore
        np.testing.assert_allclose(target.image_boxes, target.boxes)
        np.testing.assert_allclose(target.area, (target.boxes[:, 2:] - target.boxes[:, :2]).prod(1), rtol=1e-5)
        assert target.file_name == " + ".join(record.path.name for record in records)
        assert target.image_id == records[0].image_id
        counts.add(len(labels))
    assert len(counts) > 3


def test_a_damaged_tile_is_replaced_and_named(data):
    records = data.records("train")
    for record in records[1:]:
        record.path.write_bytes(b"")
    sample = DetectionDataset(records, data.resize, data.train_augment, replace_damaged=True)[0]
    assert sample.target.file_name == " + ".join(["a.png"] * 4)
    assert set(sample.damaged) <= {f"{name}.png" for name in "bcdefgh"}


@pytest.mark.parametrize("workers", [0, 2])
def test_one_seed_is_one_epoch_of_mosaics_and_single_images(data, workers):
    data.train_augment = mosaic(0.5)
    data.num_workers = workers
    epochs = []
    for _ in range(2):
        torch.manual_seed(5)
        epochs.append([(b.images, [t.file_name for t in b.targets]) for b in data.train_dataloader()])
    for (images, names), (again, names_again) in zip(*epochs):
        assert names == names_again
        assert torch.equal(images, again)
    joined = [" + " in name for _, names in epochs[0] for name in names]
    assert 0 < sum(joined) < len(joined) == 8


def test_mosaics_of_images_without_objects(data):
    for name in "abcdefgh":
        write_xml(data.root, name, voc_xml())
    data._classes = ["cat"]
    dataset = DetectionDataset(data.records("train"), data.resize, data.train_augment)
    batch = collate([dataset[0], dataset[1]])
    assert all(target.boxes.shape == (0, 4) and len(target.labels) == 0 for target in batch.targets)


@pytest.mark.parametrize("options", [{"probability": 1.5}, {"margin": 0.6}, {"margin": float("nan")}])
def test_values_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        Mosaic(STILL, STILL, **options)


def test_a_canvas_of_one_pixel_is_refused():
    with pytest.raises(ValueError, match="at least 2x2"):
        mosaic().compose(rectangles(0)[0], Resize(((1, 5),)), (1, 5))
