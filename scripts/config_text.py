"""What the configs that scripts write have in common."""

import textwrap

BF16 = "precision: bf16-mixed   # evaluation runs in float32 whatever this says"
EMA = """
    - class_path: lightning.pytorch.callbacks.EMAWeightAveraging
      init_args: {decay: 0.99}"""

TEMPLATE = """{title}
# {data.layout}
#   bnn-tasks fit  --config {path}
#   bnn-tasks {verb} --config {path} --ckpt_path runs/{name}/checkpoints/last.ckpt
seed_everything: 0
trainer:
  {data.trainer}
  gradient_clip_val: 5.0
  num_sanity_val_steps: 0
  default_root_dir: runs/{name}
  callbacks:
    - class_path: LastCheckpoint{data.callbacks}
    - class_path: ResultsWriter
    - class_path: SamplePictures
    - class_path: DamagedImages
model:
  class_path: {task}
  init_args:
    model:
{body}
    optimizer:
      class_path: torch.optim.AdamW
      init_args: {{lr: {rate}, weight_decay: 0.02, foreach: true}}
    schedule:
      class_path: OneCycle
data:
  {data.lines}
"""


def config_text(folder: str, name: str, title: str, data: object, task: str, verb: str, body: str, rate: str) -> str:
    """One config.

    Args:
        folder: below ``configs``.
        name: of the file, without its suffix.
        title: what the file's first comment says.
        data: with ``layout``, ``trainer``, ``callbacks`` and ``lines``, as the template has them.
        task: class of the task.
        verb: that judges the trained net.
        body: lines of the model, indented.
        rate: learning rate.
    """
    head = "\n".join(f"# {line}" for line in textwrap.wrap(title, 118))
    path = f"configs/{folder}/{name}.yaml"
    return TEMPLATE.format(title=head, name=name, path=path, data=data, task=task, verb=verb, body=body, rate=rate)
