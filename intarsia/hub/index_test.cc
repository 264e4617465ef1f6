// The parts of pull that need no server: hashes, pip's settings, pages of an
// index, zip archives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/checkpoint/test_files.h"
#include "intarsia/core/sha256.h"
#include "intarsia/hub/package_index.h"
#include "intarsia/hub/pip_config.h"
#include "intarsia/hub/test_zip.h"
#include "intarsia/hub/url.h"
#include "intarsia/hub/zip.h"

namespace intarsia {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span<const char>(text));
}

// The examples of FIPS 180-4.
TEST(Sha256, KnownDigests) {
  EXPECT_EQ(Sha256Hex({}),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex(Bytes("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex(Bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnom"
                            "nopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  Sha256 million;
  std::string text(1000000, 'a');
  for (size_t at = 0, n = 1; at < text.size(); at += n, n = n % 191 + 1) {
    million.Update(Bytes(text.substr(at, n)));
  }
  EXPECT_EQ(million.Hex(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Index, HtmlPage) {
  const std::string page =
      "<!DOCTYPE html><!-- <a href='no.whl'> --><base href=\"/simple/x/\">"
      "<abbr><A class=k HREF='../../files/a%2Bb-1.0-py3.whl#sha256=" +
      std::string(64, 'A') +
      "' data-requires-python=\"&gt;=3.9\">a</A>\n"
      "<a href=\"https://other.example/x-2.0.whl?a=1&amp;b=2\" data-yanked>"
      "<a href=\"x-3.0.tar.gz#md5=11\"><a href=\"ftp://x/y.whl\"><a href=";
  const auto files = ParseIndexPage(page, "text/html",
                                    "https://me:pw@host.example:81/simple/x/");
  ASSERT_TRUE(files.ok());
  ASSERT_EQ(files->size(), 3u);
  EXPECT_EQ((*files)[0].filename, "a+b-1.0-py3.whl");
  EXPECT_EQ((*files)[0].url,
            "https://me:pw@host.example:81/files/a%2Bb-1.0-py3.whl");
  EXPECT_EQ((*files)[0].sha256, std::string(64, 'a'));
  EXPECT_FALSE((*files)[0].yanked);
  // Another host gets no password.
  EXPECT_EQ((*files)[1].url, "https://other.example/x-2.0.whl?a=1&b=2");
  EXPECT_TRUE((*files)[1].yanked);
  EXPECT_EQ((*files)[1].sha256, "");
  EXPECT_EQ((*files)[2].filename, "x-3.0.tar.gz");
}

TEST(Index, JsonPage) {
  const std::string page =
      R"({"files":[{"filename":"x-1.0-py3-none-any.whl","url":"/f/x.whl",)"
      R"("hashes":{"sha256":")" +
      std::string(64, 'c') +
      R"("},"yanked":false},{"filename":"y","url":"z","yanked":"why"},)"
      R"({"filename":"n","url":"file:///etc/passwd"},{"filename":7},3],"a":1})";
  const auto files = ParseIndexPage(page, "application/vnd.pypi.simple.v1+json",
                                    "http://h/simple/x/");
  ASSERT_TRUE(files.ok()) << files.status().message();
  ASSERT_EQ(files->size(), 2u);
  EXPECT_EQ((*files)[0].url, "http://h/f/x.whl");
  EXPECT_EQ((*files)[0].sha256, std::string(64, 'c'));
  EXPECT_TRUE((*files)[1].yanked);
  EXPECT_THAT(
      ParseIndexPage("{\"files\":3}", "", "http://u:p@h/x").status().message(),
      HasSubstr("http://h/x: the page has no list of files"));
  EXPECT_THAT(
      ParseIndexPage("{\"files\":", "", "http://h/x").status().message(),
      HasSubstr("is not JSON"));
}

TEST(Index, TheNewestWheel) {
  auto choose = [](const std::vector<std::string>& names) {
    std::vector<IndexFile> files;
    for (const std::string& name : names) {
      const bool yanked = name.starts_with("!");
      files.push_back({name.substr(yanked ? 1 : 0), "u", "", yanked});
    }
    const auto chosen = ChooseWheel(files, "My.Pkg");
    return chosen.ok() ? chosen->filename : chosen.status().message();
  };
  EXPECT_EQ(choose({"my_pkg-0.9-py3-none-any.whl", "my_pkg-0.10-py3-x.whl",
                    "my_pkg-0.11.tar.gz", "!my_pkg-0.12-py3-none-any.whl",
                    "my_pkg-0.13rc1-py3-none-any.whl",
                    "my_pkg_more-9.0-py3-none-any.whl", "my_pkg-7.whl"}),
            "my_pkg-0.10-py3-x.whl");
  EXPECT_EQ(choose({"my_pkg-0.2b1-py3-none-any.whl"}),
            "my_pkg-0.2b1-py3-none-any.whl");
  EXPECT_THAT(choose({"x-1-py3-none-any.whl"}),
              HasSubstr("no wheel of My.Pkg"));
  EXPECT_EQ(NormalizedPackage("A.-_b"), "a-b");
}

TEST(PipConfig, Ini) {
  const IniSections ini = ParseIni(
      "stray = 1\n[global]\r\n# no\n; no\nIndex_URL : https://a/b \n"
      "trusted-host =\n  one\n\ttwo\n[install]\nempty\ncert=/x\n");
  EXPECT_EQ(ini.at("global").at("index-url"), "https://a/b");
  EXPECT_EQ(ini.at("global").at("trusted-host"), "one\ntwo");
  EXPECT_EQ(ini.at("install").at("cert"), "/x");
  EXPECT_EQ(ini.size(), 2u);
}

TEST(PipConfig, Precedence) {
  TempFolder folder;
  std::filesystem::create_directories(folder / "home/.config/pip");
  std::filesystem::create_directories(folder / "etc");
  std::map<std::string, std::string> environment;
  auto read = [&] {
    return ReadIndexSettings(
        [&](const std::string& name) { return environment[name]; },
        folder / "etc");
  };
  EXPECT_EQ(read().index_url, "https://pypi.org/simple");
  WriteFile(folder / "etc/pip.conf",
            "[global]\nindex-url = http://etc/\ncert = /etc/cert\n");
  EXPECT_EQ(read().index_url, "http://etc/");
  environment["HOME"] = folder / "home";
  WriteFile(folder / "home/.config/pip/pip.conf",
            "[global]\nindex-url = http://user/\ntrusted-host = a b\n"
            "[download]\nproxy = http://p:1\n");
  EXPECT_EQ(read().index_url, "http://user/");
  EXPECT_EQ(read().access.certificates, "/etc/cert");
  EXPECT_EQ(read().access.proxy, "http://p:1");
  EXPECT_THAT(read().access.trusted_hosts, ElementsAre("a", "b"));
  WriteFile(folder / "named", "[install]\nindex-url = http://named/\n");
  environment["PIP_CONFIG_FILE"] = folder / "named";
  EXPECT_EQ(read().index_url, "http://named/");
  environment["PIP_INDEX_URL"] = "http://variable/";
  environment["CURL_CA_BUNDLE"] = "/curl";
  EXPECT_EQ(read().index_url, "http://variable/");
  EXPECT_EQ(read().access.certificates, "/etc/cert");
  environment["PIP_CONFIG_FILE"] = "/dev/null";
  EXPECT_EQ(read().access.certificates, "/curl");
}

Result<std::string> Unzip(const std::string& archive) {
  const auto file = MappedFile::OfBytes("a.whl", Bytes(archive));
  ASSIGN_OR_RETURN(const ZipMember member, FindZipMember(*file, "m"));
  std::string out;
  RETURN_IF_ERROR(UnpackZipMember(
      member, "[zip] a.whl: m", [&](std::span<const std::byte> bytes) {
        out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return Status::Ok();
      }));
  return out;
}

TEST(Zip, StoredAndDeflated) {
  std::string text;
  for (int i = 0; i < 300000; ++i) text += std::to_string(i);
  EXPECT_EQ(*Unzip(ZipBytes::Stored("m", text).Bytes()), text);
  EXPECT_EQ(*Unzip(ZipBytes::Packed("m", text).Bytes()), text);
  EXPECT_EQ(*Unzip(ZipBytes::Stored("m", "").Bytes()), "");
  EXPECT_EQ(*Unzip(ZipBytes::Packed("m", "").Bytes()), "");
}

TEST(Zip, BadArchives) {
  const std::string text(100000, 'x');
  const ZipBytes good = ZipBytes::Packed("m", text);
  auto message = [](const ZipBytes& zip) {
    return Unzip(zip.Bytes()).status().message();
  };
  ZipBytes bad = good;
  bad.name = "n";
  EXPECT_THAT(message(bad), HasSubstr("has no member m"));
  bad = good, bad.size -= 1;
  EXPECT_THAT(message(bad), HasSubstr("99999 bytes that it claims"));
  bad = good, bad.size += 1;
  EXPECT_THAT(message(bad), HasSubstr("100001 bytes that it claims"));
  bad = good, bad.claimed_packed -= 2;
  EXPECT_THAT(message(bad), HasSubstr("corrupt or cut short"));
  bad = good, bad.packed[0] = '\x07';  // no such block type
  EXPECT_THAT(message(bad), HasSubstr("corrupt"));
  bad = good, bad.claimed_packed = 1 << 30;
  EXPECT_THAT(message(bad), HasSubstr("lies outside of the archive"));
  bad = good, bad.local_offset = 1 << 30;
  EXPECT_THAT(message(bad), HasSubstr("lies outside of the archive"));
  bad = good, bad.local_offset = 1;
  EXPECT_THAT(message(bad), HasSubstr("lies outside of the archive"));
  bad = good, bad.flags = 1;
  EXPECT_THAT(message(bad), HasSubstr("encrypted"));
  bad = good, bad.method = 12;
  EXPECT_THAT(message(bad), HasSubstr("packed by method 12"));
  bad = good, bad.size = 0xFFFFFFFF;
  EXPECT_THAT(message(bad), HasSubstr("zip64"));
  bad = good, bad.entries = 0xFFFF;
  EXPECT_THAT(message(bad), HasSubstr("zip64"));
  bad = good, bad.entries = 2, bad.name = "n";
  EXPECT_THAT(message(bad), HasSubstr("directory is malformed"));
  const std::string whole = good.Bytes();
  for (size_t n = 0; n < whole.size(); ++n) {
    EXPECT_FALSE(Unzip(whole.substr(0, n)).ok()) << n;
  }
}

}  // namespace
}  // namespace intarsia
