"""What a binary net costs in training beside its real twin: seconds, memory, images a second.

Times are CPU seconds of one thread, which other programs on the machine disturb least; the two nets take turns and medians are
compared. "kept" is what autograd keeps between forward and backward (parameters not counted), exactly; "peak" is by how much a
fresh process grew in its first step, temporary tensors included; glibc is told there to give every large tensor back at once,
since what it keeps for later is more, and other from run to run, than the difference to be seen.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bnn_tasks.backbones import (
    VGG16,
    BiRealBlock,
    BiRealUnit,
    Block,
    ChannelPath,
    CifarResNet,
    RealBlock,
    RealUnit,
    ResNet,
    Unit,
)
from bnn_tasks.binary import BinaryConv2d
from bnn_tasks.models import (
    FPN,
    SSD,
    BinaryRegionUnit,
    Detector,
    FasterRCNN,
    Proposals,
    RealRegionUnit,
    RegionSampler,
    RetinaNet,
    RetinaNetHead,
    RPNHead,
    SSDExtras,
    SSDHead,
    TwoLayerBoxHead,
    UnitSSDHead,
)

Loss = Callable[[], Tensor]  # one forward pass
KINDS = ("real", "bireal")


@dataclass
class Target:
    """Ground truth of an image, as the loss of a detector reads it."""

    boxes: Tensor
    labels: Tensor
    ignore: Tensor
    crowd: Tensor


def stack(kind: str, depth: int, channels: int, size: int, batch: int) -> tuple[nn.Module, Loss]:
    """`depth` times a 3×3 layer and BatchNorm, nothing else."""
    make = partial(nn.Conv2d, bias=False) if kind == "real" else partial(BinaryConv2d, method="bireal")
    layers = [part for _ in range(depth) for part in (make(channels, channels, 3, padding=1), nn.BatchNorm2d(channels))]
    net, x = nn.Sequential(*layers), torch.randn(batch, channels, size, size)
    return net, lambda: net(x).float().square().mean()


def resnet20(kind: str, batch: int) -> tuple[nn.Module, Loss]:
    """CIFAR's ResNet-20, the last maps' mean as its logits."""
    block: type[Block] = RealBlock if kind == "real" else BiRealBlock
    net, x = CifarResNet(20, block), torch.randn(batch, 3, 32, 32)
    labels = torch.arange(batch) % 10
    return net, lambda: nn.functional.cross_entropy(net(x)[0].float().mean(dim=(2, 3)), labels)


def detection(net: Detector, batch: int, size: tuple[int, int]) -> tuple[nn.Module, Loss]:
    """`net` and its losses on noise with ten objects an image."""
    images = torch.rand(batch, 3, *size)
    corners = torch.rand(10, 2) * (torch.tensor(size[::-1]) - 60)
    boxes = torch.cat([corners, corners + 20 + 40 * torch.rand(10, 2)], dim=1)
    none = torch.zeros(10, dtype=torch.bool)
    targets = [Target(boxes, torch.arange(10) % 3, none, none) for _ in range(batch)]
    return net, lambda: torch.stack(list(net.loss(net(images), targets).values())).sum()


def retinanet(kind: str, batch: int, size: tuple[int, int]) -> tuple[nn.Module, Loss]:
    """RetinaNet-R18 with backbone, neck and towers of one kind."""
    block: type[Block] = RealBlock if kind == "real" else BiRealBlock
    unit: type[Unit] = RealUnit if kind == "real" else BiRealUnit
    neck, head = partial(FPN, channels=128, unit=unit), partial(RetinaNetHead, depth=2, unit=unit)
    return detection(RetinaNet(3, ResNet(18, block, stem_kernel=3), neck, head), batch, size)


def faster_rcnn(kind: str, batch: int, size: tuple[int, int]) -> tuple[nn.Module, Loss]:
    """Faster R-CNN-R18 with backbone, neck and both heads of one kind, the box head 1024 wide, on 128 regions an image."""
    block: type[Block] = RealBlock if kind == "real" else BiRealBlock
    unit: type[Unit] = RealUnit if kind == "real" else BiRealUnit
    region: type[Unit] = RealRegionUnit if kind == "real" else BinaryRegionUnit
    net = FasterRCNN(
        3,
        ResNet(18, block, stem_kernel=3),
        partial(FPN, channels=128, unit=unit),
        partial(RPNHead, unit=unit),
        partial(TwoLayerBoxHead, unit=region),
        proposals=Proposals(top_k=500, count=300),
        sampler=RegionSampler(count=128),
    )
    return detection(net, batch, size)


def ssd(kind: str, batch: int, size: tuple[int, int]) -> tuple[nn.Module, Loss]:
    """SSD-VGG16 of a quarter of the width, every part of one kind; no path around a binary layer has weights."""
    unit = RealUnit if kind == "real" else partial(BiRealUnit, path=ChannelPath)
    predictors = SSDHead if kind == "real" else UnitSSDHead
    net = SSD(3, VGG16(unit, width=16), partial(SSDExtras, width=32, unit=unit), predictors, size)
    return detection(net, batch, size)


def train_step(net: nn.Module, loss: Loss, optimizer: torch.optim.Optimizer, bf16: bool) -> None:
    """Forward, backward, update."""
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        value = loss()
    value.backward()
    optimizer.step()


def seconds(nets: Sequence[tuple[nn.Module, Loss]], bf16: bool, rounds: int) -> list[float]:
    """Median CPU seconds of a step of each, taking turns; the first two rounds do not count."""
    optimizers = [torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9) for net, _ in nets]
    times: list[list[float]] = [[] for _ in nets]
    for number in range(rounds + 2):
        for (net, loss), optimizer, mine in zip(nets, optimizers, times):
            start = time.process_time()
            train_step(net, loss, optimizer, bf16)
            if number > 1:
                mine.append(time.process_time() - start)
    return [statistics.median(mine) for mine in times]


def kept(net: nn.Module, loss: Loss, bf16: bool) -> int:
    """Bytes that autograd keeps for backward, a tensor that two layers keep counted once."""
    storages: dict[int, Tensor] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss()
    return sum(t.untyped_storage().nbytes() for pointer, t in storages.items() if pointer not in own)


def high_water() -> int:
    """The most memory this process has held, bytes; of Linux's own account, since getrusage's begins with the parent's."""
    status = Path("/proc/self/status").read_text("ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def peak(build: Callable[[str], tuple[nn.Module, Loss]], kind: str, bf16: bool) -> int:
    """Bytes by which this process grows in a first step; meant for a fresh process."""
    torch.set_num_threads(1)
    net, loss = build(kind)
    before = high_water()
    train_step(net, loss, torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9), bf16)
    return high_water() - before


