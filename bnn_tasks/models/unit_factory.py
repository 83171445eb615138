"""What builds the units of pyramids, decoders and context modules."""

from collections.abc import Callable

from bnn_tasks.backbones import Unit

UnitFactory = Callable[[int, int, int], Unit]  # (in_channels, out_channels, stride); what a config can name
DilatedUnitFactory = Callable[
    ..., Unit
]  # the same, and by name kernel_size and dilation, which a Callable cannot spell
