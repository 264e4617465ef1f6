// Trains a hybrid of attention, Mamba-2, retention and experts on a text file
// by a plain AdamW loop, and writes a checkpoint that `intarsia generate`
// opens.
//
// There is no trainer here on purpose: the model, the packed batches and the
// tape are those that serving uses, and this file is all that training adds.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "intarsia/autograd/tape.h"
#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/checkpoint/write.h"
#include "intarsia/model/model.h"
#include "intarsia/ops/cross_entropy/cross_entropy.h"
#include "intarsia/tokenizer/byte_level.h"

namespace intarsia {
namespace {

struct Options {
  std::string text, out = "hybrid", model;
  int steps = 200, sequences = 4, length = 96, warmup = 20;
  double rate = 3e-3, decay = 0.1;
  int threads = 0;
  uint64_t seed = 1;
  bool bf16 = false;
};

// One block of each kind, about a million parameters over bytes.
constexpr const char* kModel = R"({
  "intarsia": 1, "name": "hybrid", "vocab_size": 256, "dim": 128,
  "max_positions": 2048, "tied_head": true,
  "final_norm": {"type": "rms"},
  "blocks": [
    {"sublayers": [
      {"mixer": "mamba2", "norm": {"type": "rms"},
       "config": {"heads": 8, "head_dim": 32, "state_dim": 32}}]},
    {"sublayers": [
      {"mixer": "attention", "norm": {"type": "rms"},
       "config": {"heads": 4, "kv_heads": 2, "head_dim": 32,
                  "rope": {"theta": 10000}}},
      {"mixer": "moe", "norm": {"type": "rms"},
       "config": {"experts": 8, "top_k": 2, "hidden": 160}}]},
    {"sublayers": [
      {"mixer": "retention", "norm": {"type": "rms"},
       "config": {"heads": 4, "key_dim": 32, "value_dim": 64, "rope": {},
                  "norm": {"type": "rms"}}},
      {"mixer": "glu", "norm": {"type": "rms"}, "config": {"hidden": 256}}]}
  ]})";

// Decoupled weight decay: Loshchilov & Hutter 2019, algorithm 2.
class AdamW {
 public:
  explicit AdamW(double decay) : decay_(decay) {}

  void Step(Weight* weight, const Tensor& gradient, double rate, double clip) {
    Moments& m = moments_[weight];
    const int64_t n = weight->values().numel();
    m.first.resize(n);
    m.second.resize(n);
    ++m.steps;
    const double c1 = 1 - std::pow(kBeta1, m.steps);
    const double c2 = 1 - std::pow(kBeta2, m.steps);
    const bool decays = weight->spec().decay && weight->shape().rank() > 1;
    float* w = weight->mutable_values().mutable_data<float>();
    const float* g = gradient.data<float>();
    for (int64_t i = 0; i < n; ++i) {
      const double x = g[i] * clip;
      m.first[i] = kBeta1 * m.first[i] + (1 - kBeta1) * x;
      m.second[i] = kBeta2 * m.second[i] + (1 - kBeta2) * x * x;
      const double step =
          m.first[i] / c1 / (std::sqrt(m.second[i] / c2) + 1e-8);
      w[i] = static_cast<float>(w[i] -
                                rate * (step + (decays ? decay_ * w[i] : 0)));
    }
  }

 private:
  static constexpr double kBeta1 = 0.9, kBeta2 = 0.95;
  struct Moments {
    std::vector<double> first, second;
    int64_t steps = 0;
  };
  double decay_;
  std::map<const Weight*, Moments> moments_;
};

// Linear warm-up, then a cosine down to a tenth.
double RateAt(const Options& o, int step) {
  if (step < o.warmup) return o.rate * (step + 1) / o.warmup;
  const double x = double(step - o.warmup) / std::max(1, o.steps - o.warmup);
  return o.rate * (0.1 + 0.45 * (1 + std::cos(3.14159265358979 * x)));
}

// Packed random pieces of the text and the next byte of each token.
Batch RandomBatch(const Options& o, const std::string& text, Random* random,
                  std::vector<int32_t>* targets) {
  Batch batch;
  targets->clear();
  for (int n = 0; n < o.sequences; ++n) {
    const uint32_t start =
        random->NextBelow(static_cast<uint32_t>(text.size()) - o.length);
    std::vector<int32_t> tokens(o.length);
    for (int i = 0; i < o.length; ++i) {
      tokens[i] = static_cast<unsigned char>(text[start + i]);
      targets->push_back(static_cast<unsigned char>(text[start + i + 1]));
    }
    batch.Add(tokens);
  }
  return batch;
}

double GradientNorm(const Model& model, const Tape& tape) {
  double squares = 0;
  for (const std::string& path : model.paths()) {
    const Tensor gradient = tape.WeightGradient(*model.Find(path));
    if (!gradient.defined()) continue;
    const float* g = gradient.data<float>();
    for (int64_t i = 0; i < gradient.numel(); ++i)
      squares += double(g[i]) * g[i];
  }
  return std::sqrt(squares);
}

