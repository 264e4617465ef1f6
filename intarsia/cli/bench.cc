// intarsia bench MODEL | kernels [NAME]: tokens per second, or rooms alone.
#include <nlohmann/json.hpp>

#include <sys/resource.h>

#include <filesystem>
#include <optional>

#include "intarsia/cli/command.h"
#include "intarsia/cli/serving.h"
#include "intarsia/core/terminal_text.h"
#include "intarsia/eval/kernels.h"
#include "intarsia/eval/throughput.h"
#include "intarsia/families/open.h"

namespace intarsia {
namespace {

struct Flags : ServingFlags {
  std::string model, kernel;
  bool quick = false;
  std::string state_dtype = "bf16";
  std::optional<Argument> random;
  uint64_t random_seed = 0;
  ThroughputOptions options;
};

// The model that is measured, and whoever owns it.
struct Measured {
  OpenedModel opened;
  std::unique_ptr<Model> made;
  const Model& model() const { return made ? *made : opened.model(); }
};

Result<Measured> OpenMeasured(const Flags& flags) {
  Measured out;
  if (!flags.random->given()) {
    ASSIGN_OR_RETURN(
        out.opened, OpenShown(flags.model, flags.serving(), flags.device_of()));
    return out;
  }
  const std::filesystem::path path(flags.model);
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  ASSIGN_OR_RETURN(
      ModelConfig config,
      ConfigOfFile((folder ? path / "config.json" : path).string()));
  if (config.name.empty()) config.name = path.stem().string();
  ASSIGN_OR_RETURN(out.made, Model::Create(std::move(config)));
  ThreadPool pool(flags.threads);
  out.made->InitToMeasure(flags.random_seed, pool);
  out.made->MoveTo(flags.device_of());
  return out;
}

double PeakMemory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024.0;
}

nlohmann::json ToJson(const KernelRow& row) {
  if (!row.skipped.empty()) {
    return {{"name", row.name}, {"skipped", row.skipped}};
  }
  nlohmann::json json = {
      {"name", row.name},          {"shape", row.shape},
      {"seconds", row.seconds},    {"bytes_per_second", row.bytes_per_second},
      {"flops", row.flops},        {"max_error", row.max_error},
      {"tolerance", row.tolerance}};
  if (!row.tuned) return json;
  json["tuned"] = true;
  json["output"] = row.output;
  json["share_of_copy"] = row.of_copy;
  if (row.flops > 0) json["share_of_bf16_peak"] = row.flops / kBf16Peak;
  return json;
}

// Two tables: the rooms, and on a GPU the tuned kernels.
class KernelTables {
 public:
  void Print(const KernelRow& row) {
    if (!started_ || row.tuned != tuned_) Head(row.tuned);
    const char* name = row.name.c_str();
    if (!row.skipped.empty()) {
      std::printf("| %s | %s |\n", name, row.skipped.c_str());
    } else {
      std::printf("| %s | %s | %.1f | %.1f | ", name, row.shape.c_str(),
                  row.seconds * 1e6, row.bytes_per_second / 1e9);
      if (!row.tuned) {
        std::printf("%.1f | ", row.flops / 1e9);
      } else if (row.flops > 0) {
        std::printf("%.2f | %.0f | %.2f | ", row.of_copy, row.flops / 1e12,
                    row.flops / kBf16Peak);
      } else {
        std::printf("%.2f | | | ", row.of_copy);
      }
      std::printf("%.0e%s |\n", row.max_error, row.right() ? "" : " WRONG");
    }
    std::fflush(stdout);
  }

 private:
  void Head(bool tuned) {
    started_ = true;
    tuned_ = tuned;
    if (!tuned) {
      std::printf(
          "\n| kernel | shape | us | GB/s | GFLOP/s | error |\n"
          "|---|---|---:|---:|---:|---:|\n");
      return;
    }
    std::printf(
        "\nTuned kernels: bf16, caches cold; bytes and operations are the "
        "least that a run\nneeds; shares are of a copy in the same rounds and "
        "of %.0f TFLOP/s, the data sheet's\nfor dense bf16 on an H100 SXM.\n\n"
        "| kernel | shape | us | GB/s | of copy | TFLOP/s | of peak | error |\n"
        "|---|---|---:|---:|---:|---:|---:|---:|\n",
        kBf16Peak / 1e12);
  }

