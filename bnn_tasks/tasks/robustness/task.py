"""``bnn-tasks test`` with attacks: a classifier, trained or exported, studied on some images of the test split."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bnn_tasks.data.classification.batch import ClassificationBatch
from bnn_tasks.tasks.robustness.evaluation_task import EvaluationTask, require_gradients
from bnn_tasks.tasks.robustness.findings import Findings
from bnn_tasks.tasks.robustness.study import ClassifierStudy
from bnn_tasks.tasks.robustness.victims import Victim


class RobustnessTask(EvaluationTask):
    """Attack a classifier and say whether the accuracy that is left can be believed.

    Logs ``test/clean``, ``test/worst`` (worst case at the study's ε) and ``test/accuracy/ATTACK``; the callback
    `RobustnessReport` writes everything. The trainer needs ``inference_mode: false``: attacks differentiate. A test that was
    cut short goes on from the attacks that it had finished, where settings, images and nets are the same (`KeptResults`).

    Args:
        victim: what is attacked.
        classes: class names; linked from the data by the command line.
        others: nets whose adversarial images are tried on the victim, its real twin first.
        study: what is done.
        images: how many, >= 1, evenly spread over the split; all where there are fewer.

    Attributes:
        findings: of the last test.

    Raises:
        ValueError: the victim's classes are not the data's, or `images` is below 1.
    """

    def __init__(
        self,
        victim: Victim,
        classes: list[str],
        others: list[Victim] | None = None,
        study: ClassifierStudy | None = None,
        images: int = 256,
    ) -> None:
        super().__init__(classes)
        if images < 1:
            raise ValueError(f"Expected `images` to be >= 1, but got {images}.")
        for one in [victim, *(others or [])]:
            self.require_classes(one.path, one.classes)
        self.victim, self.others = victim, list(others or [])
        self.study = ClassifierStudy() if study is None else study
        self.images = images
        self.model: nn.Module = nn.Identity() if victim.module is None else victim.module
        # Registered, so that the trainer moves them to its device too.
        self.other_nets = nn.ModuleList(one.module for one in self.others if one.module is not None)
        self.findings: Findings | None = None
        self._seen: list[tuple[Tensor, Tensor]] = []

    def names(self, batch: ClassificationBatch) -> Sequence[str]:
        """The images' file names."""
        return batch.names

    def on_test_epoch_start(self) -> None:
        """Choose the images.

        Raises:
            ValueError: torch is in inference mode, in which no gradient exists.
        """
        super().on_test_epoch_start()
        require_gradients()
        count = len(self.trainer.test_dataloaders.dataset)  # type: ignore[union-attr]
        self._wanted = set(np.linspace(0, count - 1, min(self.images, count)).round().astype(int).tolist())
        self._seen, self._position = [], 0

    def test_step(self, batch: ClassificationBatch, batch_idx: int) -> None:
        """Keep the images of a batch that are to be attacked."""
        places = [i for i in range(len(batch.names)) if self._position + i in self._wanted]
        self._position += len(batch.names)
        for i in places:
            image = batch.images[i]
            if float(image.min()) < 0 or float(image.max()) > 1:
                raise ValueError(
                    f"Expected images in [0, 1], but {batch.names[i]} has values from {float(image.min()):.3g} to "
                    f"{float(image.max()):.3g}: it looks normalised, and ε would mean something else. Cure: images as the data "
                    "modules give them; the model's first node normalises."
                )
        self._seen.append((batch.images[places], batch.labels[places]))

    def on_test_epoch_end(self) -> None:
        """Run the study."""
        images, labels = (torch.cat(parts) for parts in zip(*self._seen))
        self._seen = []
        with self.full_precision():
            kept = self.keep_results([self.study.settings(), self.victim, self.others, images, labels])
            self.findings = self.study.run(self.victim, self.others, images.float(), labels, kept)
        values = {"clean": self.findings.clean.value, "worst": self.findings.worst.value}
        values |= {f"accuracy/{row.attack}": row.accuracy.value for row in self.findings.rows}
        self.log_dict({f"test/{name}": value for name, value in values.items()})
