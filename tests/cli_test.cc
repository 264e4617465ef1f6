// The command line that scripts depend on: verbs, flags, exit codes, and what
// goes to stdout and to stderr. Runs the program as a user would.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "tests/program.h"

namespace intarsia {
namespace {

constexpr char kTiny[] = "tests/golden/tiny";
constexpr char kLlama[] = "tests/golden/llama";

Outcome Generate(const std::string& flags, const std::string& model = kTiny) {
  return Invoke("generate " + model + " " + flags);
}

std::string Text(const std::string& flags) {
  const Outcome outcome = Generate("--json " + flags);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return outcome.json().value("text", "");
}

class CliTest : public testing::Test {
 protected:
  // An empty cache, an index and a hub that nobody answers.
  static void SetUpTestSuite() {
    const std::string cache = testing::TempDir() + "cli_test_cache";
    std::filesystem::remove_all(cache);
    setenv("INTARSIA_CACHE", cache.c_str(), 1);
    setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple", 1);
    setenv("HF_ENDPOINT", "http://127.0.0.1:9", 1);
    setenv("HF_TOKEN", "hf_never_shown", 1);
    setenv("no_proxy", "127.0.0.1", 1);
    unsetenv("PIP_FIND_LINKS");
  }
};

TEST_F(CliTest, EveryVerbHasTheCommonFlags) {
  const std::string help = Invoke("--help").out;
  for (const char* verb :
       {"list", "info", "pull", "cache", "chat", "generate", "verify", "bench",
        "quantize", "convert", "tokenize"}) {
    EXPECT_NE(help.find(verb), std::string::npos) << verb;
    const Outcome outcome = Invoke(std::string(verb) + " --help");
    EXPECT_EQ(outcome.code, 0) << verb;
    for (const char* flag : {"--device", "--threads", "--seed", "--json"}) {
      EXPECT_NE(outcome.out.find(flag), std::string::npos) << verb << flag;
    }
  }
  EXPECT_EQ(Invoke("--version").code, 0);
}

TEST_F(CliTest, ListsOfValuesLeaveWhatFollowsAlone) {
  for (const char* arguments :
       {"generate --prompt a --max-tokens 1 --stop zzz tests/golden/tiny",
        "generate --prompt a --max-tokens 1 --logit-bias 1=2 "
        "--logit-bias 2=-inf --dry-breaker x tests/golden/tiny",
        "bench -p 4 -n 1 --npl 1,2 -d 0 -r 1 tests/golden/tiny",
        "bench --quick -r 1 -d 0 kernels norm.rms",
        "verify --chunk 1,7 tests/golden/llama"}) {
    const Outcome outcome = Invoke(arguments);
    EXPECT_EQ(outcome.code, 0) << arguments << outcome.err;
  }
  EXPECT_EQ(Invoke("generate tests/golden/tiny --prompt a --logit-bias x").code,
            1);
}

TEST_F(CliTest, BadUsageIsTwo) {
  for (const char* arguments :
       {"",
        "frobnicate",
        "generate",
        "info",
        "pull",
        "pull --list x",
        "pull x --connections 0",
        "cache",
        "cache rm",
        "verify",
        "list --nonsense",
        "list --device tpu",
        "list --threads -1",
        "list --threads x",
        "list --seed x",
        "verify tests/golden/llama --form sideways",
        "verify tests/golden/llama --chunk 0",
        "verify tests/golden/llama --tol x",
        "generate tests/golden/tiny --prompt a --max-tokens 0",
        "generate tests/golden/tiny --prompt a --temperature hot",
        "generate tests/golden/tiny --prompt a --system b",
        "bench tests/golden/tiny -r 0",
        "quantize tests/golden/llama x.gguf",
        "quantize tests/golden/llama x.gguf --type Q4_X",
        "convert tests/golden/llama",
        "convert tests/golden/llama x --to y"}) {
    const Outcome outcome = Invoke(arguments);
    EXPECT_EQ(outcome.code, 2) << arguments;
    EXPECT_EQ(outcome.out, "") << arguments;
    EXPECT_NE(outcome.err, "") << arguments;
  }
  EXPECT_NE(Invoke("frobnicate").err.find("frobnicate"), std::string::npos);
}

TEST_F(CliTest, ConvertedAndQuantisedModelsRun) {
  const std::string gguf = testing::TempDir() + "cli_test_llama.gguf";
  EXPECT_EQ(Invoke("convert tests/golden/llama " + gguf).code, 0);
  const std::string verify =
      " --reference tests/golden/llama/golden.safetensors";
  EXPECT_EQ(Invoke("verify " + gguf + verify).code, 0);
  const std::string folder = testing::TempDir() + "cli_test_native";
  EXPECT_EQ(Invoke("convert " + gguf + " " + folder + " --to native").code, 0);
  EXPECT_EQ(Invoke("verify " + folder + verify).code, 0);
  const Outcome plan =
      Invoke("quantize tests/golden/llama --type q4_k_m --dry-run --json");
  EXPECT_EQ(plan.code, 0) << plan.err;
  EXPECT_TRUE(plan.json()["files"].empty());
  EXPECT_NE(plan.err.find("instead of q4_k"), std::string::npos);
  const std::string small = testing::TempDir() + "cli_test_q8.gguf";
  const Outcome written = Invoke("quantize tests/golden/llama " + small +
                                 " --type Q8_0 --split-max-size 60K --json");
  EXPECT_EQ(written.code, 0) << written.err;
  const Json files = written.json()["files"];
  ASSERT_GT(files.size(), 1u);
  EXPECT_EQ(Invoke("info " + files[0].get<std::string>()).code, 0);
}

TEST_F(CliTest, FailuresAreOneAndSayWhatToDo) {
  const std::string text_file = testing::TempDir() + "not_a_model.gguf";
  std::ofstream(text_file) << "this is not a model";
  struct Case {
    std::string arguments, says;
  };
  for (const auto& [arguments, says] : std::vector<Case>{
           {"info no-such-model", "intarsia pull"},
           {"generate no-such-model --prompt a", "no-such-model"},
           {"chat no-such-model", "no-such-model"},
           {"bench no-such-model", "no-such-model"},
           {"verify no-such-model", "no-such-model"},
           {"pull no-such-model", "smollm2-135m"},
           {"pull qwen3", "qwen3:0.6b"},
           {"pull hf:acme", "hf:ORG/NAME"},
           {"pull smollm2-135m --revision x", "--revision"},
           {"info qwen3:0.6b", "intarsia pull qwen3:0.6b"},
           {"cache rm no-such-model", "intarsia cache list"},
           {"info " + text_file, "not_a_model.gguf"},
           {"generate tests/golden/llama --prompt a", "tokenizer"},
           {"generate tests/golden/tiny --prompt ''", "--prompt"},
           {"generate tests/golden/tiny", "--prompt-file"},
           {"generate tests/golden/tiny --prompt-file tests", "folder"},
           {"perplexity tests/golden/tiny --text tests", "folder"},
           {"perplexity tests/golden/tiny --text /no/such", "No such file"},
           {"generate tests/golden/tiny --prompt-file /no/such", "/no/such"},
           {"generate tests/golden/tiny --prompt abcdef --ctx 3", "--ctx"},
           {"generate tests/golden/tiny --prompt a --top-p 7", "top"},
           {"verify tests/golden/tiny", "golden.safetensors"},
           {"bench kernels no-such-kernel", "norm.rms"}}) {
    for (const char* json : {"", " --json"}) {
      const Outcome outcome = Invoke(arguments + json);
      EXPECT_EQ(outcome.code, 1) << arguments << json << outcome.err;
      EXPECT_EQ(outcome.out, "") << arguments << json;
      EXPECT_EQ(outcome.err.rfind("error: ", 0), 0u) << outcome.err;
      EXPECT_NE(outcome.err.find(says), std::string::npos) << outcome.err;
    }
  }
}

TEST_F(CliTest, KernelsOfAGpuAreNotExplainedOnACpu) {
  for (const std::string flag : {"--explain", "--require-fast"}) {
    const Outcome outcome =
        Invoke("generate tests/golden/tiny --prompt a -n 1 " + flag);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("this runs on the CPU"), std::string::npos)
        << outcome.err;
  }
}

TEST_F(CliTest, PullWithoutANetworkFails) {
  const Outcome outcome = Invoke("pull smollm2-135m --json");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.err.find("127.0.0.1"), std::string::npos) << outcome.err;
}

