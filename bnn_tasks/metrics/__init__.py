"""Scores that torchmetrics and pycocotools lack, in numpy alone."""

from bnn_tasks.metrics.voc import VOCEvaluator, VOCResult, voc_average_precision

__all__ = ["VOCEvaluator", "VOCResult", "voc_average_precision"]
