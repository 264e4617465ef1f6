// A fixed team of threads for data-parallel loops. Results of the engine never
// depend on the number of threads: a task's work is fixed by its index alone.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace intarsia {

class ThreadPool {
 public:
  // `threads` counts the caller; 0 takes the processors this process may use.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(i) once for each i in [0, tasks), on any thread, and returns
  // when all are done. The first exception is rethrown. One caller at a time; a
  // call from inside a task runs on that thread alone.
  void Run(int64_t tasks, const std::function<void(int64_t)>& task);

  // Splits [0, n) into ranges of at least `grain` and calls body(begin, end).
  template <typename Body>
  void For(int64_t n, int64_t grain, const Body& body) {
    if (n <= 0) return;
    const int64_t most = int64_t{size()} * 4;
    const int64_t tasks =
        std::max<int64_t>(1, std::min(most, n / std::max<int64_t>(grain, 1)));
    if (tasks == 1) {
      body(int64_t{0}, n);
      return;
    }
    Run(tasks, [&](int64_t i) { body(i * n / tasks, (i + 1) * n / tasks); });
  }

 private:
  void Work();
  void Drain();

  std::vector<std::thread> workers_;
  std::atomic<uint32_t> generation_{0};
  std::atomic<uint32_t> busy_{0};  // workers inside the present loop
  std::atomic<int64_t> next_{0};
  std::atomic<bool> stop_{false};
  int64_t tasks_ = 0;
  const std::function<void(int64_t)>* task_ = nullptr;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

}  // namespace intarsia
