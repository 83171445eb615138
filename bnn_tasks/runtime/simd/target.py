"""What the machine's vectors are, asked of LLVM: it compiles a population count, and the registers it names tell."""

import re
from functools import cache

import llvmlite.binding as llvm
from numba.core.registry import cpu_target

_PROBE = """
define <8 x i64> @probe(<8 x i64> %x) {
  %y = call <8 x i64> @llvm.ctpop.v8i64(<8 x i64> %x)
  ret <8 x i64> %y
}
declare <8 x i64> @llvm.ctpop.v8i64(<8 x i64>)
"""


@cache
def vector_bytes() -> int:
    """Width of the registers in which numba's LLVM target counts bits: 64, 32, or 16 (also where there are none).

    The answer follows from what numba compiles for (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES), not from the machine alone, and
    is part of numba's cache key.
    """
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=2)
    text = machine.emit_assembly(llvm.parse_assembly(_PROBE))
    if "%zmm" in text:
        return 64
    return 32 if re.search(r"%ymm", text) else 16
