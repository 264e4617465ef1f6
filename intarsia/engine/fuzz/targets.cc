// The targets of targets.def.
#include <nlohmann/json.hpp>
#include <string_view>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/core/fuzz/memory_file.h"
#include "intarsia/engine/model_runner.h"

namespace intarsia {
namespace {

// State of each kind: pages of keys and values, and a recurrence.
std::unique_ptr<Model> SmallModel() {
  const Json config = {
      {"intarsia", 1},
      {"name", "fuzz"},
      {"vocab_size", 5},
      {"dim", 4},
      {"blocks",
       {{{"sublayers",
          {{{"mixer", "attention"},
            {"config", {{"heads", 2}, {"kv_heads", 1}, {"head_dim", 2}}}}}}},
        {{"sublayers",
          {{{"mixer", "mamba2"},
            {"config",
             {{"heads", 2},
              {"head_dim", 2},
              {"state_dim", 2},
              {"groups", 1},
              {"conv_width", 2}}}}}}}}}};
  auto model = Model::Create(ParseModelConfig(config).value()).value();
  model->InitWeights(1);
  return model;
}

}  // namespace

bool FuzzSessionFile(std::string_view input) {
  static const Model* model = SmallModel().release();
  static auto* runner = new ModelRunner(
      *model, {.threads = 1, .context = 8, .token_dtype = DType::kF32});
  static auto* file = new FuzzFile;
  // What inputs have in place of the model's identity, which changes with the
  // code of its configuration.
  static const std::string placeholder(64, '0');
  std::string bytes(input);
  if (const size_t at = bytes.find(placeholder); at != std::string::npos) {
    bytes.replace(at, placeholder.size(), runner->Identity());
  }
  file->Set(bytes);
  const int slot = runner->Open();
  const Status status = runner->Restore(slot, file->path());
  if (status.ok()) {
    const std::vector<int32_t> tokens = {1};
    const auto logits = runner->Run({{.slot = slot, .tokens = tokens}});
    // Only where the context is full.
    CHECK(logits.ok() || runner->length(slot) == 8);
  } else {
    CHECK(status.message().starts_with("[")) << status.message();
    CHECK(IsUtf8(status.message())) << status.message();
  }
  runner->Close(slot);
  return status.ok();
}

}  // namespace intarsia
