// Scheduler: which sequences run in a step, and with how many tokens. Host code
// without tensors or threads: the same calls give the same schedule.
//
// A step takes one token of each sequence that decodes and, with what is left
// of step_tokens, pieces of prompts, which share it evenly. Pieces end at
// absolute multiples of Runner::kGrid, at Request::boundaries or with their
// prompt, so that the schedule changes no bit of an answer on a CPU.
//
// A prompt that begins like an earlier one goes on from the state that was kept
// of that one (Request::reuse): at its boundaries, its end, the last multiple
// of kGrid before it and where two prompts part. What is kept gives way to
// whatever runs.
//
// Requests are ranked when they arrive (Rank): by the step, less
// priority · aging. They are admitted in this order, as soon as a slot and room
// for all their tokens so far are there. Whoever lacks memory takes it from the
// last in the order: its state is moved out or, where that can't be done,
// dropped and computed again, the prompt in pieces and the answer token by
// token, as it was.
//
// No request starves: the first in the order is admitted at the next step, runs
// in each and keeps its memory, so that it ends within ceil(prompt / kGrid) + 1
// + max_tokens steps, and one more for each boundary. A request of priority p
// that arrives at step s is overtaken only by those of a higher priority q that
// arrive before step s + (q − p) · aging. (Sequences of callers keep what they
// have; the first in the order may have to wait for them to end.)
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "intarsia/engine/request.h"
#include "intarsia/engine/runner.h"
#include "intarsia/engine/sequence.h"

namespace intarsia {

class Scheduler {
 public:
  struct Options {
    // Tokens of one step. Sequences that decode always run, and the first
    // prompt has a piece of up to kGrid tokens in each step, so that a step may
    // have more.
    int64_t step_tokens = 512;
    int64_t aging = 256;  // steps that one level of priority is worth
  };
  struct Event {
    // kStart: the runner looked for what is known of its prompt.
    enum class Kind : uint8_t { kStart, kToken, kEnd };
    int64_t id = 0;
    Kind kind = Kind::kToken;
    int32_t token = -1;
    Generation::Finish finish = Generation::Finish::kLength;
    Status error;
    PrefixMatch prefix;  // of kStart
  };
  // What a step ran.
  struct Work {
    int64_t prompt_tokens = 0;
    int64_t decode_tokens = 0;
    int64_t again_tokens = 0;  // computed before, lost to others
  };
  struct Counts {
    int64_t running = 0, waiting = 0, swapped = 0;  // now
    int64_t preemptions = 0, swaps = 0;             // so far
    int64_t reused = 0;  // tokens that were known, so far
  };

  // `runner` must outlive the scheduler.
  Scheduler(Runner& runner, const Options& options);
  ~Scheduler();  // closes what it opened
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // The id of the request, or of the first of its n answers; the others follow
  // it. Fails when it could never run.
  Result<int64_t> Submit(const Request& request);
  // Ends a request, whatever it is doing, without an event. False when it has
  // ended.
  bool Cancel(int64_t id);
  // A second answer that has in common what was said so far and goes on with
  // another seed; its events are those of the tokens to come.
  Result<int64_t> Fork(int64_t id, uint64_t seed);
  // Takes a request's memory until its turn comes again, in the next step at
  // the earliest. False when it isn't running or can't be done without it.
  bool Preempt(int64_t id);

  // Admits, runs one step and appends what happened.
  Work Step(std::vector<Event>* events);
  bool busy() const { return !sequences_.empty(); }
  Counts counts() const;

 private:
  using Ranks = std::set<Rank>;
  struct Grant {
    Sequence* sequence = nullptr;
    int64_t tokens = 0;
  };

  Sequence& At(const Rank& rank) { return *sequences_.at(rank.id); }
  Sequence* Find(int64_t id);
  void Admit(std::vector<Event>* events);
  bool Admit(Sequence& s, std::vector<Event>* events);
  void Resume(Sequence& s, std::vector<Event>* events);
  void Remember(Sequence& s);
  void Keep(Sequence& s);
  bool RoomToAdmit(const Sequence& s);
  bool Feasible(const Sequence& s, int64_t bytes);
  std::vector<Grant> Grants(std::vector<Event>* events);
  bool RoomToRun(Sequence& s, int64_t end);
  bool PreemptLast(const Rank& after);
  bool PreemptOne(Sequence& s);
  StepPlan Plan(const std::vector<Grant>& grants, std::vector<Grant>* planned);
  void Count(const Grant& grant, Work* work) const;
  Status NoRoom(const Sequence& s) const;
  void StartFork(Sequence& child, const Sequence& parent);
  void TakeFork(Sequence& s, const StepToken& token,
                std::vector<Event>* events);
  void Take(Sequence& s, const StepToken& token, std::vector<Event>* events);
  void EndEarly(Sequence& s, const Status& why, std::vector<Event>* events);
  void End(Sequence& s, Generation::Finish finish, const Status& error,
           std::vector<Event>* events);
  void Remove(Sequence& s);
  void Promote(Sequence& s);

  Runner& runner_;
  Options options_;
  int64_t step_ = 0, next_id_ = 0;
  std::map<int64_t, std::unique_ptr<Sequence>> sequences_;  // by id
  Ranks waiting_, running_;
  int64_t preemptions_ = 0, swaps_ = 0, reused_ = 0;
};

}  // namespace intarsia
