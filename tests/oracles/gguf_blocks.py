"""Records what the `gguf` package makes of blocks, for ggml_blocks_test.cc.

    pip install gguf
    python3 tests/oracles/gguf_blocks.py > intarsia/formats/ggml_blocks.inc

Blocks are bytes of splitmix64 with the scales made finite, so that the test
makes the same ones. Recorded are the first numbers of each type, as bits, and
FNV-1a over the bits of all; of the types that the package can quantise as
GGML's reference does, also FNV-1a over the bytes of rows that the test makes.
"""

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

BLOCKS = 64
SHOWN = 8
# type: where fp16 scales are in a block
TYPES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
    "MXFP4": [],
}
QUANTISED = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
MASK = (1 << 64) - 1


def splitmix(seed):
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def random_bytes(seed, count):
    numbers = splitmix(seed)
    return bytearray(next(numbers) & 0xFF for _ in range(count))


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def blocks_of(name, scales, seed):
    _, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    data = random_bytes(seed, BLOCKS * size)
    for begin in range(0, len(data), size):
        for at in scales:  # no infinities, no NaN
            if data[begin + at + 1] & 0x7C == 0x7C:
                data[begin + at + 1] &= 0xBF
        if name == "MXFP4" and data[begin] == 255:
            data[begin] = 254
    return data


def rows():
    raw = np.frombuffer(bytes(random_bytes(99, 2 * 64 * 32)), dtype="<i2")
    return raw.astype(np.float32) / np.float32(4096)


def main():
    print("// Made by tests/oracles/gguf_blocks.py with gguf "
          "0.19: name, seed, FNV-1a of the\n// numbers, of quantised rows "
          "(0: not recorded), the first numbers.")
    for seed, (name, scales) in enumerate(TYPES.items(), 1):
        kind = gguf.GGMLQuantizationType[name]
        data = blocks_of(name, scales, seed)
        with np.errstate(all="ignore"):
            numbers = dequantize(np.frombuffer(bytes(data), np.uint8), kind)
        bits = np.ascontiguousarray(numbers, dtype="<f4").view(np.uint32)
        stored = 0
        if name in QUANTISED:
            stored = fnv(quantize(rows(), kind).tobytes())
        shown = ", ".join(f"0x{b:08X}" for b in bits.ravel()[:SHOWN])
        print(f'{{"{name.lower()}", {seed}, 0x{fnv(bits.tobytes()):016X}, '
              f"0x{stored:016X},\n {{{shown}}}}},")


if __name__ == "__main__":
    main()
