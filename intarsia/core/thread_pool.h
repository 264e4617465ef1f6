// A fixed team of threads for data-parallel loops. Results of the engine never
// depend on the number of threads: a task's work is fixed by its index alone.
//
// Whoever is free takes the next task, and a loop ends when its tasks are done,
// not when every thread has looked in: a worker that lost its processor to
// another program is waited for only while it holds a task.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace intarsia {

class ThreadPool {
 public:
  // `threads` counts the caller; 0 takes the processors this process may use.
  // `pin` ties each worker to one of these processors, leaving the first to the
  // caller: for machines that nothing else runs on.
  explicit ThreadPool(int threads = 0, bool pin = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(i) once for each i in [0, tasks), on any thread, and returns
  // when all are done. The first exception is rethrown. One caller at a time; a
  // call from inside a task runs on that thread alone. Allocates nothing.
  template <typename Task>
  void Run(int64_t tasks, const Task& task) {
    RunLoop({tasks, &task, [](const void* task, int64_t i) {
               (*static_cast<const Task*>(task))(i);
             }});
  }

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
  // A loop in flight, by reference: it lives on the caller's stack.
  struct Loop {
    int64_t tasks = 0;
    const void* task = nullptr;
    void (*call)(const void* task, int64_t i) = nullptr;
  };

  void RunLoop(const Loop& loop);
  void Work();
  void TakeTasks();

  std::vector<std::thread> workers_;
  std::atomic<uint32_t> generation_{0};  // counts loops; workers wait on it
  std::atomic<bool> stop_{false};
  // Tasks nobody took yet; at most 0 between loops. Taking one (a decrement
  // from above 0) keeps the loop, and so loop_, alive until it is finished.
  alignas(64) std::atomic<int64_t> untaken_{0};
  alignas(64) std::atomic<uint32_t> unfinished_{0};
  Loop loop_;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

}  // namespace intarsia
