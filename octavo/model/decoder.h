// The one decoder forward: embedding, layers of attention and MLP, final norm, head.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/model/weights.h"

namespace octavo::model {

// What one step computes: tokens of several sequences, flat; each sequence's are consecutive. Prefill, a chunk of a
// prefill and decode differ only in the counts.
struct BatchPlan {
  std::vector<std::int32_t> tokens;              // [tokens]
  std::vector<backend::SequenceRows> sequences;  // in the order of their rows; every row belongs to one
  std::vector<std::int32_t> logit_rows;          // rows whose logits are wanted, any order
  // How long each sequence's whole text is, where that is known and longer than what this step ends at: a prompt that
  // comes in chunks, a line that is scored. Empty: what the step ends at. Only `dynamic` rope asks.
  std::vector<std::uint64_t> lengths;
};

// Memory beside the weights that a Decoder takes for steps of at most `max_tokens` tokens.
std::uint64_t workspace_bytes(const DecoderConfig& config, std::uint64_t max_tokens);

// One thread at a time. The model and the backend must outlive it.
class Decoder {
 public:
  // `max_tokens`: the largest plan.tokens.
  static Result<Decoder> create(const LoadedModel& model, backend::Backend& backend, std::uint64_t max_tokens);

  const DecoderConfig& config() const { return model_->config; }
  backend::Backend& backend() const { return *backend_; }

  // The cache that step() writes keys and values to: `blocks` blocks of `block_size` tokens.
  Result<std::unique_ptr<backend::KvCache>> create_kv_cache(std::uint64_t blocks, backend::KvDType dtype,
                                                            std::uint64_t block_size = 16) const;

  // Runs the layers and keeps the final hidden states of plan.logit_rows for the calls below. Token ids outside the
  // vocabulary, positions beyond max_positions and more tokens than max_tokens are failures; nothing is written then.
  Status step(const BatchPlan& plan, backend::KvCache& cache);

  // Logits of plan.logit_rows[begin, begin + count) of the last step: [count, vocab] on the host.
  Status logits(std::uint64_t begin, std::uint64_t count, std::span<float> out);
  // Of all plan.logit_rows: log softmax at targets[i], and its rank (1 = most likely). Runs in tiles: no
  // [tokens, vocab] matrix is ever whole.
  Status token_logprobs(std::span<const std::int32_t> targets, std::span<float> logprobs,
                        std::span<std::int32_t> ranks);

  // Bytes of weights that one decode step reads (layers and head; for GB/s).
  std::uint64_t bytes_per_token() const;

 private:
  struct Workspace;
  Decoder(const LoadedModel& model, backend::Backend& backend, std::uint64_t max_tokens);
  Status check(const BatchPlan& plan, const backend::KvCache& cache) const;
  backend::Matrix logit_tile(std::uint64_t begin, std::uint64_t count);  // of the kept rows, at most a tile
  const LoadedModel* model_;
  backend::Backend* backend_;
  std::uint64_t max_tokens_;
  std::shared_ptr<Workspace> work_;
};

}  // namespace octavo::model
