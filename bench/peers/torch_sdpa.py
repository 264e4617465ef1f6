"""Times attention beside PyTorch's cuDNN and FlashAttention back ends.

Ours and the peers run in one process, in turn, on the same random inputs, each
run between two CUDA events after the L2 cache was overwritten. Prints one line
a shape with medians and the ratio peer time / our time, and writes one JSON
object a line to --output.

    python3 bench/peers/torch_sdpa.py --library build/gpu/libintarsia_kernels_c.so
    python3 bench/peers/torch_sdpa.py --library ... --backward

Needs a GPU and PyTorch; without --library only the peers are timed.
"""

import argparse
import ctypes
import json

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from interleaved import measure


class Args(ctypes.Structure):
    """Sm90AttentionForwardArgs, field by field."""

    _fields_ = (
        [(n, ctypes.c_void_p) for n in
         ("q", "k", "v", "out", "lse", "cu_q", "cu_k", "counter")]
        + [(n, ctypes.c_int) for n in
           ("sequences", "total_q", "total_k", "max_q", "max_k", "heads",
            "kv_heads", "head_dim")]
        + [(n, ctypes.c_int64) for n in
           ("q_row", "q_head", "k_row", "k_head", "v_row", "v_head",
            "out_row", "out_head")]
        + [("scale", ctypes.c_float), ("causal", ctypes.c_bool),
           ("window_left", ctypes.c_int)]
    )


class BackwardArgs(ctypes.Structure):
    """Sm90AttentionBackwardArgs, field by field."""

    _fields_ = (
        [("forward", Args)]
        + [(n, ctypes.c_void_p) for n in ("dout", "dq", "dk", "dv")]
        + [(n, ctypes.c_int64) for n in
           ("dout_row", "dout_head", "dq_row", "dq_head", "dk_row", "dk_head",
            "dv_row", "dv_head")]
        + [("workspace", ctypes.c_void_p)]
    )


def ours(library, q, k, v, causal):
    """A function that runs our kernel on [B, S, H, D] tensors."""
    batch, length, heads, dim = q.shape
    kv_heads = k.shape[2]
    out = torch.full_like(q, float("nan"))
    lse = torch.empty(heads, batch * length, device="cuda")
    cu = torch.arange(batch + 1, dtype=torch.int32, device="cuda") * length
    counter = torch.zeros(1, dtype=torch.int32, device="cuda")
    total = batch * length
    args = Args(q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr(),
                lse.data_ptr(), cu.data_ptr(), cu.data_ptr(),
                counter.data_ptr(), batch, total, total, length, length,
                heads, kv_heads, dim, heads * dim, dim, kv_heads * dim, dim,
                kv_heads * dim, dim, heads * dim, dim, dim ** -0.5, causal, -1)

    def run():
        stream = torch.cuda.current_stream().cuda_stream
        error = library.intarsia_attention_forward(
            ctypes.byref(args), ctypes.c_void_p(stream))
        assert error == 0, f"CUDA error {error}"

    run.keep = (q, k, v, lse, cu, counter)
    run.args = args
    run.out = out
    return run


def ours_backward(library, q, k, v, dout, causal):
    """The same for the backward pass, after one forward pass."""
    forward = ours(library, q, k, v, causal)
    forward()
    grads = [torch.full_like(x, float("nan")) for x in (q, k, v)]
    size = library.intarsia_attention_backward_workspace
    size.restype = ctypes.c_uint64
    workspace = torch.empty(size(ctypes.byref(forward.args)),
                            dtype=torch.uint8, device="cuda")
    strides = []
    for x in (dout, *grads):
        strides += [x.stride(1), x.stride(2)]
    args = BackwardArgs(forward.args, dout.data_ptr(),
                        *(g.data_ptr() for g in grads), *strides,
                        workspace.data_ptr())

    def run():
        stream = torch.cuda.current_stream().cuda_stream
        error = library.intarsia_attention_backward(
            ctypes.byref(args), ctypes.c_void_p(stream))
        assert error == 0, f"CUDA error {error}"

    run.keep = (forward, dout, workspace)
    run.out = grads
    return run


