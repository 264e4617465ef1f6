"""Writes the models that llama_cpp.py compares on, under a folder of your own.

    python3 bench/peers/cpu_models.py --smollm2 SmolLM2.gguf --out DIR

From a GGUF of SmolLM2-135M (any format; `intarsia pull smollm2-135m` leaves
one): the same weights as smollm2-f16.gguf, -bf16, -q8_0, -q4_0 and -q4_1.gguf
(with 4 bits the embedding is Q8_0, as llama.cpp's own quantiser leaves it).

With its vocabulary and random weights, wide768-f16.gguf: a Llama whose rows are
whole blocks of 256, as the K-quants want. `intarsia quantize wide768-f16.gguf
wide768-q4_k_m.gguf --type Q4_K_M` (and q5_k_m, q6_k, q5_0) writes the rest.

With random weights, in the shape of the published mamba2-130m: mamba2-f16.gguf
for llama.cpp and mamba2-bf16/ and mamba2-f16/ (config.json, model.safetensors)
for us; retnet-bf16/, a RetNet of about as many parameters, for us alone. Such
models are for speed: they know nothing. Needs the packages gguf and
numpy.
"""

import argparse
import json
import os
import struct

import gguf
import numpy as np

Q = gguf.GGMLQuantizationType
FILE_TYPES = {"f16": 1, "bf16": 32, "q8_0": 7, "q4_0": 2, "q4_1": 3}
VOCAB = 50288
MAMBA2 = dict(layers=24, dim=768, heads=24, head_dim=64, state=128, conv=4)
WIDE = dict(block_count=12, embedding_length=768, feed_forward_length=2048)
WIDE_HEADS = dict(head_count=12, head_count_kv=4)
RETNET = dict(layers=11, dim=768, heads=4, hidden=1536)


def copy_fields(reader, writer, but=()):
    skip = {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count",
            "general.architecture", "general.file_type", *but}
    for name, field in reader.fields.items():
        if name in skip:
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=sub)


def convert_gguf(source, path, name):
    """The model of `source` with its matrices in the format `name`."""
    reader = gguf.GGUFReader(source)
    architecture = reader.get_field("general.architecture").contents()
    writer = gguf.GGUFWriter(path, architecture)
    copy_fields(reader, writer)
    writer.add_file_type(FILE_TYPES[name])
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        values = values.reshape(tuple(int(n) for n in tensor.shape)[::-1])
        kind = Q.F32 if values.ndim == 1 else Q[name.upper()]
        if name.startswith("q4") and tensor.name == "token_embd.weight":
            kind = Q.Q8_0
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind),
                          raw_dtype=kind)
    finish(writer)


def write_wide_llama(source, path, rng):
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "llama")
    changed = {f"llama.{name}": n for name, n in WIDE.items()}
    changed |= {f"llama.attention.{name}": n for name, n in WIDE_HEADS.items()}
    copy_fields(reader, writer, changed)
    for name, n in changed.items():
        writer.add_uint32(name, n)
    writer.add_file_type(FILE_TYPES["f16"])
    dim, hidden = WIDE["embedding_length"], WIDE["feed_forward_length"]
    kv = dim * WIDE_HEADS["head_count_kv"] // WIDE_HEADS["head_count"]

    def matrix(name, rows, columns):
        values = rng.standard_normal((rows, columns), np.float32) * 0.02
        writer.add_tensor(name + ".weight", values.astype(np.float16))

    ones = np.ones(dim, np.float32)
    vocab = len(reader.get_field("tokenizer.ggml.tokens").contents())
    matrix("token_embd", vocab, dim)
    writer.add_tensor("output_norm.weight", ones)
    for i in range(WIDE["block_count"]):
        at = f"blk.{i}."
        for name, rows, columns in (
                ("attn_q", dim, dim), ("attn_k", kv, dim), ("attn_v", kv, dim),
                ("attn_output", dim, dim), ("ffn_gate", hidden, dim),
                ("ffn_up", hidden, dim), ("ffn_down", dim, hidden)):
            matrix(at + name, rows, columns)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(at + name + ".weight", ones)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def mamba2_tensors(rng):
    """Of transformers' names: (name, fp32 values, is a matrix)."""
    c = MAMBA2
    inner, gn = c["heads"] * c["head_dim"], c["state"]
    conv = inner + 2 * gn
    normal = lambda *shape: rng.standard_normal(shape, np.float32) * 0.02
    yield "backbone.embeddings.weight", normal(VOCAB, c["dim"]), True
    yield "backbone.norm_f.weight", np.ones(c["dim"], np.float32), False
    for i in range(c["layers"]):
        at = f"backbone.layers.{i}."
        yield at + "norm.weight", np.ones(c["dim"], np.float32), False
        at += "mixer."
        rows = 2 * inner + 2 * gn + c["heads"]
        yield at + "in_proj.weight", normal(rows, c["dim"]), True
        yield at + "conv1d.weight", normal(conv, 1, c["conv"]), False
        yield at + "conv1d.bias", normal(conv), False
        a = rng.uniform(1, 16, c["heads"]).astype(np.float32)
        yield at + "A_log", np.log(a), False
        yield at + "D", np.ones(c["heads"], np.float32), False
        dt = rng.uniform(1e-3, 1e-1, c["heads"])
        yield (at + "dt_bias", np.log(np.expm1(dt)).astype(np.float32), False)
        yield at + "norm.weight", np.ones(inner, np.float32), False
        yield at + "out_proj.weight", normal(c["dim"], inner), True


