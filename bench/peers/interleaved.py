"""Timing functions in turn: what the scripts of this folder share on a GPU."""

import statistics

import torch


def measure(runs, rounds, flush):
    """Median microseconds of each function, run in turn.

    Each run stands between two CUDA events, after `flush` (a byte tensor larger
    than the L2 cache) was overwritten; the first three rounds are not counted.
    """
    times = {name: [] for name in runs}
    for i in range(rounds + 3):
        for name, run in runs.items():
            flush.fill_(i & 1)
            begin = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            begin.record()
            run()
            end.record()
            torch.cuda.synchronize()
            if i >= 3:
                times[name].append(begin.elapsed_time(end) * 1e3)
    return {name: statistics.median(t) for name, t in times.items()}
