"""What happens to the latent weights and their gradients during training, layer by layer."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from bnn_tasks.callbacks.files import run_folder
from bnn_tasks.callbacks.sign_history import SignHistory
from bnn_tasks.callbacks.smooth_gradient import binary_layers, gradient_pairs, weight_signs
from bnn_tasks.callbacks.telemetry_files import draw, read_rows, write_rows
from bnn_tasks.callbacks.weight_statistics import cosine_deviation, dead_share, entropy, sign_balance
from bnn_tasks.tasks import Task


class Telemetry(Callback):
    """Writes ``telemetry.csv``, a row for every binary layer every N optimiser steps, and draws ``telemetry.png`` at the end.

    The columns, with w the latent weight and B its signs as the layer uses them:

    - ``flip_ratio``: share of B that differs from the last record (from the start of the fit for the first one);
    - ``kept_share``: share of B that was the same at every record;
    - ``sign_balance``: mean of B, in [-1, 1];
    - ``entropy``: of the layer's signs in bits, -p·log2 p - (1-p)·log2(1-p) with p the share of +1; ``filter_entropy``: the
      same of every filter, then the mean;
    - ``dead_share``: share of w with abs(w) > -mean(abs(w))·ln(2 - 2τ), τ = 0.99: ReCU's tails, which hardly ever change
      sign; 2 % under a Laplace law;
    - ``cosine_deviation``: d = 1 - cos(g, ĝ), in [0, 2], between the gradient g on w that training follows and the gradient ĝ
      of the same loss on the same batch with every α·sign(u) of a weight replaced by α·tanh(k·u), k = sharpness / mean(abs(u));
      0 where the surrogate points as the smooth loss does. Blank where a method's signs are not those of w or of its
      deviation from the filter's mean.

    A record costs two more forward and backward passes in float32 if the deviation is wanted, else next to nothing. It changes
    neither the training nor its random numbers. A resumed fit goes on with the same file.

    Args:
        every_n_steps: N >= 1.
        sharpness: of tanh, > 0; at 3, a weight of average size has tanh 0.995. 0 leaves the deviation out.
        dirpath: folder; None is the trainer's ``default_root_dir``.

    Raises:
        ValueError: an argument is out of range; at the start of a fit, the model has no binary layer.
    """

    def __init__(self, every_n_steps: int = 200, sharpness: float = 3.0, dirpath: str | None = None) -> None:
        if every_n_steps < 1:
            raise ValueError(f"Expected `every_n_steps` to be >= 1, but got {every_n_steps}.")
        if not 0 <= sharpness < float("inf"):
            raise ValueError(f"Expected `sharpness` to be finite and >= 0, but got {sharpness}.")
        self.every_n_steps, self.sharpness, self.dirpath = every_n_steps, sharpness, dirpath
        self._history: dict[str, SignHistory] = {}
        self._recorded = 0  # the step of the last record

    def _path(self, trainer: L.Trainer) -> Path:
        return run_folder(trainer, self.dirpath) / "telemetry.csv"

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the signs for the first time; forget rows of steps that a killed run did after its last checkpoint."""
        assert isinstance(pl_module, Task)
        layers = binary_layers(pl_module)
        if not layers:
            raise ValueError("Expected a model with binary layers, but it has none. Cure: leave Telemetry out.")
        for name, layer in layers.items():
            if name not in self._history:
                self._history[name] = SignHistory(weight_signs(layer).cpu().numpy())
        self._recorded = trainer.global_step
        if trainer.is_global_zero:
            kept = [row for row in read_rows(self._path(trainer)) if int(row["step"]) <= trainer.global_step]
            write_rows(self._path(trainer), kept)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record, where a multiple of N is reached (with accumulated gradients a step takes several batches)."""
        step = trainer.global_step
        if step % self.every_n_steps or step == self._recorded:
            return
        assert isinstance(pl_module, Task)
        self._recorded = step
        pairs = gradient_pairs(pl_module, batch, self.sharpness) if self.sharpness > 0 else {}
        rows = []
        for name, layer in binary_layers(pl_module).items():
            signs = weight_signs(layer).cpu().numpy()
            weight = layer.weight.detach().float().cpu().numpy()
            flip_ratio, kept_share = self._history[name].look(signs)
            row: dict[str, Any] = {
                "step": step,
                "epoch": trainer.current_epoch,
                "layer": name,
                "weights": weight.size,
                "flip_ratio": flip_ratio,
                "kept_share": kept_share,
                "sign_balance": sign_balance(signs),
                "entropy": float(entropy(signs.reshape(1, -1))[0]),
                "filter_entropy": float(entropy(signs).mean()),
                "dead_share": dead_share(weight),
                "cosine_deviation": "",
            }
            if name in pairs:
                row["cosine_deviation"] = cosine_deviation(*(g.float().cpu().numpy() for g in pairs[name]))
            rows.append(row)
        if trainer.is_global_zero:
            write_rows(self._path(trainer), rows, append=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw what the file holds."""
        rows = read_rows(self._path(trainer))
        if rows and trainer.is_global_zero:
            draw(rows, self._path(trainer).with_suffix(".png"))

    def state_dict(self) -> dict[str, Any]:
        """The signs at the last record, packed, so that a resumed fit measures flips against them."""
        return {
            name: {
                "count": h.count,
                "last": torch.from_numpy(h.last.copy()),
                "changed": torch.from_numpy(h.changed.copy()),
            }
            for name, h in self._history.items()
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the signs of a checkpoint."""
        for name, state in state_dict.items():
            history = SignHistory(np.ones((1, state["count"])))
            history.last, history.changed = state["last"].numpy().copy(), state["changed"].numpy().copy()
            self._history[name] = history
