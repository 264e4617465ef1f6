#include "intarsia/core/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "intarsia/core/check.h"

namespace intarsia {
namespace {

// A loop of a small model lasts microseconds, so waiting for the next one spins
// first; past that a thread yields its core to whoever needs it.
constexpr int kSpins = 2000;

thread_local bool inside_task = false;

// The processors this process may use, in ascending order; empty if unknown.
std::vector<int> UsableProcessors() {
  std::vector<int> usable;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return usable;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) usable.push_back(i);
  }
  return usable;
}

// A wish: where it cannot be granted, the thread runs as it would.
void Pin(std::thread& thread, int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set);
}

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits until `value` differs from `old`: spins, then sleeps.
void WaitWhile(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    Pause();
  }
  value.wait(old, std::memory_order_acquire);
}

void Join(std::vector<std::thread>& workers, std::atomic<bool>& stop,
          std::atomic<uint32_t>& generation) {
  stop = true;
  generation.fetch_add(1, std::memory_order_release);
  generation.notify_all();
  for (std::thread& worker : workers) worker.join();
}

}  // namespace

ThreadPool::ThreadPool(int threads, bool pin) {
  std::vector<int> usable;
  if (threads <= 0 || pin) usable = UsableProcessors();
  int n = threads;
  if (n <= 0) n = static_cast<int>(usable.size());
  if (n <= 0) n = static_cast<int>(std::thread::hardware_concurrency());
  workers_.reserve(static_cast<size_t>(std::max(n, 1)) - 1);
  try {
    for (int i = 1; i < n; ++i) {
      workers_.emplace_back([this] { Work(); });
      if (pin && !usable.empty()) {
        Pin(workers_.back(), usable[i % usable.size()]);
      }
    }
  } catch (const std::system_error& error) {
    // Threads that nobody joins would end the program.
    const size_t started = workers_.size();
    Join(workers_, stop_, generation_);
    throw EngineError("[core] the system gives " + std::to_string(started) +
                      " threads of " + std::to_string(n - 1) + ": " +
                      error.what());
  }
}

ThreadPool::~ThreadPool() { Join(workers_, stop_, generation_); }

void ThreadPool::TakeTasks() {
  uint32_t finished = 0;
  inside_task = true;
  for (;;) {
    const int64_t left = untaken_.fetch_sub(1, std::memory_order_acquire);
    if (left <= 0) break;
    ++finished;
    try {
      loop_.call(loop_.task, loop_.tasks - left);
    } catch (...) {
      std::lock_guard<std::mutex> lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }
  inside_task = false;
  if (finished > 0 &&
      unfinished_.fetch_sub(finished, std::memory_order_acq_rel) == finished) {
    unfinished_.notify_one();
  }
}

void ThreadPool::Work() {
  uint32_t seen = 0;
  for (;;) {
    WaitWhile(generation_, seen);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_) return;
    TakeTasks();
  }
}

void ThreadPool::RunLoop(const Loop& loop) {
  if (loop.tasks <= 0) return;
  if (workers_.empty() || loop.tasks == 1 || inside_task) {
    for (int64_t i = 0; i < loop.tasks; ++i) loop.call(loop.task, i);
    return;
  }
  CHECK_LE(loop.tasks, std::numeric_limits<int32_t>::max());
  loop_ = loop;
  unfinished_.store(static_cast<uint32_t>(loop.tasks),
                    std::memory_order_relaxed);
  untaken_.store(loop.tasks, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  TakeTasks();
  for (uint32_t left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire)) {
    WaitWhile(unfinished_, left);
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace intarsia