TEST_F(CliTest, TheHubWithoutANetwork) {
  const Outcome pull = Invoke("pull hf:acme/Tiny:Q8_0 --json");
  EXPECT_EQ(pull.code, 1);
  EXPECT_EQ(pull.out, "");
  EXPECT_NE(pull.err.find("HF_ENDPOINT"), std::string::npos) << pull.err;
  const Outcome doctor = Invoke("doctor --threads 1");
  EXPECT_EQ(doctor.code, 0);
  for (const char* name : {"processor", "kernels", "threads", "memory", "GPU",
                           "cache", "package index", "hub"}) {
    EXPECT_NE(doctor.out.find(name), std::string::npos) << doctor.out;
  }
  for (const Outcome& outcome : {pull, doctor}) {
    EXPECT_EQ(outcome.out.find("never_shown"), std::string::npos);
    EXPECT_EQ(outcome.err.find("never_shown"), std::string::npos);
  }
  EXPECT_NE(Invoke("doctor --threads 1", "HF_HUB_OFFLINE=1")
                .out.find("HF_HUB_OFFLINE"),
            std::string::npos);
}

TEST_F(CliTest, CatalogueAndCache) {
  const Json models = Invoke("pull --list --json").json().at("models");
  EXPECT_GT(models.size(), 5u);
  EXPECT_NE(Invoke("pull --list").out.find("hf:Qwen/Qwen3-0.6B-GGUF"),
            std::string::npos);
  EXPECT_TRUE(Invoke("cache list --json").json().at("models").empty());
  // A model that lies where `pull` puts it.
  const std::string folder =
      testing::TempDir() + "cli_test_cache/models/smollm2-135m";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/model.gguf") << "12345";
  std::ofstream(folder + "/0123.whl.part") << "123";
  const Json here = Invoke("cache list --json").json().at("models");
  ASSERT_EQ(here.size(), 1u);
  EXPECT_EQ(here[0].at("name"), "smollm2-135m");
  EXPECT_EQ(here[0].at("bytes"), 5);
  EXPECT_EQ(Invoke("cache list --names").out, "smollm2-135m\n");
  EXPECT_EQ(Invoke("cache --json prune").json().at("bytes"), 3);
  // Nobody answers: nothing goes.
  const Outcome asked = Invoke("cache rm smollm2-135m </dev/null");
  EXPECT_EQ(asked.code, 1);
  EXPECT_NE(asked.err.find("--yes"), std::string::npos) << asked.err;
  EXPECT_TRUE(std::filesystem::exists(folder));
  EXPECT_EQ(Invoke("cache rm smollm2-135m --yes").code, 0);
  EXPECT_FALSE(std::filesystem::exists(folder));
}

