// One suite for all mixers: every example of every registry entry, in every
// form, against its reference in double precision and against itself.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "intarsia/autograd/fused.h"
#include "intarsia/core/field_schema.h"
#include "intarsia/mixers/conformance/harness.h"
#include "intarsia/wiring/primitives.h"

namespace intarsia::conformance {
namespace {

class Conformance : public ::testing::TestWithParam<Subject> {
 protected:
  // Whatever reads memory that nothing wrote reads NaN.
  void SetUp() override { PoisonNewMemory(true); }
  void TearDown() override { PoisonNewMemory(false); }

  double tolerance(const RunOptions& options = RunOptions()) const {
    return options.dtype == DType::kBF16 ? 1e-2 : GetParam().example.tolerance;
  }
  // In bf16 ‖Δ‖ / ‖reference‖: the largest of many rounded numbers says little.
  static double ErrorOf(const Tensor& y, const Doubles& want,
                        const RunOptions& options) {
    if (options.dtype == DType::kF32) return Error(y, want);
    const Doubles got = Wide(y);
    Doubles difference(got.size());
    for (size_t i = 0; i < got.size(); ++i) difference[i] = got[i] - want[i];
    const double error = RootMeanSquare(difference) / RootMeanSquare(want);
    return std::isnan(error) ? INFINITY : error;
  }
  // Beside a GPU, which computes in bf16 too, numbers that bf16 holds: no
  // choice of experts hangs on rounding then.
  Tensor Input(const Batch& batch, uint64_t seed = 5) {
    const Tensor x = RandomNormal({batch.size(), instance_.dim()}, seed);
    if (CudaBackendOrNull() == nullptr) return x;
    return x.To(DType::kBF16).To(DType::kF32);
  }
  Doubles Reference(const Batch& batch, const Tensor& x) {
    return instance_.mixer().Reference(batch, instance_.wide_weights(),
                                       Wide(x));
  }
  // The CPU and, where there is one, a GPU, in each type of activations.
  std::vector<RunOptions> Targets() const {
    std::vector<RunOptions> targets(1);
    if (CudaBackendOrNull() == nullptr ||
        !instance_.mixer().Supports(Cuda()).ok()) {
      return targets;
    }
    RunOptions gpu;
    gpu.device = Cuda();
    targets.push_back(gpu);
    gpu.dtype = DType::kBF16;
    targets.push_back(gpu);
    return targets;
  }
  static std::string NameOf(const RunOptions& options) {
    return Name(options.device) + " " + std::string(Name(options.dtype));
  }
  Pools MakePools(const Batch& batch, const RunOptions& options) {
    int32_t slots = 0, tokens = 1;
    for (int32_t slot : batch.slots) slots = std::max(slots, slot + 2);
    for (int32_t p : batch.positions) tokens = std::max(tokens, p + 1);
    return Pools(instance_.mixer(), batch.slots, slots, tokens, options.device,
                 options.dtype);
  }
  // Runs the batch in pieces that end at `cuts` of each sequence.
  Tensor InPieces(const Batch& batch, const Tensor& x,
                  const std::vector<int32_t>& cuts, RunOptions options) {
    Pools pools = MakePools(batch, options);
    options.pools = &pools;
    Tensor y = Tensor::Empty(x.shape());
    std::vector<int32_t> from(batch.segments(), 0), rows;
    for (int32_t cut : cuts) {
      const std::vector<int32_t> to(batch.segments(), cut);
      const Batch piece = Piece(batch, from, to, &rows);
      if (!rows.empty()) {
        PutRows(Forward(instance_, piece, TakeRows(x, rows), options), rows,
                &y);
      }
      from = to;
    }
    EXPECT_TRUE(pools.UnusedUntouched());
    return y;
  }

