// Who is in: arrival, admission, preemption and ends. scheduler_step.cc has the
// steps.
#include "intarsia/engine/scheduler.h"

#include <algorithm>

namespace intarsia {
namespace {

constexpr int kMostPriority = 100;
constexpr int kMostAnswers = 1024;

void Unique(std::vector<int64_t>* sorted) {
  sorted->erase(std::unique(sorted->begin(), sorted->end()), sorted->end());
}

Status CheckRequest(const Request& request) {
  const auto bad = [](const char* what) {
    return InvalidArgument(std::string("[engine] ") + what);
  };
  if (request.prompt.empty()) return bad("the prompt has no tokens");
  RETURN_IF_ERROR(Validate(request.sampling));
  if (request.max_tokens < 1) return bad("max_tokens must be 1 or more");
  if (request.n < 1 || request.n > kMostAnswers) {
    return bad("the number of answers must be from 1 to 1024");
  }
  if (request.n > 1 && request.slot >= 0) {
    return bad("a sequence that goes on has one answer");
  }
  for (size_t i = 0; i < request.boundaries.size(); ++i) {
    const int64_t at = request.boundaries[i];
    if (at <= (i > 0 ? request.boundaries[i - 1] : 0) ||
        at > static_cast<int64_t>(request.prompt.size())) {
      return bad("boundaries must ascend and lie within the prompt");
    }
  }
  if (std::abs(request.priority) > kMostPriority) {
    return bad("the priority must be from -100 to 100");
  }
  return Status::Ok();
}

}  // namespace

Scheduler::Scheduler(Runner& runner, const Options& options)
    : runner_(runner), options_(options) {
  CHECK_GE(options_.step_tokens, 1);
  CHECK_GE(options_.aging, 0);
}

Scheduler::~Scheduler() {
  while (!sequences_.empty()) Remove(*sequences_.begin()->second);
}

Sequence* Scheduler::Find(int64_t id) {
  const auto it = sequences_.find(id);
  return it == sequences_.end() ? nullptr : it->second.get();
}

Result<int64_t> Scheduler::Submit(const Request& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  auto first = std::make_unique<Sequence>();
  first->tokens = request.before;
  first->computed = first->size();
  first->tokens.insert(first->tokens.end(), request.prompt.begin(),
                       request.prompt.end());
  first->prompt_end = first->size();
  if (request.slot < 0) {
    first->computed = 0;
  } else {
    first->owned = false;
    first->slot = request.slot;
    first->offset = runner_.length(request.slot) - first->computed;
    CHECK_GE(first->offset, 0) << "more stood before than the state has seen";
    for (const auto& [id, other] : sequences_) {
      CHECK(other->owned || other->slot != request.slot)
          << "slot " << request.slot << " has a request already";
    }
  }
  first->reached = first->computed;
  first->reuse = first->owned ? request.reuse : Reuse::kNone;
  first->exact_end = first->prompt_end;
  for (const int64_t at : request.boundaries) {
    first->boundaries.push_back(static_cast<int64_t>(request.before.size()) +
                                at);
  }
  first->cuts = first->boundaries;
  first->cuts.push_back(first->prompt_end);
  std::erase_if(first->cuts, [&](int64_t at) {
    return first->position(at) % Runner::kGrid == 0;
  });
  Unique(&first->cuts);
  const int64_t end = first->position(first->size());
  RETURN_IF_ERROR(runner_.Check(request.prompt, end));
  if (runner_.BytesFor(end) > runner_.total_bytes()) {
    return Unavailable("[engine] the pool of state has no room for " +
                       std::to_string(end) + " tokens");
  }
  first->max_tokens = request.max_tokens;
  first->stop_ids = request.stop_ids;
  const int64_t turn = step_ - request.priority * options_.aging;
  const int64_t id = next_id_;
  next_id_ += request.n;
  for (int i = request.n - 1; i >= 0; --i) {
    auto s = i > 0 ? std::make_unique<Sequence>(*first) : std::move(first);
    s->rank = {turn, id + i};
    SamplingOptions sampling = request.sampling;
    sampling.seed += static_cast<uint64_t>(i);
    s->sampler = Sampler(std::move(sampling));
    if (i > 0) {
      s->place = Sequence::Place::kSibling;
    } else {
      for (int k = 1; k < request.n; ++k) s->siblings.push_back(id + k);
      waiting_.insert(s->rank);
    }
    sequences_.emplace(id + i, std::move(s));
  }
  return id;
}

bool Scheduler::Cancel(int64_t id) {
  Sequence* s = Find(id);
  if (s == nullptr) return false;
  if (!s->siblings.empty()) Promote(*s);
  Keep(*s);
  Remove(*s);
  return true;
}

// As it stands, for those that begin alike.
void Scheduler::Remember(Sequence& s) {
  if (s.reuse == Reuse::kNone || !s.owned || s.slot < 0) return;
  runner_.Remember(s.slot, s.KeyOf(s.computed));
}

// What is left of one that ends.
void Scheduler::Keep(Sequence& s) {
  if (s.computed == 0) return;
  if (s.reuse == Reuse::kAll ||
      (s.in_prompt() && s.computed % Runner::kGrid == 0)) {
    Remember(s);
  }
}

// The first of its siblings takes over what `s` has.
void Scheduler::Promote(Sequence& s) {
  Sequence& heir = *sequences_.at(s.siblings.front());
  heir.siblings.assign(s.siblings.begin() + 1, s.siblings.end());
  s.siblings.clear();
  heir.computed = s.computed;
  heir.reached = s.reached;
  heir.reserved = s.reserved;
  heir.slot = std::exchange(s.slot, -1);
  heir.ticket = std::exchange(s.ticket, -1);
  heir.place = s.place;
  heir.marks = s.marks;
  heir.exact_end = s.exact_end;
  heir.started = s.started;
  Ranks& ranks = s.place == Sequence::Place::kRunning ? running_ : waiting_;
  ranks.erase(s.rank);
  ranks.insert(heir.rank);
}

// Out of every list, with what it holds.
void Scheduler::Remove(Sequence& s) {
  if (s.place == Sequence::Place::kSibling) {
    for (auto& [id, other] : sequences_) std::erase(other->siblings, s.rank.id);
  }
  if (s.owned && s.slot >= 0) runner_.Close(s.slot);
  if (s.ticket >= 0) runner_.Drop(s.ticket);
  waiting_.erase(s.rank);
  running_.erase(s.rank);
  sequences_.erase(s.rank.id);
}

Result<int64_t> Scheduler::Fork(int64_t id, uint64_t seed) {
  Sequence* parent = Find(id);
  if (parent == nullptr) {
    return NotFound("[engine] request " + std::to_string(id) + " has ended");
  }
  if (parent->size() == parent->prompt_end) {
    return Unavailable("[engine] request " + std::to_string(id) +
                       " has said nothing yet; submit it twice, or with n");
  }
  auto child = std::make_unique<Sequence>(*parent);
  child->rank = {parent->rank.turn, next_id_++};
  SamplingOptions sampling = parent->sampler.options();
  sampling.seed = seed;
  child->sampler = Sampler(std::move(sampling));
  Sequence& s = *child;
  sequences_.emplace(s.rank.id, std::move(child));
  StartFork(s, *parent);
  if (s.slot >= 0 || s.recomputable()) return s.rank.id;
  Remove(s);
  return Unavailable("[engine] no slot or no room for a copy of request " +
                     std::to_string(id));
}

// A copy of the parent's state if there is room; else it is computed again.
void Scheduler::StartFork(Sequence& child, const Sequence& parent) {
  child.owned = true;
  child.siblings.clear();
  child.ticket = -1;
  child.slot = parent.slot >= 0 ? runner_.Fork(parent.slot) : -1;
  child.computed = child.slot >= 0 ? parent.computed : 0;
  child.reached = parent.reached;
  child.started = parent.started;
  child.reserved = 0;
  child.place =
      child.slot >= 0 ? Sequence::Place::kRunning : Sequence::Place::kWaiting;
  (child.slot >= 0 ? running_ : waiting_).insert(child.rank);
}

void Scheduler::Admit(std::vector<Event>* events) {
  while (!waiting_.empty()) {
    Sequence& s = At(*waiting_.begin());
    if (!Admit(s, events)) return;
    waiting_.erase(s.rank);
    running_.insert(s.rank);
    s.place = Sequence::Place::kRunning;
  }
}

bool Scheduler::Admit(Sequence& s, std::vector<Event>* events) {
  if (!RoomToAdmit(s)) return false;
  if (!s.owned) return true;
  if (s.ticket >= 0) {
    s.slot = runner_.SwapIn(s.ticket);
    if (s.slot >= 0) s.ticket = -1;
  } else {
    s.slot = runner_.Open();
    if (s.slot >= 0) Resume(s, events);
  }
  if (s.slot < 0) return false;
  // The next one to be admitted sees what is left.
  if (runner_.Reserve(s.slot, s.position(s.size()))) {
    s.reserved = s.position(s.size());
  }
  return true;
}

// From where another one stood, if its beginning is known.
void Scheduler::Resume(Sequence& s, std::vector<Event>* events) {
  if (s.reuse == Reuse::kNone) return;
  const PrefixMatch match =
      runner_.Resume(s.slot, s.Wanted(), s.position(s.size()), s.reuse);
  s.computed = match.tokens;
  s.exact_end = match.exact < match.tokens ? match.exact : s.prompt_end;
  // Where later prompts are likely to part: at its messages, at its end, where
  // it parts from others, and where it could be asked again.
  if (!match.own_length) {
    s.marks = {s.prompt_end};
  } else {
    const auto grid = [](int64_t at) { return at - at % Runner::kGrid; };
    s.marks = s.boundaries;
    s.marks.insert(s.marks.end(),
                   {grid(match.common), grid(s.prompt_end - 1), s.prompt_end});
    std::ranges::sort(s.marks);
    Unique(&s.marks);
  }
  std::erase_if(s.marks, [&](int64_t at) { return at <= match.tokens; });
  if (match.why == PrefixMatch::Why::kOff) s.marks.clear();
  if (s.started) return;
  s.started = true;
  reused_ += match.tokens;
  if (match.why == PrefixMatch::Why::kOff) return;
  Event event;
  event.id = s.rank.id;
  event.kind = Event::Kind::kStart;
  event.prefix = match;
  events->push_back(std::move(event));
}

// A slot, and memory for all that is known of the sequence beside a piece more
// for each that goes before it, so that it isn't sent away at once. What comes
// after it in the order gives way.
bool Scheduler::RoomToAdmit(const Sequence& s) {
  const auto wanted = [&] {
    int64_t bytes = runner_.BytesFor(s.position(s.size()));
    if (!s.owned) {
      bytes -= runner_.BytesFor(runner_.length(s.slot));
    } else if (s.ticket < 0) {
      // What is known is shared, but for the page that it goes on writing.
      const int64_t known =
          runner_.Peek(s.Wanted(), s.position(s.size()), s.reuse);
      if (known > 0) bytes += runner_.BytesFor(1) - runner_.BytesFor(known);
    }
    const auto before =
        std::distance(running_.begin(), running_.lower_bound(s.rank));
    return bytes + before * runner_.BytesFor(1);
  };
  for (;;) {
    const int64_t bytes = wanted();
    const bool slot = !s.owned || runner_.free_slots() > 0;
    if (slot && bytes <= runner_.free_bytes()) return true;
    // What is kept for others goes first, where that helps.
    if (slot && bytes <= runner_.free_bytes() + runner_.idle_bytes() &&
        runner_.Forget()) {
      continue;
    }
    if (!Feasible(s, bytes) || !PreemptLast(s.rank)) return false;
  }
}

// Whether it helps to preempt those after `s`.
bool Scheduler::Feasible(const Sequence& s, int64_t bytes) {
  int64_t free = runner_.free_bytes() + runner_.idle_bytes();
  int slots = runner_.free_slots();
  for (auto it = running_.upper_bound(s.rank); it != running_.end(); ++it) {
    const Sequence& other = At(*it);
    if (!other.owned) continue;
    free += runner_.BytesFor(
        std::max(other.reserved, other.position(other.computed)));
    ++slots;
  }
  return free >= bytes && (!s.owned || slots > 0);
}

bool Scheduler::PreemptLast(const Rank& after) {
  for (auto it = running_.rbegin(); it != running_.rend() && *it > after;
       ++it) {
    if (PreemptOne(At(*it))) return true;
  }
  return false;
}

bool Scheduler::PreemptOne(Sequence& s) {
  if (!s.owned) return false;
  s.ticket = s.computed > 0 ? runner_.SwapOut(s.slot) : -1;
  if (s.ticket < 0) {
    if (!s.recomputable()) return false;
    runner_.Close(s.slot);
    s.computed = 0;
  } else {
    ++swaps_;
  }
  ++preemptions_;
  s.slot = -1;
  s.reserved = 0;
  s.place = Sequence::Place::kWaiting;
  running_.erase(s.rank);
  waiting_.insert(s.rank);
  return true;
}

bool Scheduler::Preempt(int64_t id) {
  Sequence* s = Find(id);
  return s != nullptr && s->place == Sequence::Place::kRunning &&
         PreemptOne(*s);
}

Scheduler::Counts Scheduler::counts() const {
  Counts counts{.running = static_cast<int64_t>(running_.size()),
                .waiting = static_cast<int64_t>(waiting_.size()),
                .preemptions = preemptions_,
                .swaps = swaps_,
                .reused = reused_};
  for (const auto& [id, s] : sequences_) counts.swapped += s->ticket >= 0;
  return counts;
}

}  // namespace intarsia
