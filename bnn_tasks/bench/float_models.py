"""The float twin as files for other engines: ONNX, quantised by ONNX Runtime, quantised by NNCF."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from bnn_tasks.bench.contenders import FP32, NNCF, QDQ
from bnn_tasks.bench.machine import one_line
from bnn_tasks.bench.material import Net, read_fed, read_given, write_expected
from bnn_tasks.bench.simplify import float_net
from bnn_tasks.runtime.format import load

INPUT = "images"
OPSET = 17  # the newest that both torch's tracing exporter and the quantisers take


def write_twin(net: Net) -> None:
    """The twin's outputs for the first example: what every float peer is judged by.

    Args:
        net: with its examples.
    """
    import torch

    from bnn_tasks.bench.twin import make_twin

    twin = make_twin(float_net(*load(net.float_artifact)))
    with torch.inference_mode():
        write_expected(net, [y.numpy() for y in twin(*map(torch.from_numpy, _batch(net)[0].values()))])


def write_onnx(net: Net) -> None:
    """The twin at the net's size.

    Args:
        net: with its examples.
    """
    import torch

    from bnn_tasks.bench.twin import make_twin

    twin = make_twin(float_net(*load(net.float_artifact)))
    example = _batch(net)[0]
    names = [f"output{index}" for index in range(len(twin.net.outputs))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter says on every call that there is a newer one
        torch.onnx.export(
            twin,
            tuple(map(torch.from_numpy, example.values())),
            str(net.path(FP32)),
            input_names=list(example),
            output_names=names,
            opset_version=OPSET,
            dynamo=False,
        )


def write_qdq(net: Net) -> None:
    """Quantised by ONNX Runtime: QDQ, a scale for every output channel, calibrated on the examples.

    Args:
        net: with its ONNX file.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        """The examples, one after the other."""

        def __init__(self) -> None:
            self._left = iter(_batch(net))

        def get_next(self) -> dict[str, np.ndarray] | None:
            """The next one, None after the last."""
            return next(self._left, None)

    prepared = net.path("twin_prepared.onnx")
    quant_pre_process(str(net.path(FP32)), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(net.path(QDQ)),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def write_nncf(net: Net) -> None:
    """Quantised by NNCF, OpenVINO's own tool, calibrated on the examples.

    Args:
        net: with its ONNX file.
    """
    import nncf
    import openvino

    model = openvino.Core().read_model(str(net.path(FP32)))
    examples = _batch(net)
    with contextlib.redirect_stdout(sys.stderr):  # its progress bar
        quantised = nncf.quantize(model, nncf.Dataset(examples), subset_size=len(examples))
    openvino.save_model(quantised, str(net.path(NNCF)), compress_to_fp16=False)


def write_models(net: Net, wanted: Sequence[str], say: Callable[[str], None]) -> dict[str, str]:
    """Write the files that contenders need, each once.

    Args:
        net: with its examples.
        wanted: files of the material.
        say: takes a line of progress.

    Returns:
        File -> why it could not be made.
    """
    failures: dict[str, str] = {}
    writers = {FP32: write_onnx, QDQ: write_qdq, NNCF: write_nncf}
    for name, write in writers.items():
        if name not in wanted or net.path(name).exists():
            continue
        if name != FP32 and FP32 in failures:
            failures[name] = failures[FP32]
            continue
        say(f"writing {name} of {net.name}")
        try:
            write(net)
        except Exception as error:  # of another's tool: a line in the table
            failures[name] = f"{name}: {one_line(error)}"
    return failures


def _batch(net: Net) -> list[dict[str, np.ndarray]]:
    """The examples as the twin takes them, (1, C, H, W) float32 each, by the names that the inputs have in the files."""
    return [
        {INPUT: np.ascontiguousarray(x.transpose(2, 0, 1)[None])}
        | {f"given{number}": value for number, value in enumerate(read_given(net, index))}
        for index, x in enumerate(read_fed(net))
    ]