  Instance instance_{GetParam()};
};

std::vector<Batch> Batches() {
  std::vector<Batch> batches;
  for (const std::vector<int32_t>& lengths : std::vector<std::vector<int32_t>>{
           {1}, {63}, {64}, {65}, {500}, {1, 7, 64, 3}}) {
    batches.push_back(RaggedBatch(lengths));
  }
  batches.push_back(SelectedBatch({40, 5, 90}, 3));
  return batches;
}

struct FormAndChunk {
  Form form;
  int chunk;
};
constexpr FormAndChunk kForms[] = {{Form::kAuto, 0},     {Form::kParallel, 0},
                                   {Form::kChunked, 16}, {Form::kChunked, 64},
                                   {Form::kChunked, 23}, {Form::kRecurrent, 0}};

// Every field is checked, and every fault names its field.
TEST_P(Conformance, ConfigurationsAreChecked) {
  const MixerEntry& entry = GetParam().entry;
  const Json good = Json::parse(GetParam().example.config);
  const auto refused = [&](const Json& config, const std::string& name) {
    const auto made = entry.create(config, GetParam().example.dim);
    ASSERT_FALSE(made.ok()) << config;
    const std::string& message = made.status().message();
    EXPECT_TRUE(message.starts_with("[" + std::string(entry.name) + "] "))
        << message;
    EXPECT_NE(message.find("\"" + name), std::string::npos)
        << config << ": " << message;
  };
  const auto with = [&](const std::string& name, const Json& value) {
    Json config = good;
    config[name] = value;
    return config;
  };
  refused(with("no_such_field", 1), "no_such_field");
  const Json schema =
      FieldSchema([&](Fields& f) { entry.fields(f, GetParam().example.dim); });
  for (const auto& [name, field] : schema.at("properties").items()) {
    refused(with(name, Json::parse("[[]]")), name);
    if (field.contains("minimum")) {
      refused(with(name, field["minimum"].get<int64_t>() - 1), name);
      refused(with(name, field["maximum"].get<int64_t>() + 1), name);
    }
  }
  for (const Json& name : schema.value("required", Json::array())) {
    Json config = good;
    config.erase(name.get<std::string>());
    refused(config, name);
  }
}

TEST_P(Conformance, EveryFormIsTheReference) {
  for (const Batch& batch : Batches()) {
    const Tensor x = Input(batch);
    const Doubles want = Reference(batch, x);
    for (RunOptions options : Targets()) {
      for (const FormAndChunk& form : kForms) {
        options.form = form.form;
        options.chunk = form.chunk;
        EXPECT_LE(ErrorOf(Forward(instance_, batch, x, options), want, options),
                  tolerance(options))
            << batch.size() << " tokens, form " << int(form.form) << ", chunk "
            << form.chunk << " on " << NameOf(options);
      }
    }
  }
}

TEST_P(Conformance, OneTokenAtATimeIsTheReference) {
  std::vector<Batch> batches = {RaggedBatch({1, 7, 64, 3}), RaggedBatch({65})};
  if (instance_.per_sequence()) {
    batches.push_back(SelectedBatch({30, 5, 40}, 4));
  }
  for (const Batch& batch : batches) {
    const Tensor x = Input(batch);
    std::vector<int32_t> cuts;
    for (int32_t i = 1; i <= batch.longest(); ++i) cuts.push_back(i);
    for (const RunOptions& options : Targets()) {
      EXPECT_LE(ErrorOf(InPieces(batch, x, cuts, options), Reference(batch, x),
                        options),
                tolerance(options))
          << NameOf(options);
    }
  }
}

TEST_P(Conformance, PrefillInPiecesIsTheReference) {
  const Batch batch = RaggedBatch({150, 1, 64, 33});
  const Tensor x = Input(batch);
  const Doubles want = Reference(batch, x);
  for (const std::vector<int32_t>& cuts : std::vector<std::vector<int32_t>>{
           {150}, {1, 150}, {7, 14, 15, 80, 150}, {64, 65, 149, 150}}) {
    for (const RunOptions& options : Targets()) {
      EXPECT_LE(ErrorOf(InPieces(batch, x, cuts, options), want, options),
                tolerance(options))
          << cuts.size() << " pieces on " << NameOf(options);
    }
  }
}

TEST_P(Conformance, PiecesOnTheGridKeepTheBits) {
  const Batch batch = RaggedBatch({150, 1, 64, 33});
  const Tensor x = Input(batch);
  for (const int chunk : {16, 64}) {
    RunOptions options;
    options.chunk = chunk;
    const Tensor whole = Forward(instance_, batch, x, options);
    for (const std::vector<int32_t>& cuts :
         std::vector<std::vector<int32_t>>{{150}, {64, 128, 150}}) {
      EXPECT_TRUE(SameBits(InPieces(batch, x, cuts, options), whole))
          << "chunk " << chunk << ", " << cuts.size() << " pieces";
    }
  }
}

TEST_P(Conformance, NeighboursKeepTheBits) {
  const Batch batch = RaggedBatch({1, 7, 64, 3, 1, 90});
  const Tensor x = Input(batch);
  const Tensor together = Forward(instance_, batch, x);
  for (int64_t n = 0; n < batch.segments(); ++n) {
    const Batch alone = RaggedBatch({static_cast<int32_t>(batch.length(n))});
    const int64_t begin = batch.begin(n), end = batch.begin(n + 1);
    EXPECT_TRUE(SameBits(Forward(instance_, alone, x.Slice(0, begin, end)),
                         together.Slice(0, begin, end)))
        << "segment " << n;
  }
}

TEST_P(Conformance, ThreadsAndRepetitionKeepTheBits) {
  const Batch batch = RaggedBatch({70, 1, 33});
  const Tensor x = Input(batch), c = Input(batch, 6);
  RunOptions one, three;
  one.threads = 1;
  three.threads = 3;
  const Tensor y = Forward(instance_, batch, x, one);
  EXPECT_TRUE(SameBits(Forward(instance_, batch, x, three), y));
  EXPECT_TRUE(SameBits(Forward(instance_, batch, x, three), y));
  const std::vector<Tensor> a = Gradients(instance_, batch, x, c, one);
  for (int run = 0; run < 2; ++run) {
    const std::vector<Tensor> b = Gradients(instance_, batch, x, c, three);
    for (size_t i = 0; i < a.size(); ++i) {
      ASSERT_EQ(a[i].defined(), b[i].defined());
      EXPECT_TRUE(!a[i].defined() || SameBits(a[i], b[i])) << "gradient " << i;
    }
  }
}

// The derivative of Σ c ⊙ Reference in one coordinate of `values`.
template <typename Reference>
double Difference(const Reference& reference, const Tensor& c, double* value) {
  constexpr double kStep = 1e-4;
  const double middle = *value;
  auto loss = [&](double at) {
    *value = at;
    const Doubles y = reference();
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * c.data<float>()[i];
    return sum;
  };
  // Fourth order.
  const double d1 = loss(middle + kStep) - loss(middle - kStep);
  const double d2 = loss(middle + 2 * kStep) - loss(middle - 2 * kStep);
  *value = middle;
  return (8 * d1 - d2) / (12 * kStep);
}

// On a GPU as on the CPU, or an error that says they are not there: never
// silently none.
TEST_P(Conformance, GradientsOnAGpuAreThoseOfTheCpu) {
  const Batch batch = RaggedBatch({1, 37, 4});
  const Tensor x = Input(batch), c = Input(batch, 8);
  const std::vector<Tensor> want = Gradients(instance_, batch, x, c);
  for (const RunOptions& options : Targets()) {
    if (options.dtype != DType::kF32) continue;
    std::vector<Tensor> got;
    try {
      got = Gradients(instance_, batch, x, c, options);
    } catch (const EngineError& error) {
      const std::set<std::string> without = {
          "delta", "gla",   "mamba",    "rg_lru", "rwkv4",
          "rwkv6", "rwkv7", "rwkv_mix", "stack",  "xlstm"};
      EXPECT_TRUE(without.contains(GetParam().entry.name)) << error.what();
      EXPECT_NE(std::string(error.what()).find("no gradient on cuda"),
                std::string::npos)
          << error.what();
      continue;
    }
    ASSERT_EQ(got.size(), want.size());
    double largest = 0;
    for (const Tensor& g : want) {
      if (g.defined()) largest = std::max(largest, RootMeanSquare(Wide(g)));
    }
    for (size_t i = 0; i < got.size(); ++i) {
      // A weight that the result does not use has none, on either device.
      ASSERT_EQ(got[i].defined(), want[i].defined()) << "gradient " << i;
      if (!got[i].defined()) continue;
      const Doubles a = Wide(got[i]), b = Wide(want[i]);
      double worst = 0;
      for (size_t j = 0; j < a.size(); ++j) {
        worst = std::max(worst, std::abs(a[j] - b[j]));
      }
      EXPECT_LE(worst, 1e-4 * std::max(RootMeanSquare(b), 0.05 * largest))
          << "gradient " << i << " on " << NameOf(options);
    }
  }
}

TEST_P(Conformance, GradientsAreThoseOfTheReference) {
  constexpr double kTolerance = 2e-4;
  for (const Batch& batch :
       {RaggedBatch({1, 37, 4}), SelectedBatch({30, 5, 40}, 7)}) {
    const Tensor x = Input(batch), c = Input(batch, 8);
    RunOptions options;
    options.chunk = 16;
    const std::vector<Tensor> got = Gradients(instance_, batch, x, c, options);
    std::vector<Doubles> weights = instance_.wide_weights();
    Doubles wide = Wide(x);
    auto reference = [&] {
      return instance_.mixer().Reference(batch, weights, wide);
    };
    // A gradient that is zero by symmetry (a bias of all keys) is compared with
    // the rounding of the others.
    double largest = 0;
    for (const Tensor& gradient : got) {
      if (gradient.defined()) {
        largest = std::max(largest, RootMeanSquare(Wide(gradient)));
      }
    }
    Random random(11);
    for (size_t i = 0; i < got.size(); ++i) {
      Doubles& values = i == 0 ? wide : weights[i - 1];
      const std::string name =
          i == 0 ? "x" : instance_.weights()[i - 1].spec().name;
      ASSERT_TRUE(got[i].defined()) << name << " has no gradient";
      const Doubles gradient = Wide(got[i]);
      ASSERT_EQ(gradient.size(), values.size()) << name;
      const double floor = std::max(RootMeanSquare(gradient), 0.005 * largest);
      for (int trial = 0; trial < 8; ++trial) {
        const size_t at =
            random.NextBelow(static_cast<uint32_t>(values.size()));
        const double want = Difference(reference, c, &values[at]);
        const double scale = std::max(floor, std::abs(want));
        EXPECT_LE(std::abs(gradient[at] - want), kTolerance * scale)
            << name << "[" << at << "]: " << gradient[at] << ", expected "
            << want;
      }
    }
  }
}

TEST_P(Conformance, FusedOpsAreTheirCompositions) {
  const Batch batch = RaggedBatch({1, 37, 70, 4});
  const Tensor x = Input(batch);
  for (const RunOptions& options : Targets()) {
    FusedAudit audit;
    Forward(instance_, batch, x, options);
    for (const auto& [op, difference] : audit.differences()) {
      EXPECT_LE(difference, options.dtype == DType::kBF16 ? 1e-2 : 1e-5)
          << op << " on " << NameOf(options);
    }
  }
}

TEST_P(Conformance, WeightsAndStatesAreWellFormed) {
  const Mixer& mixer = instance_.mixer();
  std::vector<std::string> names;
  for (const WeightSpec& spec : mixer.weights()) {
    names.push_back(spec.name);
    EXPECT_GT(spec.shape.numel(), 0) << spec.name;
    ASSERT_LT(spec.shard.axis, spec.shape.rank()) << spec.name;
    if (spec.shard.axis >= 0) {
      EXPECT_EQ(spec.shape[spec.shard.axis] % spec.shard.unit, 0) << spec.name;
    }
  }
  for (const StateSpec& spec : mixer.state()) {
    names.push_back("state " + spec.name);
    EXPECT_GT(spec.shape.numel(), 0) << spec.name;
    EXPECT_LT(spec.shard_axis, spec.shape.rank()) << spec.name;
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST_P(Conformance, BadConfigurationsAreRefusedByName) {
  const MixerEntry& entry = GetParam().entry;
  std::string prefix = "[";
  prefix += entry.name;
  prefix += "]";
  Json extra = Json::parse(GetParam().example.config);
  extra["no_such_field"] = 1;
  for (const Json& config : {Json::array(), Json("text"), extra}) {
    const auto mixer = entry.create(config, instance_.example().dim);
    ASSERT_FALSE(mixer.ok()) << config.dump();
    EXPECT_EQ(mixer.status().message().substr(0, prefix.size()), prefix);
  }
  const Json good = Json::parse(GetParam().example.config);
  for (const auto& [name, value] : good.items()) {
    Json bad = good;
    bad[name] = value.is_string() ? Json(-1) : Json("\x01");
    EXPECT_FALSE(entry.create(bad, instance_.example().dim).ok()) << bad.dump();
  }
}

INSTANTIATE_TEST_SUITE_P(All, Conformance, ::testing::ValuesIn(AllSubjects()),
                         [](const ::testing::TestParamInfo<Subject>& info) {
                           return info.param.name;
                         });

}  // namespace
}  // namespace intarsia::conformance
