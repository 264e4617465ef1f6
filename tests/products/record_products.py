"""llama.cpp's error of a product in each weight format, for products_test.cc.

    pip install gguf
    write_products FOLDER
    python3 tests/products/record_products.py FOLDER LIBRARIES \\
        > tests/products/llama_cpp.inc

LIBRARIES is a folder with llama.cpp's libggml-base.so and libggml-cpu.so, such as
its Python packages hold. `write_products` (a target of this tree) made the
weights' blocks and our products. Both are compared with the product in double of
the numbers that the `gguf` package reads from the blocks; printed are the root
mean square error over that of the product, llama.cpp's as the test's bound, ours
as a comment: of stored weights and, where they are packed, of these.
"""

import ctypes
import pathlib
import sys

import gguf
import numpy as np
from gguf.quants import dequantize

M, N, K = 8, 96, 1024
TYPES = ("F32", "BF16", "F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K",
         "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4")


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p),
                ("no_alloc", ctypes.c_bool)]


def library(folder):
    """ggml's functions, of whichever of its libraries has them."""
    libraries = []
    for name in ("libggml-base.so", "libggml-cpu.so"):
        path = sorted(folder.glob(name + "*"))[0]
        libraries.append(ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL))

    def find(name, result, *arguments):
        for lib in libraries:
            if hasattr(lib, name):
                function = getattr(lib, name)
                function.restype, function.argtypes = result, arguments
                return function
        raise SystemExit(f"{folder}: no {name}")

    pointer, number = ctypes.c_void_p, ctypes.c_int64
    return {
        "init": find("ggml_init", pointer, InitParams),
        "free": find("ggml_free", None, pointer),
        "tensor": find("ggml_new_tensor_2d", pointer, pointer, ctypes.c_int,
                       number, number),
        "data": find("ggml_get_data", pointer, pointer),
        "bytes": find("ggml_nbytes", ctypes.c_size_t, pointer),
        "mul_mat": find("ggml_mul_mat", pointer, pointer, pointer, pointer),
        "graph": find("ggml_new_graph", pointer, pointer),
        "expand": find("ggml_build_forward_expand", None, pointer, pointer),
        "compute": find("ggml_graph_compute_with_ctx", ctypes.c_int, pointer,
                        pointer, ctypes.c_int),
        "cpu_init": find("ggml_cpu_init", None),
        "version": find("ggml_version", ctypes.c_char_p),
    }


def product(ggml, kind, w, x):
    """[M, N] as llama.cpp's CPU backend computes it."""
    context = ggml["init"](InitParams(64 << 20, None, False))
    a = ggml["tensor"](context, int(kind), K, N)
    b = ggml["tensor"](context, int(gguf.GGMLQuantizationType.F32), K, M)
    assert ggml["bytes"](a) == len(w) and ggml["bytes"](b) == x.nbytes
    ctypes.memmove(ggml["data"](a), w, len(w))
    ctypes.memmove(ggml["data"](b), x.tobytes(), x.nbytes)
    y = ggml["mul_mat"](context, a, b)
    graph = ggml["graph"](context)
    ggml["expand"](graph, y)
    assert ggml["compute"](context, graph, 1) == 0
    out = np.frombuffer(ctypes.string_at(ggml["data"](y), 4 * M * N), "<f4")
    ggml["free"](context)
    return out.reshape(M, N).astype(np.float64)


def error(y, exact):
    return np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact ** 2))


def main():
    folder = pathlib.Path(sys.argv[1])
    ggml = library(pathlib.Path(sys.argv[2]))
    ggml["cpu_init"]()
    x = np.fromfile(folder / "x", "<f4").reshape(M, K)
    print("// Made by tests/products/record_products.py with ggml "
          f"{ggml['version']().decode()}:\n"
          "// llama.cpp's error, and ours then, stored and packed.")
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        w = (folder / f"{name.lower()}.w").read_bytes()
        rows = np.frombuffer(w, np.uint8).reshape(N, -1)
        dense = dequantize(rows.copy(), kind).astype(np.float64).reshape(N, K)
        exact = x.astype(np.float64) @ dense.T
        ours = [np.fromfile(path, "<f4").reshape(M, N).astype(np.float64)
                for path in (folder / f"{name.lower()}.y",
                             folder / f"{name.lower()}.packed.y")
                if path.exists()]
        theirs = product(ggml, kind, w, x)
        print(f'{{"{name.lower()}", {error(theirs, exact):.2e}}},'
              f"  // {', '.join(f'{error(y, exact):.2e}' for y in ours)}")


if __name__ == "__main__":
    main()
