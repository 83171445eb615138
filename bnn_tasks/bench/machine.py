"""What a figure depends on besides the code: processor, versions, memory."""

import importlib.metadata
import platform
import resource
import sys
from pathlib import Path

from bnn_tasks.runtime.session import cores

LIBRARIES = ("numpy", "numba", "llvmlite", "torch", "onnx", "onnxruntime", "openvino", "nncf")


def cpu_name() -> str:
    """The processor's name as the system gives it, and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux
    return f"{name}, {cores()} core(s)"


def versions() -> dict[str, str]:
    """Of Python and of those of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def memory_bytes() -> tuple[int, int]:
    """Memory this process holds now (0 where the system does not say), and the most it has held, bytes."""
    try:
        status = Path("/proc/self/status").read_text("ascii", "replace")
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return 0, most * (1 if sys.platform == "darwin" else 1024)
    kilobytes = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Vm")}
    return 1024 * int(kilobytes["VmRSS"]), 1024 * int(kilobytes["VmHWM"])


def one_line(error: BaseException, most: int = 240) -> str:
    """Kind and message of an error for a line of the table; engines write several lines.

    Args:
        error: of an engine.
        most: characters.
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
