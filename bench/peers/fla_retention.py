"""Times retention beside flash-linear-attention's chunk_retention.

Ours and the peer run in one process, in turn, on the same random inputs, each
run between two CUDA events after the L2 cache was overwritten. Prints one line
a shape with medians and the ratio peer time / our time, and compares both with
the recurrence in fp64 on a short sequence first.

    python3 bench/peers/fla_retention.py --fla PATH \
        --library build/gpu/libintarsia_kernels_c.so

PATH is a folder that contains the package `fla`. Needs a GPU, PyTorch and
Triton; without --library only the peer is timed. Triton compiles its candidate
configurations one after another, which takes minutes; --warm N lets N processes
compile a part each first.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import types

import torch

from interleaved import measure

TENSORS = ("q", "k", "v", "out")


class Args(ctypes.Structure):
    """Sm90RetentionForwardArgs, field by field."""

    _fields_ = (
        [(n, ctypes.c_void_p) for n in
         ("q", "k", "v", "out", "log_decay", "initial_state", "final_state",
          "cu_seqlens", "workspace")]
        + [(n, ctypes.c_int) for n in
           ("sequences", "total", "max_seqlen", "heads", "key_dim",
            "value_dim")]
        + [(n + s, ctypes.c_int64) for n in TENSORS for s in ("_row", "_head")]
        + [("scale", ctypes.c_float)]
    )


class BackwardArgs(ctypes.Structure):
    """Sm90RetentionBackwardArgs, field by field."""

    _fields_ = (
        [("forward", Args)]
        + [(n, ctypes.c_void_p) for n in
           ("dout", "dq", "dk", "dv", "dfinal_state", "dinitial_state")]
        + [(n + s, ctypes.c_int64) for n in ("dout", "dq", "dk", "dv")
           for s in ("_row", "_head")]
    )


def load_peer(path):
    """chunk_retention, without the models that `import fla` brings along."""
    sys.path.insert(0, path)
    for name in ("fla", "fla.ops"):
        package = types.ModuleType(name)
        package.__path__ = [os.path.join(path, *name.split("."))]
        package.__version__ = "0"
        sys.modules[name] = package
    from fla.ops.retention import chunk_retention
    return chunk_retention


def decays(heads):
    return torch.log1p(-torch.exp2(
        -5.0 - torch.arange(heads, dtype=torch.float64)))


class Ours:
    """Our kernels on [B, T, H, D] tensors."""

    def __init__(self, library, q, k, v, dout):
        batch, length, heads, key_dim = q.shape
        value_dim = v.shape[3]
        self.library = library
        self.out = torch.full_like(v, float("nan"))
        self.grads = [torch.full_like(x, float("nan")) for x in (q, k, v)]
        decay = decays(heads).float().cuda()
        cu = torch.arange(batch + 1, dtype=torch.int32, device="cuda") * length
        strides = []
        for x in (q, k, v, self.out):
            strides += [x.stride(1), x.stride(2)]
        args = Args(q.data_ptr(), k.data_ptr(), v.data_ptr(),
                    self.out.data_ptr(), decay.data_ptr(), None, None,
                    cu.data_ptr(), None, batch, batch * length, length, heads,
                    key_dim, value_dim, *strides, key_dim ** -0.5)
        size = library.intarsia_retention_workspace
        size.restype = ctypes.c_uint64
        workspace = torch.empty(size(ctypes.byref(args)), dtype=torch.uint8,
                                device="cuda")
        args.workspace = workspace.data_ptr()
        strides = []
        for x in (dout, *self.grads):
            strides += [x.stride(1), x.stride(2)]
        self.args = BackwardArgs(args, dout.data_ptr(),
                                 *(g.data_ptr() for g in self.grads), None,
                                 None, *strides)
        self.keep = (q, k, v, dout, decay, cu, workspace)

    def call(self, function, args):
        stream = torch.cuda.current_stream().cuda_stream
        error = function(ctypes.byref(args), ctypes.c_void_p(stream))
        assert error == 0, f"CUDA error {error}"

    def forward(self):
        self.call(self.library.intarsia_retention_forward, self.args.forward)

    def backward(self):
        self.call(self.library.intarsia_retention_backward, self.args)


class Peer:
    def __init__(self, function, q, k, v, dout):
        self.function = function
        self.inputs = [x.detach().requires_grad_() for x in (q, k, v)]
        self.dout = dout
        self.out, _ = function(*self.inputs)

    def forward(self):
        with torch.no_grad():
            self.function(*self.inputs)

    def backward(self):
        self.grads = torch.autograd.grad(self.out, self.inputs, self.dout,
                                         retain_graph=True)


def truth(q, k, v, dout):
    """out, dq, dk, dv by the recurrence, in fp64."""
    q, k, v = (x.double().requires_grad_() for x in (q, k, v))
    decay = decays(q.shape[2]).exp().cuda()[None, :, None, None]
    state = 0
    out = []
    for t in range(q.shape[1]):
        state = decay * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        out.append((q[:, t, :, None, :] @ state)[:, :, 0])
    out = torch.stack(out, 1) * q.shape[3] ** -0.5
    return [out, *torch.autograd.grad(out, (q, k, v), dout.double())]


def inputs(batch, length, heads, key_dim, value_dim):
    return [torch.randn(batch, length, heads, d, device="cuda",
                        dtype=torch.bfloat16)
            for d in (key_dim, key_dim, value_dim, value_dim)]


def warm(options):
    """Fills Triton's cache on disk, in several processes."""
    processes = [
        subprocess.Popen([sys.executable, __file__, "--fla", options.fla,
                          "--warm", str(options.warm), "--warm-part", str(i)])
        for i in range(options.warm)]
    for process in processes:
        process.wait()


