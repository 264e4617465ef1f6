// What the hub client reads without a server: references, listings, headers,
// names of quantisations, settings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/hub/catalogue.h"
#include "intarsia/hub/http_headers.h"
#include "intarsia/hub/hub_settings.h"
#include "intarsia/hub/listing.h"
#include "intarsia/hub/manifest.h"
#include "intarsia/hub/reference.h"
#include "intarsia/hub/selection.h"
#include "intarsia/hub/sha1.h"
#include "intarsia/hub/url.h"

namespace intarsia {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span<const char>(text));
}

// The examples of FIPS 180-4, and what `git hash-object` says.
TEST(Sha1, KnownDigests) {
  EXPECT_EQ(Sha1Hex({}), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(Sha1Hex(Bytes("abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(Sha1Hex(Bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomn"
                          "opnopq")),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  EXPECT_EQ(Sha1Hex(Bytes(std::string(1000000, 'a'))),
            "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
  EXPECT_EQ(GitBlobSha1Hex({}), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  EXPECT_EQ(GitBlobSha1Hex(Bytes("hello\n")),
            "ce013625030ba8dba906f756967f9e9ca394464a");
  // Over block borders, beside the same bytes hashed as one message.
  for (size_t n = 0; n < 200; ++n) {
    const std::string text(n, 'x');
    EXPECT_EQ(
        GitBlobSha1Hex(Bytes(text)),
        Sha1Hex(Bytes("blob " + std::to_string(n) + std::string(1, 0) + text)));
  }
}

TEST(Reference, Forms) {
  const auto text = [](const char* from) {
    const auto reference = ParseHubReference(from);
    return reference.ok() ? reference->repository + "|" + reference->revision +
                                "|" + reference->quant
                          : std::string("refused");
  };
  EXPECT_EQ(text("hf:a/b"), "a/b|main|");
  EXPECT_EQ(text("hf:a/b:Q4_K_M"), "a/b|main|Q4_K_M");
  EXPECT_EQ(text("hf:a/b@v1.0"), "a/b|v1.0|");
  EXPECT_EQ(text("hf:a/b@refs/pr/1:q8_0"), "a/b|refs/pr/1|q8_0");
  EXPECT_EQ(text("hf.co/A-1/b_2.c:x.gguf"), "A-1/b_2.c|main|x.gguf");
  EXPECT_EQ(text("https://huggingface.co/a/b"), "a/b|main|");
  EXPECT_EQ(ParseHubReference("hf:a/b@v1:Q8_0")->ToString(), "hf:a/b@v1:Q8_0");
  EXPECT_EQ(ParseHubReference("hf.co/a/b")->ToString(), "hf:a/b");
  for (const char* bad :
       {"hf:",         "hf:a",        "hf:/b",     "hf:a/",
        "hf:a/b/c",    "hf:../b",     "hf:a/..",   "hf:a/.b",
        "hf:a/b.",     "hf:a/b c",    "hf:a/b:",   "hf:a/b@",
        "hf:a/b@x//y", "hf:a/b@../x", "hf:a/b@/x", "hf:a/b:q/x",
        "hf:a/b:q:x",  "hf:a\n/b",    "hf:a/b?x",  "hf:a/b%2e"}) {
    EXPECT_EQ(text(bad), "refused") << bad;
  }
  EXPECT_FALSE(ParseHubReference("hf:a/" + std::string(97, 'x')).ok());
  EXPECT_TRUE(IsHubReference("hf:x"));
  EXPECT_FALSE(IsHubReference("qwen3:0.6b"));
}

TEST(Headers, LinesOfAResponse) {
  HttpHeaders headers;
  for (const char* line :
       {"HTTP/1.1 302 Found\r\n", "X-Linked-ETag: \"abc\"\r\n",
        "x-linked-size:  123 \r\n", "X-Repo-Commit: c\r\n", "ETag: W/\"weak\"",
        "Location: https://cdn.example/x\r\n"}) {
    AddHeaderLine(line, &headers);
  }
  EXPECT_EQ(headers.linked_etag, "abc");
  EXPECT_EQ(headers.linked_size, 123u);
  EXPECT_EQ(headers.etag, "weak");
  EXPECT_EQ(headers.location, "https://cdn.example/x");
  for (const char* line :
       {"HTTP/2 206\r\n", "content-range: bytes 5-9/10\r\n",
        "Content-Length: 5\r\n", "X-Error-Code: GatedRepo\r\n",
        "X-Error-Message: no\r\n", "no colon", ":", "\r\n", "X-Other: 1"}) {
    AddHeaderLine(line, &headers);
  }
  // The redirect is gone but for the hub's words on the file.
  EXPECT_EQ(headers.linked_etag, "abc");
  EXPECT_EQ(headers.repo_commit, "c");
  EXPECT_EQ(headers.location, "");
  EXPECT_EQ(headers.etag, "");
  EXPECT_EQ(headers.content_length, 5u);
  EXPECT_EQ(headers.error_code, "GatedRepo");
  EXPECT_EQ(headers.error_message, "no");
  EXPECT_EQ(ParseContentRange(headers.content_range).begin, 5u);
  EXPECT_EQ(ParseContentRange(headers.content_range).total, 10u);
  AddHeaderLine("Content-Length: 99999999999999999999999", &headers);
  EXPECT_FALSE(headers.content_length);
  AddHeaderLine("Content-Length: 5x", &headers);
  EXPECT_FALSE(headers.content_length);
  AddHeaderLine("ETag: " + std::string(9000, 'x'), &headers);
  EXPECT_EQ(headers.etag, "");
  EXPECT_EQ(BareEtag("\""), "\"");
  EXPECT_FALSE(ParseContentRange("bytes */200").begin);
  EXPECT_EQ(ParseContentRange("bytes */200").total, 200u);
  EXPECT_FALSE(ParseContentRange("").total);
}

constexpr char kCommit[] = "0123456789abcdef0123456789abcdef01234567";

std::string ListingOf(const std::string& siblings) {
  return std::string(R"({"sha":")") + kCommit + R"(","siblings":)" + siblings +
         "}";
}

std::string Refusal(const std::string& text) {
  const auto listing = ParseHubListing(text, "[hub] a/b");
  return listing.ok() ? "" : listing.status().message();
}

TEST(Listing, FilesWithTheirHashes) {
  const auto listing = ParseHubListing(
      ListingOf(
          R"([{"rfilename":"config.json","size":3,"blobId":")" +
          std::string(40, 'a') +
          R"("},{"rfilename":"x/y z.gguf","blobId":"1","lfs":{"sha256":")" +
          std::string(64, 'b') +
          R"(","size":7}},{"rfilename":"bare","size":null}])"),
      "[hub] a/b");
  ASSERT_TRUE(listing.ok()) << listing.status().message();
  EXPECT_EQ(listing->commit, kCommit);
  ASSERT_EQ(listing->files.size(), 3u);
  EXPECT_EQ(listing->files[0].Hash(), "sha1-" + std::string(40, 'a'));
  EXPECT_EQ(listing->files[1].Hash(), "sha256-" + std::string(64, 'b'));
  EXPECT_EQ(listing->files[1].size, 7u);
  EXPECT_TRUE(listing->files[1].complete());
  EXPECT_FALSE(listing->files[2].complete());
}

TEST(Listing, HostileOnesAreRefused) {
  const auto file = [](const std::string& fields) {
    return ListingOf("[{" + fields + "}]");
  };
  EXPECT_THAT(Refusal("<html>"), HasSubstr("is not JSON"));
  EXPECT_THAT(Refusal("[]"), HasSubstr("is no object"));
  EXPECT_THAT(Refusal("{}"), HasSubstr("names no commit"));
  EXPECT_THAT(Refusal(R"({"sha":"../../x","siblings":[]})"),
              HasSubstr("names no commit"));
  EXPECT_THAT(Refusal(ListingOf("{}")), HasSubstr("no list of files"));
  EXPECT_THAT(Refusal(ListingOf("[1]")), HasSubstr("lists what is no file"));
  for (const char* path :
       {"", "/etc/passwd", "../x", "a/../x", "a/./x", "a//x", "x/", "..", ".",
        R"(a\\b)", R"(a\nb)", R"(a\u007fb)"}) {
    EXPECT_THAT(Refusal(file(std::string(R"("rfilename":")") + path + "\"")),
                HasSubstr("is no path below a folder"))
        << path;
  }
  EXPECT_THAT(Refusal(file(R"("rfilename":"a\u0000b")")),
              HasSubstr("is no path below a folder"));
  EXPECT_THAT(Refusal(file(R"("rfilename":")" + std::string(300, 'x') + "\"")),
              HasSubstr("is no path"));
  EXPECT_THAT(Refusal(file(R"("path":"x")")), HasSubstr("is no path"));
  for (const char* size : {"-1", "1.5", "\"7\"", "1e30", "281474976710657"}) {
    EXPECT_THAT(Refusal(file(std::string(R"("rfilename":"x","size":)") + size)),
                HasSubstr("no sensible size"))
        << size;
    EXPECT_THAT(
        Refusal(file(R"("rfilename":"x","lfs":{"sha256":")" +
                     std::string(64, 'a') + R"(","size":)" + size + "}")),
        HasSubstr("no sensible size"));
  }
  EXPECT_THAT(Refusal(file(R"("rfilename":"x","lfs":{"sha256":"../x"})")),
              HasSubstr("no sensible sha256"));
  EXPECT_THAT(Refusal(ListingOf(R"([{"rfilename":"x"},{"rfilename":"x"}])")),
              HasSubstr("has \"x\" twice"));
  std::string many = "[";
  for (int i = 0; i < 20001; ++i) {
    many += std::string(i == 0 ? "" : ",") + R"({"rfilename":"f)" +
            std::to_string(i) + "\"}";
  }
  EXPECT_THAT(Refusal(ListingOf(many + "]")),
              HasSubstr("has more than 20000 files"));
}

