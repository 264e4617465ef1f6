#include "intarsia/hub/model_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/hub/catalogue.h"
#include "intarsia/hub/selection.h"
#include "intarsia/hub/url.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;

fs::path Root(const std::string& cache) {
  return cache.empty() ? CacheFolder() : cache;
}

std::string Lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// The folders in a folder, by name, without links.
std::vector<fs::path> Folders(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code ignored;
    if (it->is_directory(ignored) && !it->is_symlink(ignored)) {
      out.push_back(it->path());
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

int64_t ModifiedAt(const fs::path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mtime : 0;
}

// Marks as used now; a cache that cannot be written is used all the same.
void Touch(const fs::path& path) {
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
}

// "NAME:QUANT", or the catalogue's name for it.
std::string ShortName(const HubReference& reference) {
  for (const CatalogueEntry& entry : Catalogue()) {
    if (entry.hub.empty()) continue;
    const auto known = ParseHubReference(entry.hub);
    if (known.ok() && known->repository == reference.repository &&
        known->revision == reference.revision &&
        Lower(known->quant) == Lower(reference.quant)) {
      return entry.name;
    }
  }
  HubReference bare = reference;
  bare.repository =
      reference.repository.substr(reference.repository.find('/') + 1);
  return bare.ToString().substr(3);
}

// A variant's folder; nothing where it holds no whole model.
Result<CachedModel> ReadVariant(const fs::path& folder) {
  ASSIGN_OR_RETURN(const Manifest manifest,
                   ReadManifest((folder / "manifest.json").string()));
  const fs::path snapshot = folder / manifest.snapshot.commit;
  std::error_code error;
  for (const HubFile& file : manifest.snapshot.files) {
    if (fs::file_size(snapshot / file.path, error) != file.size || error) {
      return NotFound("[hub] " + folder.string() + " lacks files");
    }
  }
  return CachedModel{.name = ShortName(manifest.reference),
                     .source = manifest.reference.ToString(),
                     .revision = manifest.reference.revision,
                     .commit = manifest.snapshot.commit,
                     .path = manifest.entry.empty()
                                 ? snapshot.string()
                                 : (snapshot / manifest.entry).string(),
                     .folder = folder.string(),
                     .bytes = manifest.bytes(),
                     .used = ModifiedAt(folder / "manifest.json")};
}

std::vector<fs::path> RepositoryFolders(const fs::path& root) {
  std::vector<fs::path> out;
  for (const fs::path& organisation : Folders(root / "hub")) {
    for (const fs::path& repository : Folders(organisation)) {
      out.push_back(repository);
    }
  }
  return out;
}

std::vector<CachedModel> HubModels(const fs::path& root) {
  std::vector<CachedModel> models;
  for (const fs::path& repository : RepositoryFolders(root)) {
    for (const fs::path& variant : Folders(repository / "models")) {
      Result<CachedModel> model = ReadVariant(variant);
      if (model.ok()) models.push_back(std::move(*model));
    }
  }
  return models;
}

std::vector<CachedModel> PackageModels(const fs::path& root) {
  std::vector<CachedModel> models;
  for (const fs::path& folder : Folders(root / "models")) {
    const fs::path model = folder / "model.gguf";
    std::error_code error;
    const uint64_t bytes = fs::file_size(model, error);
    if (error) continue;
    const std::string name = folder.filename().string();
    const CatalogueEntry* entry = FindCatalogueEntry(name);
    models.push_back(
        {.name = name,
         .source = entry == nullptr ? "package" : "package " + entry->package,
         .revision = "",
         .commit = "",
         .path = model.string(),
         .folder = folder.string(),
         .bytes = bytes,
         .used = ModifiedAt(folder)});
  }
  return models;
}

// Whether `wanted` (its quant may be empty) means a model with this source.
bool Means(const HubReference& wanted, const HubReference& have,
           bool any_organisation) {
  const auto name = [](const std::string& repository) {
    return repository.substr(repository.find('/') + 1);
  };
  const bool repository =
      any_organisation
          ? Lower(name(wanted.repository)) == Lower(name(have.repository))
          : Lower(wanted.repository) == Lower(have.repository);
  return repository && wanted.revision == have.revision &&
         (wanted.quant.empty() || Lower(wanted.quant) == Lower(have.quant) ||
          "ud-" + Lower(wanted.quant) == Lower(have.quant));
}

// As SelectFiles chooses by default.
int DefaultRank(const std::string& quant) {
  return quant == kSafetensors ? 0
         : quant == "Q4_K_M"   ? 1
         : quant == "Q8_0"     ? 2
                               : 3;
}

// The one of `models` that `wanted` means.
Result<CachedModel> Choose(const std::vector<CachedModel>& models,
                           const HubReference& wanted, bool any_organisation) {
  const CachedModel* best = nullptr;
  HubReference best_reference;
  for (const CachedModel& model : models) {
    const auto have = ParseHubReference(model.source);
    if (!have.ok() || !Means(wanted, *have, any_organisation)) continue;
    if (best != nullptr && best_reference.repository != have->repository) {
      return InvalidArgument("[hub] both " + best->source + " and " +
                             model.source + " are meant: name the one in full");
    }
    if (best == nullptr ||
        DefaultRank(have->quant) < DefaultRank(best_reference.quant)) {
      best = &model;
      best_reference = *have;
    }
  }
  if (best == nullptr) return NotFound("[hub] not pulled");
  return *best;
}

// A short name as a reference of any organisation, or nothing.
Result<HubReference> ShortReference(const std::string& name) {
  return ParseHubReference("hf:any/" + name);
}

}  // namespace

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

std::string HubRepositoryFolder(const std::string& cache,
                                const std::string& repository) {
  return (Root(cache) / "hub" / repository).string();
}

std::string HubVariantFolder(const std::string& cache,
                             const HubReference& reference) {
  std::string variant = Lower(reference.quant);
  if (reference.revision != kDefaultRevision) {
    variant += "@" + UrlEscape(reference.revision);
  }
  return HubRepositoryFolder(cache, reference.repository) + "/models/" +
         variant;
}

std::vector<CachedModel> ListCache(const std::string& cache) {
  std::vector<CachedModel> models = PackageModels(Root(cache));
  for (CachedModel& model : HubModels(Root(cache))) {
    models.push_back(std::move(model));
  }
  std::ranges::sort(models, {}, &CachedModel::name);
  return models;
}

Result<CachedModel> FindCached(const std::string& name,
                               const std::string& cache) {
  const std::vector<CachedModel> models = ListCache(cache);
  const auto exact = std::ranges::find(models, name, &CachedModel::name);
  if (exact != models.end()) return *exact;
  std::string source = name;
  if (const CatalogueEntry* entry = FindCatalogueEntry(name);
      entry != nullptr && !entry->hub.empty()) {
    source = entry->hub;
  }
  if (IsHubReference(source)) {
    ASSIGN_OR_RETURN(const HubReference wanted, ParseHubReference(source));
    return Choose(models, wanted, /*any_organisation=*/false);
  }
  const Result<HubReference> wanted = ShortReference(name);
  if (!wanted.ok()) return NotFound("[hub] not pulled");
  return Choose(models, *wanted, /*any_organisation=*/true);
}

Result<std::string> ResolveModel(const std::string& name_or_path,
                                 const std::string& cache) {
  std::error_code error;
  if (fs::exists(name_or_path, error)) return name_or_path;
  const Result<CachedModel> model = FindCached(name_or_path, cache);
  if (model.ok()) {
    const fs::path manifest = fs::path(model->folder) / "manifest.json";
    Touch(model->revision.empty() ? fs::path(model->folder) : manifest);
    return model->path;
  }
  if (model.status().code() == StatusCode::kInvalidArgument) {
    return model.status();
  }
  if (IsHubReference(name_or_path) ||
      FindCatalogueEntry(name_or_path) != nullptr) {
    return NotFound("[hub] " + name_or_path +
                    " is not here yet: run `intarsia pull " + name_or_path +
                    "`");
  }
  return NotFound(
      "[hub] " + Printable(name_or_path) +
      ": no such file or folder, nor a pulled model; `intarsia pull --list` "
      "shows what can be fetched, `intarsia cache list` what is here");
}

RepositoryLock::~RepositoryLock() {
  if (fd_ >= 0) ::close(fd_);
}

Status RepositoryLock::Take(const std::string& repository_folder) {
  std::error_code error;
  fs::create_directories(repository_folder, error);
  if (error) {
    return Unavailable("[hub] " + repository_folder +
                       ": cannot be created: " + error.message());
  }
  const std::string path = repository_folder + "/lock";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0) return Unavailable("[hub] " + path + ": cannot be opened");
  struct stat info {};
  // Without a link, the process that had it has just removed the folder.
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 || ::fstat(fd_, &info) != 0 ||
      info.st_nlink == 0) {
    return Unavailable("[hub] " + repository_folder +
                       ": another process is pulling or removing it");
  }
  return Status::Ok();
}