TEST_F(CliTest, ListNamesWhatTheRegistriesHold) {
  const Outcome outcome = Invoke("list --json");
  ASSERT_EQ(outcome.code, 0);
  const Json json = outcome.json();
  auto names = [&](const char* key) {
    std::set<std::string> all;
    for (const Json& entry : json.at(key)) all.insert(entry.at("name"));
    return all;
  };
  const auto primitives = names("primitives"), formats = names("formats"),
             families = names("families");
  for (const char* name :
       {"attention", "mamba2", "retention", "glu", "mlp", "moe"}) {
    EXPECT_TRUE(primitives.count(name)) << name;
    EXPECT_NE(Invoke("list").out.find(name), std::string::npos) << name;
  }
  for (const char* name : {"f32", "bf16", "f16", "q8_0", "q4_0", "q4_1"}) {
    EXPECT_TRUE(formats.count(name)) << name;
  }
  for (const char* name : {"llama", "mistral", "qwen2", "qwen3", "gpt2",
                           "mixtral", "mamba2", "retnet"}) {
    EXPECT_TRUE(families.count(name)) << name;
  }
  for (const Json& entry : json.at("primitives")) {
    EXPECT_TRUE(entry.at("cpu").is_boolean());
    EXPECT_TRUE(entry.at("cuda").is_boolean());
  }
}