TEST(Manifest, RoundTripAndRefusals) {
  TempFolder folder;
  Manifest manifest;
  manifest.reference = *ParseHubReference("hf:a/b@v1:Q8_0");
  manifest.snapshot.commit = kCommit;
  manifest.snapshot.files = {
      {.path = "x.gguf", .size = 5, .sha256 = std::string(64, 'a')},
      {.path = "y", .size = 0, .git_sha1 = std::string(40, 'b')}};
  manifest.entry = "x.gguf";
  manifest.pulled = 12;
  const std::string path = folder / "manifest.json";
  ASSERT_TRUE(WriteManifest(path, manifest).ok());
  const auto read = ReadManifest(path);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->reference.ToString(), "hf:a/b@v1:Q8_0");
  EXPECT_EQ(read->snapshot.commit, kCommit);
  EXPECT_EQ(read->snapshot.files[0].Hash(), manifest.snapshot.files[0].Hash());
  EXPECT_EQ(read->snapshot.files[1].Hash(), manifest.snapshot.files[1].Hash());
  EXPECT_EQ(read->entry, "x.gguf");
  EXPECT_EQ(read->pulled, 12);
  EXPECT_EQ(read->bytes(), 5u);
  const std::string good = ReadFile(path);
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return ParseManifest(text, "[hub] m").status().message();
  };
  EXPECT_THAT(changed("\"version\": 1", "\"version\": 2"),
              HasSubstr("not a manifest of this version"));
  EXPECT_THAT(changed("\"entry\": \"x.gguf\"", "\"entry\": \"../x\""),
              HasSubstr("contradicts itself"));
  EXPECT_THAT(changed(":Q8_0", ""), HasSubstr("contradicts itself"));
  EXPECT_THAT(changed("\"size\": 5", "\"size\": null"),
              HasSubstr("contradicts itself"));
  EXPECT_THAT(changed("hf:a/b", "hf:../b"), HasSubstr("not ORG/NAME"));
  EXPECT_FALSE(ReadManifest(folder / "none").ok());
}