namespace {

// Below the cache folder, links followed.
bool IsInside(const fs::path& root, const fs::path& path) {
  std::error_code a, b;
  const fs::path real_root = fs::canonical(root, a);
  const fs::path real = fs::canonical(path, b);
  if (a || b || real == real_root) return false;
  const auto [end, rest] = std::mismatch(real_root.begin(), real_root.end(),
                                         real.begin(), real.end());
  return end == real_root.end() && rest != real.end();
}

void Remove(const fs::path& path, PruneReport* report) {
  std::error_code error;
  if (fs::is_directory(fs::symlink_status(path, error))) {
    std::vector<fs::path> entries;
    for (const auto& entry : fs::directory_iterator(path, error)) {
      entries.push_back(entry.path());
    }
    for (const fs::path& entry : entries) Remove(entry, report);
    fs::remove(path, error);
    return;
  }
  const uint64_t bytes = fs::file_size(path, error);
  if (fs::remove(path, error)) {
    ++report->files;
    report->bytes += bytes == static_cast<uint64_t>(-1) ? 0 : bytes;
  }
}

// What is in a repository's folder beside its whole models.
void PruneRepository(const fs::path& repository, PruneReport* report) {
  RepositoryLock lock;
  if (!lock.Take(repository.string()).ok()) return;
  Remove(repository / "parts", report);
  bool empty = true;
  for (const fs::path& variant : Folders(repository / "models")) {
    const Result<CachedModel> model = ReadVariant(variant);
    if (!model.ok()) {
      Remove(variant, report);
      continue;
    }
    empty = false;
    std::error_code error;
    std::vector<fs::path> others;
    for (const auto& entry : fs::directory_iterator(variant, error)) {
      const std::string name = entry.path().filename().string();
      if (name != "manifest.json" && name != model->commit) {
        others.push_back(entry.path());
      }
    }
    for (const fs::path& other : others) Remove(other, report);
  }
  if (!empty) return;
  // The lock goes last; folders that are not empty stay.
  std::error_code ignored;
  fs::remove(repository / "models", ignored);
  fs::remove(repository / "lock", ignored);
  fs::remove(repository, ignored);
  fs::remove(repository.parent_path(), ignored);
}

void PrunePackage(const fs::path& folder, PruneReport* report) {
  std::vector<fs::path> parts;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".whl.part") || name.starts_with("model.gguf.tmp-")) {
      parts.push_back(entry.path());
    }
  }
  for (const fs::path& part : parts) {
    const int fd = ::open(part.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    // Locked: a download is under way.
    if (fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0) Remove(part, report);
    if (fd >= 0) ::close(fd);
  }
  fs::remove(folder, error);  // where nothing is left
}

}  // namespace