def retnet_tensors(rng):
    c = RETNET
    normal = lambda *shape: rng.standard_normal(shape, np.float32) * 0.02
    ones = lambda n: np.ones(n, np.float32)
    dim, value, hidden = c["dim"], 2 * c["dim"], c["hidden"]
    yield "model.embeddings.weight", normal(VOCAB, dim), True
    yield "model.norm.weight", ones(dim), False
    for i in range(c["layers"]):
        at = f"model.layers.{i}."
        yield at + "attn_norm.weight", ones(dim), False
        for name, rows in (("q", dim), ("k", dim), ("v", value), ("g", value)):
            yield at + f"attn.{name}_proj.weight", normal(rows, dim), True
        yield at + "attn.g_norm.weight", ones(value // c["heads"]), False
        yield at + "attn.o_proj.weight", normal(dim, value), True
        yield at + "mlp_norm.weight", ones(dim), False
        for name in ("gate", "up"):
            yield at + f"mlp.{name}_proj.weight", normal(hidden, dim), True
        yield at + "mlp.down_proj.weight", normal(dim, hidden), True


def to_bf16(x):
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_folder(path, config, tensors, dtype):
    """config.json and model.safetensors; matrices in `dtype`, the rest fp32."""
    os.makedirs(path, exist_ok=True)
    header, blobs, offset = {}, [], 0
    for name, values, matrix in tensors:
        if not matrix:
            data, kind = values.astype(np.float32), "F32"
        elif dtype == "bf16":
            data, kind = to_bf16(values), "BF16"
        else:
            data, kind = values.astype(np.float16), "F16"
        blob = data.tobytes()
        header[name] = {"dtype": kind, "shape": list(values.shape),
                        "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(path, "model.safetensors"), "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for blob in blobs:
            out.write(blob)
    with open(os.path.join(path, "config.json"), "w") as out:
        json.dump(config, out, indent=1)


def mamba2_config():
    c = MAMBA2
    return {"model_type": "mamba2", "hidden_size": c["dim"],
            "num_heads": c["heads"], "head_dim": c["head_dim"],
            "state_size": c["state"], "n_groups": 1,
            "num_hidden_layers": c["layers"], "conv_kernel": c["conv"],
            "vocab_size": VOCAB, "chunk_size": 256, "hidden_act": "silu",
            "use_conv_bias": True, "use_bias": False,
            "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
            "bos_token_id": 0, "eos_token_id": 0}


def retnet_config():
    c = RETNET
    return {"model_type": "retnet", "hidden_size": c["dim"],
            "num_hidden_layers": c["layers"], "num_heads": c["heads"],
            "num_kv_heads": None, "expand_k": 1, "expand_v": 2,
            "intermediate_size": c["hidden"], "hidden_act": "swish",
            "use_output_gate": True, "use_short_conv": False,
            "elementwise_affine": True, "norm_eps": 1e-6,
            "vocab_size": VOCAB, "tie_word_embeddings": True,
            "bos_token_id": 0, "eos_token_id": 0}


GGUF_NAMES = {"norm.weight": "attn_norm.weight",
              "mixer.in_proj.weight": "ssm_in.weight",
              "mixer.conv1d.weight": "ssm_conv1d.weight",
              "mixer.conv1d.bias": "ssm_conv1d.bias",
              "mixer.A_log": "ssm_a", "mixer.D": "ssm_d",
              "mixer.dt_bias": "ssm_dt.bias",
              "mixer.norm.weight": "ssm_norm.weight",
              "mixer.out_proj.weight": "ssm_out.weight"}


def gguf_name(name):
    parts = name.split(".", 3)
    if parts[1] == "layers":
        return f"blk.{parts[2]}." + GGUF_NAMES[parts[3]]
    return {"embeddings": "token_embd.weight",
            "norm_f": "output_norm.weight"}[parts[1]]


def write_mamba2_gguf(path, tensors, name):
    c = MAMBA2
    writer = gguf.GGUFWriter(path, "mamba2")
    writer.add_name("mamba2-130m shape, random")
    writer.add_file_type(FILE_TYPES[name])
    writer.add_context_length(1 << 20)
    writer.add_embedding_length(c["dim"])
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(c["layers"])
    writer.add_ssm_conv_kernel(c["conv"])
    writer.add_ssm_inner_size(c["heads"] * c["head_dim"])
    writer.add_ssm_state_size(c["state"])
    writer.add_ssm_time_step_rank(c["heads"])
    writer.add_ssm_group_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("no_vocab")
    for theirs, values, matrix in tensors:
        kind = Q[name.upper()] if matrix else Q.F32
        ours = gguf_name(theirs)
        if ours.endswith("ssm_conv1d.weight"):
            values = values[:, 0]
        elif ours.endswith("ssm_a"):
            values = -np.exp(values)[:, None]
        elif ours.endswith("ssm_d"):
            values = values[:, None]
        elif ours.endswith("ssm_norm.weight"):
            values = values[None]
        writer.add_tensor(ours, gguf.quants.quantize(values, kind),
                          raw_dtype=kind)
    finish(writer)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--smollm2", help="a GGUF of SmolLM2-135M")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    at = lambda name: os.path.join(args.out, name)
    if args.smollm2:
        for name in FILE_TYPES:
            convert_gguf(args.smollm2, at(f"smollm2-{name}.gguf"), name)
        write_wide_llama(args.smollm2, at("wide768-f16.gguf"),
                         np.random.default_rng(3))
    mamba2 = list(mamba2_tensors(np.random.default_rng(1)))
    for name in ("f16", "q8_0", "q4_0"):
        write_mamba2_gguf(at(f"mamba2-{name}.gguf"), mamba2, name)
    for name in ("bf16", "f16"):
        write_folder(at("mamba2-" + name), mamba2_config(), mamba2, name)
    retnet = list(retnet_tensors(np.random.default_rng(2)))
    write_folder(at("retnet-bf16"), retnet_config(), retnet, "bf16")


if __name__ == "__main__":
    main()
