// intarsia quantize MODEL OUT --type Q4_K_M: a smaller model from a large one.
#include "intarsia/convert/quantize.h"

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/cli/command.h"
#include "intarsia/cli/serving.h"
#include "intarsia/convert/hf_model.h"
#include "intarsia/core/counted.h"
#include "intarsia/core/terminal_text.h"
#include "intarsia/formats/format.h"
#include "intarsia/hub/model_cache.h"

namespace intarsia {
namespace {

struct Flags : OpeningFlags {
  std::string model, out, type, imatrix, split;
  std::vector<std::string> tensor_types;
  QuantizeOptions options;
  bool dry_run = false, allow_loss = false;
};

// "q5_k", "Q5_K" → "q5_k"; empty stays empty.
Result<std::string> FormatName(std::string name) {
  for (char& c : name) {
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  if (name.empty() || (FindFormat(name) != nullptr && name[0] != 'f')) {
    return name;
  }
  if (name == "f32" || name == "f16") return name;
  return InvalidArgument("[quantize] GGUF has no format " + name +
                         "; `intarsia list` shows the formats");
}

Status ReadFlags(Flags* flags) {
  QuantizeOptions& options = flags->options;
  options.threads = flags->threads;
  options.mix = FindQuantMix(flags->type);  // the parser has checked it
  MixOverrides& overrides = options.overrides;
  ASSIGN_OR_RETURN(overrides.output, FormatName(overrides.output));
  ASSIGN_OR_RETURN(overrides.embedding, FormatName(overrides.embedding));
  for (const std::string& text : flags->tensor_types) {
    const size_t at = text.find('=');
    if (at == 0 || at == std::string::npos) {
      return InvalidArgument("[quantize] --tensor-type wants PART=TYPE, got " +
                             text);
    }
    ASSIGN_OR_RETURN(const std::string format, FormatName(text.substr(at + 1)));
    overrides.tensors.emplace_back(text.substr(0, at), format);
  }
  if (!flags->split.empty()) {
    ASSIGN_OR_RETURN(options.max_part_bytes,
                     ParseSize("--split-max-size", flags->split));
  }
  return Status::Ok();
}

std::string ShapeText(const Shape& shape) {
  std::string text;
  for (const int64_t d : shape.dims()) {
    text += (text.empty() ? "" : " x ") + std::to_string(d);
  }
  return text;
}

struct Totals {
  uint64_t before = 0, after = 0;
  int64_t numbers = 0;
  int fallbacks = 0, importance = 0;
  double bits() const {
    return 8.0 * static_cast<double>(after) / static_cast<double>(numbers);
  }
};

Totals Sum(const std::vector<QuantizedTensor>& plan) {
  Totals totals;
  for (const QuantizedTensor& tensor : plan) {
    totals.before += tensor.bytes_before;
    totals.after += tensor.bytes_after;
    totals.numbers += tensor.shape.numel();
    totals.fallbacks += !tensor.wanted.empty();
    totals.importance += tensor.importance;
  }
  return totals;
}

void PrintPlan(const std::vector<QuantizedTensor>& plan) {
  std::printf("%-32s %-18s %-6s    %-8s %12s\n", "tensor", "shape", "from",
              "to", "bytes");
  for (const QuantizedTensor& tensor : plan) {
    const std::string note =
        tensor.wanted.empty()
            ? ""
            : "  rows do not fit " + tensor.wanted + "'s blocks";
    std::printf(
        "%-32s %-18s %-6s -> %-8s %12llu%s\n",
        TerminalLine(tensor.name, {.most = 200}).c_str(),
        ShapeText(tensor.shape).c_str(), tensor.from.c_str(), tensor.to.c_str(),
        static_cast<unsigned long long>(tensor.bytes_after), note.c_str());
  }
}

// Says which formats stand in for which, and on how many tensors.
void WarnOfFallbacks(const std::vector<QuantizedTensor>& plan) {
  std::map<std::string, int> counts;
  for (const QuantizedTensor& tensor : plan) {
    if (tensor.wanted.empty()) continue;
    ++counts[tensor.to + " instead of " + tensor.wanted + " (rows of " +
             std::to_string(tensor.shape[-1]) + ")"];
  }
  for (const auto& [what, count] : counts) {
    Warn(Counted(count, "tensor") + (count == 1 ? " becomes " : " become ") +
         what);
  }
}

nlohmann::json ToJson(const std::vector<QuantizedTensor>& plan,
                      const std::vector<std::string>& paths) {
  nlohmann::json tensors = nlohmann::json::array();
  for (const QuantizedTensor& tensor : plan) {
    tensors.push_back({{"name", tensor.name},
                       {"from", tensor.from},
                       {"to", tensor.to},
                       {"wanted", tensor.wanted},
                       {"importance", tensor.importance},
                       {"bytes", tensor.bytes_after}});
  }
  const Totals totals = Sum(plan);
  return {{"files", paths},
          {"bytes_before", totals.before},
          {"bytes", totals.after},
          {"bits_per_weight", totals.bits()},
          {"tensors", std::move(tensors)}};
}

Status Run(Flags& flags) {
  RETURN_IF_ERROR(ReadFlags(&flags));
  if (flags.out.empty() && !flags.dry_run) {
    return InvalidArgument("[quantize] name a file to write, or --dry-run");
  }
  ASSIGN_OR_RETURN(const std::string path, ResolveModel(flags.model));
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                   Checkpoint::Open(path));
  if (!flags.dry_run) {
    RETURN_IF_ERROR(AtomicFile::Check(flags.out, "quantize"));
    RETURN_IF_ERROR(CheckNotInput(flags.out, {flags.imatrix}, "quantize"));
    RETURN_IF_ERROR(CheckNotSource(*checkpoint, flags.out, "quantize"));
  }
  RETURN_IF_ERROR(CheckShown(*checkpoint, flags));
  ASSIGN_OR_RETURN(const GgufModel model, ToGgufModel(*checkpoint));
  std::optional<ImportanceMatrix> importance;
  if (!flags.imatrix.empty()) {
    ASSIGN_OR_RETURN(importance, ImportanceMatrix::Open(flags.imatrix));
    flags.options.importance = &*importance;
  }
  ASSIGN_OR_RETURN(const std::vector<QuantizedTensor> plan,
                   PlanQuantization(model, flags.options));
  WarnAll(model.warnings);
  RETURN_IF_ERROR(ReportLosses("quantize", model.losses, flags.allow_loss));
  WarnOfFallbacks(plan);
  const Totals totals = Sum(plan);
  if (importance && totals.importance == 0) {
    return InvalidArgument("[quantize] " + flags.imatrix +
                           " names none of this model's tensors");
  }
  std::vector<std::string> paths;
  if (flags.dry_run) {
    if (!flags.json) PrintPlan(plan);
  } else {
    ProgressBar bar(flags.options.mix->name);
    ASSIGN_OR_RETURN(paths,
                     Quantize(model, plan, flags.options, flags.out,
                              [&](const QuantizedTensor&, uint64_t done) {
                                bar.Update(static_cast<double>(done),
                                           static_cast<double>(totals.before));
                              }));
  }
  if (flags.json) {
    PrintJson(ToJson(plan, paths));
    return Status::Ok();
  }
  for (const std::string& written : paths) std::printf("%s\n", written.c_str());
  std::printf("%s to %s, %.2f bits a weight\n",
              HumanBytes(static_cast<double>(totals.before)).c_str(),
              HumanBytes(static_cast<double>(totals.after)).c_str(),
              totals.bits());
  return Status::Ok();
}

}  // namespace

void AddQuantize(Verb verb) {
  auto flags = std::make_shared<Flags>();
  AddOpening(verb, flags.get());
  verb.Add("MODEL", &flags->model, "Folder, .gguf file or pulled model")
      .Required();
  verb.Add("OUT", &flags->out, "The .gguf file to write");
  verb.Add("--type,--to", &flags->type, "See below")
      .Required()
      .Check([](const std::string& name) -> std::string {
        return FindQuantMix(name) != nullptr ? "" : "unknown type " + name;
      });
  verb.Add("--imatrix", &flags->imatrix,
           "Importance matrix (llama.cpp's, GGUF or .dat)");
  MixOverrides* overrides = &flags->options.overrides;
  verb.Add("--output-tensor-type", &overrides->output, "Format of the head");
  verb.Add("--token-embedding-type", &overrides->embedding,
           "Format of the token table");
  verb.Add("--tensor-type", &flags->tensor_types,
           "PART=FORMAT, for tensors whose name contains PART");
  verb.Add("--leave-output-tensor", &overrides->keep_output,
           "Do not quantise the head");
  verb.Add("--pure", &overrides->pure, "Every matrix in the type's own format");
  verb.Add("--allow-requantize", &flags->options.allow_requantize,
           "Take matrices that are quantised already");
  verb.Add("--allow-loss", &flags->allow_loss,
           "Go on without what GGUF has no place for");
  verb.Add("--split-max-size", &flags->split,
           "Write parts of at most so much: 500M, 2G");
  verb.Add("--dry-run", &flags->dry_run, "Show sizes, write nothing");
  std::string types = "Types:";
  for (const QuantMix& mix : QuantMixes()) {
    std::string name = mix.name;
    name.resize(11, ' ');
    types += "\n  " + name + mix.summary;
  }
  verb.Footer(types);
  verb.Run([flags] { return Run(*flags); });
}

}  // namespace intarsia
