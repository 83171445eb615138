"""The kernels: vector code for the machine at hand, written down once as LLVM's generic vectors."""
