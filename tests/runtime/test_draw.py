import numpy as np
import pytest

from bnn_tasks.runtime.draw import PAGE, class_colour, contact_sheet, draw_boxes

IMAGE = np.zeros((120, 160, 3), np.uint8)
CLASSES = ["cat", "dog"]


def test_box_outline_has_its_class_colour():
    drawn = draw_boxes(IMAGE, np.array([[20.0, 40.0, 100.0, 90.0]]), [1], CLASSES)
    assert drawn.shape == IMAGE.shape
    assert not IMAGE.any()
    colour = class_colour(1)
    for y, x in ((89, 60), (60, 20), (60, 99), (89, 99)):
        assert tuple(drawn[y, x]) == colour
    assert not drawn[60, 101:].any()
    assert not drawn[90:, :].any()
    assert not drawn[60, 25:95].any()


def test_text_is_written_above_or_at_the_upper_edge_below():
    plain = draw_boxes(IMAGE, np.array([[20, 40, 100, 90]]), [0], ["c"])
    scored = draw_boxes(IMAGE, np.array([[20, 40, 100, 90]]), [0], ["c"], [0.5])
    assert (plain[:39] != 0).any()
    assert (scored[:39] != 0).sum() > (plain[:39] != 0).sum()
    assert draw_boxes(IMAGE, np.array([[20, 0, 100, 90]]), [0], ["c"])[1:20, 22:25].any()


def test_the_surest_box_is_on_top():
    boxes = np.array([[20, 40, 100, 90]] * 2)
    assert tuple(draw_boxes(IMAGE, boxes, [0, 1], CLASSES, [0.9, 0.1])[60, 20]) == class_colour(0)
    assert tuple(draw_boxes(IMAGE, boxes, [0, 1], CLASSES, [0.1, 0.9])[60, 20]) == class_colour(1)


def test_no_boxes_tiny_images_and_boxes_beyond_the_edge():
    np.testing.assert_array_equal(draw_boxes(IMAGE, np.zeros((0, 4)), [], CLASSES), IMAGE)
    assert draw_boxes(np.zeros((1, 1, 3), np.uint8), np.array([[0, 0, 1, 1]]), [0], CLASSES).shape == (1, 1, 3)
    assert draw_boxes(IMAGE, np.array([[-50, -50, 500, 500], [300, 300, 400, 400]]), [0, 1], CLASSES).any()


@pytest.mark.parametrize("count", [20, 80])
def test_class_colours_differ(count):
    assert len({class_colour(label) for label in range(count)}) == count


@pytest.mark.parametrize(
    "arguments",
    [
        (IMAGE[..., 0], np.zeros((0, 4)), []),
        (IMAGE.astype(np.float32), np.zeros((0, 4)), []),
        (IMAGE, np.zeros((1, 4)), []),
        (IMAGE, np.zeros((1, 5)), [0]),
        (IMAGE, np.full((1, 4), np.nan), [0]),
        (IMAGE, np.zeros((1, 4)), [2]),
        (IMAGE, np.zeros((1, 4)), [-1]),
        (IMAGE, np.zeros((1, 4)), [0], [0.5, 0.5]),
    ],
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="Expected"):
        draw_boxes(*arguments[:3], CLASSES, *arguments[3:])


def test_contact_sheet_holds_every_picture():
    colours = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0], [0, 200, 200], [200, 0, 200]], np.uint8)
    shapes = [(30, 40), (40, 30), (10, 100)]
    pictures = [np.broadcast_to(colour, (*shapes[i // 2], 3)) for i, colour in enumerate(colours)]
    sheet = contact_sheet(list(zip(pictures[::2], pictures[1::2])), columns=2, width=64)
    assert sheet.dtype == np.uint8
    assert tuple(sheet[0, 0]) == PAGE
    for i, colour in enumerate(colours):
        height, width = shapes[i // 2]
        assert (sheet == colour).all(-1).sum() == 64 * round(64 * height / width)


@pytest.mark.parametrize(
    ("rows", "options"),
    [([], {}), ([(IMAGE, IMAGE)], {"columns": 0}), ([(IMAGE, IMAGE[0])], {}), ([(IMAGE, IMAGE)], {"width": 1})],
)
def test_bad_sheets_are_refused(rows, options):
    with pytest.raises(ValueError, match="Expected"):
        contact_sheet(rows, **options)
