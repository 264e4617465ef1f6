// A Hugging Face hub for tests: repositories with branches, listings, small
// files from the hub itself, large ones by redirection to a second host that
// must not see the token; and faults on purpose.
#pragma once

#include <cstdlib>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/core/sha256.h"
#include "intarsia/hub/sha1.h"
#include "intarsia/hub/test_http_server.h"

namespace intarsia {

inline std::span<const std::byte> BytesOf(const std::string& text) {
  return std::as_bytes(std::span<const char>(text));
}

// Text that does not compress and differs by `seed`.
inline std::string Noise(size_t size, uint32_t seed) {
  std::string text(size, '\0');
  for (char& c : text) {
    seed = seed * 1664525 + 1013904223;
    c = static_cast<char>(seed >> 24);
  }
  return text;
}

class TestHubServer {
 public:
  using Reply = TestHttpServer::Reply;
  using Request = TestHttpServer::Request;

  static constexpr char kRepository[] = "acme/Tiny-GGUF";

  // What a test changes between pulls, never during one.
  std::map<std::string, std::string> small_files;  // in the repository
  std::map<std::string, std::string> large_files;  // in large file storage
  std::string commit = std::string(40, '1');
  std::string branch = "main";
  std::string token;             // asked for where set
  bool gated = false;            // 403 for files
  bool list_hashes = true;       // else clients ask by HEAD
  bool ignore_range = false;     // answers 200 with everything
  std::string listing_text;      // instead of the listing
  nlohmann::json listing_patch;  // over the listing
  // Per file and, for one number of times, before all is well.
  struct Fault {
    int status = 0;  // answered instead
    std::vector<std::string> headers = {};
    size_t cut = std::string::npos;
    bool stall = false;
    bool trickle = false;
    int64_t claimed_length = -1;
    std::string body = {};  // sent instead
    std::string redirect = {};
    int times = 1;
  };
  std::map<std::string, Fault> faults;      // of a file's bytes
  std::map<std::string, Fault> hub_faults;  // of the hub's answer to a path
  std::map<std::string, std::string> other_etags;

  bool ok() const { return hub_.ok() && storage_.ok(); }
  std::string url() const { return hub_.url(); }
  std::vector<Request> hub_requests() const { return hub_.requests(); }
  std::vector<Request> storage_requests() const { return storage_.requests(); }
  // Requests for bytes of files, HEAD not counted: "path range".
  std::vector<std::string> Fetched() const {
    std::vector<std::string> out;
    const auto add = [&](const Request& r, const std::string& path) {
      if (r.head.starts_with("HEAD")) return;
      const std::string range = r.Header("Range");
      out.push_back(path + (range.empty() ? "" : " " + range));
    };
    for (const Request& r : hub_.requests()) {
      const std::string path = PathOf(r.path);
      if (!path.empty() && !large_files.contains(path)) add(r, path);
    }
    for (const Request& r : storage_.requests()) add(r, r.path.substr(1));
    std::sort(out.begin(), out.end());
    return out;
  }

 private:
  // The file of a resolve URL, or "".
  std::string PathOf(const std::string& path) const {
    const std::string begin = std::string("/") + kRepository + "/resolve/";
    if (!path.starts_with(begin)) return "";
    return path.substr(path.find('/', begin.size()) + 1);
  }

  static bool Take(std::map<std::string, Fault>* faults,
                   const std::string& path, Fault* fault) {
    const auto found = faults->find(path);
    if (found == faults->end() || found->second.times == 0) return false;
    --found->second.times;
    *fault = found->second;
    return true;
  }

  std::string Listing() const {
    nlohmann::json siblings = nlohmann::json::array();
    for (const auto& [path, text] : small_files) {
      nlohmann::json item = {{"rfilename", path}};
      if (list_hashes) {
        item["size"] = text.size();
        item["blobId"] = GitBlobSha1Hex(BytesOf(text));
      }
      siblings.push_back(item);
    }
    for (const auto& [path, text] : large_files) {
      nlohmann::json item = {{"rfilename", path}};
      if (list_hashes) {
        item["size"] = text.size();
        item["blobId"] = std::string(40, 'e');  // of the pointer
        item["lfs"] = {{"sha256", Sha256Hex(BytesOf(text))},
                       {"size", text.size()},
                       {"pointerSize", 130}};
      }
      siblings.push_back(item);
    }
    nlohmann::json json = {{"id", kRepository},
                           {"sha", commit},
                           {"gated", gated ? "manual" : ""},
                           {"siblings", siblings}};
    if (!listing_patch.is_null()) json.merge_patch(listing_patch);
    return json.dump();
  }

