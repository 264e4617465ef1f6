// Requests to a Hugging Face hub, or to a server that speaks its protocol.
//
// A repository's files are listed with their sizes and hashes, at a commit, and
// come from ENDPOINT/ORG/NAME/resolve/COMMIT/FILE, which redirects large ones
// to other hosts. These never see the token.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "intarsia/core/status.h"
#include "intarsia/hub/download.h"
#include "intarsia/hub/hub_settings.h"
#include "intarsia/hub/listing.h"
#include "intarsia/hub/reference.h"

namespace intarsia {

class HubClient {
 public:
  HubClient(HubSettings settings, RetryPolicy retry)
      : settings_(std::move(settings)), retry_(retry) {}

  const HubSettings& settings() const { return settings_; }

  // The commit and the files of a revision. Errors say what to do about missing
  // access and unknown names.
  Result<HubListing> List(const HubReference& reference) const;

  // Asks for the size and the hash of a file that the listing left open.
  Status Complete(const HubReference& reference, const std::string& commit,
                  HubFile* file) const;

  // The text of a complete file, its hash compared.
  Result<std::string> ReadText(const HubReference& reference,
                               const std::string& commit,
                               const HubFile& file) const;

  // Downloads a complete file to `path` (see DownloadFile) and compares its
  // hash: DataLoss and no file where it is wrong. Several threads may fetch.
  Status Fetch(const HubReference& reference, const std::string& commit,
               const HubFile& file, const std::string& path,
               const std::function<void(uint64_t done)>& progress,
               const std::atomic<bool>* stop) const;

  // Whether the hub answers and takes the token, in a sentence.
  Result<std::string> Greet() const;

 private:
  std::string FileUrl(const HubReference& reference, const std::string& commit,
                      const HubFile& file) const;
  Status Refused(const HubReference& reference, long status,
                 const HttpHeaders& headers, const std::string& what) const;
  Status WithAdvice(const Status& status) const;

  HubSettings settings_;
  RetryPolicy retry_;
};

// Whether the file at `path` is this one, by size and hash.
Result<bool> IsFile(const std::string& path, const HubFile& file,
                    std::string* found_hash = nullptr);

}  // namespace intarsia
