"""What was measured of a net under attack: the record that a verdict is given on."""

from dataclasses import dataclass

Points = tuple[tuple[float, float], ...]  # (what was varied, accuracy), in rising order


@dataclass(frozen=True)
class Facts:
    """Accuracies: shares of the same images, in [0, 1], at the ε that is claimed unless said otherwise. None is not measured.

    Attributes:
        images: how many, >= 1.
        classes: K >= 2; chance is 1/K.
        binary: whether the net has binary activations, so that gradients pass through a surrogate.
        clean: accuracy without an attack.
        noise: under random noise of size ε.
        one_step: under FGSM.
        iterated: under PGD or APGD with the net's own gradient; of as many starts as the sweep has members.
        steps: of ``iterated``, >= 1.
        step_size: of ``iterated``, α/ε, >= 0.
        largest_change: longest perturbation that ``iterated`` made, over ε.
        margin: under APGD on DLR, which like the margin does not depend on the logits' scale.
        late_gain: share of the mean loss's whole rise that fell to the last tenth of the steps.
        rescaled: ``iterated`` with the logits' temperature set (NJS or HNS).
        surrogates: worst case, image by image, over the sweep of attack-time surrogates, the net's own included.
        sharpness: accuracy by the sweep's sharpness k.
        blunt: lowest accuracy over the sweep's members that have no sharpness.
        black_box: under a gradient-free attack.
        black_box_alone: share of the images that it loses and no gradient attack does; None where none could be tried.
        transfer_alone: the same for images made on other nets.
        step_counts: accuracy by the number of steps.
        separate: accuracy by ε under ``iterated``'s attack from one start, each ε by itself.
        ladder: worst-case accuracy over all attacks by ε, images in [0, 1]; what one ε has lost stays lost.
        total: the ε from which every image can be made grey; 0.5 for L∞.
        zero_gradients: share of the images whose input gradient is zero.
        saturated: share of the images whose softmax is 1 in float32.
        output_spread: see `bnn_tasks.robustness.diagnostics.output_spread`.
    """

    images: int
    classes: int
    binary: bool
    clean: float
    noise: float | None = None
    one_step: float | None = None
    iterated: float | None = None
    steps: int | None = None
    step_size: float | None = None
    largest_change: float | None = None
    margin: float | None = None
    late_gain: float | None = None
    rescaled: float | None = None
    surrogates: float | None = None
    sharpness: Points | None = None
    blunt: float | None = None
    black_box: float | None = None
    black_box_alone: float | None = None
    transfer_alone: float | None = None
    step_counts: Points | None = None
    separate: Points | None = None
    ladder: Points | None = None
    total: float = 0.5
    zero_gradients: float | None = None
    saturated: float | None = None
    output_spread: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no measurement can give.

        Raises:
            ValueError: naming the field.
        """
        if self.images < 1 or self.classes < 2:
            raise ValueError(f"Expected `images` >= 1 and `classes` >= 2, but got {self.images} and {self.classes}.")
        shares = (
            "clean",
            "noise",
            "one_step",
            "iterated",
            "margin",
            "rescaled",
            "surrogates",
            "blunt",
            "black_box",
            "black_box_alone",
            "transfer_alone",
        )
        values = vars(self)
        for name in (*shares, "zero_gradients", "saturated"):
            if values[name] is not None and not 0 <= values[name] <= 1:
                raise ValueError(f"Expected `{name}` to be a share in [0, 1], but got {values[name]}.")
        for name in ("sharpness", "step_counts", "separate", "ladder"):
            points = values[name] or ()
            varied = [x for x, _ in points]
            if varied != sorted(set(varied)) or any(not 0 <= accuracy <= 1 for _, accuracy in points):
                raise ValueError(
                    f"Expected `{name}` to be (value, accuracy in [0, 1]) in rising order of the value, but got {points}."
                )

    def above(self, higher: float | None, lower: float | None, margin: float) -> bool:
        """Whether `higher` exceeds `lower` by more than `margin` and by more than one image; False where one is missing."""
        if higher is None or lower is None:
            return False
        # The slack is for shares that are sums of floats.
        return higher - lower > max(margin, 1 / self.images) + 1e-9