  Reply Hub(const Request& request) {
    Fault fault;
    if (Take(&hub_faults, request.path, &fault)) {
      return {fault.status, fault.body, fault.headers};
    }
    const bool known = request.Header("Authorization") == "Bearer " + token;
    if (!token.empty() && !known) {
      return {401, "{}", {"X-Error-Code: RepoNotFound"}};
    }
    const std::string api = std::string("/api/models/") + kRepository;
    if (request.path == "/api/whoami-v2") return {known ? 200 : 401, "{}"};
    if (request.path.starts_with(api + "/revision/")) {
      if (request.path != api + "/revision/" + branch + "?blobs=true") {
        return {404, "{}", {"X-Error-Code: RevisionNotFound"}};
      }
      return {200,
              listing_text.empty() ? Listing() : listing_text,
              {"Content-Type: application/json"}};
    }
    const std::string path = PathOf(request.path);
    if (path.empty()) return {404, "{}", {"X-Error-Code: RepoNotFound"}};
    if (gated) return {403, "{}", {"X-Error-Code: GatedRepo"}};
    return File(request, path);
  }

  Reply File(const Request& request, const std::string& path) {
    const auto small = small_files.find(path);
    if (small != small_files.end()) {
      const std::string etag = other_etags.contains(path)
                                   ? other_etags[path]
                                   : GitBlobSha1Hex(BytesOf(small->second));
      return Bytes(request, path, small->second,
                   {"ETag: \"" + etag + "\"", "X-Repo-Commit: " + commit});
    }
    const auto large = large_files.find(path);
    if (large == large_files.end()) {
      return {404, "", {"X-Error-Code: EntryNotFound"}};
    }
    const std::string etag = other_etags.contains(path)
                                 ? other_etags[path]
                                 : Sha256Hex(BytesOf(large->second));
    return {302,
            "",
            {"Location: " + storage_.url() + "/" + path,
             "X-Linked-ETag: \"" + etag + "\"",
             "X-Linked-Size: " + std::to_string(large->second.size()),
             "X-Repo-Commit: " + commit}};
  }

  Reply Storage(const Request& request) {
    const std::string path = request.path.substr(1);
    const auto large = large_files.find(path);
    if (large == large_files.end()) return {404, ""};
    return Bytes(request, path, large->second, {"ETag: \"storage\""});
  }

  // Whole or from where the client asks.
  Reply Bytes(const Request& request, const std::string& path,
              const std::string& text, std::vector<std::string> headers) {
    Fault fault;
    const bool faulty =
        !request.head.starts_with("HEAD") && Take(&faults, path, &fault);
    if (faulty && !fault.redirect.empty()) {
      return {302, "", {"Location: " + fault.redirect}};
    }
    if (faulty && fault.status != 0) {
      return {fault.status, fault.body, fault.headers};
    }
    Reply reply{200, text, std::move(headers)};
    if (faulty && !fault.body.empty()) reply.body = fault.body;
    const std::string range = request.Header("Range");
    if (!range.empty() && !ignore_range) {
      const size_t begin = std::stoul(range.substr(range.find('=') + 1));
      const std::string total = "/" + std::to_string(reply.body.size());
      if (begin >= reply.body.size()) {
        return {416, "", {"Content-Range: bytes *" + total}};
      }
      reply.status = 206;
      reply.headers.push_back("Content-Range: bytes " + std::to_string(begin) +
                              "-" + std::to_string(reply.body.size() - 1) +
                              total);
      reply.body = reply.body.substr(begin);
    }
    if (faulty) {
      reply.cut = fault.cut;
      reply.stall = fault.stall;
      reply.trickle = fault.trickle;
      reply.claimed_length = fault.claimed_length;
    }
    return reply;
  }

  // Last, so that their threads end before what they use.
  std::mutex mutex_;
  TestHttpServer storage_{[this](const Request& r) {
    const std::lock_guard lock(mutex_);
    return Storage(r);
  }};
  TestHttpServer hub_{[this](const Request& r) {
    const std::lock_guard lock(mutex_);
    return Hub(r);
  }};
};

}  // namespace intarsia
