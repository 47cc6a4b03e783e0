// backend::Backend on CPU threads: divides operations into parts and calls the kernels.
#include "octavo/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "octavo/backend/cpu/encode.h"
#include "octavo/backend/cpu/kernels.h"
#include "octavo/backend/cpu/kv_cache.h"
#include "octavo/backend/cpu/linear_inputs.h"
#include "octavo/backend/cpu/linear_weight.h"
#include "octavo/backend/cpu/memory.h"
#include "octavo/base/ceil_div.h"
#include "octavo/base/thread_pool.h"

namespace octavo::cpu {
namespace {

using backend::Activations;
using backend::AttentionShape;
using backend::Buffer;
using backend::Compute;
using backend::InputRounding;
using backend::KvCache;
using backend::LinearWeight;
using backend::Matrix;
using backend::SequenceRows;

// Multiply-adds (or elements of similar cost) below which a second thread costs more than it brings.
constexpr std::uint64_t kWorthThreads = 32768;
// Shares of an operation a thread: enough that a thread held up by the system does not hold up the others.
constexpr std::uint64_t kShares = 4;

class CpuBuffer : public Buffer {
 public:
  explicit CpuBuffer(Memory memory) : memory_(std::move(memory)) {}
  float* data() override { return memory_.floats(); }
  std::uint64_t size() const override { return memory_.size() / sizeof(float); }

 private:
  Memory memory_;
};

const float* values_of(const Buffer& buffer) { return const_cast<Buffer&>(buffer).data(); }

// FP32 values; linear() rounds them to what it multiplies. Rows are padded to kPad with zeros.
class CpuActivations : public Activations {
 public:
  explicit CpuActivations(Memory memory) : memory_(std::move(memory)) {}
  std::uint64_t rows() const override { return rows_; }
  std::uint64_t cols() const override { return cols_; }
  std::uint64_t stride() const { return ceil_div(cols_, kPad) * kPad; }
  float* row(std::uint64_t r) { return memory_.floats() + r * stride(); }
  const float* row(std::uint64_t r) const { return memory_.floats() + r * stride(); }
  void set_shape(std::uint64_t rows, std::uint64_t cols) {
    rows_ = rows;
    cols_ = cols;
  }

 private:
  Memory memory_;
  std::uint64_t rows_ = 0, cols_ = 0;
};

class CpuBackend : public backend::Backend {
 public:
  explicit CpuBackend(const CpuOptions& options)
      : options_(options),
        kernels_(kernels(options.isa, options.compute == Compute::kBF16)),
        encode_(encode_kernels(options.isa)),
        pool_(options.threads),
        inputs_(kernels_, encode_, options.compute == Compute::kBF16),
        scratch_(static_cast<std::size_t>(pool_.threads())) {}

  std::string describe() const override {
    return fmt::format("cpu {}, {} thread{}", isa_name(options_.isa), pool_.threads(), pool_.threads() == 1 ? "" : "s");
  }
  Compute compute() const override { return options_.compute; }
  bool has_fp8_units() const override { return false; }

  Result<std::unique_ptr<Buffer>> create_buffer(std::uint64_t floats) override;
  Result<std::unique_ptr<Activations>> create_activations(std::uint64_t max_rows, std::uint64_t max_cols) override;
  Result<std::unique_ptr<KvCache>> create_kv_cache(const backend::KvShape& shape) override;
  Result<std::unique_ptr<LinearWeight>> create_linear(const backend::LinearSpec& spec) override;
  void upload(std::span<const float> values, Matrix to) override;
  void download(Matrix from, std::span<float> values) override;
  std::uint64_t linear_bytes(const backend::LinearSpec& spec) const override {
    return CpuLinearWeight::bytes(spec, options_.compute);
  }

  void pack(LinearWeight& weight, const backend::Rectangle& part, std::span<const std::byte> bytes) override {
    static_cast<CpuLinearWeight&>(weight).pack(part, bytes);
  }
  void set_scales(LinearWeight& weight, std::span<const float> scales) override {
    static_cast<CpuLinearWeight&>(weight).set_scales(scales);
  }
  void set_bias(LinearWeight& weight, std::span<const float> bias) override {
    static_cast<CpuLinearWeight&>(weight).set_bias(bias);
  }
  void unpack(const LinearWeight& weight, const backend::Rectangle& part, std::span<std::byte> bytes) const override {
    static_cast<const CpuLinearWeight&>(weight).unpack(part, bytes);
  }
  Status read_scales(const LinearWeight& weight, std::span<float> scales) const override {
    return static_cast<const CpuLinearWeight&>(weight).read_scales(scales);
  }
  void read_bias(const LinearWeight& weight, std::span<float> bias) const override {
    static_cast<const CpuLinearWeight&>(weight).read_bias(bias);
  }