def compare(name: str, build: Callable[[str], tuple[nn.Module, Loss]], images: int, rounds: int) -> None:
    """Print a line a precision."""
    for bf16 in (False, True):
        nets = [build(kind) for kind in KINDS]
        real, binary = seconds(nets, bf16, rounds)
        held = [kept(net, loss, bf16) for net, loss in nets]
        os.environ["MALLOC_MMAP_THRESHOLD_"] = "262144"  # bytes; read by the processes to come, not by this one
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            grown = [pool.apply(peak, (build, kind, bf16)) for kind in KINDS]
        cells = [
            f"{name:<22} {'bf16' if bf16 else 'fp32'} {1e3 * real:>6.0f} {1e3 * binary:>6.0f} ms {binary / real:.2f}x"
        ]
        cells.append(f"{images / real:>6.1f} {images / binary:>6.1f} images/s")
        for label, pair in (("kept", held), ("peak", grown)):
            cells.append(f"{label} {pair[0] / 2**20:>6.1f} {pair[1] / 2**20:>6.1f} MiB {pair[1] / pair[0]:.2f}x")
        print("   ".join(cells), flush=True)


def main() -> None:
    """Print the comparison: every pair of numbers is real, then Bi-Real Net's method."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="steps of each net, besides two that do not count")
    parser.add_argument(
        "--batch",
        type=int,
        default=16,
        help="of the stack and an eighth of ResNet-20's; detectors have a quarter of it, and at 640 px a sixteenth",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NET", help="rows whose names contain one of these, as SSD or 640x640"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    batch, few, single = options.batch, max(options.batch // 4, 1), max(options.batch // 16, 1)
    rounds, detector_rounds = options.rounds, max(options.rounds // 3, 3)
    rows: dict[str, tuple[Callable[[str], tuple[nn.Module, Loss]], int, int]] = {
        "4 layers 64x56x56": (partial(stack, depth=4, channels=64, size=56, batch=batch), batch, rounds),
        "ResNet-20 32x32": (partial(resnet20, batch=8 * batch), 8 * batch, rounds),
        "RetinaNet-R18 240x320": (partial(retinanet, batch=few, size=(240, 320)), few, detector_rounds),
        "RetinaNet-R18 320x320": (partial(retinanet, batch=few, size=(320, 320)), few, detector_rounds),
        "RetinaNet-R18 640x640": (partial(retinanet, batch=single, size=(640, 640)), single, detector_rounds),
        "FasterRCNN-R18 320x320": (partial(faster_rcnn, batch=few, size=(320, 320)), few, detector_rounds),
        "FasterRCNN-R18 640x640": (partial(faster_rcnn, batch=single, size=(640, 640)), single, detector_rounds),
        "SSD300-VGG16/4 300x300": (partial(ssd, batch=few, size=(300, 300)), few, detector_rounds),
    }
    chosen = [name for name in rows if options.only is None or any(part in name for part in options.only)]
    if not chosen:
        parser.error(f"Expected --only to name one of {list(rows)}, but got {options.only}.")
    for name in chosen:
        compare(name, *rows[name])


if __name__ == "__main__":
    main()