  bool started_ = false, tuned_ = false;
};

// What the machine can do beside what the rooms do of it, printed or returned.
nlohmann::json MachineOf(const Flags& flags) {
  nlohmann::json json = {{"device", flags.device}};
  const auto giga = [&](const char* name) {
    return json.value(name, 0.0) / 1e9;
  };
  if (flags.device_of().is_cuda()) {
    json["copy_bytes_per_second"] = MeasureCopyBandwidth();
    json["bf16_peak_flops"] = kBf16Peak;
    if (!flags.json) {
      std::printf("copies %.1f GB/s\n", giga("copy_bytes_per_second"));
    }
  } else {
    json["read_bytes_per_second"] = MeasureReadBandwidth(flags.threads);
    json["fma_flops"] = MeasureFmaPeak(flags.threads);
    json["integer_dot_ops"] = MeasureIntegerPeak(flags.threads);
    if (!flags.json) {
      std::printf("reads %.1f GB/s, multiply-adds %.1f GFLOP/s",
                  giga("read_bytes_per_second"), giga("fma_flops"));
      if (giga("integer_dot_ops") > 0) {
        std::printf(", integer dot products %.1f Gop/s",
                    giga("integer_dot_ops"));
      }
      std::printf("\n");
    }
  }
  return json;
}

Status RunKernels(const Flags& flags) {
  KernelOptions options;
  options.name = flags.kernel;
  options.device = flags.device_of();
  options.threads = flags.threads;
  options.repeats = flags.options.repeats;
  options.quick = flags.quick;
  nlohmann::json json;
  KernelTables tables;
  ASSIGN_OR_RETURN(const std::vector<KernelRow> rows,
                   MeasureKernels(options, [&](const KernelRow& row) {
                     // Not before: an unknown name has nothing to print.
                     if (json.is_null()) json = MachineOf(flags);
                     if (!flags.json) tables.Print(row);
                   }));
  std::string wrong;
  for (const KernelRow& row : rows) {
    json["kernels"].push_back(ToJson(row));
    if (!row.right()) wrong += " " + row.name + " (" + row.shape + ")";
  }
  if (flags.json) PrintJson(json);
  if (wrong.empty()) return Status::Ok();
  return DataLoss("[bench] errors past the tolerance:" + wrong);
}

Status Run(Flags& flags) {
  if (flags.model == "kernels") return RunKernels(flags);
  flags.options.threads = flags.threads;
  RETURN_IF_ERROR(flags.Begin());
  flags.options.device = flags.device_of();
  flags.options.dtype = flags.dtype_of();
  flags.options.report = flags.report.get();
  flags.options.token_dtype = StateDType(flags.state_dtype);
  ASSIGN_OR_RETURN(const Measured opened, OpenMeasured(flags));
  if (!flags.json) {
    std::printf(
        "| model | test | sequences | depth | tokens/s | low - high "
        "| reads GB/s |\n|---|---|---:|---:|---:|---|---:|\n");
  }
  const std::string name = opened.model().config().name;
  const std::string shown = TerminalLine(name, {.most = 80});
  ASSIGN_OR_RETURN(
      const std::vector<ThroughputRow> rows,
      MeasureThroughput(
          opened.model(), flags.options, [&](const ThroughputRow& row) {
            if (flags.json) return;
            std::printf("| %s | %s | %d | %d | %.1f | %.1f - %.1f | ",
                        shown.c_str(), row.test.c_str(), row.sequences,
                        row.depth, row.median, row.low, row.high);
            if (row.bytes_per_second > 0) {
              std::printf("%.1f |\n", row.bytes_per_second / 1e9);
            } else {
              std::printf("|\n");
            }
            std::fflush(stdout);
          }));
  flags.Explain();
  // In this order: measuring the bandwidth takes a large buffer.
  const double peak_memory = PeakMemory();
  const double bandwidth = flags.options.device.is_cpu()
                               ? MeasureReadBandwidth(flags.options.threads)
                               : 0;
  if (!flags.json) {
    std::printf("\npeak memory %s", HumanBytes(peak_memory).c_str());
    if (bandwidth > 0) {
      std::printf(", this machine reads %.1f GB/s", bandwidth / 1e9);
    }
    std::printf("\n");
    return Status::Ok();
  }
  nlohmann::json json = {{"model", name},
                         {"device", flags.device},
                         {"peak_memory_bytes", peak_memory},
                         {"read_bandwidth", bandwidth},
                         {"tests", nlohmann::json::array()}};
  for (const ThroughputRow& row : rows) {
    const double share = bandwidth > 0 ? row.bytes_per_second / bandwidth : 0.0;
    json["tests"].push_back({{"test", row.test},
                             {"sequences", row.sequences},
                             {"depth", row.depth},
                             {"tokens_per_second", row.median},
                             {"low", row.low},
                             {"high", row.high},
                             {"bandwidth_share", share}});
  }
  PrintJson(json);
  return Status::Ok();
}

}  // namespace

void AddBench(Verb verb) {
  auto flags = std::make_shared<Flags>();
  AddServing(verb, flags.get());
  ThroughputOptions* options = &flags->options;
  options->sequences = {1, 4, 16};
  verb.Add("MODEL", &flags->model, "A model, or the word kernels").Required();
  AddStateDType(verb, &flags->state_dtype);
  verb.Add("NAME", &flags->kernel,
           "With kernels: a room, or how a row's name or part begins");
  flags->random = verb.Add(
      "--random", &flags->random_seed, Whole{0, UINT64_MAX},
      "MODEL is a config.json or intarsia.json, or a folder that has the "
      "first: bf16 weights are made from this seed");
  verb.Add("--quick", &flags->quick, "With kernels: small shapes");
  verb.Add("-p", &options->prompts, Whole{0, 1 << 20}, "Prefill lengths");
  verb.Add("-n", &options->generate, Whole{0, 1 << 20}, "Decode steps");
  verb.Add("--npl,--sequences", &options->sequences, Whole{1, 4096},
           "Sequences decoded together (also -npl)");
  verb.Add("-d", &options->depths, Whole{0, 1 << 20},
           "Tokens already in the state");
  verb.Add("--pin", &options->pin,
           "Tie each thread to a processor: for machines that nothing else "
           "runs on");
  verb.Add("-r", &options->repeats, Whole{1, 1000},
           "Repeats; the median is printed");
  verb.Require([flags] {
    return flags->kernel.empty() || flags->model == "kernels"
               ? std::string()
               : "the word kernels before '" +
                     TerminalLine(flags->kernel, {.most = 60}) + "'";
  });
  verb.Run([flags] { return Run(*flags); });
}

}  // namespace intarsia
