"""Fits, validates, tests and predicts in two forked CPU processes; writes which images each process met."""

import json
import sys
import warnings
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything

from bnn_tasks.data import Augment, Mosaic, VOCDetectionData


class Recorder(LightningModule):
    """A BatchNorm, whose buffers are broadcast at each forward, so that processes that do not keep step would hang."""

    def __init__(self, out):
        super().__init__()
        self.out = out
        self.norm = torch.nn.BatchNorm2d(3)
        self.seen = {}

    def note(self, stage, batch):
        rows = self.seen.setdefault(f"{stage}{self.current_epoch if stage == 'train' else ''}", [])
        rows.append([target.file_name for target in batch.targets])
        return self.norm(batch.images).mean()

    def training_step(self, batch):
        return self.note("train", batch)

    def validation_step(self, batch):
        self.note("val", batch)

    def test_step(self, batch):
        self.note("test", batch)

    def predict_step(self, batch):
        self.note("predict", batch)

    def teardown(self, stage):
        (self.out / f"{self.trainer.state.fn.value}_{self.global_rank}.json").write_text(json.dumps(self.seen))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def main(root, out):
    warnings.simplefilter("ignore")
    seed_everything(1, verbose=False)
    tile = Augment()
    data = VOCDetectionData(root, [(24, 32), (32, 24)], batch_size=2, train_augment=Mosaic(tile, tile, 0), cache=True)
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_fork",
        max_epochs=2,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    for run in (trainer.fit, trainer.test, trainer.predict):
        run(Recorder(out), data)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
