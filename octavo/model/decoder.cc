// The forward pass. Every architecture runs through this one function; what differs is in DecoderConfig.
#include "octavo/model/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "octavo/model/rope.h"

namespace octavo::model {

using backend::Activations;
using backend::Matrix;
using backend::SequenceRows;

namespace {

// Logits are made in tiles of at most this many bytes, so that a long prompt's never stand in memory together; at
// least kFewestLogitRows rows, so that a large head is not decoded once a row.
constexpr std::uint64_t kLogitTileBytes = 64ull << 20;
constexpr std::uint64_t kFewestLogitRows = 16;

std::uint64_t logit_tile_rows(const DecoderConfig& c, std::uint64_t max_tokens) {
  return std::min(max_tokens, std::max(kFewestLogitRows, kLogitTileBytes / (c.vocab * sizeof(float))));
}

std::uint64_t widest_input(const DecoderConfig& c) { return std::max({c.hidden, c.q_size(), c.intermediate}); }

}  // namespace

std::uint64_t workspace_bytes(const DecoderConfig& c, std::uint64_t max_tokens) {
  const std::uint64_t row = 2 * c.hidden + c.q_size() + 2 * c.kv_size() + 2 * c.intermediate + c.head_dim;
  const std::uint64_t inputs = 2 * widest_input(c);  // the layer's, and their FP8 rounding inside the backend
  return sizeof(float) * (max_tokens * (row + inputs) + logit_tile_rows(c, max_tokens) * c.vocab);
}

struct Decoder::Workspace {
  std::unique_ptr<backend::Buffer> residual;  // [max_tokens, hidden]
  std::unique_ptr<backend::Buffer> qkv;       // [max_tokens, q_size + 2 kv_size]
  std::unique_ptr<backend::Buffer> gate_up;   // [max_tokens, 2 intermediate]
  std::unique_ptr<backend::Buffer> rope;      // [max_tokens, head_dim]
  std::unique_ptr<backend::Buffer> kept;      // [max_tokens, hidden]: residual rows of the last step's logit_rows
  std::unique_ptr<backend::Buffer> logits;    // [tile, vocab]
  std::unique_ptr<Activations> input;         // [max_tokens, widest input]
  std::uint64_t tile = 0;
  std::uint64_t kept_rows = 0;
  RopeFrequencies frequencies;  // of every kind but kDynamic
};

Decoder::Decoder(const LoadedModel& model, backend::Backend& backend, std::uint64_t max_tokens)
    : model_(&model), backend_(&backend), max_tokens_(max_tokens), work_(std::make_shared<Workspace>()) {}

Result<Decoder> Decoder::create(const LoadedModel& model, backend::Backend& backend, std::uint64_t max_tokens) {
  Decoder out(model, backend, std::max<std::uint64_t>(max_tokens, 1));
  const DecoderConfig& c = model.config;
  const std::uint64_t rows = out.max_tokens_;
  Workspace& w = *out.work_;
  w.tile = logit_tile_rows(c, rows);
  OCTAVO_ASSIGN(w.residual, backend.create_buffer(rows * c.hidden));
  OCTAVO_ASSIGN(w.qkv, backend.create_buffer(rows * (c.q_size() + 2 * c.kv_size())));
  OCTAVO_ASSIGN(w.gate_up, backend.create_buffer(rows * 2 * c.intermediate));
  OCTAVO_ASSIGN(w.rope, backend.create_buffer(rows * c.head_dim));
  OCTAVO_ASSIGN(w.kept, backend.create_buffer(rows * c.hidden));
  OCTAVO_ASSIGN(w.logits, backend.create_buffer(w.tile * c.vocab));
  OCTAVO_ASSIGN(w.input, backend.create_activations(rows, widest_input(c)));
  w.frequencies = rope_frequencies(c, 0);
  return out;
}

Result<std::unique_ptr<backend::KvCache>> Decoder::create_kv_cache(std::uint64_t blocks, backend::KvDType dtype,
                                                                   std::uint64_t block_size) const {
  const DecoderConfig& c = config();
  backend::KvShape shape{.layers = c.layers,
                         .kv_heads = c.kv_heads,
                         .head_dim = c.head_dim,
                         .blocks = blocks,
                         .block_size = block_size,
                         .dtype = dtype,
                         .k_scales = model_->weights.k_scales,
                         .v_scales = model_->weights.v_scales};
  return backend_->create_kv_cache(shape);
}

Status Decoder::check(const BatchPlan& plan, const backend::KvCache& cache) const {
  const DecoderConfig& c = config();
  const std::uint64_t rows = plan.tokens.size();
  if (rows == 0) return failure("a step needs at least one token");
  if (rows > max_tokens_) return failure("a step of {} tokens is more than the {} it was made for", rows, max_tokens_);
  for (const std::int32_t token : plan.tokens) {
    if (token < 0 || static_cast<std::uint64_t>(token) >= c.vocab) {
      return failure("token id {} is outside the model's vocabulary of {}", token, c.vocab);
    }
  }
  std::uint64_t next = 0;
  const backend::KvShape& kv = cache.shape();
  for (const SequenceRows& s : plan.sequences) {
    if (s.row != next || s.count == 0) return failure("the sequences of a step must cover its rows in order");
    next += s.count;
    const std::uint64_t end = s.position + s.count;
    if (end > c.max_positions) {
      return failure("position {} is beyond the model's context of {} tokens", end - 1, c.max_positions);
    }
    if (s.blocks.size() * kv.block_size < end) return failure("a sequence of {} tokens has too few cache blocks", end);
    for (const std::int32_t block : s.blocks) {
      if (block < 0 || static_cast<std::uint64_t>(block) >= kv.blocks) return failure("no cache block {}", block);
    }
  }
  if (next != rows) return failure("the sequences of a step must cover its rows in order");
  if (!plan.lengths.empty() && plan.lengths.size() != plan.sequences.size()) {
    return failure("a step has {} sequences, but {} lengths", plan.sequences.size(), plan.lengths.size());
  }
  for (const std::int32_t row : plan.logit_rows) {
    if (row < 0 || static_cast<std::uint64_t>(row) >= rows) return failure("a step has no row {}", row);
  }
  if (plan.logit_rows.size() > max_tokens_) return failure("more rows of logits are wanted than a step has");
  return {};
}

Status Decoder::step(const BatchPlan& plan, backend::KvCache& cache) {
  OCTAVO_TRY(check(plan, cache));
  const DecoderConfig& c = config();
  const ModelWeights& weights = model_->weights;
  backend::Backend& b = *backend_;
  Workspace& w = *work_;
  const std::uint64_t rows = plan.tokens.size();

  const Matrix residual = w.residual->matrix(rows, c.hidden);
  const Matrix qkv = w.qkv->matrix(rows, c.q_size() + 2 * c.kv_size());
  const Matrix q = qkv.col_range(0, c.q_size());
  const Matrix k = qkv.col_range(c.q_size(), c.kv_size());
  const Matrix v = qkv.col_range(c.q_size() + c.kv_size(), c.kv_size());
  const Matrix gate_up = w.gate_up->matrix(rows, 2 * c.intermediate);
  const Matrix rope = w.rope->matrix(rows, c.head_dim);
  Activations& x = *w.input;

  b.embed(plan.tokens, *weights.embedding, residual);
  for (std::size_t i = 0; i < plan.sequences.size(); ++i) {
    const SequenceRows& s = plan.sequences[i];
    const std::uint64_t length = plan.lengths.empty() ? s.position + s.count : plan.lengths[i];
    const RopeFrequencies own =
        c.rope.kind == RopeConfig::Kind::kDynamic ? rope_frequencies(c, length) : RopeFrequencies();
    const RopeFrequencies& f = own.inv_freq.empty() ? w.frequencies : own;
    b.rope_table(s.position, f.inv_freq, f.factor, rope.row_range(s.row, s.count));
  }

  backend::AttentionShape attention{.heads = c.heads,
                                    .kv_heads = c.kv_heads,
                                    .head_dim = c.head_dim,
                                    .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim))};
  for (std::uint64_t i = 0; i < c.layers; ++i) {
    const LayerWeights& layer = weights.layers[i];
    b.rms_norm(residual, *layer.input_norm, c.norm_eps, x);
    b.linear(x, std::array<const LinearWeight*, 3>{layer.q.get(), layer.k.get(), layer.v.get()}, qkv);
    b.norm_rope(q, c.head_dim, layer.q_norm.get(), c.norm_eps, rope);
    b.norm_rope(k, c.head_dim, layer.k_norm.get(), c.norm_eps, rope);
    b.store_kv(k, v, plan.sequences, i, cache);
    attention.window = c.windows[i];
    b.attention(q, plan.sequences, attention, i, cache, x);
    b.linear_add(x, *layer.o, residual);

    b.rms_norm(residual, *layer.post_attention_norm, c.norm_eps, x);
    b.linear(x, std::array<const LinearWeight*, 2>{layer.gate.get(), layer.up.get()}, gate_up);
    b.gated_activation(gate_up, c.activation, x);
    b.linear_add(x, *layer.down, residual);
  }

  w.kept_rows = plan.logit_rows.size();
  if (w.kept_rows > 0) b.gather_rows(residual, plan.logit_rows, w.kept->matrix(w.kept_rows, c.hidden));
  return {};
}