TEST(Selection, QuantisationsOfNames) {
  const std::pair<const char*, const char*> cases[] = {
      {"Model-Q4_K_M.gguf", "Q4_K_M"},
      {"model.q8_0.gguf", "Q8_0"},
      {"x/Model-7B-v0.3-Q5_K_S-00002-of-00003.gguf", "Q5_K_S"},
      {"Qwen3-4B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"},
      {"m-IQ2_XXS.gguf", "IQ2_XXS"},
      {"m-IQ4_NL.GGUF", "IQ4_NL"},
      {"m_q4_0.gguf", "Q4_0"},
      {"m-Q4_0_4_8.gguf", "Q4_0_4_8"},
      {"m-TQ1_0.gguf", "TQ1_0"},
      {"m-bf16.gguf", "BF16"},
      {"m.fp16.gguf", "FP16"},
      {"gpt-oss-MXFP4.gguf", "MXFP4"},
      {"m-Q4_K_M-imat.gguf", "Q4_K_M"},
      {"m-q4_k_m_v2.gguf", "Q4_K_M"},
      {"F16/m.gguf", "F16"},
      {"m.gguf", ""},
      {"Q.gguf", ""},
      {"Qwen2.gguf", ""},
      {"m-Q4_K_M.txt", ""},
      {"", ""}};
  for (const auto& [path, quant] : cases) {
    EXPECT_EQ(QuantOfFile(path), quant) << path;
  }
}

