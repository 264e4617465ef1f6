"""Times the SSD of Mamba-2 beside mamba-ssm's Triton kernels.

Ours and the peer run in one process, in turn, on the same random inputs, each
run between two CUDA events after the L2 cache was overwritten. Prints one line
a shape with medians and the ratio peer time / our time, and writes one JSON
object a line to --output.

    python3 bench/peers/mamba_ssm_ssd.py --mamba-ssm FOLDER_OF_mamba_ssm \
        --library build/gpu/libintarsia_kernels_c.so
    python3 bench/peers/mamba_ssm_ssd.py ... --backward

FOLDER_OF_mamba_ssm holds the package mamba_ssm; only its ops/triton and utils
are imported. Needs a GPU, PyTorch and Triton; either side may be left out.
"""

import argparse
import ctypes
import json
import os
import sys
import types

import torch

from interleaved import measure


class Args(ctypes.Structure):
    """Sm90SsdForwardArgs, field by field."""

    _fields_ = (
        [(n, ctypes.c_void_p) for n in
         ("x", "dt", "b", "c", "a", "d", "dt_bias", "y", "initial_state",
          "final_state", "cu_seqlens", "workspace")]
        + [(n, ctypes.c_int) for n in
           ("sequences", "tokens", "max_seqlen", "heads", "groups", "head_dim",
            "state_dim")]
        + [(n, ctypes.c_int64) for n in
           ("x_stride", "dt_stride", "b_stride", "c_stride", "y_stride")]
        + [("softplus", ctypes.c_bool), ("dt_min", ctypes.c_float),
           ("dt_max", ctypes.c_float)]
    )


class BackwardArgs(ctypes.Structure):
    """Sm90SsdBackwardArgs, field by field."""

    _fields_ = (
        [("forward", Args)]
        + [(n, ctypes.c_void_p) for n in
           ("dy", "final_gradient", "dx", "db", "dc", "ddt", "da", "dd",
            "ddt_bias", "initial_gradient", "workspace")]
        + [(n, ctypes.c_int64) for n in
           ("dy_stride", "dx_stride", "db_stride", "dc_stride", "ddt_stride")]
    )


class Problem:
    """Inputs [B, T, ...]; steps around 0.05, decays from slow to fast."""

    def __init__(self, batch, length, heads, groups, state):
        def normal(*size):
            return torch.randn(*size, device="cuda", dtype=torch.bfloat16)

        self.sizes = batch, length, heads, groups, state
        self.x, self.dy = (normal(batch, length, heads, 64) for _ in range(2))
        self.b, self.c = (normal(batch, length, groups, state)
                          for _ in range(2))
        self.dt = torch.randn(batch, length, heads, device="cuda")
        self.bias = torch.full((heads,), -3.0, device="cuda")
        self.a = -torch.logspace(0, 1.2, heads, device="cuda")
        self.d = torch.ones(heads, device="cuda")
        self.initial = torch.randn(batch, heads, 64, state, device="cuda")
        self.dfinal = torch.randn(batch, heads, 64, state, device="cuda")


def check(error):
    assert error == 0, f"CUDA error {error}"


def runner(library, name, args, keep, out):
    """What calls intarsia_<name>, with the workspace that it asks for."""
    size = getattr(library, f"intarsia_{name}_workspace")
    size.restype = ctypes.c_uint64
    workspace = torch.empty(size(ctypes.byref(args)), dtype=torch.uint8,
                            device="cuda")
    args.workspace = workspace.data_ptr()
    launch = getattr(library, f"intarsia_{name}")

    def run():
        stream = torch.cuda.current_stream().cuda_stream
        check(launch(ctypes.byref(args), ctypes.c_void_p(stream)))

    run.keep = (workspace, *keep)
    run.args = args
    run.out = out
    return run


def ours(library, p):
    """Forward through our kernel: y and the final state."""
    batch, length, heads, groups, state = p.sizes
    y = torch.full_like(p.x, float("nan"))
    final = torch.full_like(p.initial, float("nan"))
    cu = torch.arange(batch + 1, dtype=torch.int32, device="cuda") * length
    args = Args(p.x.data_ptr(), p.dt.data_ptr(), p.b.data_ptr(),
                p.c.data_ptr(), p.a.data_ptr(), p.d.data_ptr(),
                p.bias.data_ptr(), y.data_ptr(), p.initial.data_ptr(),
                final.data_ptr(), cu.data_ptr(), None, batch, batch * length,
                length, heads, groups, 64, state, heads * 64, heads,
                groups * state, groups * state, heads * 64, True, 0.0,
                float("inf"))
    return runner(library, "ssd_forward", args, [cu], (y, final))