TEST_F(CliTest, ListFieldsOfAPrimitiveAndTheSchemaOfAModel) {
  const Outcome fields = Invoke("list attention");
  ASSERT_EQ(fields.code, 0) << fields.err;
  for (const char* text :
       {"heads", "whole number, 1 to 65536", "required", "rope.scaling.type",
        "\"linear\"", "the width / heads", "bias.q"}) {
    EXPECT_NE(fields.out.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(Invoke("list no_such").code, 1);

  const Json schema = Invoke("list --schema").json();
  const Json& definitions = schema.at("$defs");
  const Json primitives = Invoke("list --json").json().at("primitives");
  for (const Json& entry : primitives) {
    EXPECT_EQ(definitions.at(entry.at("name")), entry.at("config"));
  }
  EXPECT_EQ(definitions.at("mixer").at("allOf").size(), primitives.size());
  const Json& sublayer = schema.at("properties")
                             .at("blocks")
                             .at("items")
                             .at("properties")
                             .at("sublayers")
                             .at("items");
  EXPECT_EQ(sublayer.at("allOf")[0].at("$ref"), "#/$defs/mixer");
  EXPECT_EQ(sublayer.at("required"), Json::array({"mixer"}));
}

TEST_F(CliTest, InfoMixersShowWhatIsNotDefault) {
  const Json mixers = Invoke("info tests/golden/tiny --json").json()["mixers"];
  int seen = 0;
  for (const Json& mixer : mixers) {
    if (mixer["name"] != "attention") continue;
    ++seen;
    EXPECT_TRUE(mixer["config"].contains("heads"));
    EXPECT_FALSE(mixer["config"].contains("sinks"));
  }
  EXPECT_GE(seen, 1);
}

TEST_F(CliTest, InfoCountsParametersAndState) {
  const Json json = Invoke(std::string("info --json ") + kTiny).json();
  EXPECT_EQ(json.at("parameters"), 402636);
  // Two heads of 32 keys and values in bf16.
  EXPECT_EQ(json.at("state_bytes_per_token"), 2 * 2 * 32 * 2);
  EXPECT_GT(json.at("state_bytes_per_sequence"), 0);
  EXPECT_GT(json.at("weight_bytes").at("bf16"), 0);
  EXPECT_EQ(json.at("blocks").size(), 3u);
  EXPECT_TRUE(json.at("warnings").empty());
  const Outcome text = Invoke(std::string("info ") + kTiny);
  EXPECT_EQ(text.code, 0);
  EXPECT_NE(text.out.find("402.6 K"), std::string::npos) << text.out;
}

TEST_F(CliTest, InfoWarnsOfWhatItIgnores) {
  const std::string folder = testing::TempDir() + "cli_test_llama";
  std::filesystem::remove_all(folder);
  std::filesystem::copy(kLlama, folder);
  Json config = Json::parse(ReadAll(folder + "/config.json"));
  config["use_quantum_attention"] = true;
  std::ofstream(folder + "/config.json") << config.dump();
  const Outcome outcome = Invoke("info " + folder);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("use_quantum_attention"), std::string::npos)
      << outcome.err;
}

// Before a weight is read, with the bytes of all that is wanted.
TEST_F(CliTest, StateThatDoesNotFitIsRefusedWithItsBytes) {
  const std::string common = "--prompt The --max-tokens 4 --temperature 0 ";
  const Outcome small = Generate(common + "--ctx 4096 --state-memory 600K");
  EXPECT_EQ(small.code, 1);
  EXPECT_TRUE(small.out.empty());
  for (const char* part : {"weights", "state of a sequence", "state of a token",
                           "256 B", "free", "--state-memory", "4096 tokens"}) {
    EXPECT_NE(small.err.find(part), std::string::npos) << part << small.err;
  }
  // int8 takes little more than half.
  EXPECT_EQ(Generate(common + "--ctx 4096 --state-memory 900K "
                              "--state-dtype int8")
                .code,
            0);
  EXPECT_EQ(Generate(common + "--ctx 4096 --state-memory 2M").code, 0);
  EXPECT_EQ(Generate(common + "--state-memory none").code, 2);
}

TEST_F(CliTest, GeneratePrintsTextAndKeepsStatisticsOffStdout) {
  const Outcome plain =
      Generate("--prompt The --max-tokens 12 --temperature 0");
  EXPECT_EQ(plain.code, 0);
  const std::string text = Text("--prompt The --max-tokens 12 --temperature 0");
  EXPECT_EQ(plain.out, text + "\n");
  EXPECT_NE(plain.err.find("tokens"), std::string::npos);
  const Json json =
      Generate("--prompt The --max-tokens 12 --temperature 0 --json").json();
  EXPECT_EQ(json.at("generated_tokens"), 12);
  EXPECT_EQ(json.at("tokens").size(), 12u);
  EXPECT_EQ(json.at("finish"), "length");
  EXPECT_EQ(json.at("prompt_tokens"), 3);
}

TEST_F(CliTest, SamplingFlagsMeanWhatTheySay) {
  const std::string p = "--prompt 'A model is' --max-tokens 40 ";
  const std::string greedy = Text(p + "--temperature 0");
  EXPECT_EQ(greedy, Text(p + "--temperature 0 --seed 9"));
  auto hot = [&](const char* k, const char* top, const char* min,
                 const std::string& rest) {
    return Text(p + "--temperature 2 --top-k " + k + " --top-p " + top +
                " --min-p " + min + " " + rest);
  };
  EXPECT_EQ(hot("0", "1", "0", "--seed 1"), hot("0", "1", "0", "--seed 1"));
  EXPECT_NE(hot("0", "1", "0", "--seed 1"), hot("0", "1", "0", "--seed 2"));
  EXPECT_NE(hot("0", "1", "0", "--seed 1"), greedy);
  // Each filter alone leaves only the likeliest token.
  EXPECT_EQ(hot("1", "1", "0", "--seed 1"), greedy);
  EXPECT_EQ(hot("0", "0.000001", "0", "--seed 1"), greedy);
  EXPECT_EQ(hot("0", "1", "1", "--seed 1"), greedy);
  EXPECT_EQ(hot("0", "1", "0", "--seed 1 --threads 1"),
            hot("0", "1", "0", "--seed 1 --threads 3"));
  EXPECT_NE(Text(p + "--temperature 0 --repeat-penalty 1.8"), greedy);
}

TEST_F(CliTest, StopEndsTheTextBeforeTheString) {
  const std::string p = "--prompt 'A model is' --temperature 0 --max-tokens 40";
  const std::string whole = Text(p);
  ASSERT_GT(whole.size(), 20u);
  const std::string stop = whole.substr(10, 4);
  const Json json = Generate(p + " --json --stop '" + stop + "'").json();
  EXPECT_EQ(json.at("text"), whole.substr(0, whole.find(stop)));
  EXPECT_EQ(json.at("finish"), "stop");
}

TEST_F(CliTest, APromptFileIsAPrompt) {
  const std::string path = testing::TempDir() + "cli_test_prompt";
  std::ofstream(path) << "The state";
  const std::string flags = " --temperature 0 --max-tokens 20";
  EXPECT_EQ(Text("--prompt-file " + path + flags),
            Text("--prompt 'The state'" + flags));
  EXPECT_EQ(Text("--prompt-file - <" + path + flags),
            Text("--prompt 'The state'" + flags));
}

TEST_F(CliTest, AWarningStandsBelowTheText) {
  const Outcome outcome =
      Generate("--prompt abc --ctx 8 --max-tokens 40 --ignore-eos 2>&1 #");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_NE(outcome.out.find("\nwarning: "), std::string::npos) << outcome.out;
}

TEST_F(CliTest, OutputThatCannotBeWrittenIsOne) {
  for (const char* arguments :
       {"list >/dev/full", "info tests/golden/tiny --json >/dev/full",
        "generate tests/golden/tiny --prompt a --max-tokens 1 >/dev/full"}) {
    const Outcome outcome = Invoke(arguments);
    EXPECT_EQ(outcome.code, 1) << arguments;
    EXPECT_NE(outcome.err.find("written"), std::string::npos) << outcome.err;
  }
}

TEST_F(CliTest, AModelIsNotWrittenOverItself) {
  const std::string gguf = testing::TempDir() + "cli_test_itself.gguf";
  ASSERT_EQ(Invoke("convert tests/golden/llama " + gguf).code, 0);
  const std::string before = ReadAll(gguf);
  for (const std::string& arguments :
       {"convert " + gguf + " " + gguf,
        "quantize " + gguf + " " + gguf + " --type Q8_0"}) {
    const Outcome outcome = Invoke(arguments);
    EXPECT_EQ(outcome.code, 1) << arguments;
    EXPECT_NE(outcome.err.find("itself"), std::string::npos) << outcome.err;
  }
  EXPECT_TRUE(ReadAll(gguf) == before);
}

TEST_F(CliTest, ASavedStateGoesOn) {
  const std::string path = testing::TempDir() + "cli_test_state.safetensors";
  const std::string flags = " --temperature 0 --max-tokens 1 --json";
  ASSERT_EQ(
      Generate("--prompt 'The weights of' --save-state " + path + flags).code,
      0);
  const Json going_on = Generate("--prompt ' a model' --load-state " + path +
                                 " --temperature 0 --max-tokens 8 --json")
                            .json();
  const Json at_once = Generate(
                           "--prompt 'The weights of a model' --temperature 0 "
                           "--max-tokens 8 --json")
                           .json();
  EXPECT_EQ(going_on.at("text"), at_once.at("text"));
  EXPECT_EQ(going_on.at("prompt_tokens"), 8);
  const Outcome wrong = Generate("--prompt a --load-state " +
                                 std::string(kTiny) + "/model.safetensors");
  EXPECT_EQ(wrong.code, 1);
}

TEST_F(CliTest, ChatAnswersEachLine) {
  const std::string chat = std::string("chat ") + kTiny +
                           " --temperature 0 --max-tokens 10 --threads 2";
  const Outcome plain = Invoke(chat, "printf 'Hello\\nAnd then?\\n' |");
  EXPECT_EQ(plain.code, 0) << plain.err;
  const Outcome outcome = Invoke(
      chat + " --json", "printf 'Hello\\nAnd then?\\n/quit\\nmore\\n' |");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const Json turns = outcome.json().at("turns");
  ASSERT_EQ(turns.size(), 2u);
  EXPECT_EQ(turns[0].at("user"), "Hello");
  EXPECT_EQ(plain.out, turns[0].at("assistant").get<std::string>() + "\n" +
                           turns[1].at("assistant").get<std::string>() + "\n");
  EXPECT_EQ(Invoke(std::string("chat ") + kLlama, "echo a |").code, 1);
}

TEST_F(CliTest, VerifyPrintsWhatItCompared) {
  const Outcome text = Invoke(std::string("verify ") + kLlama);
  EXPECT_EQ(text.code, 0) << text.err;
  for (const char* field : {"max_abs_error ", "logit_std ", "greedy_match "}) {
    EXPECT_NE(text.out.find(field), std::string::npos) << text.out;
  }
  const std::string json = std::string("verify --json ") + kLlama + " ";
  const Json plain = Invoke(json).json();
  EXPECT_LE(plain.at("max_abs_error"),
            1e-3 * plain.at("logit_std").get<double>());
  EXPECT_EQ(plain.at("greedy_match"), true);
  EXPECT_FALSE(plain.contains("loss_error"));
  const Json graded = Invoke(json + "--gradients").json();
  EXPECT_LE(graded.at("loss_error"), 1e-4);
  EXPECT_LE(graded.at("max_rel_grad_error"), 1e-3);
  const std::string folder = kLlama;
  EXPECT_TRUE(Invoke(json + "--gradients " + folder + "/grads.safetensors" +
                     " --reference " + folder + "/golden.safetensors")
                  .json()
                  .contains("loss_error"));
  for (const char* form : {"recurrent", "parallel", "chunked"}) {
    EXPECT_EQ(Invoke(json + "--form " + form).code, 0) << form;
  }
  const Json chunks = Invoke(json + "--form chunked --chunk 1,7,64").json();
  EXPECT_EQ(chunks.at("runs").size(), 4u);  // and the whole sequences
  EXPECT_EQ(Invoke(json + "--batch-split --seed 3").code, 0);
}

TEST_F(CliTest, VerifyPastTheToleranceIsOne) {
  const Outcome outcome =
      Invoke(std::string("verify --json --tol 1e-12 ") + kLlama);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(outcome.json().contains("max_abs_error"));
  EXPECT_NE(outcome.err.find("toleran"), std::string::npos) << outcome.err;
  // The record of another model.
  EXPECT_EQ(Invoke(std::string("verify tests/golden/retnet --reference ") +
                   kLlama + "/golden.safetensors")
                .code,
            1);
}

TEST_F(CliTest, BenchMeasuresWhatItWasAskedFor) {
  const std::string bench = std::string("bench ") + kTiny +
                            " -p 32 -n 4 -npl 1,4 -d 0,8 -r 2 --threads 2";
  const Json json = Invoke(bench + " --json").json();
  std::set<std::string> tests;
  for (const Json& row : json.at("tests")) {
    EXPECT_GT(row.at("tokens_per_second"), 0.0);
    tests.insert(row.at("test").get<std::string>() + "/" +
                 std::to_string(row.at("sequences").get<int>()) + "/" +
                 std::to_string(row.at("depth").get<int>()));
  }
  EXPECT_EQ(tests.size(), 6u) << json.dump(1);  // 1 prefill, 2 decodes; twice
  const Outcome text = Invoke(bench);
  EXPECT_EQ(text.code, 0);
  EXPECT_NE(text.out.find("tiny-hybrid"), std::string::npos) << text.out;
}

TEST_F(CliTest, BenchKernelsChecksAndTimesRooms) {
  const std::string bench = "bench kernels --quick -r 1 --threads 2 ";
  const Json json = Invoke(bench + "--json").json();
  EXPECT_GT(json.at("read_bytes_per_second"), 0.0);
  EXPECT_GT(json.at("fma_flops"), 0.0);
  std::set<std::string> names;
  for (const Json& row : json.at("kernels")) {
    names.insert(row.at("name"));
    EXPECT_GT(row.at("seconds"), 0.0) << row;
    EXPECT_LE(row.at("max_error"), row.at("tolerance")) << row;
  }
  for (const char* name : {"attention.prefill", "attention.decode", "norm.rms",
                           "matmul.q4_0.m1", "gated_linear.chunked"}) {
    EXPECT_TRUE(names.count(name)) << name;
  }
  const Outcome one = Invoke(bench + "retention.decode");
  EXPECT_EQ(one.code, 0) << one.err;
  EXPECT_NE(one.out.find("| retention.decode |"), std::string::npos) << one.out;
  EXPECT_EQ(one.out.find("| retention.prefill |"), std::string::npos);
}

TEST_F(CliTest, ADeviceThatIsNotThereIsSaidSo) {
  const Outcome outcome = Generate("--device cuda --prompt a --json");
  if (outcome.code == 0) {
    // There is a GPU: then it answers.
    EXPECT_TRUE(outcome.json().contains("text"));
    return;
  }
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.err.find("CUDA"), std::string::npos) << outcome.err;
}

TEST_F(CliTest, CompletionIsAScriptThatKnowsTheFlags) {
  const Outcome outcome = Invoke("completion");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_NE(outcome.out.find("--batch-split"), std::string::npos);
  const std::string path = testing::TempDir() + "cli_test_completion";
  std::ofstream(path) << outcome.out;
  EXPECT_EQ(std::system(("bash -n " + path).c_str()), 0);
  // What bash would offer behind `intarsia pull qwen3:0`.
  const std::string offered = testing::TempDir() + "cli_test_offered";
  std::ofstream(path) << outcome.out
                      << "COMP_LINE='intarsia pull qwen3:0'\n"
                         "COMP_POINT=${#COMP_LINE}\n"
                         "COMP_WORDS=(intarsia pull qwen3 : 0) COMP_CWORD=4\n"
                         "_intarsia; echo \"${COMPREPLY[*]}\"\n";
  EXPECT_EQ(std::system(("bash " + path + " >" + offered).c_str()), 0);
  EXPECT_EQ(ReadAll(offered), "0.6b\n");
}

}  // namespace
}  // namespace intarsia