def warm_part(function, part, parts):
    """Compiles every parts-th configuration of the kernels."""
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.errors import OutOfResources
    prune = Autotuner.prune_configs

    def every(self, kwargs):
        configs = prune(self, kwargs)
        # One alone would not be tried but run, and some do not fit.
        return configs[part::parts] + configs[:2]

    Autotuner.prune_configs = every
    try:
        Peer(function, *inputs(2, 192, 8, 256, 512)).backward()
    except OutOfResources as error:
        print("not warmed:", str(error)[:80])


def check(library, function):
    """Relative errors of out, dq, dk, dv on a short sequence."""
    tensors = inputs(2, 192, 8, 256, 512)
    right = truth(*tensors)
    sides = {"peer": Peer(function, *tensors)}
    if library:
        sides["ours"] = Ours(library, *tensors)
    for name, side in sides.items():
        side.forward()
        side.backward()
        errors = [((a.double() - b).norm() / b.norm()).item()
                  for a, b in zip((side.out, *side.grads), right)]
        print(f"{name}: relative error of out, dq, dk, dv:",
              *(f"{e:.1e}" for e in errors), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fla", required=True)
    parser.add_argument("--library")
    parser.add_argument("--output")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--shapes", default="8x4096x8x256x512,1x32768x8x256x512",
                        help="BxTxHxKxV, ...")
    parser.add_argument("--warm", type=int, default=0)
    parser.add_argument("--warm-part", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.warm_part is not None:
        warm_part(load_peer(options.fla), options.warm_part, options.warm)
        return
    if options.warm:
        warm(options)
    library = ctypes.CDLL(options.library) if options.library else None
    output = open(options.output, "a") if options.output else None
    function = load_peer(options.fla)
    print(torch.cuda.get_device_name(0), "torch", torch.__version__)
    torch.manual_seed(1)
    flush = torch.empty(128 << 20, dtype=torch.uint8, device="cuda")
    shapes = [[int(x) for x in shape.split("x")]
              for shape in options.shapes.split(",")]
    # The peer tunes itself on whatever it meets first.
    Peer(function, *inputs(*shapes[0])).backward()
    check(library, function)
    for sizes in shapes:
        shape = "x".join(map(str, sizes))
        tensors = inputs(*sizes)
        peer = Peer(function, *tensors)
        ours = Ours(library, *tensors) if library else None
        for direction in ("forward", "backward"):
            runs = {"peer": getattr(peer, direction)}
            if ours:
                runs["ours"] = getattr(ours, direction)
            row = {"shape": shape, "pass": direction}
            row.update((n + "_us", t) for n, t in
                       measure(runs, options.rounds, flush).items())
            if ours:
                row["ratio"] = row["peer_us"] / row["ours_us"]
            print(*(f"{n} {x}" if isinstance(x, str) else f"{n} {x:.4g}"
                    for n, x in row.items()), flush=True)
            if output:
                print(json.dumps(row), file=output, flush=True)
        if ours:
            a, b = (ours.out, *ours.grads), (peer.out, *peer.grads)
            print("  ours against the peer, out, dq, dk, dv:",
                  *(f"{((x.float() - y.float()).norm() / y.float().norm()).item():.1e}"
                    for x, y in zip(a, b)), flush=True)
        del tensors, peer, ours
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