// `weights`: the files that model.safetensors.index.json names.
std::string Selected(std::vector<std::string> paths, const std::string& quant,
                     const std::vector<std::string>& weights = {}) {
  HubListing listing;
  for (std::string& path : paths) listing.files.push_back({std::move(path)});
  const auto read = [&](const HubFile& file) -> Result<std::string> {
    EXPECT_EQ(file.path, "model.safetensors.index.json");
    nlohmann::json map = nlohmann::json::object();
    for (const std::string& name : weights) map["of " + name] = name;
    return nlohmann::json({{"weight_map", map}}).dump();
  };
  const auto selection = SelectFiles(listing, quant, "[hub] a/b", read);
  if (!selection.ok()) return selection.status().message();
  std::string text = selection->quant + " " + selection->entry + ":";
  for (const HubFile& file : selection->files) text += " " + file.path;
  return text;
}

TEST(Selection, Gguf) {
  const std::vector<std::string> all = {"README.md",
                                        "m-Q8_0.gguf",
                                        "m-Q4_K_M.gguf",
                                        "m-UD-Q4_K_XL.gguf",
                                        "m-F16.gguf",
                                        "mmproj-F16.gguf",
                                        "m-imatrix.gguf",
                                        "m-Q4_K_M-x.gguf",
                                        "m-IQ2_M-00001-of-00002.gguf",
                                        "m-IQ2_M-00002-of-00002.gguf",
                                        "m-Q2_K-00002-of-00002.gguf"};
  EXPECT_EQ(Selected(all, ""), "Q4_K_M m-Q4_K_M.gguf: m-Q4_K_M.gguf");
  EXPECT_EQ(Selected(all, "q8_0"), "Q8_0 m-Q8_0.gguf: m-Q8_0.gguf");
  EXPECT_EQ(Selected(all, "f16"), "F16 m-F16.gguf: m-F16.gguf");
  EXPECT_EQ(Selected(all, "Q4_K_XL"),
            "UD-Q4_K_XL m-UD-Q4_K_XL.gguf: m-UD-Q4_K_XL.gguf");
  EXPECT_EQ(Selected(all, "m-q4_k_m-x.gguf"),
            "Q4_K_M m-Q4_K_M-x.gguf: m-Q4_K_M-x.gguf");
  EXPECT_EQ(Selected(all, "iq2_m"),
            "IQ2_M m-IQ2_M-00001-of-00002.gguf: m-IQ2_M-00001-of-00002.gguf "
            "m-IQ2_M-00002-of-00002.gguf");
  EXPECT_THAT(Selected(all, "Q2_K"), HasSubstr("part 1 of 2"));
  EXPECT_THAT(Selected(all, "Q5_K_M"),
              HasSubstr("no GGUF file in Q5_K_M; there are: F16, IQ2_M, Q2_K, "
                        "Q4_K_M, Q8_0, UD-Q4_K_XL"));
  EXPECT_EQ(Selected({"b-Q8_0.gguf", "a.gguf"}, ""),
            "Q8_0 b-Q8_0.gguf: b-Q8_0.gguf");
  EXPECT_EQ(Selected({"b.gguf", "a.gguf"}, ""), "a.gguf a.gguf: a.gguf");
  EXPECT_THAT(Selected({"README.md"}, ""),
              HasSubstr("neither model.safetensors nor GGUF"));
  EXPECT_THAT(Selected({"model.bin"}, "Q8_0"), HasSubstr("no GGUF file in"));
  EXPECT_THAT(Selected({"a.gguf"}, "safetensors"), HasSubstr("no safetensors"));
}

TEST(Selection, Safetensors) {
  const std::vector<std::string> one = {"README.md",
                                        "config.json",
                                        "model.safetensors",
                                        "pytorch_model.bin",
                                        "tokenizer.json",
                                        "generation_config.json",
                                        "chat_template.jinja",
                                        "onnx/model.onnx",
                                        "x/config.json",
                                        "model.fp16.safetensors",
                                        "consolidated.safetensors",
                                        "m-Q8_0.gguf"};
  EXPECT_EQ(Selected(one, ""),
            "safetensors : config.json model.safetensors tokenizer.json "
            "generation_config.json chat_template.jinja");
  EXPECT_EQ(Selected(one, "Q8_0"), "Q8_0 m-Q8_0.gguf: m-Q8_0.gguf");
}

