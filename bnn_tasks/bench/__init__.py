"""Measuring: an artifact against float nets in other engines, a layer against other layers, a step against the peak."""

from bnn_tasks.bench.report import Report
from bnn_tasks.bench.whole import bench

__all__ = ["Report", "bench"]
