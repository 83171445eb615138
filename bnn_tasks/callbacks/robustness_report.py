"""What a study of attacks leaves: results.json, the text, and one set of pictures."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from bnn_tasks.callbacks.examination_pictures import draw_examined
from bnn_tasks.callbacks.files import write_json
from bnn_tasks.callbacks.robustness_pictures import draw_attacks, draw_convergence, draw_depth, draw_ladder, draw_sweep
from bnn_tasks.callbacks.test_report import TestReport
from bnn_tasks.runtime.captions import captioned
from bnn_tasks.runtime.draw import contact_sheet
from bnn_tasks.tasks.robustness import RobustnessTask

SMALLEST = 96  # pixels: smaller images are enlarged, each pixel to a square


def _picture(image: Tensor, caption: str) -> np.ndarray:
    pixels = (image.movedim(0, -1) * 255).round().byte().numpy()
    pixels = np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels
    factor = -(-SMALLEST // min(pixels.shape[:2]))
    return captioned(pixels.repeat(factor, 0).repeat(factor, 1), [caption])


class RobustnessReport(TestReport[RobustnessTask]):
    """Writes ``robustness/`` after a test of `RobustnessTask`.

    ``results.json`` holds every figure, the facts behind the verdict and the settings; ``report.txt`` the table. Pictures:
    ``ladder.png`` (accuracy against ε), ``attacks.png`` (each attack at the study's ε), ``surrogates.png`` (surrogate × ε),
    ``convergence.png`` (steps), ``amplification.png`` (noise and changed signs by depth), ``adversarial.png`` (images before
    and after), and what the study's examinations give: ``transfer.png``, ``loss_slices.png``, ``gradient_cosines.png``,
    ``spectral_norms.png``, ``corruptions.png``, ``bit_flips.png``.

    Args:
        dirpath: folder; None is the trainer's ``default_root_dir``.
    """

    task = RobustnessTask

    def write(self, task: RobustnessTask, folder: Path) -> None:
        """See `TestReport`."""
        findings = task.findings
        assert findings is not None
        write_json(folder / "results.json", findings.to_json())
        (folder / "report.txt").write_text(f"{findings}\n")
        draw_ladder(findings, folder / "ladder.png")
        draw_attacks(findings, folder / "attacks.png")
        drawn: list[tuple[Any, Any, str]] = [
            (findings.surrogates, draw_sweep, "surrogates.png"),
            (findings.convergence, draw_convergence, "convergence.png"),
            (findings.sensitivity, draw_depth, "amplification.png"),
        ]
        for there, draw, name in drawn:
            if there:
                draw(findings, folder / name)
        for found in findings.examined:
            draw_examined(found, folder / f"{found.name}.png")
        if findings.examples:
            names = task.classes
            pairs = [
                (_picture(one.image, names[one.label]), _picture(one.attacked, names[one.found]))
                for one in findings.examples
            ]
            Image.fromarray(contact_sheet(pairs, ("before", "attacked"))).save(folder / "adversarial.png")
        print(findings)