def ours_backward(library, p):
    """All gradients through our kernels."""
    batch, length, heads, groups, state = p.sizes
    forward = ours(library, p)
    forward()
    out = [torch.full_like(t, float("nan")) for t in
           (p.x, p.b, p.c, p.dt, p.a, p.d, p.bias, p.initial)]
    args = BackwardArgs(forward.args, p.dy.data_ptr(), p.dfinal.data_ptr(),
                        *(t.data_ptr() for t in out), None, heads * 64,
                        heads * 64, groups * state, groups * state, heads)
    return runner(library, "ssd_backward", args, [forward], out)


def load_peer(folder):
    """mamba_chunk_scan_combined without the package's own __init__, which
    wants models and their dependencies."""
    path = os.path.join(folder, "mamba_ssm")
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton",
                 "mamba_ssm.utils"):
        module = types.ModuleType(name)
        module.__path__ = [os.path.join(path, *name.split(".")[1:])]
        sys.modules[name] = module
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    return mamba_chunk_scan_combined


def peer(scan, p, chunk):
    def run():
        run.out = scan(p.x, p.dt, p.a, p.b, p.c, chunk, D=p.d,
                       dt_bias=p.bias, initial_states=p.initial,
                       dt_softplus=True, return_final_states=True)

    return run


def peer_backward(scan, p, chunk):
    inputs = [t.detach().requires_grad_() for t in
              (p.x, p.b, p.c, p.dt, p.a, p.d, p.bias, p.initial)]
    x, b, c, dt, a, d, bias, initial = inputs
    out = scan(x, dt, a, b, c, chunk, D=d, dt_bias=bias,
               initial_states=initial, dt_softplus=True,
               return_final_states=True)

    def run():
        run.out = torch.autograd.grad(
            out, inputs, (p.dy, p.dfinal.to(out[1].dtype)), retain_graph=True)

    return run


def differences(ours, theirs):
    return [((a.float() - b.float()).norm() / b.float().norm()).item()
            for a, b in zip(ours, theirs)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library")
    parser.add_argument("--mamba-ssm")
    parser.add_argument("--chunk", type=int, default=256,
                        help="the peer's chunk size")
    parser.add_argument("--output")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--backward", action="store_true")
    parser.add_argument("--quick", action="store_true",
                        help="the first shape only")
    options = parser.parse_args()
    library = ctypes.CDLL(options.library) if options.library else None
    scan = load_peer(options.mamba_ssm) if options.mamba_ssm else None
    output = open(options.output, "a") if options.output else None
    print(torch.cuda.get_device_name(0), "torch", torch.__version__)
    torch.manual_seed(1)
    flush = torch.empty(128 << 20, dtype=torch.uint8, device="cuda")
    shapes = [(8, 4096, 64, 1, 128), (1, 32768, 64, 1, 128)]
    for shape in shapes[:1 if options.quick else 2]:
        problem = Problem(*shape)
        runs = {}
        if scan is not None:
            make = peer_backward if options.backward else peer
            runs["mamba_ssm"] = make(scan, problem, options.chunk)
        if library is not None:
            make = ours_backward if options.backward else ours
            runs["ours"] = make(library, problem)
        for run in runs.values():
            run()
        torch.cuda.synchronize()
        row = dict(zip(("batch", "length", "heads", "groups", "state"), shape))
        row["pass"] = "backward" if options.backward else "forward"
        if len(runs) == 2:
            row["differences"] = differences(runs["ours"].out,
                                             runs["mamba_ssm"].out)
        for name, us in measure(runs, options.rounds, flush).items():
            row[name + "_us"] = us
        if len(runs) == 2:
            row["ratio"] = row["mamba_ssm_us"] / row["ours_us"]
        print(json.dumps(row), flush=True)
        if output:
            print(json.dumps(row), file=output, flush=True)


if __name__ == "__main__":
    main()
