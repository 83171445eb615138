"""Reading, writing, copying and counting at addresses, for the scalar part of the kernels."""

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from bnn_tasks.runtime.simd.ir import F32, I8, I32, I64, load, store


def _reader(kind: Any, result: Any, align: int) -> Any:
    @intrinsic
    def read(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
            value = load(b, kind, args[0], align)
            return b.sext(value, I64) if kind is I32 else b.zext(value, I64) if kind is I8 else value

        return result(types.int64), codegen

    return read


read_i64 = _reader(I64, types.int64, 8)
read_i32 = _reader(I32, types.int64, 4)
read_u8 = _reader(I8, types.int64, 1)
read_f32 = _reader(F32, types.float32, 4)


@intrinsic
def write_i64(typingctx: Any, address: Any, value: Any) -> Any:
    """Write 8 bytes."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        store(b, args[1], args[0], 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def write_f32(typingctx: Any, address: Any, value: Any) -> Any:
    """Write 4 bytes."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        store(b, args[1], args[0], 4)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), codegen


@intrinsic
def copy(typingctx: Any, to: Any, source: Any, count: Any) -> Any:
    """Copy `count` bytes."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        to, source = (b.inttoptr(a, I8.as_pointer()) for a in args[:2])
        cgutils.raw_memcpy(b, to, source, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def clear(typingctx: Any, to: Any, count: Any) -> Any:
    """Zero `count` bytes."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        cgutils.memset(b, b.inttoptr(args[0], I8.as_pointer()), args[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def atomic_add(typingctx: Any, address: Any, value: Any) -> Any:
    """Add to 8 bytes that other threads add to; the value before."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.atomic_rmw("add", b.inttoptr(args[0], I64.as_pointer()), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def atomic_read(typingctx: Any, address: Any) -> Any:
    """Read 8 bytes that other threads write, and all that they wrote before."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.load_atomic(b.inttoptr(args[0], I64.as_pointer()), "seq_cst", 8)

    return types.int64(types.int64), codegen


@intrinsic
def atomic_write(typingctx: Any, address: Any, value: Any) -> Any:
    """Write 8 bytes that other threads read, after all that was written before."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        b.store_atomic(args[1], b.inttoptr(args[0], I64.as_pointer()), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def give_way(typingctx: Any) -> Any:
    """Let another thread have this core."""
    name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        b.call(cgutils.get_or_insert_function(b.module, ir.FunctionType(I32, []), name), [])
        return context.get_dummy_value()

    return types.void(), codegen


__all__ = [
    "atomic_add",
    "atomic_read",
    "atomic_write",
    "clear",
    "copy",
    "give_way",
    "read_f32",
    "read_i32",
    "read_i64",
    "read_u8",
    "write_f32",
    "write_i64",
]
