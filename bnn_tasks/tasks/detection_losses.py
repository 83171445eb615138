"""The loss of every picture by itself, which depends neither on the pictures beside it nor on chance."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from bnn_tasks.models import BoxTarget, Detector

SEED = 0


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Context in which torch's global generators start from a seed; afterwards they go on as if nothing had been drawn.

    Args:
        seed: >= 0.
        device: whose generator is meant besides the CPU's.
    """
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        # Not torch.manual_seed, which queues a call, with its traceback, for every GPU not yet in use.
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def picture_losses(
    detector: Detector, outputs: dict[str, list[Tensor]], targets: Sequence[BoxTarget], device: torch.device
) -> list[float]:
    """The sum of the detector's losses for each picture of a batch as if it were a batch of one.

    What a detector draws at random, anchors or regions, is drawn anew from the same seed for every picture.

    Args:
        detector: whose losses these are.
        outputs: what its ``forward`` returned for the batch.
        targets: ground truth, one a picture.
        device: of the outputs.
    """
    losses = []
    for i, target in enumerate(targets):
        own = {name: [level[i : i + 1] for level in levels] for name, levels in outputs.items()}
        with seeded(SEED, device):
            losses.append(float(torch.stack(list(detector.loss(own, [target]).values())).sum()))
    return losses
