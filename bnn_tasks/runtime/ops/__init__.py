"""The closed list of ops that a graph may use."""

from bnn_tasks.runtime.ops.base import Op
from bnn_tasks.runtime.ops.binary import BinaryConv2d, BinaryLinear
from bnn_tasks.runtime.ops.boxes import Anchors, DecodeBoxes, Nms, NmsSoftmax
from bnn_tasks.runtime.ops.class_map import Argmax
from bnn_tasks.runtime.ops.combining import Add, ChannelGroupMean, Multiply, ScaleMap, WeightedSum
from bnn_tasks.runtime.ops.convolution import Conv2d, Linear
from bnn_tasks.runtime.ops.elementwise import Hardtanh, Normalize, PRelu, Relu, ScaleShift, Sigmoid
from bnn_tasks.runtime.ops.join_boxes import JoinBoxes
from bnn_tasks.runtime.ops.l2_norm import L2Norm
from bnn_tasks.runtime.ops.patches import BinaryPatches, ResidualSign, WindowMean
from bnn_tasks.runtime.ops.pooling import AvgPool2d, GlobalAvgPool, MaxPool2d
from bnn_tasks.runtime.ops.real_input import BinaryWeightConv2d, BinaryWeightLinear
from bnn_tasks.runtime.ops.regions import Proposals, RoiAlign
from bnn_tasks.runtime.ops.resize_bilinear import ResizeBilinear
from bnn_tasks.runtime.ops.shape import Concat, Flatten, ResizeNearest
from bnn_tasks.runtime.ops.sign import Ones, Sign
from bnn_tasks.runtime.ops.softmax import Softmax

OPS: dict[str, Op] = {
    "normalize": Normalize(),
    "conv2d": Conv2d(),
    "linear": Linear(),
    "scale_shift": ScaleShift(),
    "sign": Sign(),
    "ones": Ones(),
    "residual_sign": ResidualSign(),
    "window_mean": WindowMean(),
    "binary_conv2d": BinaryConv2d(),
    "binary_linear": BinaryLinear(),
    "binary_patches": BinaryPatches(),
    "binary_weight_conv2d": BinaryWeightConv2d(),
    "binary_weight_linear": BinaryWeightLinear(),
    "add": Add(),
    "weighted_sum": WeightedSum(),
    "multiply": Multiply(),
    "scale_map": ScaleMap(),
    "channel_group_mean": ChannelGroupMean(),
    "relu": Relu(),
    "hardtanh": Hardtanh(),
    "prelu": PRelu(),
    "max_pool2d": MaxPool2d(),
    "avg_pool2d": AvgPool2d(),
    "global_avg_pool": GlobalAvgPool(),
    "flatten": Flatten(),
    "resize_nearest": ResizeNearest(),
    "resize_bilinear": ResizeBilinear(),
    "concat": Concat(),
    "sigmoid": Sigmoid(),
    "l2_norm": L2Norm(),
    "anchors": Anchors(),
    "join_boxes": JoinBoxes(),
    "decode_boxes": DecodeBoxes(),
    "proposals": Proposals(),
    "roi_align": RoiAlign(),
    "nms": Nms(),
    "nms_softmax": NmsSoftmax(),
    "softmax": Softmax(),
    "argmax": Argmax(),
}
