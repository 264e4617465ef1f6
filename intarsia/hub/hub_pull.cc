#include "intarsia/hub/hub_pull.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <mutex>
#include <thread>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/hub/hub_client.h"
#include "intarsia/hub/manifest.h"
#include "intarsia/hub/model_cache.h"
#include "intarsia/hub/selection.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;

bool HasSize(const fs::path& path, const HubFile& file) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  return !error && size == file.size;
}

uint64_t SizeOrZero(const fs::path& path) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  return error ? 0 : size;
}

// Makes a rename outlast a power failure.
void FlushFolder(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

class HubPuller {
 public:
  HubPuller(HubReference reference, const PullOptions& options)
      : reference_(std::move(reference)),
        options_(options),
        client_(options.hub ? *options.hub : ReadHubSettings(), options.retry) {
  }

  // Asks the hub: what is wanted, and what of it is here.
  Status Plan() {
    if (options_.progress) options_.progress({});
    const std::string where = "[hub] " + reference_.repository;
    ASSIGN_OR_RETURN(HubListing listing, client_.List(reference_));
    const auto read = [&](const HubFile& named) -> Result<std::string> {
      HubFile file = named;
      if (!file.complete()) {
        RETURN_IF_ERROR(client_.Complete(reference_, listing.commit, &file));
      }
      return client_.ReadText(reference_, listing.commit, file);
    };
    ASSIGN_OR_RETURN(HubSelection selection,
                     SelectFiles(listing, reference_.quant, where, read));
    for (HubFile& file : selection.files) {
      if (file.complete()) continue;
      RETURN_IF_ERROR(client_.Complete(reference_, listing.commit, &file));
    }
    reference_.quant = selection.quant;
    manifest_ = {.reference = reference_,
                 .snapshot = {.commit = std::move(listing.commit),
                              .files = std::move(selection.files)},
                 .entry = std::move(selection.entry)};
    repository_ =
        HubRepositoryFolder(options_.cache, manifest_.reference.repository);
    variant_ = HubVariantFolder(options_.cache, manifest_.reference);
    snapshot_ = variant_ / manifest_.snapshot.commit;
    const auto before = ReadManifest((variant_ / "manifest.json").string());
    if (before.ok()) before_ = *before;
    for (const HubFile& file : manifest_.snapshot.files) {
      ASSIGN_OR_RETURN(const bool here, IsHere(file));
      if (!here) missing_.push_back(file);
    }
    for (const HubFile& file : missing_) {
      if (file.path != "config.json" || !options_.config) continue;
      ASSIGN_OR_RETURN(
          const std::string text,
          client_.ReadText(reference_, manifest_.snapshot.commit, file));
      options_.config(text);
    }
    return Status::Ok();
  }

  PullPlan Summary() const {
    PullPlan plan{.name = manifest_.reference.ToString(),
                  .source = manifest_.reference.ToString(),
                  .commit = manifest_.snapshot.commit,
                  .files = manifest_.snapshot.files,
                  .bytes = manifest_.bytes()};
    for (const HubFile& file : missing_) {
      if (OldCopy(file).empty()) plan.missing += *file.size;
    }
    return plan;
  }

  Result<PulledModel> Run() {
    RETURN_IF_ERROR(Plan());
    PulledModel pulled{.plan = Summary(), .path = ""};
    RepositoryLock lock;
    RETURN_IF_ERROR(lock.Take(repository_.string()));
    std::error_code gone;
    // Parts lie in the cache itself, not behind a link that somebody left.
    if (fs::is_symlink(repository_ / "parts", gone)) {
      fs::remove(repository_ / "parts", gone);
    }
    RETURN_IF_ERROR(CheckSpace());
    RETURN_IF_ERROR(FetchAll());
    manifest_.pulled = std::time(nullptr);
    RETURN_IF_ERROR(
        WriteManifest((variant_ / "manifest.json").string(), manifest_));
    FlushFolder(variant_);
    std::error_code ignored;
    if (before_ && before_->snapshot.commit != manifest_.snapshot.commit) {
      fs::remove_all(variant_ / before_->snapshot.commit, ignored);
    }
    fs::remove(repository_ / "parts", ignored);  // when empty
    ASSIGN_OR_RETURN(const CachedModel model,
                     FindCached(pulled.plan.source, options_.cache));
    pulled.plan.name = model.name;
    pulled.path = model.path;
    return pulled;
  }

 private:
  // Under its name, where files come only after their hashes were compared.
  Result<bool> IsHere(const HubFile& file) const {
    const fs::path path = snapshot_ / file.path;
    if (!HasSize(path, file)) return false;
    return options_.check ? IsFile(path.string(), file) : Result<bool>(true);
  }

  // Where the snapshot before has the same file, or nothing.
  fs::path OldCopy(const HubFile& file) const {
    if (!before_ || before_->snapshot.commit == manifest_.snapshot.commit) {
      return {};
    }
    for (const HubFile& old : before_->snapshot.files) {
      const fs::path path = variant_ / before_->snapshot.commit / old.path;
      if (old.Hash() == file.Hash() && HasSize(path, file)) return path;
    }
    return {};
  }

  fs::path PartOf(const HubFile& file) const {
    return repository_ / "parts" / file.Hash();
  }

  Status CheckSpace() const {
    uint64_t needed = 0;
    for (const HubFile& file : missing_) {
      if (!OldCopy(file).empty()) continue;
      const uint64_t part = SizeOrZero(PartOf(file));
      needed += *file.size - std::min(part, *file.size);
    }
    std::error_code error;
    const fs::space_info space = fs::space(repository_, error);
    if (error || needed <= space.available) return Status::Ok();
    return Unavailable(
        "[hub] " + repository_.string() + ": " + std::to_string(needed) +
        " bytes are needed and " + std::to_string(space.available) +
        " are free; INTARSIA_CACHE names another folder, `intarsia cache list` "
        "shows what could go");
  }

  // Largest first, so that no large one is left alone at the end. Of files with
  // the same content one is fetched, and the others copied.
  Status FetchAll() {
    std::ranges::stable_sort(missing_, [](const HubFile& a, const HubFile& b) {
      return std::pair(*b.size, a.Hash()) < std::pair(*a.size, b.Hash());
    });
    const auto repeated = [&](size_t i) {
      return i > 0 && missing_[i].Hash() == missing_[i - 1].Hash();
    };
    done_.assign(missing_.size(), 0);
    for (const HubFile& file : missing_) total_ += *file.size;
    std::atomic<size_t> next = 0;
    const auto work = [&] {
      for (size_t i; !stop_ && (i = next++) < missing_.size();) {
        if (repeated(i)) continue;
        Status status;
        try {
          status = FetchOne(i);
        } catch (const std::exception& error) {
          status = Unavailable(std::string("[hub] ") + error.what());
        }
        if (status.ok()) continue;
        const std::lock_guard lock(mutex_);
        // Those after the first only say that they were stopped.
        if (!stop_.exchange(true)) first_error_ = status;
      }
    };
    const size_t count =
        std::min<size_t>(missing_.size(), std::max(options_.connections, 1));
    std::vector<std::thread> threads;
    for (size_t i = 0; i < count; ++i) threads.emplace_back(work);
    for (std::thread& thread : threads) thread.join();
    RETURN_IF_ERROR(first_error_);
    for (size_t i = 0; i < missing_.size(); ++i) {
      if (repeated(i)) RETURN_IF_ERROR(CopyOfLast(i));
    }
    return Status::Ok();
  }

  Status CreateFolders(const fs::path& target) const {
    std::error_code error;
    fs::create_directories(target.parent_path(), error);
    if (!error) fs::create_directories(repository_ / "parts", error);
    if (!error) return Status::Ok();
    return Unavailable("[hub] " + target.string() +
                       ": its folder cannot be created: " + error.message());
  }

  Status CopyOfLast(size_t i) {
    const fs::path from = snapshot_ / missing_[i - 1].path;
    const fs::path to = snapshot_ / missing_[i].path;
    RETURN_IF_ERROR(CreateFolders(to));
    std::error_code error;
    fs::create_hard_link(from, to, error);
    if (error) fs::copy_file(from, to, error);
    if (!error) return Report(i, *missing_[i].size);
    return Unavailable("[hub] " + to.string() +
                       ": cannot be copied: " + error.message());
  }

  Status FetchOne(size_t i) {
    const HubFile& file = missing_[i];
    const fs::path target = snapshot_ / file.path;
    RETURN_IF_ERROR(CreateFolders(target));
    const fs::path part = PartOf(file);
    if (const fs::path old = OldCopy(file); !old.empty()) {
      std::error_code error;
      fs::create_hard_link(old, target, error);
      if (error) fs::copy_file(old, target, error);
      if (!error) return Report(i, *file.size);
    }
    RETURN_IF_ERROR(client_.Fetch(
        reference_, manifest_.snapshot.commit, file, part.string(),
        [&](uint64_t done) { (void)Report(i, done); }, &stop_));
    if (std::rename(part.c_str(), target.c_str()) != 0) {
      return Unavailable(
          "[hub] " + target.string() +
          ": cannot be moved into place: " + std::strerror(errno));
    }
    FlushFolder(target.parent_path());
    return Report(i, *file.size);
  }

  Status Report(size_t i, uint64_t done) {
    const std::lock_guard lock(mutex_);
    sum_ += done - done_[i];
    done_[i] = done;
    if (options_.progress) {
      options_.progress({.stage = PullProgress::Stage::kDownload,
                         .done = sum_,
                         .total = total_});
    }
    return Status::Ok();
  }

  HubReference reference_;
  const PullOptions& options_;
  HubClient client_;
  Manifest manifest_;
  std::optional<Manifest> before_;
  fs::path repository_, variant_, snapshot_;
  std::vector<HubFile> missing_;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;  // of what follows
  std::vector<uint64_t> done_;
  uint64_t sum_ = 0, total_ = 0;
  Status first_error_;
};

}  // namespace

Result<PullPlan> PlanHubPull(const HubReference& reference,
                             const PullOptions& options) {
  HubPuller puller(reference, options);
  RETURN_IF_ERROR(puller.Plan());
  return puller.Summary();
}

Result<PulledModel> PullFromHub(const HubReference& reference,
                                const PullOptions& options) {
  return HubPuller(reference, options).Run();
}

}  // namespace intarsia
