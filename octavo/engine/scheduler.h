// Which tokens the next step computes: continuous batching with chunked prefill. Host code alone: no backend, no clock,
// no randomness, so that a test can drive it through thousands of schedules. The rules are in CONTRACT.md.
#pragma once

#include <compare>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "octavo/engine/block_manager.h"

namespace octavo::engine {

struct SchedulerOptions {
  std::uint64_t max_num_batched_tokens = 0;  // tokens a step; at least max_num_seqs
  std::uint64_t max_num_seqs = 0;            // running at once; at least 1
  // A sequence that so many later arrivals have overtaken goes before all that are not overdue.
  std::uint64_t max_overtakes = 256;
};

enum class SequenceState : std::uint8_t { kNew, kWaiting, kRunning, kFinished };

// One continuation of a request, as the scheduler sees it. Owned by the caller, who derives from it what else it needs;
// stays where it is from add() to remove().
struct Sequence {
  // ---- set by the owner before add()
  int priority = 0;                             // lower is earlier
  std::uint64_t arrival = 0;                    // number of the request, in order of arrival
  std::uint64_t index = 0;                      // of the continuation
  std::vector<std::int32_t> tokens;             // prompt, and the output so far; the owner appends
  std::uint64_t first_row = ~std::uint64_t{0};  // rows from here on must be computed, not found (prompt logprobs)

  // ---- kept by the scheduler
  SequenceState state = SequenceState::kNew;
  BlockChain chain;            // its salt is the owner's to set
  std::uint64_t computed = 0;  // tokens whose keys and values are in the chain, this step's included
  std::uint64_t cached = 0;    // tokens found in the cache at the first admission
  std::uint64_t preemptions = 0;
  std::uint64_t overtaken = 0;  // later arrivals admitted while this one waited
  bool admitted = false;        // ever
  bool overdue = false;

  std::uint64_t missing() const { return tokens.size() - computed; }
};

// Rows of one sequence in a step: tokens [begin, begin + count).
struct Slice {
  Sequence* sequence = nullptr;
  std::uint64_t begin = 0, count = 0;
};

struct StepPlan {
  std::vector<Slice> slices;  // decodes, then chunks of prompts; empty: nothing to do
  std::uint64_t tokens = 0;
  std::vector<Sequence*> preempted;  // went back to the queue while this was planned
  std::vector<Sequence*> admitted;
};

// One thread at a time. Sequences and the block manager outlive it or are removed before they end. The blocks must hold
// the longest sequence alone: kv_blocks_for(longest) <= total().
class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, BlockManager& blocks) : options_(options), blocks_(blocks) {}

  void add(Sequence& sequence);     // kNew -> kWaiting
  void remove(Sequence& sequence);  // any state -> kFinished; its blocks are given back

  // The next step. Its tokens count as computed from here on: the caller computes them before the next call, then
  // appends a token to every sequence with nothing missing, or removes it.
  const StepPlan& plan();

  void retract(Sequence& sequence);  // kRunning -> kWaiting; its tokens stay, its keys and values do not
  void retract_all();

  // While held, sequences of arrival >= `arrival` are not admitted for the first time.
  void hold_from(std::uint64_t arrival) { hold_from_ = arrival; }
  void release_hold() { hold_from_ = kNoHold; }

  std::uint64_t running() const { return running_.size(); }
  std::uint64_t waiting() const { return waiting_.size(); }
  // Whether the next plan() would not be empty.
  bool has_work() const {
    return !running_.empty() || (!by_arrival_.empty() && (*by_arrival_.begin())->arrival < hold_from_);
  }

  // Prefix cache, in tokens: looked up at admissions, and found.
  std::uint64_t prefix_queries() const { return prefix_queries_; }
  std::uint64_t prefix_hits() const { return prefix_hits_; }

 private:
  // Overdue first, then priority, then arrival, then index.
  struct Earlier {
    bool operator()(const Sequence* a, const Sequence* b) const;
  };
  struct ArrivedEarlier {
    bool operator()(const Sequence* a, const Sequence* b) const;
  };
  static constexpr std::uint64_t kNoHold = ~std::uint64_t{0};

  void plan_decodes();
  void plan_prefills();
  void admit();
  bool admit(Sequence& sequence);
  void schedule(Sequence& sequence, std::uint64_t count);
  void enqueue(Sequence& sequence);
  void dequeue(Sequence& sequence);
  void count_overtakes(const Sequence& admitted);

  SchedulerOptions options_;
  BlockManager& blocks_;
  std::set<Sequence*, Earlier> waiting_;
  std::set<Sequence*, ArrivedEarlier> by_arrival_;  // the same ones
  std::vector<Sequence*> running_;                  // in order of admission
  std::uint64_t hold_from_ = kNoHold;
  std::uint64_t prefix_queries_ = 0, prefix_hits_ = 0;
  std::uint64_t room_ = 0;  // tokens that the step being planned can still take
  StepPlan plan_;
};

}  // namespace octavo::engine
