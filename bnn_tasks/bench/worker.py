"""The process of one contender: opens its nets, then times them one turn at a time, as told line by line.

    python -m bnn_tasks.bench.worker SPEC.json

Answers are lines of JSON. After opening: {"opened": [one a net]}. Then to each line of input, `time NET SECONDS` or
`memory`, one answer; the end of input ends it.
"""

import gc
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import IO, Any

import numpy as np

from bnn_tasks.bench.contenders import OPENERS, Entry, entry
from bnn_tasks.bench.machine import memory_bytes, one_line
from bnn_tasks.bench.material import Net, read_actual, read_examples, read_expected
from bnn_tasks.bench.peers.base import FEWEST, Contender

UNTIMED = 2  # passes before: other contenders ran in between


def agreement(expected: list[np.ndarray], found: list[np.ndarray]) -> dict[str, float]:
    """Correlation of all values, and the largest difference in standard deviations of the expected ones.

    Args:
        expected: of the float twin in torch.
        found: of the contender, in the same order.

    Raises:
        ValueError: another number of outputs, another shape, or a value that is not finite.
    """
    if [y.shape for y in expected] != [y.shape for y in found]:
        raise ValueError(f"outputs of shapes {[y.shape for y in found]}, not {[y.shape for y in expected]}")
    a, b = (np.concatenate([y.reshape(-1) for y in outputs]).astype(np.float64) for outputs in (expected, found))
    if not np.isfinite(b).all():
        raise ValueError("outputs that are not finite")
    spread = a.std() or 1.0
    same = bool(np.array_equal(a, b))
    correlation = 1.0 if same else float(((a - a.mean()) * (b - b.mean())).mean() / max(spread * b.std(), 1e-30))
    return {"correlation": correlation, "error": float(abs(a - b).max() / spread)}


def check(net: Net, role: Entry, contender: Contender) -> dict[str, float]:
    """Whether the contender computes what it should; ValueError where it does not.

    Float models are compared with the twin, OpenVINO's binary layers and our integer sums with the artifact; the artifact is
    what it is. Real outputs are compared alone: a class map follows from them, and of drawn weights is nearly all ties.
    """
    if role.opener in ("openvino-binary", "sums"):
        expected = [y[None] for y in read_actual(net, 0).values()]
    elif role.family:
        expected = read_expected(net)
    else:
        return {}
    found = agreement(*([y for y in outputs if y.dtype.kind == "f"] for outputs in (expected, contender.outputs())))
    too_far = role.error is not None and found["error"] > role.error
    if found["correlation"] < role.correlation or too_far:
        raise ValueError(
            f"refused, since it computes something else: correlation {found['correlation']:.4f}, largest difference "
            f"{found['error']:.2g} standard deviations"
        )
    return found


def turn(contender: Contender, examples: int, seconds: float, untimed: int = UNTIMED) -> list[float]:
    """Seconds of each pass of one turn, examples in rotation.

    Args:
        contender: to time.
        examples: how many there are.
        seconds: for the turn; at least FEWEST passes are made.
        untimed: passes before.
    """
    if contender.measure is not None:
        return contender.measure(seconds)
    for index in range(untimed):
        contender.run(index % examples)
    passes: list[float] = []
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        while len(passes) < FEWEST or time.perf_counter() < end:
            index = len(passes) % examples
            start = time.perf_counter()
            contender.run(index)
            taken = time.perf_counter() - start
            passes.append(taken if contender.clock is None else contender.clock())
    finally:
        gc.enable()
    return passes


def open_best(
    name: str, net: Net, threads: int, alternatives: list[dict[str, Any]], seconds: float
) -> tuple[Contender | None, dict[str, Any]]:
    """The fastest alternative that computes the right thing, and the answer that says so.

    Args:
        name: of the contender.
        net: its material is ready.
        threads: of the contender.
        alternatives: options to try.
        seconds: for timing each; 0 neither times nor checks them.

    Returns:
        The contender or None, and the answer.
    """
    role, best = entry(name), None
    answer: dict[str, Any] = {"error": "no way to run it"}
    errors = []
    for options in alternatives:
        try:
            start = time.perf_counter()
            contender = OPENERS[role.opener]()(net, threads, options)
            opened = time.perf_counter()
            contender.run(0)
            ran = time.perf_counter()
            found = check(net, role, contender) if seconds else {}
            pace = statistics.median(turn(contender, len(read_examples(net)), seconds)) if seconds else 0.0
            if seconds and contender.limit is not None:
                contender.limit()  # its kernel goes to the cache
        except Exception as error:  # whatever an engine raises is its own line in the table
            errors.append(one_line(error))
            continue
        if best is None or pace < answer["pace"]:
            best = contender
            answer = {
                "options": options,
                "pace": pace,
                "open_seconds": opened - start,
                "first_seconds": ran - opened,
                "about": contender.about,
                "agreement": found,
            }
    if best is None and errors:
        answer = {"error": "; ".join(dict.fromkeys(errors))}
    return best, answer


def serve(spec: dict[str, Any], inputs: IO[str], answers: IO[str]) -> None:
    """Open what the specification names, then answer line by line.

    Args:
        spec: {"name", "threads", "seconds" (of a trial; 0 for none), "nets": [{"net", "alternatives"}, …]}.
        inputs: lines from the parent.
        answers: lines to the parent.
    """

    def answer(values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    contenders, opened, counts = [], [], []
    for job in spec["nets"]:
        net = Net.from_dict(job["net"])
        contender, found = open_best(spec["name"], net, spec["threads"], job["alternatives"], spec["seconds"])
        contenders.append(contender)
        opened.append(found)
        counts.append(len(read_examples(net)))
    gc.collect()
    answer({"opened": opened})
    for line in inputs:
        word, *rest = line.split()
        if word == "memory":
            resident, peak = memory_bytes()
            answer({"resident": resident, "peak": peak})
        else:
            chosen = contenders[int(rest[0])]
            assert chosen is not None, "asked to time a net that did not open"
            passes = turn(chosen, counts[int(rest[0])], float(rest[1]))
            answer({"seconds": passes, "limit": None if chosen.limit is None else chosen.limit()})


def main() -> None:
    """Speak on the process's own standard output, and send what engines print to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        serve(json.loads(Path(sys.argv[1]).read_text("utf-8")), sys.stdin, answers)


if __name__ == "__main__":
    main()
