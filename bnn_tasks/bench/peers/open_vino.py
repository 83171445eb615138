"""The float twin in OpenVINO at a precision, and OpenVINO's own binary convolution."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import openvino
import openvino.preprocess

from bnn_tasks.bench.material import Net
from bnn_tasks.bench.peers.base import Contender, framed

LAYERS = ("Convolution", "FullyConnected", "GroupConvolution", "BinaryConvolution", "MatMul")


class OpenVinoModel:
    """A compiled model, one request.

    Args:
        model: to compile, or the path of one.
        threads: of inference.
        precision: the hint, f32 or bf16.
        cache: folder for compiled models; None compiles anew.
        nhwc: whether the model takes and gives maps channels last.

    Raises:
        ValueError: the processor has no such precision.
    """

    about: dict[str, str]

    def __init__(self, model: Any, threads: int, precision: str, cache: str | None, nhwc: bool = False) -> None:
        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError("this processor has no bf16")
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": "1",
            "ENABLE_CPU_PINNING": False,  # a pinned thread cannot leave a core that something else has taken
        }
        if cache is not None:
            config["CACHE_DIR"] = cache
        compiled = core.compile_model(model, "CPU", config)
        self._request = compiled.create_infer_request()
        self._outputs = len(compiled.outputs)
        self._nhwc = nhwc
        self.about = {"runs": _precisions(compiled), "hint": precision}

    def feed(self, image: np.ndarray, given: Sequence[np.ndarray] = ()) -> Any:
        """Tensors over the image's memory, channels first unless the model takes them last, and over what is given."""
        x = image if self._nhwc else image.transpose(2, 0, 1)
        return [openvino.Tensor(np.ascontiguousarray(value), shared_memory=True) for value in (x[None], *given)]

    def infer(self, fed: Any) -> list[np.ndarray]:
        """Views of the request's outputs."""
        for index, value in enumerate(fed):
            self._request.set_input_tensor(index, value)
        self._request.infer(share_outputs=True)  # else each output is copied, for a result that is not looked at
        return [self._request.get_output_tensor(index).data for index in range(self._outputs)]

    def seconds(self) -> float:
        """Of the last inference, by the request's own clock."""
        return 1e-3 * float(self._request.latency)


def _precisions(compiled: Any) -> str:
    """Of the layers as they are executed, not as they were asked for: `20 Convolution in u8, …`."""
    found: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        kind, precision = (_text(info[key]) if key in info else "?" for key in ("layerType", "runtimePrecision"))
        if kind in LAYERS:
            found[f"{kind} in {precision}"] += 1
    return ", ".join(f"{count} {what}" for what, count in found.most_common())


def _text(value: Any) -> str:
    return str(getattr(value, "value", value))


def open_openvino(net: Net, threads: int, options: Mapping[str, Any]) -> Contender:
    """A model of the material at a precision.

    Args:
        net: its material is ready.
        threads: of inference.
        options: `file`, the model's name; `precision`, f32 or bf16; `expected`, the precisions that layers should run in;
            `nhwc`, for a net of one output map, whether maps come and go channels last.

    Raises:
        ValueError: the processor has no such precision.
    """
    nhwc = bool(options.get("nhwc"))
    source = str(net.path(options["file"]))
    model = OpenVinoModel(
        _channels_last(source) if nhwc else source,
        threads,
        options["precision"],
        str(net.path("openvino_cache")),
        nhwc,
    )
    model.about["model"] = options["file"]
    if not any(f" in {precision}" in model.about["runs"] for precision in options["expected"]):
        model.about["warning"] = f"no layer is executed in {' or '.join(options['expected'])}"
    contender = framed(net, model)
    if net.layer:
        model.about["layout"] = "NHWC" if nhwc else "NCHW"
        contender = replace(contender, clock=model.seconds)
    if not nhwc:
        return contender
    outputs = contender.outputs
    return replace(contender, outputs=lambda: [y.transpose(0, 3, 1, 2) for y in outputs()])


def _channels_last(path: str) -> Any:
    """The model with maps channels last at both ends, which may save the plugin a reordering."""
    steps = openvino.preprocess.PrePostProcessor(openvino.Core().read_model(path))
    steps.input().tensor().set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    steps.output().model().set_layout(openvino.Layout("NCHW"))
    steps.output().tensor().set_layout(openvino.Layout("NHWC"))
    return steps.build()
