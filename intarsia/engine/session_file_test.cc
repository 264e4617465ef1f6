// Saved states: whose they are, and what else may lie in such a file.
#include "intarsia/engine/session_file.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/checkpoint/write.h"
#include "intarsia/engine/model_identity.h"
#include "intarsia/engine/model_runner.h"

namespace intarsia {
namespace {

Json Config() {
  return {{"intarsia", 1},
          {"name", "llama"},
          {"vocab_size", 11},
          {"dim", 4},
          {"blocks",
           {{{"sublayers",
              {{{"mixer", "attention"},
                {"config", {{"heads", 2}, {"kv_heads", 1}, {"head_dim", 2}}}},
               {{"mixer", "glu"}, {"config", {{"hidden", 8}}}}}}}}}};
}

std::unique_ptr<Model> MakeModel(uint64_t seed, const Json& config = Config()) {
  auto model = Model::Create(ParseModelConfig(config).value()).value();
  model->InitWeights(seed);
  return model;
}

ModelRunner::Options Options() {
  ModelRunner::Options options;
  options.threads = 1;
  options.context = 16;
  options.token_dtype = DType::kF32;
  return options;
}

std::string Identity(const Model& model, int threads = 2) {
  ThreadPool pool(threads);
  return ModelIdentity(model, pool);
}

class SessionFileTest : public testing::Test {
 protected:
  // A state of three tokens.
  void SetUp() override {
    ModelRunner runner(*model_, Options());
    const int slot = runner.Open();
    const std::vector<int32_t> tokens = {1, 2, 3};
    ASSERT_TRUE(runner.Run({{slot, tokens}}).ok());
    ASSERT_TRUE(runner.Save(slot, path_).ok());
  }

  // The state with its header changed.
  std::string Edited(const std::string& from, const std::string& to) const {
    std::string bytes = ReadFile(path_);
    const size_t at = bytes.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    uint64_t length = 0;
    bytes.copy(reinterpret_cast<char*>(&length), 8);
    bytes.replace(at, from.size(), to);
    length += to.size() - from.size();
    bytes.replace(0, 8, Raw(length));
    const std::string edited = folder_ / "edited";
    WriteFile(edited, bytes);
    return edited;
  }
  static void ExpectFault(const Status& status, const std::string& path,
                          const std::string& fault) {
    EXPECT_EQ(status.message().rfind("[engine] " + path + ": ", 0), 0u)
        << status.message();
    EXPECT_NE(status.message().find(fault), std::string::npos)
        << status.message();
  }
  void ExpectFault(const std::string& path, const std::string& fault) const {
    ExpectFault(SavedSequence::Open(path, *model_).status(), path, fault);
  }

