"""What a PyTorch user would run instead of the memory-bound kernels.

Prints one JSON line a measurement: the median time of the operation between
CUDA events, the bytes that it has to move at least, and the rate. A copy of
1 GiB is timed in turn with each operation. Run it on the same machine and in
the same session as `bench_gpu_kernels`; the shapes are the same.

    python3 torch_memory_bound.py [--compile] [--rounds N]
"""

import argparse
import json
import math

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def normal(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def median(values):
    return sorted(values)[len(values) // 2]


def measure(name, moved_bytes, run, rounds):
    """Times `run` in turn with a copy, several runs between two events."""
    source = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    repeats = max(1, int(2e9 / moved_bytes))
    times, copies = [], []
    for _ in range(2):
        run()
    for _ in range(rounds):
        for function, count, into in (
            (lambda: target.copy_(source), 1, copies),
            (run, repeats, times),
        ):
            begin = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            begin.record()
            for _ in range(count):
                function()
            end.record()
            torch.cuda.synchronize()
            into.append(begin.elapsed_time(end) * 1e3 / count)
    us = median(times)
    copy_rate = 2 * (1 << 30) / median(copies) * 1e6
    rate = moved_bytes / us * 1e6
    print(
        json.dumps(
            {
                "peer": name,
                "us": round(us, 2),
                "tb_per_s": round(rate * 1e-12, 3),
                "of_copy": round(rate / copy_rate, 3),
                "copy_tb_per_s": round(copy_rate * 1e-12, 3),
            }
        ),
        flush=True,
    )


def decode(args, batch, length, head_dim):
    q = normal(batch, 32, 1, head_dim)
    k = normal(batch, 8, length, head_dim)
    v = normal(batch, 8, length, head_dim)
    moved = 2 * k.numel() * 2
    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):
        name = f"sdpa {backend.name} B{batch} S{length} dim {head_dim}"
        try:
            with sdpa_kernel(backend):
                measure(
                    name,
                    moved,
                    lambda: F.scaled_dot_product_attention(
                        q, k, v, enable_gqa=True
                    ),
                    args.rounds,
                )
        except RuntimeError as error:
            print(json.dumps({"peer": name, "error": str(error)[:200]}))


def rms_norm(x, w):
    return F.rms_norm(x, (x.shape[-1],), w, 1e-5)


def add_rms_norm(x, r, w):
    h = x + r
    return h, F.rms_norm(h, (h.shape[-1],), w, 1e-5)


def swiglu(gate_up):
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def rope(q, cos, sin):
    first, second = q.float().chunk(2, dim=-1)
    return torch.cat(
        (first * cos - second * sin, second * cos + first * sin), dim=-1
    ).to(q.dtype)


def conv1d_silu(x, w):
    """x is [batch, channels, time], the layout that PyTorch wants."""
    y = F.conv1d(x, w, padding=3, groups=x.shape[1])
    return F.silu(y[..., : x.shape[-1]])


def loss_and_gradient(logits, labels):
    logits.grad = None
    F.cross_entropy(logits, labels).backward()


def mamba2_step(state, x, dt, a, b, c):
    """state [B, H, P, N], in place; one group."""
    decay = torch.exp(dt * a)[..., None, None]
    state.mul_(decay).add_(
        (dt[..., None] * x)[..., None] * b[:, None, None, :]
    )
    return torch.einsum("bhpn,bn->bhp", state, c)


def elementwise(args):
    wrap = torch.compile if args.compile else (lambda f: f)
    tag = " compiled" if args.compile else ""
    x, r, w = normal(32768, 4096), normal(32768, 4096), normal(4096)
    n = x.numel()
    for name, f, moved in (
        ("rms_norm 32768x4096", lambda g: lambda: g(x, w), 4 * n),
        ("rms_norm residual 32768x4096", lambda g: lambda: g(x, r, w), 8 * n),
    ):
        g = wrap(rms_norm if moved == 4 * n else add_rms_norm)
        measure(name + tag, moved, f(g), args.rounds)
    gate_up = normal(16384, 2 * 14336)
    g = wrap(swiglu)
    measure(
        "swiglu 16384x14336" + tag,
        3 * gate_up.numel(),
        lambda: g(gate_up),
        args.rounds,
    )
    del gate_up
    q = normal(32768, 40, 128)
    angle = torch.rand(32768, 1, 64, device="cuda") * math.pi
    cos, sin = angle.cos(), angle.sin()
    turn = wrap(rope)
    measure(
        "rope 32768 tokens 40 heads dim 128" + tag,
        4 * q.numel(),
        lambda: turn(q, cos, sin),
        args.rounds,
    )
    del q
    xc, wc = normal(8, 4096, 4096), normal(4096, 1, 4)
    conv = wrap(conv1d_silu)
    measure(
        "conv1d 8x4096 tokens 4096 channels" + tag,
        4 * xc.numel(),
        lambda: conv(xc, wc),
        args.rounds,
    )
    batch, heads, head_dim, state_dim = 64, 80, 64, 128
    state = torch.randn(batch, heads, head_dim, state_dim, device="cuda")
    xs = torch.randn(batch, heads, head_dim, device="cuda")
    dt = torch.rand(batch, heads, device="cuda")
    a = -torch.rand(heads, device="cuda")
    b = torch.randn(batch, state_dim, device="cuda")
    step = wrap(mamba2_step)
    measure(
        "mamba2 step B64 H80 P64 N128" + tag,
        8 * state.numel(),
        lambda: step(state, xs, dt, a, b, b),
        args.rounds,
    )


def cross_entropy(args):
    logits = normal(8192, 128256)
    labels = torch.randint(128256, (8192,), device="cuda")
    wrap = torch.compile if args.compile else (lambda f: f)
    tag = " compiled" if args.compile else ""
    g = wrap(lambda x, y: F.cross_entropy(x, y))
    measure(
        "cross_entropy loss only 8192x128256" + tag,
        2 * logits.numel(),
        lambda: g(logits, labels),
        args.rounds,
    )
    logits.requires_grad_()
    step = wrap(loss_and_gradient) if not args.compile else loss_and_gradient
    measure(
        "cross_entropy gradient 8192x128256",
        4 * logits.numel(),
        lambda: step(logits, labels),
        args.rounds,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.manual_seed(1)
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name(),
                "torch": torch.__version__,
                "cudnn": torch.backends.cudnn.version(),
            }
        )
    )
    for batch, length, head_dim in (
        (64, 8192, 128),
        (1, 131072, 128),
        (64, 8192, 64),
        (1, 131072, 64),
    ):
        decode(args, batch, length, head_dim)
    with torch.no_grad():
        elementwise(args)
    cross_entropy(args)


if __name__ == "__main__":
    main()