  void embed(std::span<const std::int32_t> ids, const LinearWeight& table, Matrix out) override;
  void rms_norm(Matrix x, const Buffer& weight, float eps, Activations& out) override;
  void linear(const Activations& x, std::span<const LinearWeight* const> weights, Matrix out) override;
  void linear_add(const Activations& x, const LinearWeight& weight, Matrix residual) override;
  void linear_experts(const Activations& x, std::span<const std::int32_t> rows,
                      std::span<const backend::ExpertRows> experts, Matrix out) override;
  void rope_table(std::uint64_t first_position, std::span<const float> inv_freq, float factor, Matrix table) override;
  void norm_rope(Matrix x, std::uint64_t head_dim, const Buffer* norm, float eps, Matrix table) override;
  void store_kv(Matrix k, Matrix v, std::span<const SequenceRows> sequences, std::uint64_t layer,
                KvCache& cache) override;
  void attention(Matrix q, std::span<const SequenceRows> sequences, const AttentionShape& shape, std::uint64_t layer,
                 const KvCache& cache, Activations& out) override;
  void gated_activation(Matrix gate_up, backend::GatedActivation kind, Activations& out) override;
  void gather_rows(Matrix x, std::span<const std::int32_t> rows, Matrix out) override;
  void token_logprobs(Matrix logits, std::span<const std::int32_t> targets, std::span<float> logprobs,
                      std::span<std::int32_t> ranks) override;

 private:
  // Some query heads of one key/value head for some tokens of one sequence.
  struct AttentionPart {
    const SequenceRows* sequence = nullptr;
    std::uint64_t first = 0, tokens = 0;  // of the sequence's rows in this call
    std::uint64_t kv_head = 0, first_head = 0, heads = 0;
    // Some splits of its context, whose states lie at states_ + `states`; all of them where there is one thread enough.
    std::uint64_t first_split = 0, splits = kAllSplits, states = 0;
  };
  static constexpr std::uint64_t kAllSplits = ~std::uint64_t{0};

  bool bf16_inputs() const { return kernels_.inputs != InputForm::kF32Pairs; }
  // body(i, worker) for i in [0, count), in threads if count * cost is worth it.
  template <typename Body>
  void for_each(std::uint64_t count, std::uint64_t cost, const Body& body) {
    if (count * cost >= kWorthThreads) return pool_.run(count, body);
    for (std::uint64_t i = 0; i < count; ++i) body(i, 0);
  }
  Status reserve_scratch(std::uint64_t floats);  // a thread
  float* scratch(int worker) { return scratch_[static_cast<std::size_t>(worker)].floats(); }

  void linear_into(const CpuActivations& x, std::span<const LinearWeight* const> weights, Matrix out, bool add);
  LinearArgs part_of(const CpuLinearWeight& weight, float* out, std::uint64_t out_stride) const;
  template <typename RowOf>
  void put_inputs(const CpuActivations& x, const CpuLinearWeight& like, const RowOf& row_of);
  void run_linear_parts(std::uint64_t shares_a_thread);
  void split_attention(const AttentionShape& shape);
  AttentionArgs attention_args(const AttentionPart& part, Matrix q, const AttentionShape& shape, std::uint64_t layer,
                               const CpuKvCache& cache, CpuActivations& out);

