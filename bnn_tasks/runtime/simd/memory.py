"""Reading, writing, copying and counting at addresses, for the scalar part of the kernels."""

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from bnn_tasks.runtime.simd.ir import F32, I8, I32, I64, Emitter, intrinsic_of, load, store

INT = types.int64


def _read(kind: Any, align: int, widen: bool = False) -> Emitter:
    def emit(b: Any, address: Any) -> Any:
        value = load(b, kind, address, align)
        return b.zext(value, I64) if widen else value

    return emit


read_i64 = intrinsic_of(INT(INT), _read(I64, 8))
read_u8 = intrinsic_of(INT(INT), _read(I8, 1, widen=True))
read_f32 = intrinsic_of(types.float32(INT), _read(F32, 4))

# (address, value)
write_i64 = intrinsic_of(types.void(INT, INT), lambda b, address, value: store(b, value, address, 8))
write_f32 = intrinsic_of(types.void(INT, types.float32), lambda b, address, value: store(b, value, address, 4))


def _bytes(b: Any, address: Any) -> Any:
    return b.inttoptr(address, I8.as_pointer())


def _copy(b: Any, to: Any, source: Any, count: Any) -> None:
    cgutils.raw_memcpy(b, _bytes(b, to), _bytes(b, source), count, 1)


copy = intrinsic_of(types.void(INT, INT, INT), _copy)  # (to, source, bytes)
clear = intrinsic_of(types.void(INT, INT), lambda b, to, count: cgutils.memset(b, _bytes(b, to), count, 0))


def _cell(b: Any, address: Any) -> Any:
    return b.inttoptr(address, I64.as_pointer())


# Of 8 bytes that other threads read and write; each comes after all that was written before.
atomic_add = intrinsic_of(INT(INT, INT), lambda b, at, value: b.atomic_rmw("add", _cell(b, at), value, "seq_cst"))
atomic_read = intrinsic_of(INT(INT), lambda b, at: b.load_atomic(_cell(b, at), "seq_cst", 8))
atomic_write = intrinsic_of(
    types.void(INT, INT), lambda b, at, value: b.store_atomic(value, _cell(b, at), "seq_cst", 8)
)


def _give_way(b: Any) -> None:
    name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
    b.call(cgutils.get_or_insert_function(b.module, ir.FunctionType(I32, []), name), [])


give_way = intrinsic_of(types.void(), _give_way)  # let another thread have this core
