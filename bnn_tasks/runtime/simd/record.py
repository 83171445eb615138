"""A step of a program as a row of int64: what each cell means. Addresses and strides are in bytes.

A step fills *blocks*, [positions of a chunk, lanes] of 32 bits in cache, one after the other, and runs the passes of its
epilogue on each while it is there. A chunk is a run of output positions, a block a run of output channels of one group.
"""

CELLS = 50  # of a step

KIND = 0
POSITIONS = 1  # of the output map
WIDTH = 2  # of the output map, pixels
CHUNK = 3  # positions of a chunk, at most MAX_CHUNK
PIECES = 4  # chunks of one output row; 0: chunks run on from row to row
CHUNKS = 5
BLOCKS = 6
LANES = 7  # of a block
BLOCK_TABLE = 8  # rows of BLOCK_CELLS
BY_BLOCK = 9  # threads share the blocks, not the chunks
PASSES = 10  # rows of PASS_CELLS
PASS_COUNT = 11
NANS = 12  # out: values that are NaN where a sign was taken

# Input map, and windows on it.
X = 13
IN_HEIGHT = 14
IN_WIDTH = 15
PIXEL = 16
STRIDE_Y = 17
STRIDE_X = 18
PADDING_Y = 19
PADDING_X = 20
DILATION_Y = 21
DILATION_X = 22
KERNEL_Y = 23
KERNEL_X = 24

# Convolutions.
TILE = 25  # index of the tile
SUBTILES = 26  # tiles side by side in a block
SUBTILE_WEIGHTS = 27  # bytes
SEGMENTS = 28  # of a row of a window
SEGMENT = 29
COUNT = 30  # values of a segment
PAD = 31  # a pixel of padding; 0: zeros
GATHER = 32  # whether windows are gathered into scratch, and for how much at once

# Others.
DIVISOR = 33  # average pooling: 1 counts taps in the padding
ROWS = 34  # resizing: int64 input row of every output row; of bilinear resizing two
COLUMNS = 35  # and column
ROW_WEIGHTS = 48  # bilinear resizing: float32 weights of the two rows
COLUMN_WEIGHTS = 49  # and columns
MEAN = 36  # image: what is subtracted of a channel
STD = 37  # and what it is divided by
BYTES = 42  # image: its values are bytes, which stand for
VALUES = 43  # float32 [channels, 256]
STRIDE_C = 38  # image: bytes from channel to channel
OUT = 39  # image, bit pooling, class map: the map written
CHANNELS = 40  # image; class map: of the scores
WORDS = 41  # bit pooling: of a pixel
RISING = 47  # bit pooling: a pixel's bits; where one is 0 a window's signs are and-ed
INNER = 44  # pooling: the step whose rows are pooled as they are made, and never lie in memory as a map; 0: none
BAND = 45  # pooling: rows of the output for which that is done at once
ASIDE = 46  # pooling: where those rows lie, from the start of a thread's scratch

# Kinds of a step.
(
    XNOR,
    FLOAT,
    SIGNED,
    LOAD,
    MAX_POOL,
    AVG_POOL,
    GLOBAL_POOL,
    RESIZE,
    IMAGE,
    BIT_POOL,
    DEPTHWISE,
    BILINEAR,
    CLASS_MAP,
) = range(13)

# Gathering.
IN_PLACE, BY_CHUNK, AT_ONCE = range(3)  # windows lie in the map as they are; of a chunk; of all chunks of a thread

# A block.
BLOCK_CELLS = 6
INPUT_OFFSET = 0  # of its group, in a pixel
WEIGHTS = 1
CHANNEL = 2  # its first, in the output map
VALID = 3  # channels it has
LANE = 4  # of its first channel, in arrays of parameters
UNITS = 5  # of packed bits it writes

# A pass.
PASS_CELLS = 20
(
    COUNTED,  # bases, classes, scales, factors, summands
    COUNTED_INTEGERS,  # bases, classes
    SCALE,  # factors
    SHIFT,  # summands
    SCALE_SHIFT,  # factors, summands
    NORMALIZE,  # means, divisors
    CLIP_BELOW,  # limits
    CLIP,  # lower, upper limits
    PRELU,  # shift_in, slope, slope_above, shift_out
    ADD_MAP,  # map, pixel
    ADD_SCALED_MAP,  # map, pixel, weights
    MULTIPLY_MAP,  # map, pixel
    MULTIPLY_FACTOR,  # map of one channel
    WRITE,  # map, pixel
    PACK,  # bits, pixel, thresholds
    PACK_SUMS,  # bits, pixel, thresholds, flips
    WRITE_SUMS,  # bases, classes, map, pixel
    CLEAR_UNITS,  # bits, pixel: what is left of the last word
    FINISH,  # map, pixel, bits, bit pixel, thresholds
    FINISH_ADD,  # other map; then as FINISH
    FINISH_ADD_PRELU,  # other map; shift_in, slope, slope_above, shift_out; then as FINISH
    FINISH_COUNTED_ADD,  # bases, classes, scales, factors, summands; then as FINISH_ADD
    FINISH_COUNTED_ADD_PRELU,  # bases, classes, scales, factors, summands; then as FINISH_ADD_PRELU
) = range(23)

# Scratch of a thread.
MAX_CHUNK = 112
MAX_LANES = 64  # of a block
ADDRESSES = 0  # of the chunk's windows
SPARE = 16  # positions that a tile may go past the chunk
BLOCK = 8 * (MAX_CHUNK + SPARE)
GATHERED = BLOCK + 4 * MAX_LANES * (MAX_CHUNK + SPARE)