TEST(Selection, WeightsAreThoseOfTheIndex) {
  const std::string index = "model.safetensors.index.json";
  EXPECT_EQ(Selected({"model-00001-of-00002.safetensors",
                      "model-00002-of-00002.safetensors", index, "vocab.json",
                      "model-4bit.safetensors", "consolidated.safetensors"},
                     "safetensors",
                     {"model-00001-of-00002.safetensors",
                      "model-00002-of-00002.safetensors"}),
            "safetensors : model-00001-of-00002.safetensors "
            "model-00002-of-00002.safetensors model.safetensors.index.json "
            "vocab.json");
  // Whatever they are called.
  EXPECT_EQ(Selected({"config.json", index, "pytorch_model-1.safetensors",
                      "model.safetensors-00002-of-00002.safetensors"},
                     "",
                     {"pytorch_model-1.safetensors",
                      "model.safetensors-00002-of-00002.safetensors"}),
            "safetensors : config.json model.safetensors.index.json "
            "pytorch_model-1.safetensors "
            "model.safetensors-00002-of-00002.safetensors");
  EXPECT_EQ(Selected({index, "a.safetensors"}, "", {"b.safetensors"}),
            "[hub] a/b: model.safetensors.index.json names b.safetensors, "
            "which is not there");
  EXPECT_THAT(Selected({index, "a.safetensors"}, "", {}),
              HasSubstr("names no weights"));
  EXPECT_THAT(Selected({index, "x/a.safetensors"}, "", {"x/a.safetensors"}),
              HasSubstr("not the name of a safetensors file"));
  // A whole model counts before an index.
  EXPECT_EQ(Selected({index, "a.safetensors", "model.safetensors"}, "",
                     {"a.safetensors"}),
            "safetensors : model.safetensors");
}

TEST(Selection, TemplatesComeAlong) {
  EXPECT_EQ(
      Selected({"model.safetensors", "chat_template.json",
                "additional_chat_templates/tool_use.jinja",
                "additional_chat_templates/notes.txt", "x/chat_template.jinja"},
               ""),
      "safetensors : model.safetensors chat_template.json "
      "additional_chat_templates/tool_use.jinja");
}

TEST(Selection, DraftersAreNotTheModel) {
  const std::vector<std::string> files = {
      "MTP/g-MTP-Q8_0.gguf", "mtp-g-Q4_K_M.gguf", "g-eagle3-Q4_K_M.gguf",
      "g-UD-Q5_K_XL.gguf", "g-IQ4_XS.gguf"};
  EXPECT_EQ(Selected(files, ""), "IQ4_XS g-IQ4_XS.gguf: g-IQ4_XS.gguf");
  EXPECT_EQ(Selected(files, "q8_0"),
            "[hub] a/b has no GGUF file in q8_0; there are: IQ4_XS, "
            "UD-Q5_K_XL, g-MTP-Q8_0.gguf (a drafter), g-eagle3-Q4_K_M.gguf (a "
            "drafter), mtp-g-Q4_K_M.gguf (a drafter)");
  EXPECT_EQ(Selected(files, "g-MTP-Q8_0.gguf"),
            "Q8_0 MTP/g-MTP-Q8_0.gguf: MTP/g-MTP-Q8_0.gguf");
  EXPECT_EQ(Selected({"x-MTP-Q8_0.gguf", "x-MTP-F16.gguf"}, ""),
            "Q8_0 x-MTP-Q8_0.gguf: x-MTP-Q8_0.gguf");
  // A word of the name, not a part of one.
  EXPECT_EQ(Selected({"Draftsman-Q8_0.gguf", "z-F16.gguf"}, ""),
            "Q8_0 Draftsman-Q8_0.gguf: Draftsman-Q8_0.gguf");
}

TEST(Selection, WeightsInOtherFormsAreNamed) {
  EXPECT_EQ(Selected({"README.md", "pytorch_model.bin", "x/model.onnx",
                      "adapter_model.safetensors", "flax_model.msgpack"},
                     ""),
            "[hub] a/b has neither model.safetensors nor GGUF files; what it "
            "has is not read: pytorch_model.bin (pickled by PyTorch), "
            "x/model.onnx (ONNX), adapter_model.safetensors (an adapter "
            "without its model) and 1 more. Look for the same model in "
            "safetensors or GGUF");
  EXPECT_THAT(Selected({"model-00001-of-00002.safetensors"}, ""),
              HasSubstr("under a name that nothing refers to"));
}

