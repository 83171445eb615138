"""Feature distillation: a backbone learns the feature maps of a real-valued teacher, from images without labels."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchmetrics import MeanMetric, R2Score

from bnn_tasks.backbones import Backbone
from bnn_tasks.binary import Schedule
from bnn_tasks.data.detection.batch import DetectionBatch
from bnn_tasks.tasks.base import Task
from bnn_tasks.tasks.feature_matching import FeatureStudent
from bnn_tasks.tasks.teachers import FeatureTeacher


class FeatureDistillationTask(Task):
    """Train a backbone to predict a teacher's feature maps: a start for detectors and others where there is no ImageNet.

    For every stride l that backbone and teacher share, with the teacher's map t_l standardised channel by channel to z_l
    (`ChannelStandardisation`) and a 1×1 convolution A_l that is trained along and later dropped,

        L = Σ_l mean((A_l s_l - z_l)²) + cosine_weight · mean over pixels (1 - cos(A_l s_l, z_l))

    The hint with a regressor is FitNets' (Romero et al., 2015); a 1×1 regressor keeps places, and so does not do the
    student's work. As it stands, that squared error is mostly that of the few channels of the largest variance, and its
    levels differ by orders of magnitude; standardised, each channel of each level counts alike, and a level's loss is
    1 - R² of its regression: 1 where nothing is learnt. Heo et al. (A Comprehensive Overhaul of Feature Distillation, 2019)
    bring teacher and student to one scale by BatchNorm, too; their margin and partial distance are for maps after which a
    ReLU comes, and here a student needs no such.

    Logs ``train/loss`` and ``train/strideS``; once an epoch ``val/…`` or ``test/…``: ``loss``, ``r2/strideS`` and ``r2``,
    their mean. R² = 1 - Σ(A s - z)² / Σ(z - mean z)², sums over all images, pixels and channels, means by channel; at most
    1, higher is better. Labels, where a batch has some, are not read.

    Args:
        backbone: the student.
        teacher: frozen; not in the checkpoint.
        classes: class names of the data; not used. Linked from the data by the command line.
        optimizer: parameter groups -> optimiser.
        schedule: progress in [0, 1] -> learning-rate factor; None is `OneCycle` with its defaults.
        cosine_weight: of the cosine term, >= 0: it judges a pixel's direction and so hears its faint features as well as
            its loud ones. 0 leaves it out.

    Raises:
        ValueError: no stride is in both nets, or `cosine_weight` is out of range.
    """

    model: FeatureStudent

    def __init__(
        self,
        backbone: Backbone,
        teacher: FeatureTeacher,
        classes: list[str],
        optimizer: OptimizerCallable,
        schedule: Schedule | None = None,
        cosine_weight: float = 0.0,
    ) -> None:
        super().__init__(classes, optimizer, schedule)
        self._save_plain_hyperparameters()
        if not cosine_weight >= 0:
            raise ValueError(f"Expected `cosine_weight` to be >= 0, but got {cosine_weight}.")
        self.teacher = teacher
        self.cosine_weight = cosine_weight
        # channels_last: oneDNN's own layout, about 1.2 times as fast in training on a CPU.
        self.model = FeatureStudent(backbone, teacher).to(memory_format=torch.channels_last)
        self.mean_loss = MeanMetric()  # Lightning's mean over several processes rounds their shares to whole images
        self.r2: Any = nn.ModuleList(R2Score(multioutput="variance_weighted") for _ in self.model.strides)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The student's guess at the teacher's standardised maps for `images`, (N, 3, H, W) in [0, 1]."""
        guesses: list[Tensor] = self.model(images)
        return guesses

    def names(self, batch: Any) -> Sequence[str]:
        """The images' file names."""
        if isinstance(batch, DetectionBatch):
            return [target.file_name for target in batch.targets]
        names: Sequence[str] = batch.names
        return names

    def losses(self, outputs: list[Tensor], batch: Any) -> dict[str, Tensor]:
        """The loss of every level, from the student's guesses; the teacher runs here."""
        return self._level_losses(outputs, self.model.targets(self.teacher(batch.images)))

    def _level_losses(self, guesses: list[Tensor], targets: list[Tensor]) -> dict[str, Tensor]:
        losses = {}
        for stride, guess, target in zip(self.model.strides, guesses, targets):
            if guess.shape != target.shape:
                raise ValueError(
                    f"Expected the maps of stride {stride} of backbone and teacher to be of one size, but got "
                    f"{tuple(guess.shape[2:])} and {tuple(target.shape[2:])}. Cure: `sizes` that are multiples of 32."
                )
            guess = guess.float()
            loss = F.mse_loss(guess, target)
            if self.cosine_weight:
                loss = loss + self.cosine_weight * (1 - F.cosine_similarity(guess, target, dim=1)).mean()
            losses[f"stride{stride}"] = loss
        return losses

    def _evaluate(self, batch: Any) -> None:
        with self.full_precision():
            guesses = self.evaluation_forward(batch)
            targets = self.model.targets(self.teacher(batch.images.float()))
            losses = self._level_losses(guesses, targets)
        total = torch.stack(list(losses.values())).sum()
        self.mean_loss.update(total, len(batch.images))
        for score, guess, target in zip(self.r2, guesses, targets):
            score.update(_by_pixel(guess), _by_pixel(target))

    def _finish(self, stage: str) -> None:
        # torchmetrics brings the processes together: every one has the same values.
        values = {stride: score.compute() for stride, score in zip(self.model.strides, self.r2)}
        named = {f"{stage}/r2/stride{stride}": value for stride, value in values.items()}
        named[f"{stage}/loss"] = self.mean_loss.compute()
        self.mean_loss.reset()
        self.log_dict(named, reduce_fx="max", sync_dist=True)
        mean = torch.stack(list(values.values())).mean()
        self.log(f"{stage}/r2", mean, prog_bar=True, reduce_fx="max", sync_dist=True)
        for score in self.r2:
            score.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Loss and R² of one batch, from one forward."""
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """R² of the whole validation set."""
        self._finish("val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Loss and R² of one batch, from one forward."""
        self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        """R² of the whole test set."""
        self._finish("test")

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "Expected fit, validate or test, but got predict: a student of feature maps answers nothing about an image. "
            "Cure: a task that starts from it (callback BackboneWeights)."
        )


def _by_pixel(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (N·H·W, C)."""
    return maps.movedim(1, -1).flatten(0, -2)
