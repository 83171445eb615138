"""Writes tiny classification sets for the tests."""

import zipfile

from voc_sets import write_image

TREE = {"train/cat": "abcdefghij", "train/dog": "klmnopqrst", "test/cat": "uv", "test/dog": "wx"}


def write_classes(root, tree=None, size=(12, 16)):
    """``tree``: {"train/cat": "ab"} is root/train/cat/{a,b}.png; every picture is another one."""
    seed = 0
    for folder, names in (TREE if tree is None else tree).items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            write_image(root / folder / f"{name}.png", seed, size)
            seed += 1
    return root


def write_zip(path, root, prefix="", compression=zipfile.ZIP_DEFLATED):
    """The files below a folder, without entries for the folders that hold some."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file() or not any(file.iterdir()):
                archive.write(file, prefix + file.relative_to(root).as_posix())
    return path