Status Train(const Options& o, const std::string& text, Model* model) {
  ThreadPool pool(o.threads);
  Random random(o.seed, 7);
  AdamW optimizer(o.decay);
  for (int step = 0; step < o.steps; ++step) {
    std::vector<int32_t> targets;
    const Batch batch = RandomBatch(o, text, &random, &targets);
    Tape tape;
    Context ctx;
    ctx.batch = &batch;
    ctx.pool = &pool;
    ctx.tape = &tape;
    const Tensor loss = CrossEntropy(ctx, model->Forward(ctx), targets);
    tape.Backward(ctx, loss);
    const double norm = GradientNorm(*model, tape);
    if (!std::isfinite(norm)) {
      return DataLoss("[train] the gradients are not finite");
    }
    const double rate = RateAt(o, step), clip = std::min(1.0, 1.0 / norm);
    for (const std::string& path : model->paths()) {
      Weight* weight = model->Find(path);
      const Tensor gradient = tape.WeightGradient(*weight);
      if (gradient.defined()) optimizer.Step(weight, gradient, rate, clip);
    }
    std::printf("step %4d  loss %.4f  norm %.3f  rate %.2e\n", step,
                double(loss.data<float>()[0]), norm, rate);
    std::fflush(stdout);
  }
  return Status::Ok();
}

// A vocabulary of the 256 bytes, so that text goes in and out.
std::string ByteTokenizer() {
  nlohmann::json vocab;
  for (int b = 0; b < 256; ++b) {
    vocab[ByteLevelEncode(std::string(1, static_cast<char>(b)))] = b;
  }
  const nlohmann::json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return nlohmann::json{{"version", "1.0"},
                        {"added_tokens", nlohmann::json::array()},
                        {"pre_tokenizer", byte_level},
                        {"decoder", {{"type", "ByteLevel"}}},
                        {"model",
                         {{"type", "BPE"},
                          {"vocab", vocab},
                          {"merges", nlohmann::json::array()}}}}
      .dump();
}

Status Save(const Options& o, const Model& model) {
  std::filesystem::create_directories(o.out);
  std::vector<NamedTensor> tensors;
  for (const std::string& path : model.paths()) {
    const Weight& weight = *model.Find(path);
    const bool vector = weight.spec().role == WeightSpec::Role::kVector;
    tensors.push_back({path, o.bf16 && !vector
                                 ? weight.values().To(DType::kBF16)
                                 : weight.values()});
  }
  RETURN_IF_ERROR(WriteSafetensors(o.out + "/model.safetensors", tensors));
  RETURN_IF_ERROR(
      WriteFileWhole(o.out + "/tokenizer.json", "train", ByteTokenizer()));
  return WriteFileWhole(o.out + "/intarsia.json", "train",
                        ToJson(model.config()).dump(1));
}

std::string ReadFile(const std::string& path) {
  std::ostringstream buffer;
  buffer << std::ifstream(path, std::ios::binary).rdbuf();
  return buffer.str();
}

Status Run(const Options& o) {
  const std::string text = ReadFile(o.text);
  if (text.size() < static_cast<size_t>(o.length) + 2) {
    return InvalidArgument("[train] " + o.text +
                           " is missing or shorter than " +
                           std::to_string(o.length + 2) + " bytes");
  }
  ASSIGN_OR_RETURN(ModelConfig config,
                   ParseModelConfig(nlohmann::json::parse(
                       o.model.empty() ? kModel : ReadFile(o.model), nullptr,
                       /*allow_exceptions=*/false)));
  if (config.vocab_size != 256) {
    return InvalidArgument(
        "[train] the tokens are bytes: vocab_size must be "
        "256");
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                   Model::Create(std::move(config)));
  model->InitWeights(o.seed);
  model->SetTrainable(true);
  int64_t parameters = 0;
  for (const std::string& path : model->paths()) {
    parameters += model->Find(path)->shape().numel();
  }
  std::printf("%lld parameters, %zu bytes of text\n",
              static_cast<long long>(parameters), text.size());
  RETURN_IF_ERROR(Train(o, text, model.get()));
  RETURN_IF_ERROR(Save(o, *model));
  std::printf("wrote %s; try: intarsia generate %s --prompt \"The \"\n",
              o.out.c_str(), o.out.c_str());
  return Status::Ok();
}

}  // namespace
}  // namespace intarsia

int main(int argc, char** argv) {
  intarsia::Options o;
  CLI::App app("Train a small hybrid model on a text file");
  app.add_option("TEXT", o.text, "Text file")->required();
  app.add_option("--out", o.out, "Folder of the checkpoint");
  app.add_option("--model", o.model,
                 "An intarsia.json of a model over bytes (default: built in)");
  app.add_flag("--bf16", o.bf16, "Write the matrices as bf16");
  app.add_option("--steps", o.steps)->check(CLI::Range(1, 1 << 20));
  app.add_option("--sequences", o.sequences)->check(CLI::Range(1, 4096));
  app.add_option("--length", o.length)->check(CLI::Range(2, 1 << 16));
  app.add_option("--rate", o.rate);
  app.add_option("--threads", o.threads);
  app.add_option("--seed", o.seed);
  CLI11_PARSE(app, argc, argv);
  const intarsia::Status status = intarsia::Run(o);
  if (status.ok()) return 0;
  std::fprintf(stderr, "error: %s\n", status.message().c_str());
  return 1;
}