  const TempFolder folder_;
  const std::string path_ = folder_ / "state";
  const std::unique_ptr<Model> model_ = MakeModel(1);
};

TEST_F(SessionFileTest, TheSameModelTakesIt) {
  const auto again = MakeModel(1);
  const auto saved = SavedSequence::Open(path_, *again);
  ASSERT_TRUE(saved.ok()) << saved.status().message();
  EXPECT_EQ(saved->length(), 3);
  ModelRunner runner(*again, Options());
  const int slot = runner.Open();
  ASSERT_TRUE(runner.Restore(slot, *saved).ok());
  EXPECT_EQ(runner.length(slot), 3);
  EXPECT_EQ(runner.Identity(), saved->identity());
}

TEST_F(SessionFileTest, AnotherModelDoesNot) {
  ExpectFault(SavedSequence::Open(path_, *MakeModel(2)).status(), path_,
              "belongs to another model");
  Json config = Config();
  config["blocks"][0]["sublayers"][0]["config"]["rope"] = {{"theta", 500.0}};
  const auto other = Model::Create(ParseModelConfig(config).value());
  ASSERT_TRUE(other.ok());
  (*other)->InitWeights(1);
  ExpectFault(SavedSequence::Open(path_, **other).status(), path_,
              "belongs to another model");
}

TEST_F(SessionFileTest, EveryWeightCounts) {
  std::set<std::string> identities = {Identity(*model_)};
  for (const std::string& path : model_->paths()) {
    const auto changed = MakeModel(1);
    Tensor& values = changed->Find(path)->mutable_values();
    values.mutable_data<float>()[values.numel() - 1] += 0.5f;
    EXPECT_TRUE(identities.insert(Identity(*changed)).second) << path;
  }
  EXPECT_EQ(Identity(*model_, 1), Identity(*model_, 3));
  Json config = Config();
  config["name"] = "Llama of mine";
  EXPECT_EQ(Identity(*MakeModel(1, config)), Identity(*model_));
  // Each number rounded: another format, another model.
  const auto rounded = MakeModel(1);
  Weight* head = rounded->Find("embedding");
  head->set_values(&PlainFormat(DType::kBF16), head->values().To(DType::kBF16));
  EXPECT_NE(Identity(*rounded), Identity(*model_));
}

TEST_F(SessionFileTest, LargeModelsCountByPieces) {
  Json config = Config();
  config["vocab_size"] = 5000;
  config["dim"] = 2048;
  const auto model = MakeModel(1, config);
  const std::string before = Identity(*model);
  EXPECT_EQ(before, Identity(*model, 1));
  Tensor& table = model->Find("embedding")->mutable_values();
  ASSERT_GT(table.nbytes(), size_t{32} << 20);
  for (const int64_t at : {int64_t{0}, table.numel() - 1}) {
    table.mutable_data<float>()[at] += 1;
    EXPECT_NE(Identity(*model), before) << at;
    table.mutable_data<float>()[at] -= 1;
  }
}

TEST_F(SessionFileTest, FaultsNameFileAndFault) {
  ExpectFault(Edited("\"intarsia_state\":\"2\"", "\"intarsia_state\":\"1\""),
              "earlier version");
  ExpectFault(Edited("\"intarsia_state\":\"2\"", "\"intarsia_state\":\"9\""),
              "version 9");
  ExpectFault(Edited("\"intarsia_state\"", "\"something\""),
              "not a saved state");
  ExpectFault(Edited("\"weights\"", "\"weight\""), "\"weights\"");
  ExpectFault(Edited("\"length\":\"3\"", "\"len\":\"3\""), "\"length\"");
  for (const char* length : {"3x", "-1", "", "99999999", "1e3", "0x3"}) {
    ExpectFault(Edited("\"length\":\"3\"",
                       "\"length\":\"" + std::string(length) + "\""),
                "the length \"" + std::string(length) + "\"");
  }
  ExpectFault(Edited("\"length\":\"3\"", "\"length\":\"4\""), "0.k has [3");
  ExpectFault(Edited("\"0.k\"", "\"0.q\""), "0.k is missing");
}

TEST_F(SessionFileTest, WhatDoesNotFitTheRunnerIsSaid) {
  ModelRunner::Options options = Options();
  options.context = 2;
  ModelRunner small(*model_, options);
  ExpectFault(small.Restore(small.Open(), path_), path_, "--ctx");
  options = Options();
  options.token_dtype = DType::kBF16;
  ModelRunner other(*model_, options);
  ExpectFault(other.Restore(other.Open(), path_), path_, "--state-dtype");
}

TEST_F(SessionFileTest, MoreTensorsAreNotPassedOver) {
  std::vector<NamedTensor> tensors;
  const auto saved = SavedSequence::Open(path_, *model_);
  ASSERT_TRUE(saved.ok());
  for (const auto& part : saved->parts()) {
    tensors.push_back({part.name, part.values});
  }
  tensors.push_back({"5.k", Tensor::Zeros({1}, DType::kF32)});
  const std::string more = folder_ / "more";
  ASSERT_TRUE(WriteSafetensors(more, tensors,
                               {{"intarsia_state", "2"},
                                {"model", "llama"},
                                {"weights", saved->identity()},
                                {"length", "3"}})
                  .ok());
  ExpectFault(more, "holds 3 tensors");
}

}  // namespace
}  // namespace intarsia
