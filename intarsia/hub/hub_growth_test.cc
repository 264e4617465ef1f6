// Time and memory of what reads a hub's, an index's and pip's texts.
#include <gtest/gtest.h>

#include <memory>
#include <span>

#include "intarsia/core/growth_testing.h"
#include "intarsia/hub/listing.h"
#include "intarsia/hub/manifest.h"
#include "intarsia/hub/package_index.h"
#include "intarsia/hub/pip_config.h"
#include "intarsia/hub/selection.h"
#include "intarsia/hub/test_zip.h"
#include "intarsia/hub/zip.h"

namespace intarsia {
namespace {

constexpr char kUrl[] = "https://index.example/simple/a-package/";

void ExpectPage(const std::string& name, const std::string& head,
                const std::string& item, const std::string& tail, double memory,
                const std::string& between = "") {
  ExpectLinear(
      "index page: " + name,
      [&](size_t bytes) { return Repeated(head, item, tail, bytes, between); },
      // Read or refused: only a page of JSON can be at fault.
      [](const std::string& page) {
        (void)ParseIndexPage(page, "text/html", kUrl);
      },
      {.memory = memory});
}

TEST(HubGrowth, IndexPages) {
  ExpectPage("links", "<html>", "<a href=#>x</a>", "", 24);
  ExpectPage("attributes", "<a ", "a ", "", 4);
  ExpectPage("attributes that are kept", "<a ", "href=\"\" ", "", 24);
  ExpectPage("open tags", "", "<a ", "", 4);
  ExpectPage("open brackets", "", "<", "", 4);
  ExpectPage("open comments", "<!---->", "<!-- ", "", 4);
  ExpectPage("entities", "<a href=\"", "&amp;", "\">", 8);
  ExpectPage("a long base",
             "<base href=\"/" + std::string(300'000, 'b') + "/\">",
             "<a href=#>", "", 24);
  ExpectPage("a base of 2 KB",
             "<base href=\"/" + std::string(2000, 'b') + "/\">", "<a href=#>",
             "", 80);
  ExpectPage("bases", "", "<base href=\"x/\">", "", 8);
  ExpectPage("JSON", R"({"files":[)", R"({"filename":"#","url":"#"})", "]}", 24,
             ",");
  ExpectPage("JSON that is not used", R"({"files":[], "x":[)", "{\"\":0}", "]}",
             32, ",");
}

TEST(HubGrowth, MoreLinksThanAllowed) {
  const std::string page =
      Repeated("<base href=\"/" + std::string(4000, 'b') + "/\">", "<a href=#>",
               "", 300'000, "");
  const auto files = ParseIndexPage(page, "text/html", kUrl);
  ASSERT_FALSE(files.ok());
  EXPECT_NE(files.status().message().find("more than 64 MiB of names"),
            std::string::npos)
      << files.status().message();
}

std::string Listing(const std::string& fields, size_t bytes) {
  return R"({"sha":")" + std::string(40, 'a') + R"(",)" + fields +
         Repeated(R"("siblings":[)",
                  R"({"rfilename":"model-#.gguf","size":1,"blobId":")" +
                      std::string(40, 'b') + R"("})",
                  "]}", bytes);
}

TEST(HubGrowth, Listings) {
  ExpectLinear(
      "hub listing", [](size_t bytes) { return Listing("", bytes); },
      [](const std::string& text) {
        const auto listing = ParseHubListing(text, "f");
        ASSERT_TRUE(listing.ok()) << listing.status().message();
        const auto none = [](const HubFile&) -> Result<std::string> {
          return NotFound("[t] none");
        };
        EXPECT_TRUE(SelectFiles(*listing, "", "f", none).ok());
      },
      {.memory = 12, .bytes = 400'000});
  ExpectLinear(
      "manifest",
      [](size_t bytes) {
        return Listing(
            R"("version":1,"source":"a/b:Q4_0","entry":"model-0.gguf",)",
            bytes);
      },
      [](const std::string& text) {
        const auto manifest = ParseManifest(text, "f");
        EXPECT_TRUE(manifest.ok()) << manifest.status().message();
      },
      {.memory = 12, .bytes = 400'000});
}

TEST(HubGrowth, PipConfiguration) {
  const auto expect = [](const std::string& name, const std::string& head,
                         const std::string& item, double memory,
                         const std::string& between) {
    ExpectLinear(
        "pip.conf: " + name,
        [&](size_t bytes) { return Repeated(head, item, "", bytes, between); },
        [](const std::string& text) { (void)ParseIni(text); },
        {.memory = memory});
  };
  expect("keys", "[a]\n", "#=", 24, "\n");
  expect("sections", "", "[#]", 24, "\n");
  expect("one long value", "[a]\nk=\n", " x", 8, "\n");
  expect("one long line", "[a]\nk=", "x", 8, "");
  expect("white space", "", "  \n", 4, "");
}

TEST(HubGrowth, ZipDirectories) {
  ExpectLinear(
      "zip: a directory of many members",
      [](size_t bytes) {
        // Records of the directory alone: none of them is the one sought.
        std::string directory;
        uint16_t entries = 0;
        while (directory.size() < bytes / 2 && entries < 0xFFFE) {
          const std::string name = std::to_string(entries);
          directory += Raw<uint32_t>(0x02014b50) + std::string(24, '\0') +
                       Raw(static_cast<uint16_t>(name.size())) +
                       std::string(16, '\0') + name;
          ++entries;
        }
        std::string out = std::string(bytes / 2, ' ');
        const auto offset = static_cast<uint32_t>(out.size());
        out += directory + Raw<uint32_t>(0x06054b50) + Raw<uint32_t>(0) +
               Raw(entries) + Raw(entries) +
               Raw(static_cast<uint32_t>(directory.size())) + Raw(offset) +
               Raw<uint16_t>(0);
        return out;
      },
      [](const std::string& bytes) {
        const auto file =
            MappedFile::OfBytes("f", std::as_bytes(std::span(bytes)));
        const auto member = FindZipMember(*file, "x");
        ASSERT_FALSE(member.ok());
        EXPECT_NE(member.status().message().find("has no member x"),
                  std::string::npos)
            << member.status().message();
      },
      {.memory = 2});
}

}  // namespace
}  // namespace intarsia