  CpuOptions options_;
  const Kernels& kernels_;
  const EncodeKernels& encode_;
  ThreadPool pool_;
  LinearInputs inputs_;
  std::vector<Memory> scratch_;           // one a thread
  std::vector<LinearArgs> linear_parts_;  // a weight each
  std::vector<AttentionPart> attention_parts_;
  std::vector<AttentionPart> divided_parts_;  // parts whose splits were computed apart
  Memory states_;
};

// ---- memory

Status CpuBackend::reserve_scratch(std::uint64_t floats) {
  for (Memory& memory : scratch_) {
    if (memory.size() >= floats * sizeof(float)) continue;
    OCTAVO_ASSIGN(memory, Memory::create(floats, sizeof(float), "a thread's scratch memory"));
  }
  return {};
}

Result<std::unique_ptr<Buffer>> CpuBackend::create_buffer(std::uint64_t floats) {
  OCTAVO_ASSIGN(Memory memory, Memory::create(floats, sizeof(float), "a buffer's values"));
  return std::unique_ptr<Buffer>(new CpuBuffer(std::move(memory)));
}

Result<std::unique_ptr<Activations>> CpuBackend::create_activations(std::uint64_t max_rows, std::uint64_t max_cols) {
  const std::uint64_t row = ceil_div(max_cols, kPad) * kPad;
  OCTAVO_ASSIGN(Memory memory, Memory::create(max_rows, row * sizeof(float), "activations"));
  return std::unique_ptr<Activations>(new CpuActivations(std::move(memory)));
}

Result<std::unique_ptr<KvCache>> CpuBackend::create_kv_cache(const backend::KvShape& shape) {
  OCTAVO_TRY(reserve_scratch(kernels_.attention_scratch(shape.head_dim)));
  OCTAVO_ASSIGN(std::unique_ptr<CpuKvCache> cache, CpuKvCache::create(shape));
  return std::unique_ptr<KvCache>(std::move(cache));
}

Result<std::unique_ptr<LinearWeight>> CpuBackend::create_linear(const backend::LinearSpec& spec) {
  OCTAVO_ASSIGN(std::unique_ptr<CpuLinearWeight> weight, CpuLinearWeight::create(spec, options_.compute));
  const Segments& segments = weight->segments();
  OCTAVO_TRY(reserve_scratch(std::max(kernels_.linear_scratch, segments.padded())));
  OCTAVO_TRY(inputs_.reserve(spec.input, segments));
  return std::unique_ptr<LinearWeight>(std::move(weight));
}

void CpuBackend::upload(std::span<const float> values, Matrix to) {
  for (std::uint64_t r = 0; r < to.rows; ++r) {
    std::copy_n(values.data() + r * to.cols, to.cols, to.data + r * to.stride);
  }
}

void CpuBackend::download(Matrix from, std::span<float> values) {
  for (std::uint64_t r = 0; r < from.rows; ++r) {
    std::copy_n(from.data + r * from.stride, from.cols, values.data() + r * from.cols);
  }
}

// ---- linear layers

void CpuBackend::embed(std::span<const std::int32_t> ids, const LinearWeight& table, Matrix out) {
  const auto& weight = static_cast<const CpuLinearWeight&>(table);
  for_each(ids.size(), out.cols, [&](std::size_t i, int) {
    weight.decode_row(kernels_, static_cast<std::uint64_t>(ids[i]), out.data + i * out.stride);
  });
}

void CpuBackend::linear(const Activations& x, std::span<const LinearWeight* const> weights, Matrix out) {
  linear_into(static_cast<const CpuActivations&>(x), weights, out, /*add=*/false);
}

void CpuBackend::linear_add(const Activations& x, const LinearWeight& weight, Matrix residual) {
  const LinearWeight* const weights[] = {&weight};
  linear_into(static_cast<const CpuActivations&>(x), weights, residual, /*add=*/true);
}

void CpuBackend::linear_into(const CpuActivations& x, std::span<const LinearWeight* const> weights, Matrix out,
                             bool add) {
  // Weights that read the input in the same form run together, after the input is brought to that form.
  const auto form_of = [](const LinearWeight* w) -> const CpuLinearWeight& {
    return static_cast<const CpuLinearWeight&>(*w);
  };
  const auto same_form = [&](const LinearWeight* a, const LinearWeight* b) {
    if (!(a->spec().input == b->spec().input)) return false;
    const Segments &sa = form_of(a).segments(), &sb = form_of(b).segments();
    // Scales of inputs are one a segment; without them it only matters where elements stand.
    const std::uint64_t unit = kernels_.inputs == InputForm::kBf16Tiles ? kTileK : kPair;
    if (a->spec().input.kind != InputRounding::Kind::kDynamicGroup && !sa.moves_elements(unit) &&
        !sb.moves_elements(unit)) {
      return true;
    }
    return sa == sb;
  };
  for (std::uint64_t first = 0; first < x.rows(); first += kernels_.max_tokens) {
    const std::uint64_t tokens = std::min(kernels_.max_tokens, x.rows() - first);
    for (std::size_t lead = 0; lead < weights.size(); ++lead) {
      const auto is_earlier = [&](std::size_t i) { return same_form(weights[i], weights[lead]); };
      bool done = false;
      for (std::size_t i = 0; i < lead; ++i) done = done || is_earlier(i);
      if (done) continue;
      linear_parts_.clear();
      float* column = out.data + first * out.stride;
      for (const LinearWeight* weight : weights) {
        if (same_form(weight, weights[lead])) {
          linear_parts_.push_back(part_of(form_of(weight), column, out.stride));
          linear_parts_.back().add = add;
        }
        column += weight->spec().n;
      }
      inputs_.clear();
      const std::size_t group = inputs_.add_group(tokens);
      put_inputs(x, form_of(weights[lead]), [&](std::uint64_t t) { return first + t; });
      for (LinearArgs& part : linear_parts_) inputs_.give(form_of(weights[lead]), group, part);
      run_linear_parts(kShares);
    }
  }
}

void CpuBackend::linear_experts(const Activations& x, std::span<const std::int32_t> rows,
                                std::span<const backend::ExpertRows> experts, Matrix out) {
  // As many rows at a time as the inputs have room for; an expert with more comes several times.
  const auto& from = static_cast<const CpuActivations&>(x);
  for (std::size_t expert = 0, done = 0; expert < experts.size();) {
    inputs_.clear();
    linear_parts_.clear();
    std::vector<std::size_t> part_groups;  // of each part
    std::vector<std::uint64_t> sources;    // rows of x
    const CpuLinearWeight* like = nullptr;
    while (expert < experts.size() && inputs_.room() > 0) {
      const backend::ExpertRows& e = experts[expert];
      const std::uint64_t begin = e.begin + done, tokens = std::min(e.end - begin, inputs_.room());
      if (tokens > 0) {
        const std::size_t group = inputs_.add_group(tokens);
        float* column = out.data + begin * out.stride;
        for (const LinearWeight* weight : e.weights) {
          linear_parts_.push_back(part_of(static_cast<const CpuLinearWeight&>(*weight), column, out.stride));
          part_groups.push_back(group);
          column += weight->spec().n;
        }
        like = &static_cast<const CpuLinearWeight&>(*e.weights.front());
        for (std::uint64_t i = 0; i < tokens; ++i) sources.push_back(static_cast<std::uint64_t>(rows[begin + i]));
      }
      done += tokens;
      if (e.begin + done == e.end) {
        ++expert;
        done = 0;
      }
    }
    if (like == nullptr) continue;
    put_inputs(from, *like, [&](std::uint64_t t) { return sources[t]; });
    for (std::size_t i = 0; i < linear_parts_.size(); ++i) inputs_.give(*like, part_groups[i], linear_parts_[i]);
    // More shares than for one layer, as experts differ in their rows.
    run_linear_parts(4 * kShares);
  }
}

LinearArgs CpuBackend::part_of(const CpuLinearWeight& weight, float* out, std::uint64_t out_stride) const {
  LinearArgs part = weight.args();
  if (bf16_inputs()) part.factor = 1;  // codes become their own values there
  part.out = out;
  part.out_stride = out_stride;
  return part;
}

// The inputs of all groups: rows row_of(token) of x.
template <typename RowOf>
void CpuBackend::put_inputs(const CpuActivations& x, const CpuLinearWeight& like, const RowOf& row_of) {
  for_each(inputs_.tokens(), 4 * like.segments().padded(),
           [&](std::size_t t, int worker) { inputs_.put(like, t, x.row(row_of(t)), scratch(worker)); });
}

// `shares_a_thread`: into how many the panels are divided.
void CpuBackend::run_linear_parts(std::uint64_t shares_a_thread) {
  std::uint64_t panels = 0, work = 0;
  for (const LinearArgs& part : linear_parts_) {
    panels += ceil_div(part.n, kPanel);
    work += part.n * part.segment_begins[part.segments] * part.token_tiles[part.tiles];
  }
  const auto threads = static_cast<std::uint64_t>(pool_.threads());
  // Panels that stay together: with few tokens a kernel takes several at once.
  const std::uint64_t together = panels >= 16 * threads ? 4 : panels >= 4 * threads ? 2 : 1;
  const std::uint64_t units = ceil_div(panels, together);
  const std::uint64_t shares = work < kWorthThreads ? 1 : std::min(units, shares_a_thread * threads);
  pool_.run(shares, [&](std::size_t share, int worker) {
    std::uint64_t begin = units * share / shares * together;
    const std::uint64_t end = std::min(panels, units * (share + 1) / shares * together);
    std::uint64_t before = 0;  // panels of the parts before
    for (const LinearArgs& part : linear_parts_) {
      const std::uint64_t after = before + ceil_div(part.n, kPanel);
      if (begin < after && begin < end) {
        const std::uint64_t last = std::min(end, after);
        kernels_.linear(part, begin - before, last - before, scratch(worker));
        begin = last;
      }
      before = after;
    }
  });
}

// ---- rows

void CpuBackend::rms_norm(Matrix x, const Buffer& weight, float eps, Activations& out) {
  auto& to = static_cast<CpuActivations&>(out);
  to.set_shape(x.rows, x.cols);
  for_each(x.rows, x.cols, [&](std::size_t r, int) {
    kernels_.rms_norm(x.data + r * x.stride, values_of(weight), x.cols, eps, to.row(r));
  });
}

// The angle is rounded to FP32, as transformers and vLLM have it; its cosine and sine are those of that angle.
void CpuBackend::rope_table(std::uint64_t first_position, std::span<const float> inv_freq, float factor, Matrix table) {
  constexpr std::uint64_t kTrigonometricCost = 64;
  for_each(table.rows, inv_freq.size() * kTrigonometricCost, [&](std::size_t r, int) {
    float* row = table.data + r * table.stride;
    const auto position = static_cast<float>(first_position + r);
    for (std::size_t i = 0; i < inv_freq.size(); ++i) {
      const auto angle = static_cast<double>(position * inv_freq[i]);
      row[i] = static_cast<float>(std::cos(angle)) * factor;
      row[inv_freq.size() + i] = static_cast<float>(std::sin(angle)) * factor;
    }
  });
}

void CpuBackend::norm_rope(Matrix x, std::uint64_t head_dim, const Buffer* norm, float eps, Matrix table) {
  const std::uint64_t heads = x.cols / head_dim;
  for_each(x.rows, x.cols, [&](std::size_t r, int) {
    float* row = x.data + r * x.stride;
    if (norm != nullptr) kernels_.norm_heads(row, heads, head_dim, values_of(*norm), eps);
    kernels_.rope_heads(row, heads, head_dim, table.data + r * table.stride, table.cols / 2);
  });
}

void CpuBackend::gated_activation(Matrix gate_up, backend::GatedActivation kind, Activations& out) {
  auto& to = static_cast<CpuActivations&>(out);
  const std::uint64_t cols = gate_up.cols / 2;
  to.set_shape(gate_up.rows, cols);
  const auto gate = kind == backend::GatedActivation::kSilu ? kernels_.silu_gate : kernels_.gelu_tanh_gate;
  for_each(gate_up.rows, 4 * cols, [&](std::size_t r, int) {
    const float* row = gate_up.data + r * gate_up.stride;
    gate(row, row + cols, cols, to.row(r));
  });
}

void CpuBackend::gather_rows(Matrix x, std::span<const std::int32_t> rows, Matrix out) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(x.data + static_cast<std::uint64_t>(rows[i]) * x.stride, x.cols, out.data + i * out.stride);
  }
}

