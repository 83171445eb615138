"""Helpers that emit LLVM vector IR: the vocabulary of every kernel in this package.

Numba lowers scalar loops and leaves the vector form to LLVM's loop optimiser. The kernels here say the vector form
themselves, as LLVM's generic vectors, so that one text gives ZMM, YMM and NEON code; LLVM splits what is wider than the
machine. Memory is addressed by integers (bytes), since a step of a network is a row of numbers.
"""

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F32 = ir.FloatType()
LANES = 16  # of a unit: 16 values of 32 bits, a ZMM register
HALF = 8  # lanes of 64 bits in a ZMM register
F32S, I32S, I1S = (ir.VectorType(item, LANES) for item in (F32, I32, I1))
I64S = ir.VectorType(I64, HALF)

Value = Any  # llvmlite has no types of its own for values


def const(value: int) -> Value:
    """An i64 constant."""
    return ir.Constant(I64, value)


def load(b: Any, kind: Any, address: Value, align: int) -> Value:
    """Read one `kind` at an address of bytes."""
    value = b.load(b.inttoptr(address, kind.as_pointer()))
    value.align = align
    return value


def store(b: Any, value: Value, address: Value, align: int) -> None:
    """Write `value` at an address of bytes."""
    b.store(value, b.inttoptr(address, value.type.as_pointer())).align = align


def splat(b: Any, value: Value, lanes: int) -> Value:
    """A vector whose lanes all are `value`."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = b.insert_element(undefined, value, ir.Constant(I32, 0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def call(b: Any, name: str, result: Any, *arguments: Value) -> Value:
    """Call an LLVM intrinsic."""
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), arguments)


def fma(b: Any, x: Value, y: Value, z: Value) -> Value:
    """x·y + z, rounded once, in every lane."""
    return call(b, "llvm.fma.v16f32", F32S, x, y, z)


def registers(b: Any, kind: Any, count: int) -> list[Value]:
    """`count` zeroed variables, which LLVM keeps in registers."""
    cells = [cgutils.alloca_once(b, kind) for _ in range(count)]
    for cell in cells:
        b.store(ir.Constant(kind, None), cell)
    return cells


Emitter = Callable[..., Value]  # builder, arguments -> value, or nothing


def intrinsic_of(signature: Any, emit: Emitter) -> Any:
    """An intrinsic of a fixed signature.

    Args:
        signature: numba's, result(argument ...).
        emit: emits the body.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Value:
        value = emit(builder, *arguments)
        return context.get_dummy_value() if signature.return_type is types.void else value

    def function(typingctx: Any, *arguments: Any) -> Any:
        return signature, codegen

    names = ["typingctx", *(f"a{i}" for i in range(len(signature.args)))]
    kind = Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = Signature([Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    return intrinsic(function)


def integers(count: int, codegen: Callable[..., Any], result: Any = types.void) -> Any:
    """An intrinsic of `count` integers.

    Args:
        count: of the arguments, int64 each.
        codegen: emits it: (builder, arguments) -> value, or nothing.
        result: numba's type of the value.
    """
    return intrinsic_of(result(*[types.int64] * count), lambda b, *arguments: codegen(b, arguments))
