"""Products of few and of many rows by torch (cuBLAS), in bf16, beside
`bench_gpu_kernels matmul.sm90 --time-only`: the same shapes.

Prints one JSON line a shape: the median time between CUDA events around one
product on cold caches, as that program takes it, and the rates.

    python3 torch_products.py [--rounds N]
"""

import argparse
import json

import torch

SHAPES = [
    (rows, width, columns)
    for rows in (1, 16, 64, 128)
    for width, columns in ((4096, 28672), (14336, 4096), (4096, 4096))
] + [
    (64, 2560, 10576),
    (64, 5120, 2560),
    (512, 4096, 4096),
    (8192, 8192, 8192),
    (8192, 4096, 14336),
    (8192, 14336, 4096),
    (8192, 576, 1536),
    (8192, 1536, 576),
]


def normal(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def measure(rows, width, columns, rounds):
    x, w = normal(rows, width), normal(columns, width)
    # Twice an H200's L2, written before each run.
    cold = torch.empty(120 << 20, device="cuda", dtype=torch.uint8)
    times = []
    for i in range(rounds + 2):
        begin = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        cold.fill_(i)
        begin.record()
        torch.nn.functional.linear(x, w)
        end.record()
        torch.cuda.synchronize()
        if i >= 2:
            times.append(begin.elapsed_time(end) * 1e3)
    us = sorted(times)[len(times) // 2]
    moved = 2 * (rows * width + width * columns + rows * columns)
    print(
        json.dumps(
            {
                "rows": rows,
                "width": width,
                "columns": columns,
                "us": round(us, 2),
                "tflops": round(2e-6 * rows * width * columns / us, 1),
                "tb_per_s": round(1e-6 * moved / us, 3),
            }
        ),
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for shape in SHAPES:
        measure(*shape, rounds)


if __name__ == "__main__":
    main()