void CpuBackend::token_logprobs(Matrix logits, std::span<const std::int32_t> targets, std::span<float> logprobs,
                                std::span<std::int32_t> ranks) {
  for_each(logits.rows, 2 * logits.cols, [&](std::size_t r, int) {
    kernels_.token_logprob(logits.data + r * logits.stride, logits.cols, targets[r], &logprobs[r], &ranks[r]);
  });
}

// ---- attention

void CpuBackend::store_kv(Matrix k, Matrix v, std::span<const SequenceRows> sequences, std::uint64_t layer,
                          KvCache& cache) {
  auto& to = static_cast<CpuKvCache&>(cache);
  const std::uint64_t head_dim = to.shape().head_dim;
  for (const SequenceRows& sequence : sequences) {
    for_each(sequence.count, 4 * k.cols, [&](std::size_t i, int) {
      const float* key = k.data + (sequence.row + i) * k.stride;
      const float* value = v.data + (sequence.row + i) * v.stride;
      for (std::uint64_t head = 0; head < to.shape().kv_heads; ++head) {
        to.store(encode_, layer, head, sequence.blocks, sequence.position + i, key + head * head_dim,
                 value + head * head_dim);
      }
    });
  }
}

void CpuBackend::attention(Matrix q, std::span<const SequenceRows> sequences, const AttentionShape& shape,
                           std::uint64_t layer, const KvCache& cache, Activations& out) {
  const auto& from = static_cast<const CpuKvCache&>(cache);
  auto& to = static_cast<CpuActivations&>(out);
  to.set_shape(q.rows, q.cols);
  const std::uint64_t group = shape.heads / shape.kv_heads;
  const std::uint64_t heads_at_once = std::min(group, kMaxQueries);
  const std::uint64_t tokens_at_once = kMaxQueries / heads_at_once;
  attention_parts_.clear();
  std::uint64_t work = 0;
  for (const SequenceRows& sequence : sequences) {
    for (std::uint64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
      for (std::uint64_t head = 0; head < group; head += heads_at_once) {
        for (std::uint64_t first = 0; first < sequence.count; first += tokens_at_once) {
          attention_parts_.push_back({&sequence, first, std::min(tokens_at_once, sequence.count - first), kv_head,
                                      kv_head * group + head, std::min(heads_at_once, group - head)});
        }
      }
    }
    work += sequence.count * (sequence.position + sequence.count) * q.cols;
  }
  split_attention(shape);
  // Every share takes each n-th part, because later tokens have more to see.
  const std::uint64_t shares = work < kWorthThreads ? 1 : kShares * static_cast<std::uint64_t>(pool_.threads());
  pool_.run(shares, [&](std::size_t share, int worker) {
    for (std::size_t i = share; i < attention_parts_.size(); i += shares) {
      kernels_.attention(attention_args(attention_parts_[i], q, shape, layer, from, to), scratch(worker));
    }
  });
  pool_.run(divided_parts_.size(), [&](std::size_t i, int) {
    kernels_.merge_attention(attention_args(divided_parts_[i], q, shape, layer, from, to), divided_parts_[i].splits);
  });
  for (std::uint64_t r = 0; to.stride() != to.cols() && r < to.rows(); ++r) {
    std::fill(to.row(r) + to.cols(), to.row(r) + to.stride(), 0.0f);
  }
}

