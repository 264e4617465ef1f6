#include "intarsia/hub/hub_client.h"

#include <filesystem>
#include <span>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/core/sha256.h"
#include "intarsia/hub/sha1.h"
#include "intarsia/hub/url.h"

namespace intarsia {
namespace {

constexpr uint64_t kMaxListingBytes = 64 << 20;
constexpr uint64_t kMaxTextBytes = 64 << 20;
constexpr size_t kHashPiece = 1 << 20;
constexpr int kMaxRedirects = 5;

std::string HashOf(const MappedFile& file, bool sha256) {
  file.Advise(MappedFile::Access::kSequential);
  if (!sha256) return "sha1-" + GitBlobSha1Hex(file.bytes());
  Sha256 hash;
  for (size_t at = 0; at < file.size(); at += kHashPiece) {
    hash.Update(
        file.bytes().subspan(at, std::min(kHashPiece, file.size() - at)));
  }
  return "sha256-" + hash.Hex();
}

// A response that speaks of another file than the listing did.
Status CheckHeaders(const HttpHeaders& headers, const HubFile& file,
                    const std::string& where) {
  const std::string& linked = headers.linked_etag;
  const bool other_hash = !file.sha256.empty()
                              ? IsSha256Hex(linked) && linked != file.sha256
                              : linked.empty() && IsGitSha1Hex(headers.etag) &&
                                    headers.etag != file.git_sha1;
  const bool other_size =
      headers.linked_size && headers.linked_size != file.size;
  if (!other_hash && !other_size) return Status::Ok();
  return DataLoss(where +
                  ": the hub has another file there than its listing said; if "
                  "it is changing just now, try again later");
}

}  // namespace

std::string HubClient::FileUrl(const HubReference& reference,
                               const std::string& commit,
                               const HubFile& file) const {
  return settings_.endpoint + "/" + reference.repository + "/resolve/" +
         commit + "/" + UrlEscape(file.path, "/");
}

Status HubClient::WithAdvice(const Status& status) const {
  if (status.code() != StatusCode::kUnavailable) return status;
  return Unavailable(status.message() +
                     ". Is there a network? HF_ENDPOINT names another hub, "
                     "https_proxy a proxy; what came in is kept, and the next "
                     "pull goes on from there");
}

// The hub says 401 for what does not exist, too, to who has no access.
Status HubClient::Refused(const HubReference& reference, long status,
                          const HttpHeaders& headers,
                          const std::string& what) const {
  const std::string where = "[hub] " + reference.repository + what + ": ";
  const std::string page =
      RedactedUrl(settings_.endpoint) + "/" + reference.repository;
  const std::string& code = headers.error_code;
  if (status == 401 && settings_.token_withheld) {
    return NotFound(where + "refused; the token was not sent, because " +
                    RedactedUrl(settings_.endpoint) + " is not https");
  }
  if (status == 401 && !settings_.access.token.empty() && code != "GatedRepo" &&
      code != "RepoNotFound") {
    return NotFound(where +
                    "the hub does not take the token; make a new one and set "
                    "HF_TOKEN, or remove it for public models");
  }
  if (status == 403 || code == "GatedRepo") {
    return NotFound(where + "access is restricted; ask for it on " + page +
                    (settings_.access.token.empty()
                         ? ", make a token and set HF_TOKEN"
                         : " with the account of your token, which also needs "
                           "the right to read gated repositories"));
  }
  if (code == "RevisionNotFound") {
    return NotFound(where + "no revision " + Printable(reference.revision));
  }
  if (status == 401 || status == 404) {
    return NotFound(where + "not there, or private; see " + page +
                    (settings_.access.token.empty()
                         ? ". For private models set HF_TOKEN"
                         : ", as seen by the account of your token"));
  }
  return Unavailable(where + "the hub answered with status " +
                     std::to_string(status) +
                     (headers.error_message.empty()
                          ? ""
                          : ": " + Printable(headers.error_message, 300)));
}

Result<HubListing> HubClient::List(const HubReference& reference) const {
  const HttpRequest request = {
      .url = settings_.endpoint + "/api/models/" + reference.repository +
             "/revision/" + UrlEscape(reference.revision) + "?blobs=true",
      .accept = "application/json",
      .max_bytes = kMaxListingBytes,
      .any_status = true,
      .retry = retry_};
  const Result<HttpPage> page = HttpSend(request, settings_.access);
  if (!page.ok()) return WithAdvice(page.status());
  if (page->status != 200) {
    return Refused(reference, page->status, page->headers, "");
  }
  return ParseHubListing(page->body, "[hub] " + reference.repository);
}

Status HubClient::Complete(const HubReference& reference,
                           const std::string& commit, HubFile* file) const {
  HttpRequest request = {.url = FileUrl(reference, commit, *file),
                         .head = true,
                         .any_status = true,
                         .retry = retry_};
  const std::string what = "/" + Printable(file->path);
  for (int i = 0; i <= kMaxRedirects; ++i) {
    ASSIGN_OR_RETURN(const HttpPage page, HttpSend(request, settings_.access));
    const HttpHeaders& headers = page.headers;
    // A repository that was renamed; what goes to another host is the file.
    if (page.status >= 300 && page.status < 400 &&
        headers.linked_etag.empty() && headers.location.starts_with('/')) {
      request.url = ResolveUrl(request.url, headers.location);
      if (UrlAuthority(request.url) == UrlAuthority(settings_.endpoint)) {
        continue;
      }
    }
    if (page.status >= 400) {
      return Refused(reference, page.status, headers, what);
    }
    if (IsSha256Hex(headers.linked_etag)) {
      file->sha256 = headers.linked_etag;
    } else if (IsGitSha1Hex(headers.etag)) {
      file->git_sha1 = headers.etag;
    }
    if (!file->size) {
      file->size = headers.linked_size;
      if (!file->size && page.status < 300) file->size = headers.content_length;
    }
    break;
  }
  if (file->complete()) return Status::Ok();
  return NotFound("[hub] " + reference.repository + what +
                  ": the hub gives no hash or no size, so it could not be "
                  "checked");
}

Result<std::string> HubClient::ReadText(const HubReference& reference,
                                        const std::string& commit,
                                        const HubFile& file) const {
  const std::string what = "/" + Printable(file.path);
  const std::string where = "[hub] " + reference.repository + what;
  if (*file.size > kMaxTextBytes) {
    return InvalidArgument(where + ": " + std::to_string(*file.size) +
                           " bytes, at most " + std::to_string(kMaxTextBytes) +
                           " are read");
  }
  const HttpRequest request = {.url = FileUrl(reference, commit, file),
                               .max_bytes = *file.size,
                               .any_status = true,
                               .retry = retry_};
  const Result<HttpPage> page = HttpSend(request, settings_.access);
  if (!page.ok()) return WithAdvice(page.status());
  if (page->status != 200) {
    return Refused(reference, page->status, page->headers, what);
  }
  const auto bytes = std::as_bytes(std::span(page->body));
  const std::string hash = file.sha256.empty() ? "sha1-" + GitBlobSha1Hex(bytes)
                                               : "sha256-" + Sha256Hex(bytes);
  if (hash == file.Hash()) return page->body;
  return DataLoss(where + ": its hash is " + hash + ", the hub says " +
                  file.Hash());
}

Status HubClient::Fetch(const HubReference& reference,
                        const std::string& commit, const HubFile& file,
                        const std::string& path,
                        const std::function<void(uint64_t done)>& progress,
                        const std::atomic<bool>* stop) const {
  const std::string what = "/" + Printable(file.path);
  const std::string where = "[hub] " + reference.repository + what;
  const Download download = {
      .url = FileUrl(reference, commit, file),
      .path = path,
      .max_bytes = *file.size,
      .exact = true,
      .retry = retry_,
      .progress = [&](uint64_t done, uint64_t) { progress(done); },
      .check =
          [&](const HttpHeaders& headers) {
            return CheckHeaders(headers, file, where);
          },
      .stop = stop};
  while (true) {
    DownloadOutcome outcome;
    std::error_code ignored;
    const Status status = DownloadFile(download, settings_.access, &outcome);
    if (!status.ok()) {
      if (outcome.status >= 400 && outcome.status < 500 &&
          !MayRetry(outcome.status) && outcome.status != 416 &&
          outcome.headers.linked_etag.empty()) {  // the hub itself
        return Refused(reference, outcome.status, outcome.headers, what);
      }
      if (outcome.local_fault) return status;
      // What came in is worth keeping only where more may come.
      if (status.code() != StatusCode::kUnavailable) {
        std::filesystem::remove(path, ignored);
      }
      return WithAdvice(status);
    }
    std::string hash;
    ASSIGN_OR_RETURN(const bool right, IsFile(path, file, &hash));
    if (right) return Status::Ok();
    std::filesystem::remove(path, ignored);
    // The first part may have been damaged: once from the start.
    if (outcome.resumed) continue;
    return DataLoss(where + ": its hash is " + hash + ", the hub says " +
                    file.Hash());
  }
}

Result<std::string> HubClient::Greet() const {
  const HttpRequest request = {.url = settings_.endpoint + "/api/whoami-v2",
                               .accept = "application/json",
                               .max_bytes = 1 << 20,
                               .any_status = true,
                               .retry = {.attempts = 1}};
  ASSIGN_OR_RETURN(const HttpPage page, HttpSend(request, settings_.access));
  if (settings_.token_withheld) {
    return std::string("answers; the token is not sent without https");
  }
  if (settings_.access.token.empty()) {
    return std::string("answers; there is no token (HF_TOKEN)");
  }
  if (page.status == 401 || page.status == 403) {
    return NotFound("[hub] the token is not accepted");
  }
  return std::string("answers; the token is accepted");
}

Result<bool> IsFile(const std::string& path, const HubFile& file,
                    std::string* found_hash) {
  ASSIGN_OR_RETURN(const auto mapped, MappedFile::Open(path));
  const std::string hash = HashOf(*mapped, !file.sha256.empty());
  if (found_hash != nullptr) *found_hash = hash;
  return mapped->size() == file.size && hash == file.Hash();
}

}  // namespace intarsia
