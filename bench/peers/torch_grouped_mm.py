"""Times the experts' products beside torch._grouped_mm.

Ours and the peer run in one process, in turn, on the same random inputs, each
run between two CUDA events after the L2 cache was overwritten. Compares ours
with the peer's result in fp32 first, and prints one line a shape with medians
and the ratio peer time / our time; last the rate of one 8192 cubed product.

    python3 bench/peers/torch_grouped_mm.py \
        --library build/gpu/libintarsia_kernels_c.so

Needs a Hopper GPU and PyTorch 2.8 or later.
"""

import argparse
import ctypes

import torch

from interleaved import measure

# Experts, rows, channels in and out: Mixtral 8x7B, DeepSeek V3 (32 of its
# experts), Qwen3 30B-A3B.
SHAPES = [
    (8, 16384, 4096, 28672),
    (8, 16384, 14336, 4096),
    (32, 32768, 7168, 4096),
    (32, 32768, 2048, 7168),
    (128, 65536, 2048, 1536),
    (128, 65536, 768, 2048),
    (32, 2048, 7168, 4096),
]


class Args(ctypes.Structure):
    """Sm90GroupedGemmArgs, field by field."""

    _fields_ = (
        [(n, ctypes.c_void_p) for n in ("x", "weights", "row_starts", "y")]
        + [(n, ctypes.c_int) for n in ("rows", "experts", "inner", "outer")]
    )


def routed(experts, rows):
    """Shares of the rows that differ as a router's do."""
    share = 0.3 + 1.4 * torch.rand(experts)
    ends = (share.cumsum(0) / share.sum() * rows).int()
    ends[-1] = rows
    return ends


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--library", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    launch = ctypes.CDLL(options.library).intarsia_grouped_gemm
    torch.manual_seed(1)
    flush = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")

    def normal(*shape):
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

    for experts, rows, inner, outer in SHAPES:
        x, weights = normal(rows, inner), normal(experts, outer, inner)
        ends = routed(experts, rows)
        starts = torch.cat([torch.zeros(1, dtype=torch.int32), ends]).cuda()
        ends = ends.cuda()
        y = torch.full((rows, outer), float("nan"), device="cuda",
                       dtype=torch.bfloat16)
        args = Args(x.data_ptr(), weights.data_ptr(), starts.data_ptr(),
                    y.data_ptr(), rows, experts, inner, outer)

        def ours():
            stream = torch.cuda.current_stream().cuda_stream
            error = launch(ctypes.byref(args), ctypes.c_void_p(stream))
            assert error == 0, f"error {error}"

        def peer():
            return torch._grouped_mm(x, weights.transpose(-2, -1), offs=ends)

        ours()
        want = peer().float()
        error = ((y.float() - want).norm() / want.norm()).item()
        assert error < 3e-3, f"{error}"
        del want
        t = measure({"ours": ours, "peer": peer}, options.rounds, flush)
        flops = 2e-6 * rows * inner * outer
        print(f"{experts} experts, {rows} rows, {inner} to {outer}: "
              f"{t['ours']:.0f} us, {flops / t['ours']:.0f} TFLOP/s; "
              f"_grouped_mm {flops / t['peer']:.0f}; "
              f"ratio {t['peer'] / t['ours']:.2f}; differs by {error:.1e}",
              flush=True)
    a, b = normal(8192, 8192), normal(8192, 8192)
    t = measure({"dense": lambda: a @ b}, options.rounds, flush)["dense"]
    print(f"dense 8192 cubed: {2e-6 * 8192**3 / t:.0f} TFLOP/s")


if __name__ == "__main__":
    main()