// Where there are fewer parts than threads, long contexts are divided: one part a run of splits.
void CpuBackend::split_attention(const AttentionShape& shape) {
  divided_parts_.clear();
  const auto threads = static_cast<std::uint64_t>(pool_.threads());
  if (attention_parts_.size() >= threads) return;
  const auto splits_of = [](const AttentionPart& part) {
    return ceil_div(part.sequence->position + part.first + part.tokens, kSplit);
  };
  std::uint64_t splits = 0, floats = 0;
  for (AttentionPart& part : attention_parts_) {
    part.states = floats;
    floats += splits_of(part) * part.tokens * part.heads * attention_state(shape.head_dim);
    splits += splits_of(part);
  }
  if (splits == attention_parts_.size()) return;
  if (states_.size() < floats * sizeof(float)) {
    auto memory = Memory::create(floats, sizeof(float), "the states of divided contexts");
    if (!memory.ok()) return;  // undivided takes longer and gives the same
    states_ = std::move(memory).value();
  }
  std::fill_n(states_.floats(), floats, 0.0f);
  divided_parts_.swap(attention_parts_);
  attention_parts_.clear();
  const std::uint64_t run = std::max<std::uint64_t>(1, splits / (kShares * threads));
  for (AttentionPart& part : divided_parts_) {
    part.splits = splits_of(part);
    for (std::uint64_t first = 0; first < part.splits; first += run) {
      attention_parts_.push_back(part);
      attention_parts_.back().first_split = first;
      attention_parts_.back().splits = std::min(run, part.splits - first);
      attention_parts_.back().states += first * part.tokens * part.heads * attention_state(shape.head_dim);
    }
  }
}

AttentionArgs CpuBackend::attention_args(const AttentionPart& part, Matrix q, const AttentionShape& shape,
                                         std::uint64_t layer, const CpuKvCache& cache, CpuActivations& out) {
  AttentionArgs a = cache.args(layer, part.kv_head);
  const std::uint64_t row = part.sequence->row + part.first;
  a.q = q.data + row * q.stride + part.first_head * shape.head_dim;
  a.q_stride = q.stride;
  a.out = out.row(row) + part.first_head * shape.head_dim;
  a.out_stride = out.stride();
  a.group = part.heads;
  a.scale = shape.scale;
  a.window = shape.window;
  a.blocks = part.sequence->blocks.data();
  a.position = part.sequence->position + part.first;
  a.tokens = part.tokens;
  a.first_split = part.first_split;
  a.splits = part.splits;
  if (part.splits != kAllSplits) a.states = states_.floats() + part.states;
  return a;
}

}  // namespace

std::unique_ptr<backend::Backend> create_cpu_backend(const CpuOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

}  // namespace octavo::cpu
