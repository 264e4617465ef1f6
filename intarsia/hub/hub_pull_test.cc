// Pulling from a hub of the test's own, which fails on purpose. After each
// fault nothing broken is left, and the next pull finishes. No other host is
// asked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "intarsia/hub/hub_client.h"
#include "intarsia/hub/test_hub_pull.h"

namespace intarsia {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Fault = TestHubServer::Fault;

constexpr char kToken[] = "hf_secret";

TEST_F(HubPullTest, FilesOfTheSameContentAreFetchedOnce) {
  UseSafetensors();
  const std::string shard = Noise(120'000, 3);
  server_.large_files["model-00002-of-00002.safetensors"] = shard;
  server_.small_files["generation_config.json"] = "{}";  // as config.json
  const auto pulled = Run("hf:acme/Tiny-GGUF");
  ASSERT_TRUE(pulled.ok()) << pulled.status().message();
  for (const char* name : {"model-00001-of-00002.safetensors",
                           "model-00002-of-00002.safetensors"}) {
    EXPECT_EQ(ReadFile(pulled->path + "/" + name), shard);
  }
  EXPECT_EQ(ReadFile(pulled->path + "/config.json"), "{}");
  EXPECT_EQ(ReadFile(pulled->path + "/generation_config.json"), "{}");
  EXPECT_EQ(progress_.done, progress_.total);
}

TEST_F(HubPullTest, WholeAndAgainWithoutAByte) {
  ASSERT_TRUE(server_.ok());
  ExpectPulled();
  EXPECT_EQ(progress_.done, 200'000u);
  EXPECT_EQ(progress_.total, 200'000u);
  EXPECT_THAT(server_.Fetched(), ElementsAre(kBig));
  ExpectPulled();
  EXPECT_THAT(server_.Fetched(), ElementsAre(kBig));
  // Under its short names too, in any case.
  for (const char* name : {"Tiny-GGUF:Q8_0", "tiny-gguf:q8_0", "tiny-gguf",
                           "hf:acme/Tiny-GGUF", "hf.co/acme/Tiny-GGUF:q8_0"}) {
    EXPECT_TRUE(ResolveModel(name, folder_.path()).ok()) << name;
  }
  EXPECT_FALSE(ResolveModel("tiny-gguf:q4_0", folder_.path()).ok());
  EXPECT_FALSE(ResolveModel("hf:other/Tiny-GGUF", folder_.path()).ok());
}

TEST_F(HubPullTest, DefaultsAndUnknownQuantisations) {
  ExpectPulled(kHub, "Tiny-Q4_K_M.gguf");
  EXPECT_THAT(server_.Fetched(), ElementsAre("Tiny-Q4_K_M.gguf"));
  EXPECT_THAT(Failure("hf:acme/Tiny-GGUF:Q2_K"),
              HasSubstr("there are: Q4_K_M, Q8_0"));
  ExpectPulled("hf:acme/Tiny-GGUF:q8_0");
  EXPECT_EQ(ListCache(folder_.path()).size(), 2u);
  // Both are here: the default is meant.
  EXPECT_THAT(*ResolveModel("tiny-gguf", folder_.path()), HasSubstr("Q4_K_M"));
}

TEST_F(HubPullTest, SafetensorsWithWhatBelongsToThem) {
  UseSafetensors();
  const auto pulled = Run(kHub);
  ASSERT_TRUE(pulled.ok()) << pulled.status().message();
  for (const auto& [path, text] : server_.large_files) {
    EXPECT_EQ(ReadFile(pulled->path + "/" + path), text) << path;
  }
  EXPECT_EQ(ReadFile(pulled->path + "/config.json"), "{}");
  EXPECT_FALSE(std::filesystem::exists(pulled->path + "/README.md"));
  EXPECT_FALSE(std::filesystem::exists(pulled->path + "/pytorch_model.bin"));
  EXPECT_EQ(progress_.total,
            120'000u + 100'000 + 50'000 + 2 + sizeof(kIndexText) - 1);
  EXPECT_EQ(progress_.done, progress_.total);
}

TEST_F(HubPullTest, AMovedBranchFetchesWhatChanged) {
  UseSafetensors();
  const auto first = Run(kHub);
  ASSERT_TRUE(first.ok()) << first.status().message();
  const size_t before = server_.Fetched().size();
  server_.commit = std::string(40, '2');
  server_.small_files["config.json"] = "{\"changed\":1}";
  const auto plan = PlanPull(kHub, Options());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->missing, 13u);
  EXPECT_EQ(plan->files.size(), 5u);
  const auto second = Run(kHub);
  ASSERT_TRUE(second.ok()) << second.status().message();
  // The index again for each plan, and what changed.
  EXPECT_EQ(server_.Fetched().size(), before + 2 + 1);
  EXPECT_NE(second->path, first->path);
  EXPECT_FALSE(std::filesystem::exists(first->path));
  EXPECT_EQ(ReadFile(second->path + "/config.json"), "{\"changed\":1}");
  EXPECT_EQ(ReadFile(second->path + "/tokenizer.json"),
            server_.large_files["tokenizer.json"]);
}

TEST_F(HubPullTest, AFailedUpdateKeepsTheModelThatIsHere) {
  ExpectPulled();
  const std::string old = ReadFile(*ResolveModel(kHub, folder_.path()));
  server_.commit = std::string(40, '2');
  server_.large_files[kBig] = Noise(200'000, 9);
  server_.faults[kBig] = {.cut = 1000};
  Failure();
  EXPECT_EQ(ReadFile(*ResolveModel(kHub, folder_.path())), old);
  ExpectPulled();
}

TEST_F(HubPullTest, RevisionsAreModelsOfTheirOwn) {
  ExpectPulled();
  server_.branch = "refs%2Fpr%2F1";
  server_.commit = std::string(40, '3');
  server_.large_files[kBig] = Noise(1000, 7);
  ExpectPulled("hf:acme/Tiny-GGUF@refs/pr/1:Q8_0");
  EXPECT_EQ(ListCache(folder_.path()).size(), 2u);
  EXPECT_EQ(*ResolveModel("Tiny-GGUF@refs/pr/1:Q8_0", folder_.path()),
            *ResolveModel("hf:acme/Tiny-GGUF@refs/pr/1", folder_.path()));
  EXPECT_THAT(Failure("hf:acme/Tiny-GGUF@v9"), HasSubstr("no revision v9"));
}

TEST_F(HubPullTest, HashesByHead) {
  UseSafetensors();
  server_.list_hashes = false;
  const auto pulled = Run(kHub);
  ASSERT_TRUE(pulled.ok()) << pulled.status().message();
  EXPECT_EQ(ReadFile(pulled->path + "/tokenizer.json"),
            server_.large_files["tokenizer.json"]);
  server_.other_etags["config.json"] = "no-hash";
  server_.commit = std::string(40, '2');
  EXPECT_THAT(Failure(kHub), HasSubstr("gives no hash or no size"));
}

TEST_F(HubPullTest, GoesOnWhereItWasCut) {
  server_.faults[kBig] = {.cut = 50'000};
  Failure();
  EXPECT_EQ(std::filesystem::file_size(Part()), 50'000u);
  ExpectNothing();
  ExpectPulled();
  EXPECT_THAT(server_.Fetched(),
              ElementsAre(kBig, std::string(kBig) + " bytes=50000-"));
}

TEST_F(HubPullTest, GoesOnInTheSameCall) {
  server_.faults[kBig] = {.cut = 50'000, .times = 2};
  ExpectPulled("hf:acme/Tiny-GGUF:Q8_0", kBig, /*attempts=*/3);
  EXPECT_THAT(server_.Fetched(),
              ElementsAre(kBig, std::string(kBig) + " bytes=100000-",
                          std::string(kBig) + " bytes=50000-"));
}

TEST_F(HubPullTest, ServersWithoutRangesStartAgain) {
  server_.faults[kBig] = {.cut = 50'000};
  Failure();
  server_.ignore_range = true;
  ExpectPulled();
}

TEST_F(HubPullTest, DamagedPartsAreDropped) {
  server_.faults[kBig] = {.cut = 50'000};
  Failure();
  WriteFile(Part(), std::string(50'000, 'x'));
  ExpectPulled();
  // Longer than the file: the server refuses the range.
  ASSERT_TRUE(
      RemoveCached(*FindCached(kHub, folder_.path()), folder_.path()).ok());
  server_.faults[kBig] = {.cut = 50'000};
  Failure();
  WriteFile(Part(), std::string(300'000, 'x'));
  ExpectPulled("hf:acme/Tiny-GGUF:Q8_0", kBig, /*attempts=*/2);
}

TEST_F(HubPullTest, StalledServersAreLeft) {
  server_.faults[kBig] = {.cut = 50'000, .stall = true};
  stall_seconds_ = 1;
  EXPECT_THAT(Failure(), HasSubstr("Timeout"));
  stall_seconds_ = 60;
  ExpectLaterPull();
  EXPECT_THAT(server_.Fetched(), Contains(HasSubstr("bytes=50000-")));
}

TEST_F(HubPullTest, WrongBytesAreNoModel) {
  std::string wrong = server_.large_files[kBig];
  wrong[100'000] ^= 1;
  server_.faults[kBig] = {.body = wrong};
  EXPECT_THAT(Failure(), HasSubstr("the hub says sha256-"));
  EXPECT_FALSE(std::filesystem::exists(Part()));
  ExpectLaterPull();
}

TEST_F(HubPullTest, WrongSmallFilesToo) {
  UseSafetensors();
  server_.faults["config.json"] = {.body = "[]"};
  EXPECT_THAT(Failure(kHub), HasSubstr("the hub says sha1-"));
  ExpectNothing();
  ASSERT_TRUE(Run(kHub).ok());
}

TEST_F(HubPullTest, WrongLengths) {
  for (const std::string& body : {Noise(200'001, 1), Noise(199'999, 1)}) {
    server_.faults[kBig] = {.body = body};
    const std::string message = Failure();
    EXPECT_THAT(message, HasSubstr("expected")) << message;
    ExpectNothing();
  }
  // Promises more than it sends, and the other way round.
  server_.faults[kBig] = {.claimed_length = 300'000};
  EXPECT_THAT(Failure(), HasSubstr("more than the expected 200000"));
  server_.faults[kBig] = {.claimed_length = 1000};
  EXPECT_THAT(Failure(), HasSubstr("1000 bytes where 200000 are expected"));
  ExpectLaterPull();
}

TEST_F(HubPullTest, BusyServersAreAskedAgain) {
  server_.faults[kBig] = {.status = 503, .times = 2};
  const std::string listing =
      "/api/models/acme/Tiny-GGUF/revision/main?blobs=true";
  server_.hub_faults[listing] = {.status = 500, .times = 2};
  ExpectPulled("hf:acme/Tiny-GGUF:Q8_0", kBig, /*attempts=*/3);
  EXPECT_EQ(server_.Fetched().size(), 3u);
}

TEST_F(HubPullTest, RetryAfterIsObeyed) {
  server_.faults[kBig] = {.status = 429, .headers = {"Retry-After: 1"}};
  const auto start = std::chrono::steady_clock::now();
  ExpectPulled("hf:acme/Tiny-GGUF:Q8_0", kBig, /*attempts=*/2);
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST_F(HubPullTest, WaitsAreBounded) {
  server_.faults[kBig] = {.status = 429, .headers = {"Retry-After: 3600"}};
  EXPECT_THAT(Failure("hf:acme/Tiny-GGUF:Q8_0", 5),
              HasSubstr("asks to come back in 3600 s"));
  EXPECT_EQ(server_.Fetched().size(), 1u);
  server_.faults[kBig] = {.status = 500, .times = 100};
  EXPECT_THAT(Failure("hf:acme/Tiny-GGUF:Q8_0", 4), HasSubstr("status 500"));
  EXPECT_EQ(server_.Fetched().size(), 5u);
  ExpectLaterPull();
}

TEST_F(HubPullTest, TheTokenStaysWithTheHub) {
  token_ = server_.token = kToken;
  UseSafetensors();
  server_.list_hashes = false;
  ASSERT_TRUE(Run(kHub).ok());
  for (const auto& request : server_.hub_requests()) {
    EXPECT_EQ(request.Header("Authorization"), "Bearer hf_secret");
  }
  // Large files come from another port: another host as far as tokens go.
  EXPECT_EQ(server_.storage_requests().size(), 3u);
  for (const auto& request : server_.storage_requests()) {
    EXPECT_THAT(request.head, Not(HasSubstr("hf_secret")));
    EXPECT_EQ(request.Header("Authorization"), "");
  }
}

TEST_F(HubPullTest, RedirectLoopsEnd) {
  server_.hub_faults["/acme/Tiny-GGUF/resolve/" + server_.commit + "/" + kBig] =
      {.status = 302,
       .headers = {"Location: /acme/Tiny-GGUF/resolve/" + server_.commit + "/" +
                   kBig},
       .times = 1000};
  EXPECT_THAT(Failure("hf:acme/Tiny-GGUF:Q8_0", 5), HasSubstr("redirects"));
  EXPECT_LT(server_.hub_requests().size(), 10u);
  ExpectLaterPull();
}

TEST_F(HubPullTest, OtherProtocolsAreNotFollowed) {
  for (const char* target : {"file:///etc/passwd", "ftp://127.0.0.1/x"}) {
    server_.faults[kBig] = {.redirect = target};
    EXPECT_THAT(Failure(), HasSubstr("rotocol")) << target;
  }
  ExpectLaterPull();
}

TEST_F(HubPullTest, AccessIsExplained) {
  server_.token = kToken;
  EXPECT_THAT(Failure(), HasSubstr("For private models set HF_TOKEN"));
  token_ = "hf_wrong";
  const std::string wrong = Failure();
  EXPECT_THAT(wrong, HasSubstr("as seen by the account of your token"));
  EXPECT_THAT(wrong, Not(HasSubstr("hf_wrong")));
  token_ = kToken;
  server_.gated = true;
  EXPECT_THAT(Failure(),
              HasSubstr("ask for it on " + server_.url() + "/acme/Tiny-GGUF"));
  EXPECT_THAT(Failure("hf:acme/Other"), HasSubstr("not there, or private"));
  server_.gated = false;
  ExpectLaterPull();
}

// What `doctor` says of the hub.
TEST_F(HubPullTest, TheHubIsGreeted) {
  server_.token = kToken;
  const auto greet = [&](const std::string& token, bool withheld = false) {
    HubSettings settings{.endpoint = server_.url()};
    settings.access.token = token;
    settings.token_withheld = withheld;
    const auto answer = HubClient(settings, {}).Greet();
    return answer.ok() ? *answer : answer.status().message();
  };
  EXPECT_THAT(greet(kToken), HasSubstr("the token is accepted"));
  EXPECT_THAT(greet("hf_wrong"), HasSubstr("the token is not accepted"));
  EXPECT_THAT(greet(""), HasSubstr("there is no token (HF_TOKEN)"));
  EXPECT_THAT(greet("", true), HasSubstr("not sent without https"));
}

TEST_F(HubPullTest, ATokenThatIsNotTaken) {
  token_ = "hf_old";
  const std::string listing =
      "/api/models/acme/Tiny-GGUF/revision/main?blobs=true";
  server_.hub_faults[listing] = {.status = 401};
  EXPECT_THAT(Failure(), HasSubstr("does not take the token"));
  server_.hub_faults[listing] = {.status = 418};
  EXPECT_THAT(Failure(), HasSubstr("answered with status 418"));
  ExpectLaterPull();
}

TEST_F(HubPullTest, TheHubChangesItsMind) {
  server_.faults[kBig] = {.cut = 50'000};
  Failure();
  // Another file under the same name and commit: parts are not put together.
  server_.other_etags[kBig] = std::string(64, 'a');
  EXPECT_THAT(Failure(), HasSubstr("another file there than its listing said"));
  ExpectNothing();
  server_.other_etags.clear();
  ExpectPulled();
}

TEST_F(HubPullTest, HostileListings) {
  const auto sibling = [&](const std::string& path, const std::string& size) {
    server_.listing_text = R"({"sha":")" + server_.commit +
                           R"(","siblings":[{"rfilename":")" + path +
                           R"(","size":)" + size + R"(,"lfs":{"sha256":")" +
                           std::string(64, 'a') + R"("}}]})";
    return Failure();
  };
  EXPECT_THAT(sibling("../../x-Q8_0.gguf", "1"), HasSubstr("no path below"));
  EXPECT_THAT(sibling("/x-Q8_0.gguf", "1"), HasSubstr("no path below"));
  EXPECT_THAT(sibling("x-Q8_0.gguf", "99999999999999999999"),
              HasSubstr("no sensible size"));
  // More than any disk here has.
  EXPECT_THAT(sibling("x-Q8_0.gguf", "281474976710656"),
              HasSubstr("bytes are needed"));
  server_.listing_text = "<html>Sign in to the network</html>";
  EXPECT_THAT(Failure(), HasSubstr("is not JSON"));
  server_.listing_text = std::string(200'000, '[');
  EXPECT_THAT(Failure(), HasSubstr("nests deeper"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "x-Q8_0.gguf"));
  server_.listing_text.clear();
  ExpectLaterPull();
}

TEST_F(HubPullTest, OneOfManyFailsAndTheRestIsKept) {
  UseSafetensors();
  server_.faults["model-00002-of-00002.safetensors"] = {.status = 404};
  Failure(kHub);
  ExpectNothing();
  const auto pulled = Run(kHub);
  ASSERT_TRUE(pulled.ok()) << pulled.status().message();
  EXPECT_EQ(ReadFile(pulled->path + "/model-00002-of-00002.safetensors"),
            server_.large_files["model-00002-of-00002.safetensors"]);
}

TEST_F(HubPullTest, DamagedModelsAreMended) {
  ExpectPulled();
  const std::string path = *ResolveModel(kHub, folder_.path());
  // Cut short: seen at once. Changed: by --check.
  WriteFile(path, "damaged");
  EXPECT_FALSE(ResolveModel(kHub, folder_.path()).ok());
  ExpectPulled();
  std::string text = server_.large_files[kBig];
  text[5] ^= 1;
  WriteFile(path, text);
  PullOptions options = Options();
  options.check = true;
  ASSERT_TRUE(Pull("hf:acme/Tiny-GGUF:Q8_0", options).ok());
  EXPECT_EQ(ReadFile(path), server_.large_files[kBig]);
}

TEST_F(HubPullTest, OneProcessAtATime) {
  {
    RepositoryLock lock;
    ASSERT_TRUE(lock.Take(folder_ / "hub/acme/Tiny-GGUF").ok());
    EXPECT_THAT(Failure(), HasSubstr("another process is pulling"));
  }
  ExpectPulled();
}

TEST_F(HubPullTest, Offline) {
  PullOptions options = Options();
  options.hub->offline = true;
  EXPECT_THAT(Pull(kHub, options).status().message(),
              HasSubstr("HF_HUB_OFFLINE is set"));
  ExpectPulled();
  const size_t before = server_.hub_requests().size();
  EXPECT_TRUE(Pull(kHub, options).ok());
  EXPECT_EQ(server_.hub_requests().size(), before);
}

TEST_F(HubPullTest, WithoutAServerSaysWhatToDo) {
  PullOptions options = Options();
  {
    const TestHttpServer gone(
        [](const TestHttpServer::Request&) { return TestHttpServer::Reply{}; });
    options.hub->endpoint = gone.url();
  }
  EXPECT_THAT(Pull(kHub, options).status().message(),
              HasSubstr("HF_ENDPOINT names another hub"));
  EXPECT_THAT(Pull("gpt-5", options).status().message(),
              HasSubstr("hf:ORG/NAME[:QUANT]"));
  EXPECT_THAT(Pull("hf:x", options).status().message(),
              HasSubstr("not ORG/NAME"));
}

// ---- The cache.

TEST_F(HubPullTest, RemovingAndPruning) {
  ExpectPulled();
  ExpectPulled(kHub, "Tiny-Q4_K_M.gguf");
  server_.commit = std::string(40, '2');
  server_.large_files[kBig] = Noise(200'000, 11);
  server_.faults[kBig] = {.cut = 50'000};
  Failure();
  EXPECT_EQ(ListCache(folder_.path()).size(), 2u);
  const auto report = PruneCache(folder_.path());
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->files, 1);
  EXPECT_EQ(report->bytes, 50'000u);
  const std::vector<CachedModel> models = ListCache(folder_.path());
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0].name, "Tiny-GGUF:Q4_K_M");
  EXPECT_EQ(models[0].source, "hf:acme/Tiny-GGUF:Q4_K_M");
  EXPECT_EQ(models[0].bytes, 90'000u);
  EXPECT_EQ(models[0].commit, std::string(40, '1'));
  for (const CachedModel& model : models) {
    EXPECT_TRUE(RemoveCached(model, folder_.path()).ok());
  }
  ExpectNothing();
  EXPECT_FALSE(std::filesystem::exists(folder_ / "hub/acme"));
  ExpectPulled();
}

TEST_F(HubPullTest, NothingOutsideOfTheCacheIsRemoved) {
  ExpectPulled();
  TempFolder outside;
  WriteFile(outside / "precious", "x");
  std::vector<CachedModel> models = ListCache(folder_.path());
  CachedModel forged = models[0];
  forged.folder = outside.path();
  EXPECT_THAT(RemoveCached(forged, folder_.path()).message(),
              HasSubstr("is not below the cache folder"));
  forged.folder = folder_.path();
  EXPECT_FALSE(RemoveCached(forged, folder_.path()).ok());
  // Links are removed, not followed; linked repositories are not seen.
  std::filesystem::create_directory_symlink(outside.path(),
                                            models[0].folder + "/link");
  std::filesystem::create_directory_symlink(outside.path(),
                                            folder_ / "hub/acme/Linked");
  EXPECT_TRUE(PruneCache(folder_.path()).ok());
  EXPECT_FALSE(std::filesystem::is_symlink(models[0].folder + "/link"));
  EXPECT_TRUE(RemoveCached(models[0], folder_.path()).ok());
  EXPECT_EQ(ReadFile(outside / "precious"), "x");
}

TEST_F(HubPullTest, NamesOfTwoOrganisations) {
  ExpectPulled();
  const std::string from = folder_ / "hub/acme", to = folder_ / "hub/other";
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
  const std::string manifest = to + "/Tiny-GGUF/models/q8_0/manifest.json";
  std::string text = ReadFile(manifest);
  text.replace(text.find("acme"), 4, "other");
  WriteFile(manifest, text);
  EXPECT_THAT(ResolveModel("tiny-gguf", folder_.path()).status().message(),
              HasSubstr("both hf:acme/Tiny-GGUF:Q8_0 and hf:other/Tiny-GGUF"));
  EXPECT_TRUE(ResolveModel("hf:other/Tiny-GGUF", folder_.path()).ok());
}

}  // namespace
}  // namespace intarsia
