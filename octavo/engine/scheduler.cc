// Decodes, then prompts that have begun, then the queue.
#include "octavo/engine/scheduler.h"

#include <algorithm>
#include <tuple>

namespace octavo::engine {

bool Scheduler::ArrivedEarlier::operator()(const Sequence* a, const Sequence* b) const {
  return std::tie(a->arrival, a->index) < std::tie(b->arrival, b->index);
}

bool Scheduler::Earlier::operator()(const Sequence* a, const Sequence* b) const {
  if (a->overdue != b->overdue) return a->overdue;
  if (!a->overdue && a->priority != b->priority) return a->priority < b->priority;
  return ArrivedEarlier()(a, b);
}

void Scheduler::enqueue(Sequence& sequence) {
  sequence.state = SequenceState::kWaiting;
  waiting_.insert(&sequence);
  by_arrival_.insert(&sequence);
}

void Scheduler::dequeue(Sequence& sequence) {
  waiting_.erase(&sequence);
  by_arrival_.erase(&sequence);
}

void Scheduler::add(Sequence& sequence) { enqueue(sequence); }

void Scheduler::remove(Sequence& sequence) {
  if (sequence.state == SequenceState::kWaiting) dequeue(sequence);
  if (sequence.state == SequenceState::kRunning) std::erase(running_, &sequence);
  blocks_.release(sequence.chain);
  sequence.state = SequenceState::kFinished;
}

void Scheduler::retract(Sequence& sequence) {
  std::erase(running_, &sequence);
  blocks_.release(sequence.chain);
  sequence.computed = 0;
  ++sequence.preemptions;
  enqueue(sequence);
}

void Scheduler::retract_all() {
  while (!running_.empty()) retract(*running_.back());
}

const StepPlan& Scheduler::plan() {
  plan_.slices.clear();
  plan_.preempted.clear();
  plan_.admitted.clear();
  plan_.tokens = 0;
  room_ = options_.max_num_batched_tokens;
  plan_decodes();
  plan_prefills();
  if (plan_.preempted.empty()) admit();
  return plan_;
}

void Scheduler::schedule(Sequence& sequence, std::uint64_t count) {
  plan_.slices.push_back({&sequence, sequence.computed, count});
  plan_.tokens += count;
  room_ -= count;
  sequence.computed += count;
  // Already here: layer by layer a step stores all keys and values before it reads any, so what it computes for one
  // sequence can be read by another in the same step.
  blocks_.publish(sequence.chain, sequence.tokens, sequence.computed);
}

// The earliest first, so that whoever is preempted for a block has not been given rows yet.
void Scheduler::plan_decodes() {
  std::vector<Sequence*> decodes;
  for (Sequence* s : running_) {
    if (s->missing() == 1) decodes.push_back(s);
  }
  std::sort(decodes.begin(), decodes.end(), Earlier());
  for (Sequence* s : decodes) {
    while (s->state == SequenceState::kRunning && !blocks_.grow(s->chain, s->tokens.size())) {
      Sequence& last = **std::max_element(running_.begin(), running_.end(), Earlier());
      retract(last);
      plan_.preempted.push_back(&last);
    }
    if (s->state == SequenceState::kRunning) schedule(*s, 1);
  }
}

// In order of admission: nobody who comes later delays a prompt that has begun. Its blocks are there.
void Scheduler::plan_prefills() {
  for (Sequence* s : running_) {
    if (room_ == 0) break;
    if (s->missing() > 0) schedule(*s, std::min(room_, s->missing()));
  }
}

void Scheduler::admit() {
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    if (room_ == 0 || running_.size() >= options_.max_num_seqs) break;
    if ((*next)->arrival >= hold_from_) {
      ++next;
      continue;
    }
    if (!admit(**next)) break;
    next = waiting_.begin();  // an admission may have changed the order
  }
}

bool Scheduler::admit(Sequence& s) {
  // The last token is always computed: its logits are what is wanted.
  const std::uint64_t limit = std::min<std::uint64_t>(s.tokens.size() - 1, s.first_row);
  const PrefixMatch match = blocks_.match(s.tokens, s.chain.salt, limit);
  if (!blocks_.fits(match, s.tokens.size(), /*reserve=*/running_.size())) return false;
  blocks_.start(s.chain, match, s.tokens.size());
  dequeue(s);
  running_.push_back(&s);
  s.state = SequenceState::kRunning;
  s.computed = match.tokens();
  if (!s.admitted) {
    s.admitted = true;
    s.cached = match.tokens();
    prefix_queries_ += s.tokens.size();
    prefix_hits_ += match.tokens();
  }
  plan_.admitted.push_back(&s);
  count_overtakes(s);
  schedule(s, std::min(room_, s.missing()));
  return true;
}

void Scheduler::count_overtakes(const Sequence& admitted) {
  for (Sequence* s : by_arrival_) {
    if (s->arrival >= admitted.arrival) break;
    if (s->overdue || ++s->overtaken < options_.max_overtakes) continue;
    waiting_.erase(s);
    s->overdue = true;
    waiting_.insert(s);
  }
}

}  // namespace octavo::engine
