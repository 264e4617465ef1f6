#include "intarsia/convert/quantize.h"

#include <memory>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/encoding.h"
#include "intarsia/core/thread_pool.h"
#include "intarsia/formats/format.h"

namespace intarsia {
namespace {

std::string Where(const std::string& tensor) {
  return "[quantize] tensor \"" + Printable(tensor) + "\" ";
}

uint64_t BytesOf(const std::string& encoding, const Shape& shape) {
  const Encoding* found = FindEncoding(encoding);
  return static_cast<uint64_t>(shape.numel()) / found->block * found->bytes;
}

MixModel MixModelOf(const GgufModel& model, bool importance) {
  MixModel out{.architecture = model.Text("general.architecture"),
               .importance = importance};
  const std::string prefix = out.architecture + ".";
  const int64_t heads = model.Integer(prefix + "attention.head_count", 1);
  const int64_t shared =
      model.Integer(prefix + "attention.head_count_kv", heads);
  out.queries_per_key = shared > 0 ? heads / shared : 1;
  out.experts = model.Integer(prefix + "expert_count", 0);
  return out;
}

// Rows of one tensor from a format into another.
Tensor Requantized(ThreadPool& pool, const Tensor& bytes,
                   const QuantizedTensor& plan,
                   const std::vector<float>& importance) {
  const Format& from = *FindFormat(plan.from);
  const Format& to = *FindFormat(plan.to);
  const int64_t k = plan.shape[-1], rows = plan.shape.numel() / k;
  const size_t in_bytes = from.row_bytes(k), out_bytes = to.row_bytes(k);
  Tensor out =
      Tensor::Empty({static_cast<int64_t>(rows * out_bytes)}, DType::kU8);
  // Experts have importances of their own, one matrix after the other.
  const int64_t groups = static_cast<int64_t>(importance.size()) / k;
  const int64_t rows_a_group = groups > 0 ? rows / groups : rows;
  const std::byte* in = bytes.raw();
  std::byte* result = out.mutable_raw();
  pool.For(rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> row(k);
    for (int64_t r = begin; r < end; ++r) {
      from.DequantizeRow(in + r * in_bytes, row.data(), k);
      const float* costs =
          groups > 0 ? importance.data() + r / rows_a_group * k : nullptr;
      to.QuantizeRowFor(row.data(), costs, result + r * out_bytes, k);
    }
  });
  return out;
}

}  // namespace

Result<std::vector<QuantizedTensor>> PlanQuantization(
    const GgufModel& model, const QuantizeOptions& options) {
  CHECK(options.mix != nullptr);
  std::vector<MixTensor> tensors;
  for (const LazyTensor& tensor : model.tensors) {
    tensors.push_back({tensor.name, tensor.shape});
  }
  const std::vector<MixChoice> choices = ChooseFormats(
      *options.mix, MixModelOf(model, options.importance != nullptr),
      options.overrides, tensors);
  std::vector<QuantizedTensor> plan;
  for (size_t i = 0; i < choices.size(); ++i) {
    const LazyTensor& tensor = model.tensors[i];
    QuantizedTensor& out = plan.emplace_back();
    out.name = tensor.name;
    out.shape = tensor.shape;
    out.from = out.to = tensor.encoding;
    if (!choices[i].format.empty()) {
      out.to = choices[i].format;
      out.wanted = choices[i].wanted;
    }
    out.bytes_before = BytesOf(out.from, out.shape);
    out.bytes_after = BytesOf(out.to, out.shape);
    if (out.from == out.to) continue;
    const Format* from = FindFormat(out.from);
    if (from == nullptr) {
      return Unsupported(Where(out.name) + "is stored as " + out.from +
                         ", which this build cannot read");
    }
    if (from->block() > 1 && !options.allow_requantize) {
      return InvalidArgument(
          Where(out.name) + "is quantised already (" + out.from +
          "): start from an f32, f16 or bf16 model, or allow the loss "
          "(--allow-requantize)");
    }
    if (options.importance == nullptr) continue;
    const std::vector<float>& costs = options.importance->Of(out.name);
    const int64_t k = out.shape[-1];
    const int64_t matrices = out.shape.rank() > 2 ? out.shape[0] : 1;
    const auto have = static_cast<int64_t>(costs.size());
    if (have != 0 && have != k && have != matrices * k) {
      return InvalidArgument(Where(out.name) + "has rows of " +
                             std::to_string(k) + ", its importance has " +
                             std::to_string(have) +
                             " values: the matrix is of another model");
    }
    out.importance = have != 0;
  }
  return plan;
}

Result<std::vector<std::string>> Quantize(
    const GgufModel& model, const std::vector<QuantizedTensor>& plan,
    const QuantizeOptions& options, const std::string& path,
    const QuantizeProgress& progress) {
  CHECK_EQ(plan.size(), model.tensors.size());
  const auto pool = std::make_shared<ThreadPool>(options.threads);
  const auto done = std::make_shared<uint64_t>(0);
  GgufEntries metadata = model.metadata;
  GgufModel described{.metadata = std::move(metadata), .tensors = {}};
  described.Set("general.file_type", options.mix->file_type);
  described.Set("general.quantization_version", uint32_t{2});
  std::vector<LazyTensor> out;
  for (size_t i = 0; i < plan.size(); ++i) {
    const QuantizedTensor& tensor = plan[i];
    const LazyTensor& source = model.tensors[i];
    out.push_back({.name = tensor.name,
                   .encoding = tensor.to,
                   .shape = tensor.shape,
                   .values = [&, pool, done]() -> Result<Tensor> {
                     if (progress) progress(tensor, *done);
                     *done += tensor.bytes_before;
                     ASSIGN_OR_RETURN(const Tensor bytes, source.values());
                     if (tensor.from == tensor.to) return bytes;
                     static const auto* none = new std::vector<float>;
                     return Requantized(
                         *pool, bytes.Contiguous(), tensor,
                         tensor.importance ? options.importance->Of(source.name)
                                           : *none);
                   }});
  }
  return WriteGgufParts(path, described.metadata, out, options.max_part_bytes);
}

}  // namespace intarsia