TEST(HubSettings, OfThisProcess) {
  const char* before = std::getenv("HF_ENDPOINT");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("HF_ENDPOINT", "https://mirror.example", 1);
  EXPECT_EQ(ReadHubSettings().endpoint, "https://mirror.example");
  ::unsetenv("HF_ENDPOINT");
  EXPECT_EQ(ReadHubSettings().endpoint, "https://huggingface.co");
  if (before != nullptr) ::setenv("HF_ENDPOINT", kept.c_str(), 1);
}

TEST(HubSettings, VariablesOfTheHub) {
  TempFolder folder;
  std::map<std::string, std::string> environment = {{"HOME", folder.path()}};
  const auto read = [&] {
    return ReadHubSettings(
        [&](const std::string& name) { return environment[name]; });
  };
  EXPECT_EQ(read().endpoint, "https://huggingface.co");
  EXPECT_EQ(read().access.token, "");
  EXPECT_FALSE(read().access.netrc);
  std::filesystem::create_directories(folder / ".cache/huggingface");
  WriteFile(folder / ".cache/huggingface/token", " hf_home\n");
  EXPECT_EQ(read().access.token, "hf_home");
  std::filesystem::create_directories(folder / "x/huggingface");
  WriteFile(folder / "x/huggingface/token", "hf_xdg");
  environment["XDG_CACHE_HOME"] = folder / "x";
  EXPECT_EQ(read().access.token, "hf_xdg");
  WriteFile(folder / "token", "hf_hfhome");
  environment["HF_HOME"] = folder.path();
  EXPECT_EQ(read().access.token, "hf_hfhome");
  WriteFile(folder / "mine", "hf_mine");
  environment["HF_TOKEN_PATH"] = folder / "mine";
  EXPECT_EQ(read().access.token, "hf_mine");
  environment["HUGGING_FACE_HUB_TOKEN"] = "hf_old";
  EXPECT_EQ(read().access.token, "hf_old");
  environment["HF_TOKEN"] = "hf_new";
  EXPECT_EQ(read().access.token, "hf_new");
  environment["HF_TOKEN"] = "hf_new\r\nX-Evil: 1";
  EXPECT_EQ(read().access.token, "");
  environment["HF_TOKEN"] = "hf_new";
  environment["HF_ENDPOINT"] = "http://mirror.example/";
  EXPECT_EQ(read().endpoint, "http://mirror.example");
  EXPECT_EQ(read().access.token, "");
  EXPECT_TRUE(read().token_withheld);
  environment["HF_ENDPOINT"] = "http://127.0.0.1:8080//";
  EXPECT_EQ(read().endpoint, "http://127.0.0.1:8080");
  EXPECT_EQ(read().access.token, "hf_new");
  environment["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "yes";
  EXPECT_EQ(read().access.token, "");
  EXPECT_FALSE(read().offline);
  environment["HF_HUB_OFFLINE"] = "1";
  EXPECT_TRUE(read().offline);
}

TEST(Catalogue, NamesAreOnceAndReferencesAreSound) {
  std::set<std::string> names;
  for (const CatalogueEntry& entry : Catalogue()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_NE(entry.hub.empty(), entry.package.empty()) << entry.name;
    if (entry.hub.empty()) continue;
    const auto reference = ParseHubReference(entry.hub);
    ASSERT_TRUE(reference.ok()) << entry.hub;
    EXPECT_FALSE(reference->quant.empty()) << entry.hub;
  }
  EXPECT_EQ(CatalogueNames("qwen3"), "qwen3:0.6b, qwen3:1.7b, qwen3:4b");
  EXPECT_THAT(CatalogueNames("zzz"), HasSubstr("smollm2-135m"));
  EXPECT_EQ(FindCatalogueEntry("qwen3"), nullptr);
}

TEST(Url, Parts) {
  EXPECT_EQ(UrlEscape("a/b c%", "/"), "a/b%20c%25");
  EXPECT_EQ(UrlEscape("refs/pr/1"), "refs%2Fpr%2F1");
  EXPECT_EQ(UrlAuthority("http://me:pw@host:81/x"), "host:81");
  EXPECT_EQ(UrlAuthority("host"), "");
  EXPECT_EQ(UrlFileName("https://h/a/b%20c.whl?x"), "b c.whl");
}

}  // namespace
}  // namespace intarsia
