// intarsia info MODEL: what a model is made of, without running it.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "intarsia/cli/command.h"
#include "intarsia/core/terminal_text.h"
#include "intarsia/engine/model_runner.h"
#include "intarsia/families/open.h"
#include "intarsia/model/pack.h"
#include "intarsia/model/state_specs.h"
#include "intarsia/wiring/primitives.h"

namespace intarsia {
namespace {

struct Totals {
  int64_t parameters = 0;
  std::map<std::string, int64_t> bytes_by_format;
  StateLayout state;
  int64_t windows = 0;  // bytes, at any depth
};

Totals Count(const Model& model) {
  Totals totals;
  for (const std::string& path : model.paths()) {
    const Weight& weight = *model.Find(path);
    totals.parameters += weight.shape().numel();
    totals.bytes_by_format[std::string(weight.format().name())] +=
        static_cast<int64_t>(weight.values().nbytes());
  }
  const auto layout = StateLayout::Make(StateSpecs(model), {});
  if (!layout.ok()) return totals;
  totals.state = *layout;
  constexpr int64_t kDeep = int64_t{1} << 40;
  totals.windows =
      layout->window_bytes(kDeep, ModelRunner::Options().prefill_chunk);
  return totals;
}

nlohmann::json BlockList(const ModelConfig& config) {
  nlohmann::json blocks = nlohmann::json::array();
  std::string last;
  for (const BlockConfig& block : config.blocks) {
    std::string text;
    for (const SublayerConfig& sublayer : block.sublayers) {
      text += (text.empty() ? "" : " + ") + sublayer.mixer;
    }
    if (text == last) {
      blocks.back()["repeat"] = blocks.back()["repeat"].get<int>() + 1;
    } else {
      blocks.push_back({{"repeat", 1}, {"sublayers", text}});
    }
    last = text;
  }
  return blocks;
}

// The mixers that differ, each with its number and what it changes of its
// defaults.
nlohmann::json MixerList(const ModelConfig& config) {
  nlohmann::json mixers = nlohmann::json::array();
  for (const BlockConfig& block : config.blocks) {
    for (const SublayerConfig& sublayer : block.sublayers) {
      const nlohmann::json fields =
          ChangedFields(sublayer.mixer, sublayer.config,
                        config.dim + sublayer.concat_width());
      const auto same = std::ranges::find_if(mixers, [&](const auto& mixer) {
        return mixer["name"] == sublayer.mixer && mixer["config"] == fields;
      });
      if (same != mixers.end()) {
        (*same)["count"] = (*same)["count"].template get<int>() + 1;
      } else {
        mixers.push_back(
            {{"name", sublayer.mixer}, {"count", 1}, {"config", fields}});
      }
    }
  }
  return mixers;
}

Status Run(const CommonFlags& flags, const std::string& name) {
  ASSIGN_OR_RETURN(const OpenedModel opened,
                   OpenModel(name, {.allow_unused = true}));
  const Model& model = opened.model();
  const Totals totals = Count(model);
  const ModelConfig& config = model.config();
  nlohmann::json json = {
      {"name", config.name},
      {"family", opened.loaded.family},
      {"path", opened.checkpoint->path()},
      {"parameters", totals.parameters},
      {"dim", config.dim},
      {"vocab_size", config.vocab_size},
      {"max_positions", config.max_positions},
      {"blocks", BlockList(config)},
      {"mixers", MixerList(config)},
      {"weight_bytes", totals.bytes_by_format},
      // What serving on this CPU adds; without it the file's pages stay.
      {"packed_bytes", PackedBytes(model)},
      // Per-token state is bf16 unless chosen, per-sequence state fp32.
      {"state_bytes_per_token", totals.state.bytes_per_token()},
      {"state_bytes_per_sequence", totals.state.bytes_per_sequence()},
      {"state_bytes_of_windows", totals.windows},
      {"tokenizer", opened.tokenizer != nullptr},
      {"chat_template", opened.tokenizer != nullptr &&
                            !opened.tokenizer->chat_template().empty()},
      {"unused_tensors", opened.loaded.unused_tensors},
      {"unused_fields", opened.loaded.unused_fields},
      {"warnings", opened.loaded.warnings}};
  if (flags.json) {
    PrintJson(json);
    return Status::Ok();
  }
  std::printf("%s (%s)\n", TerminalLine(config.name, {.most = 200}).c_str(),
              opened.loaded.family.c_str());
  std::printf("  file        %s\n",
              TerminalLine(opened.checkpoint->path()).c_str());
  std::printf("  parameters  %s\n",
              HumanCount(static_cast<double>(totals.parameters)).c_str());
  for (const auto& [format, bytes] : totals.bytes_by_format) {
    std::printf("  %-10s  %s\n", format.c_str(),
                HumanBytes(static_cast<double>(bytes)).c_str());
  }
  if (const size_t packed = PackedBytes(model); packed != 0) {
    std::printf("  packed      %s for this CPU (none with --no-pack)\n",
                HumanBytes(static_cast<double>(packed)).c_str());
  }
  std::printf("  width       %d, vocabulary %d", config.dim, config.vocab_size);
  if (config.max_positions > 0) {
    std::printf(", trained for %d positions", config.max_positions);
  }
  std::printf("\n");
  for (const auto& block : json["blocks"]) {
    std::printf("  blocks      %d x (%s)\n", block["repeat"].get<int>(),
                block["sublayers"].get<std::string>().c_str());
  }
  for (const auto& mixer : json["mixers"]) {
    const std::string fields = mixer["config"].dump();
    std::printf("  %-10s  %d x %s\n", mixer["name"].get<std::string>().c_str(),
                mixer["count"].get<int>(),
                TerminalLine(fields, {.most = 400}).c_str());
  }
  const auto bytes = [&](const char* field) {
    return HumanBytes(json[field].get<double>());
  };
  std::printf("  state       %s a token, %s a sequence",
              bytes("state_bytes_per_token").c_str(),
              bytes("state_bytes_per_sequence").c_str());
  if (totals.windows > 0) {
    std::printf(", %s of windows", bytes("state_bytes_of_windows").c_str());
  }
  std::printf("\n");
  std::printf("  tokenizer   %s\n", opened.tokenizer == nullptr ? "none"
                                    : json["chat_template"].get<bool>()
                                        ? "yes, with a chat template"
                                        : "yes");
  WarnAll(opened.loaded.warnings);
  return Status::Ok();
}

}  // namespace

void AddInfo(Verb verb) {
  auto flags = std::make_shared<CommonFlags>();
  auto name = std::make_shared<std::string>();
  AddCommon(verb, flags.get());
  verb.Add("MODEL", name.get(), "Folder, .gguf file or pulled model")
      .Required();
  verb.Run([=] { return Run(*flags, *name); });
}

}  // namespace intarsia