Matrix Decoder::logit_tile(std::uint64_t begin, std::uint64_t count) {
  const DecoderConfig& c = config();
  const ModelWeights& weights = model_->weights;
  Workspace& w = *work_;
  const LinearWeight* head = weights.head ? weights.head.get() : weights.embedding.get();
  const Matrix logits = w.logits->matrix(count, c.vocab);
  backend_->rms_norm(w.kept->matrix(w.kept_rows, c.hidden).row_range(begin, count), *weights.final_norm, c.norm_eps,
                     *w.input);
  backend_->linear(*w.input, std::array<const LinearWeight*, 1>{head}, logits);
  return logits;
}

Status Decoder::logits(std::uint64_t begin, std::uint64_t count, std::span<float> out) {
  const std::uint64_t vocab = config().vocab;
  if (begin + count > work_->kept_rows || out.size() != count * vocab) {
    return failure("logits of rows {} to {} are wanted, but the step kept {}", begin, begin + count, work_->kept_rows);
  }
  for (std::uint64_t done = 0; done < count;) {
    const std::uint64_t rows = std::min(work_->tile, count - done);
    backend_->download(logit_tile(begin + done, rows), out.subspan(done * vocab, rows * vocab));
    done += rows;
  }
  return {};
}

Status Decoder::token_logprobs(std::span<const std::int32_t> targets, std::span<float> logprobs,
                               std::span<std::int32_t> ranks) {
  const std::uint64_t count = work_->kept_rows;
  if (targets.size() != count || logprobs.size() != count || ranks.size() != count) {
    return failure("{} targets are given, but the step kept {} rows", targets.size(), count);
  }
  for (const std::int32_t target : targets) {
    if (target < 0 || static_cast<std::uint64_t>(target) >= config().vocab) {
      return failure("token id {} is outside the model's vocabulary of {}", target, config().vocab);
    }
  }
  for (std::uint64_t done = 0; done < count;) {
    const std::uint64_t rows = std::min(work_->tile, count - done);
    backend_->token_logprobs(logit_tile(done, rows), targets.subspan(done, rows), logprobs.subspan(done, rows),
                             ranks.subspan(done, rows));
    done += rows;
  }
  return {};
}

std::uint64_t Decoder::bytes_per_token() const {
  const ModelWeights& weights = model_->weights;
  std::uint64_t bytes = (weights.head ? weights.head : weights.embedding)->resident_bytes();
  for (const LayerWeights& layer : weights.layers) {
    for (const auto* linear : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      bytes += (*linear)->resident_bytes();
    }
  }
  return bytes;
}

}  // namespace octavo::model
