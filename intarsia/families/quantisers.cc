#include "intarsia/families/quantisers.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/families/fp8_blocks.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

struct Method {
  const char *name, *shown;
};
// As "quant_method" has them, and by what name people know them.
constexpr Method kMethods[] = {
    {"gptq", "GPTQ"},
    {"awq", "AWQ"},
    {"bitsandbytes", "bitsandbytes"},
    {"compressed-tensors", "compressed-tensors (llm-compressor)"},
    {"compressed_tensors", "compressed-tensors (llm-compressor)"},
    {"mxfp4", "MXFP4"},
    {"nvfp4", "NVFP4"},
    {"fp8", "FP8"},
    {"fbgemm_fp8", "FBGEMM's FP8"},
    {"modelopt", "NVIDIA ModelOpt"},
    {"torchao", "torchao"},
    {"quanto", "Quanto"},
    {"hqq", "HQQ"},
    {"eetq", "EETQ"},
    {"aqlm", "AQLM"},
    {"vptq", "VPTQ"},
    {"spqr", "SpQR"},
    {"higgs", "HIGGS"},
    {"exl2", "ExLlamaV2 (EXL2)"},
    {"exl3", "ExLlamaV3 (EXL3)"},
    {"auto-round", "AutoRound"},
    {"intel/auto-round", "AutoRound"},
    {"quark", "AMD Quark"},
    {"bitnet", "BitNet"},
    {"fp_quant", "FP-Quant"},
    {"sinq", "SINQ"},
    {"mlx", "MLX"},
};

// Ends of names that only one of them writes.
struct Sign {
  const char *end, *method;
};
constexpr Sign kSigns[] = {
    {".qweight", "gptq"},
    {".qzeros", "gptq"},
    {".weight.absmax", "bitsandbytes"},
    {".weight.quant_map", "bitsandbytes"},
    {".weight.SCB", "bitsandbytes"},
    {".SCB", "bitsandbytes"},
    {".weight_packed", "compressed-tensors"},
    {".weight_scale", "compressed-tensors"},
    {".weight_scale_2", "modelopt"},
    {".q_weight", "exl2"},
    {".q_invperm", "exl2"},
    {".trellis", "exl3"},
    {".codebooks", "aqlm"},
    {".W_q", "hqq"},
    {".weight._data", "quanto"},
    {".weight._scale", "quanto"},
    {"_proj_blocks", "mxfp4"},
    {"_proj_scales", "mxfp4"},
};

std::string Shown(const std::string& method) {
  const auto known = std::ranges::find_if(
      kMethods, [&](const Method& m) { return method == m.name; });
  return known == std::end(kMethods) ? Printable(method)
                                     : std::string(known->shown);
}

constexpr char kInstead[] =
    ", which is not read; take the model's own weights (bf16 or f16 "
    "safetensors) or a GGUF of it";

Status Refuse(const std::string& file, const std::string& method,
              const std::string& said) {
  return Unsupported("[load] " + file + ": the weights are quantised by " +
                     Shown(method) + " (" + said + ")" + kInstead);
}

std::string MethodOf(const Json& settings) {
  const auto method = settings.find("quant_method");
  if (method != settings.end() && method->is_string()) {
    return method->get<std::string>();
  }
  for (const char* key : {"load_in_4bit", "load_in_8bit"}) {
    if (settings.value(key, Json()) == true) return "bitsandbytes";
  }
  const auto algo = settings.find("quant_algo");
  if (algo != settings.end()) return "modelopt";
  // MLX writes "group_size" and "bits" alone.
  if (settings.contains("bits") && settings.contains("group_size")) {
    return "mlx";
  }
  return "";
}

// FP8 as this build reads it: blocks of 128 × 128 with a scale each.
bool IsFp8OfBlocks(const Json& settings) {
  return settings.value("weight_block_size", Json()) == Json({128, 128});
}

}  // namespace

Status RefuseOtherQuantisers(const Json& config, const std::string& file) {
  for (const char* key :
       {"quantization_config", "quantization", "compression_config"}) {
    const Json settings =
        config.is_object() ? config.value(key, Json()) : Json();
    if (settings.empty() || settings == false || settings == "") continue;
    if (!settings.is_object()) {
      return Refuse(
          file,
          settings.is_string() ? settings.get<std::string>()
                               : "a method that it does not name",
          "\"" + std::string(key) + "\": " + Printable(settings.dump(), 60));
    }
    const std::string method = MethodOf(settings);
    if (method == "fp8" && IsFp8OfBlocks(settings)) continue;
    std::string said = std::string("\"") + key + "\"";
    for (const char* detail :
         {"bits", "group_size", "format", "quant_algo", "weight_block_size"}) {
      const Json value = settings.value(detail, Json());
      if (value.is_number() || value.is_string() || value.is_array()) {
        said += std::string(", ") + detail + " " +
                Printable(
                    value.is_string() ? value.get<std::string>() : value.dump(),
                    40);
      }
    }
    if (method == "fp8") {
      said += "; FP8 is read in blocks of 128 x 128 alone, with a scale each";
    }
    return Refuse(
        file, method.empty() ? "a method that it does not name" : method, said);
  }
  return Status::Ok();
}

Status RefuseOtherQuantisers(const Checkpoint& checkpoint) {
  RETURN_IF_ERROR(RefuseOtherQuantisers(checkpoint.config(),
                                        checkpoint.path() + "/config.json"));
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (IsFp8Scale(checkpoint, tensor.name)) continue;
    // MLX: "x.weight" of words beside "x.scales" and "x.biases".
    constexpr std::string_view kScales = ".scales";
    if (tensor.name.ends_with(kScales) &&
        checkpoint.Find(
            tensor.name.substr(0, tensor.name.size() - kScales.size()) +
            ".biases") != nullptr) {
      return Refuse(tensor.file->path(), "mlx",
                    "as the tensor " + Printable(tensor.name) + " says");
    }
    for (const Sign& sign : kSigns) {
      if (tensor.name.ends_with(sign.end)) {
        return Refuse(tensor.file->path(), sign.method,
                      "as the tensor " + Printable(tensor.name) + " says");
      }
    }
  }
  return Status::Ok();
}

}  // namespace intarsia