Status RemoveCached(const CachedModel& model, const std::string& cache) {
  const fs::path root = Root(cache);
  const fs::path folder = model.folder;
  if (!IsInside(root, folder)) {
    return InvalidArgument("[hub] " + model.folder +
                           " is not below the cache folder " + root.string());
  }
  PruneReport report;
  if (model.revision.empty()) {
    Remove(folder, &report);
    return Status::Ok();
  }
  const fs::path repository = folder.parent_path().parent_path();
  {
    RepositoryLock lock;
    RETURN_IF_ERROR(lock.Take(repository.string()));
    // First the manifest, so that no half of a model is found.
    Remove(folder / "manifest.json", &report);
    Remove(folder, &report);
  }
  PruneReport rest;
  if (Folders(repository / "models").empty()) {
    PruneRepository(repository, &rest);
  }
  return Status::Ok();
}

Result<PruneReport> PruneCache(const std::string& cache) {
  const fs::path root = Root(cache);
  PruneReport report;
  for (const fs::path& repository : RepositoryFolders(root)) {
    if (IsInside(root, repository)) PruneRepository(repository, &report);
  }
  for (const fs::path& folder : Folders(root / "models")) {
    if (IsInside(root, folder)) PrunePackage(folder, &report);
  }
  return report;
}

}  // namespace intarsia