def peer(backend, q, k, v, causal):
    """A function that runs PyTorch's back end on views [B, H, S, D]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    grouped = q.shape[1] != k.shape[1]

    def run():
        with sdpa_kernel(backend):
            run.out = F.scaled_dot_product_attention(
                q, k, v, is_causal=causal, enable_gqa=grouped)

    return run


def peer_backward(backend, q, k, v, dout, causal):
    """The gradients of PyTorch's back end, on views [B, H, S, D]."""
    q, k, v, dout = (x.transpose(1, 2) for x in (q, k, v, dout))
    grouped = q.shape[1] != k.shape[1]
    inputs = [x.detach().requires_grad_() for x in (q, k, v)]
    with sdpa_kernel(backend):
        out = F.scaled_dot_product_attention(
            *inputs, is_causal=causal, enable_gqa=grouped)

    def run():
        run.out = torch.autograd.grad(out, inputs, dout, retain_graph=True)

    return run


def difference(ours, theirs):
    """Largest relative difference in norm over pairs of tensors."""
    return max(((a.float() - b.transpose(1, 2).float()).norm()
                / b.float().norm()).item() for a, b in zip(ours, theirs))


def shapes(dims):
    for dim in dims:
        heads = 2048 // dim
        for causal in (False, True):
            for length in (2048, 4096, 8192, 16384):
                yield 16384 // length, length, heads, heads, dim, causal
    yield 2, 8192, 32, 8, 128, True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library")
    parser.add_argument("--output")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--backward", action="store_true")
    options = parser.parse_args()
    library = ctypes.CDLL(options.library) if options.library else None
    output = open(options.output, "a") if options.output else None
    print(torch.cuda.get_device_name(0), "torch", torch.__version__,
          "cudnn", torch.backends.cudnn.version())
    torch.manual_seed(1)
    flush = torch.empty(128 << 20, dtype=torch.uint8, device="cuda")
    print(f"{'shape':34}{'ours':>9}{'cudnn':>9}{'flash':>9}"
          "   TFLOP/s; ratio to cudnn, flash")
    dims = (128, 64) if options.backward else (128, 64, 256)
    for batch, length, heads, kv_heads, dim, causal in shapes(dims):
        q, dout = (torch.randn(batch, length, heads, dim, device="cuda",
                               dtype=torch.bfloat16) for _ in range(2))
        k, v = (torch.randn(batch, length, kv_heads, dim, device="cuda",
                            dtype=torch.bfloat16) for _ in range(2))
        row = {"pass": "backward" if options.backward else "forward",
               "batch": batch, "length": length, "heads": heads,
               "kv_heads": kv_heads, "head_dim": dim, "causal": causal}
        runs = {}
        for name, backend in (("cudnn", SDPBackend.CUDNN_ATTENTION),
                              ("flash", SDPBackend.FLASH_ATTENTION),
                              ("ours", None)):
            try:
                if backend is None and library is None:
                    continue
                if backend is None:
                    run = (ours_backward(library, q, k, v, dout, causal)
                           if options.backward
                           else ours(library, q, k, v, causal))
                elif options.backward:
                    run = peer_backward(backend, q, k, v, dout, causal)
                else:
                    run = peer(backend, q, k, v, causal)
                run()
                runs[name] = run
            except RuntimeError as error:
                print(name, str(error)[:100])
        if "ours" in runs and "cudnn" in runs:
            a, b = runs["ours"].out, runs["cudnn"].out
            row["difference"] = difference(*((a, b) if options.backward
                                             else ((a,), (b,))))
        medians = measure(runs, options.rounds, flush)
        flops = 4 * batch * length * length * heads * dim / (1 + causal)
        flops *= 2.5 if options.backward else 1
        rates = {n: flops / us * 1e-6 for n, us in medians.items()}
        for name, us in medians.items():
            row[name + "_us"] = us
            row[name + "_tflops"] = rates[name]
        label = (f"hd{dim} B{batch} S{length} H{heads}:{kv_heads}"
                 f"{' causal' if causal else ''}")
        line = f"{label:34}" + "".join(
            f"{rates.get(n, float('nan')):9.0f}"
            for n in ("ours", "cudnn", "flash"))
        if "ours" in medians:
            for name in ("cudnn", "flash"):
                if name in medians:
                    line += f"   {medians[name] / medians['ours']:.3f}"
        print(line, f"  diff {row.get('difference', 0):.1e}", flush=True)
        if output:
            print(json.dumps(row), file=output, flush=True)


if __name__ == "__main__":
    main()
