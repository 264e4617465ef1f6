// What runs in a step, and what becomes of it.
#include <algorithm>

#include "intarsia/engine/scheduler.h"

namespace intarsia {

Scheduler::Work Scheduler::Step(std::vector<Event>* events) {
  Work work;
  const size_t before = events->size();
  Admit(events);
  std::vector<Grant> planned;
  const StepPlan plan = Plan(Grants(events), &planned);
  ++step_;
  if (plan.empty()) {
    if (events->size() > before || !busy()) return work;
    // Nobody can go on, so that no memory comes free: one ends.
    Sequence& s = At(running_.empty() ? *waiting_.begin() : *running_.rbegin());
    EndEarly(s, NoRoom(s), events);
    return work;
  }
  const Result<std::vector<StepToken>> tokens = runner_.Tokens(plan);
  if (!tokens.ok()) {
    for (const Grant& grant : planned) {
      EndEarly(*grant.sequence, tokens.status(), events);
    }
    return work;
  }
  size_t next = 0;
  for (size_t i = 0; i < planned.size(); ++i) {
    Sequence& s = *planned[i].sequence;
    Count(planned[i], &work);
    s.computed += planned[i].tokens;
    s.reached = std::max(s.reached, s.computed);
    const size_t n = plan[i].samplers.size();
    const std::span<const StepToken> own =
        std::span<const StepToken>(*tokens).subspan(next, n);
    next += n;
    if (std::ranges::binary_search(s.marks, s.computed) &&
        std::ranges::all_of(own,
                            [](const StepToken& t) { return t.error.ok(); })) {
      Remember(s);
    }
    if (n == 0) continue;
    // Copies are made before the first one may end and close its slot.
    const std::vector<int64_t> siblings = std::exchange(s.siblings, {});
    for (const int64_t id : siblings) StartFork(*sequences_.at(id), s);
    Take(s, own[0], events);
    for (size_t k = 0; k < siblings.size(); ++k) {
      TakeFork(*sequences_.at(siblings[k]), own[k + 1], events);
    }
  }
  return work;
}

Status Scheduler::NoRoom(const Sequence& s) const {
  if (s.slot < 0 && runner_.free_slots() == 0) {
    return Unavailable(
        "[engine] all sequences are taken; close one, or make room for more");
  }
  return Unavailable("[engine] the pool of state has no room for " +
                     std::to_string(s.position(s.size())) + " tokens");
}

// How many tokens each running sequence may run, in their order.
std::vector<Scheduler::Grant> Scheduler::Grants(std::vector<Event>* events) {
  std::vector<Grant> grants;
  std::vector<Sequence*> full;
  int64_t left = options_.step_tokens;
  for (const Rank& rank : running_) {
    Sequence& s = At(rank);
    if (s.in_prompt()) {
      grants.push_back({&s, 0});
    } else if (runner_.Check({}, s.position(s.computed + 1)).ok()) {
      // One token, also of an answer that is computed again: as it was.
      grants.push_back({&s, 1});
      --left;
    } else {
      full.push_back(&s);
    }
  }
  for (Sequence* s : full) {
    EndEarly(*s, runner_.Check({}, s->position(s->computed + 1)), events);
  }
  // Prompts take turns, a piece of the grid each.
  bool first = true;
  for (bool more = true; more;) {
    more = false;
    for (Grant& grant : grants) {
      const Sequence& s = *grant.sequence;
      if (!s.in_prompt()) continue;
      const int64_t at = s.computed + grant.tokens;
      if (grant.tokens > 0 && s.StopsAt(at)) continue;
      const int64_t n = std::min(
          s.NextStop(at) - at, Runner::kGrid - s.position(at) % Runner::kGrid);
      if (n <= 0 || (n > left && !first)) continue;
      grant.tokens += n;
      left -= n;
      first = false;
      more = true;
    }
  }
  std::erase_if(grants, [](const Grant& g) { return g.tokens == 0; });
  return grants;
}

// Memory for what is granted, in the order: the last ones give way.
StepPlan Scheduler::Plan(const std::vector<Grant>& grants,
                         std::vector<Grant>* planned) {
  StepPlan plan;
  for (const Grant& grant : grants) {
    Sequence& s = *grant.sequence;
    if (s.place != Sequence::Place::kRunning) continue;  // preempted just now
    const int64_t end = s.computed + grant.tokens;
    if (!RoomToRun(s, s.position(end))) continue;
    StepPiece piece{
        .slot = s.slot,
        .tokens = std::span<const int32_t>(s.tokens).subspan(
            static_cast<size_t>(s.computed), static_cast<size_t>(grant.tokens)),
        .total = s.position(s.size())};
    if (end == s.size()) {
      piece.want = StepPiece::Want::kTokens;
      piece.history = s.tokens;
      piece.samplers.push_back(&s.sampler);
      for (const int64_t id : s.siblings) {
        piece.samplers.push_back(&sequences_.at(id)->sampler);
      }
    }
    plan.push_back(std::move(piece));
    planned->push_back(grant);
  }
  return plan;
}

bool Scheduler::RoomToRun(Sequence& s, int64_t end) {
  while (!runner_.Reserve(s.slot, end)) {
    if (runner_.Forget()) continue;
    if (PreemptLast(s.rank)) continue;
    // It gives way itself, or stands still for a step, while others go on.
    if (running_.size() > 1) PreemptOne(s);
    return false;
  }
  s.reserved = std::max(s.reserved, end);
  return true;
}

void Scheduler::Count(const Grant& grant, Work* work) const {
  const Sequence& s = *grant.sequence;
  const int64_t again =
      std::clamp<int64_t>(s.reached - s.computed, 0, grant.tokens);
  work->again_tokens += again;
  (s.in_prompt() ? work->prompt_tokens : work->decode_tokens) +=
      grant.tokens - again;
}

void Scheduler::TakeFork(Sequence& s, const StepToken& token,
                         std::vector<Event>* events) {
  if (s.slot < 0 && !s.recomputable()) {
    EndEarly(s, NoRoom(s), events);
  } else {
    Take(s, token, events);
  }
}

void Scheduler::Take(Sequence& s, const StepToken& token,
                     std::vector<Event>* events) {
  using Finish = Generation::Finish;
  if (!token.error.ok()) return End(s, Finish::kError, token.error, events);
  if (std::ranges::count(s.stop_ids, token.id) > 0) {
    return End(s, Finish::kStop, Status::Ok(), events);
  }
  s.tokens.push_back(token.id);
  Event event;
  event.id = s.rank.id;
  event.token = token.id;
  events->push_back(std::move(event));
  if (s.size() - s.prompt_end >= s.max_tokens) {
    End(s, Finish::kLength, Status::Ok(), events);
  }
}

// What was said so far stands.
void Scheduler::EndEarly(Sequence& s, const Status& why,
                         std::vector<Event>* events) {
  const std::vector<int64_t> siblings = std::exchange(s.siblings, {});
  for (const int64_t id : siblings) EndEarly(*sequences_.at(id), why, events);
  End(s,
      s.size() > s.prompt_end ? Generation::Finish::kLength
                              : Generation::Finish::kError,
      why, events);
}

void Scheduler::End(Sequence& s, Generation::Finish finish, const Status& error,
                    std::vector<Event>* events) {
  if (finish != Generation::Finish::kError) Keep(s);
  Event event;
  event.id = s.rank.id;
  event.kind = Event::Kind::kEnd;
  event.finish = finish;
  event.error = error;
  events->push_back(std::move(event));
  Remove(s);
}

}  // namespace intarsia
