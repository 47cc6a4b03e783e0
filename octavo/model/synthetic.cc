// Random rows are stretches of one pool of random values: cheap as a copy, and no two rows the same.
#include "octavo/model/synthetic.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numbers>

#include "octavo/base/ceil_div.h"
#include "octavo/base/memory.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/fp8/half.h"
#include "octavo/model/fp8_head.h"
#include "octavo/model/load_report.h"
#include "octavo/quant/encode_piece.h"
#include "octavo/quant/online.h"

namespace octavo::model {
namespace {

using backend::LinearSpec;

// What config.json of the published models says, but for keys that speed does not depend on.
struct Published {
  std::string_view name, config;
};
constexpr std::string_view kQwen06 = R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
  "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
  "intermediate_size": 3072, "vocab_size": 151936, "max_position_embeddings": 40960, "rope_theta": 1000000,
  "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "torch_dtype": "bfloat16"})";
constexpr std::string_view kQwen17 = R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
  "hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
  "intermediate_size": 6144, "vocab_size": 151936, "max_position_embeddings": 40960, "rope_theta": 1000000,
  "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "torch_dtype": "bfloat16"})";
constexpr std::string_view kQwen4 = R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
  "hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
  "intermediate_size": 9728, "vocab_size": 151936, "max_position_embeddings": 40960, "rope_theta": 1000000,
  "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "torch_dtype": "bfloat16"})";
constexpr std::string_view kLlama1 = R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
  "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
  "intermediate_size": 8192, "vocab_size": 128256, "max_position_embeddings": 131072, "rope_theta": 500000,
  "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                   "original_max_position_embeddings": 8192},
  "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "torch_dtype": "bfloat16"})";
constexpr std::array<Published, 4> kPublished{
    {{"qwen3-0.6b", kQwen06}, {"llama3.2-1b", kLlama1}, {"qwen3-1.7b", kQwen17}, {"qwen3-4b", kQwen4}}};

constexpr double kDeviation = 0.02;            // initializer_range of the published configs
constexpr std::uint64_t kStarts = 1ull << 18;  // places of the pool where a row can begin
constexpr std::uint64_t kPieceBytes = 1ull << 20;

// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): a hash of its argument.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

DType dtype_of(fp8::Format format) { return format == fp8::Format::kE5M2 ? DType::kF8E5M2 : DType::kF8E4M3; }

// A linear to be made, and where it goes.
struct Slot {
  LinearSpec spec;
  std::optional<quant::WeightEncoding> encoding;  // FP8
  std::size_t values = 0;                         // whose rows it has: its own number, or that of a tied embedding
  std::unique_ptr<LinearWeight>* place = nullptr;
};

class Maker {
 public:
  Maker(const DecoderConfig& config, backend::Backend& backend, const LoadOptions& options, LoadedModel& out)
      : config_(config), backend_(backend), options_(options), out_(out) {}

  Status run() {
    const auto start = std::chrono::steady_clock::now();
    OCTAVO_TRY(check_spec());
    find_slots();
    if (options_.check_memory) OCTAVO_TRY(check_memory());
    for (Slot& slot : slots_) {
      OCTAVO_ASSIGN(*slot.place, backend_.create_linear(slot.spec));
    }
    make_pool();
    OCTAVO_TRY(fill());
    OCTAVO_TRY(make_norms());
    ReportBuilder builder;
    for (const Slot& slot : slots_) {
      const bool fp8_head = options_.head == HeadMode::kFp8 && slot.place == &out_.weights.head;
      if (fp8_head) {
        builder.add_fp8_head(**slot.place, /*copy=*/config_.tie_word_embeddings);
      } else {
        builder.add(**slot.place);
      }
    }
    builder.add_vector(norms_);
    out_.report = builder.finish();
    out_.report.source_bytes = source_bytes_;
    out_.report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return {};
  }

 private:
  Status check_spec() const {
    if (!options_.quantize) return {};
    const quant::QuantSpec& spec = *options_.quantize;
    const char* names = !spec.ignore.empty()                 ? "--ignore"
                        : !spec.only.empty()                 ? "modules by name"
                        : spec.keep_first != 0               ? "--keep-first"
                        : spec.keep_last != 0                ? "--keep-last"
                        : spec.edge == quant::Edge::kChannel ? "--edge channel"
                                                             : nullptr;
    if (names != nullptr) return usage_error("{} goes with the folder of a model, not with a synthetic one", names);
    return {};
  }

  quant::WeightEncoding encoding_of(const LinearSpec& spec) const {
    const quant::QuantSpec& q = *options_.quantize;
    quant::WeightEncoding e;
    e.granularity = q.scheme.granularity;
    e.format = q.dtype;
    e.scale_dtype = q.scale_dtype_for(/*f16_source=*/false, e.granularity);
    e.pow2_scales = q.pow2_scales;
    e.block_n = 1;
    e.block_k = spec.k;
    if (e.granularity == quant::Granularity::kTensor) e.block_n = spec.n;
    if (e.granularity == quant::Granularity::kBlock) e.block_n = q.scheme.block_n;
    if (e.granularity == quant::Granularity::kBlock || e.granularity == quant::Granularity::kGroup) {
      e.block_k = q.scheme.block_k;
    }
    return e;
  }

  void add(std::uint64_t n, std::uint64_t k, bool in_layer, std::unique_ptr<LinearWeight>& place) {
    Slot slot;
    slot.spec.n = n;
    slot.spec.k = k;
    slot.place = &place;
    slot.values = slots_.size();
    if (in_layer && options_.quantize) {
      const quant::WeightEncoding& e = slot.encoding.emplace(encoding_of(slot.spec));
      slot.spec.dtype = dtype_of(e.format);
      slot.spec.block_n = e.block_n;
      slot.spec.block_k = e.block_k;
      if (options_.activations == ActivationMode::kFp8) slot.spec.input = quant::input_rounding(*options_.quantize, e);
    }
    source_bytes_ += n * k * dtype_bytes(DType::kBF16);
    slots_.push_back(slot);
  }

  void find_slots() {
    const DecoderConfig& c = config_;
    ModelWeights& w = out_.weights;
    w.layers.resize(c.layers);
    add(c.vocab, c.hidden, false, w.embedding);
    if (!c.tie_word_embeddings) add(c.vocab, c.hidden, false, w.head);
    const std::size_t head_values = slots_.size() - 1;  // the head's, or the embedding's
    for (LayerWeights& layer : w.layers) {
      add(c.q_size(), c.hidden, true, layer.q);
      add(c.kv_size(), c.hidden, true, layer.k);
      add(c.kv_size(), c.hidden, true, layer.v);
      add(c.hidden, c.q_size(), true, layer.o);
      add(c.intermediate, c.hidden, true, layer.gate);
      add(c.intermediate, c.hidden, true, layer.up);
      add(c.hidden, c.intermediate, true, layer.down);
    }
    if (options_.head != HeadMode::kFp8) return;
    Slot head = slots_[head_values];
    head.encoding = fp8_head_encoding(head.spec);
    head.spec = fp8_head_spec(head.spec, options_.activations);
    head.place = &w.head;
    if (c.tie_word_embeddings) {
      slots_.push_back(head);
    } else {
      slots_[head_values] = head;
    }
  }

  Status check_memory() const {
    std::uint64_t needed = options_.extra_bytes;
    for (const Slot& slot : slots_) needed += backend_.linear_bytes(slot.spec);
    const std::uint64_t available = available_memory();
    if (needed <= available) return {};
    return failure("a synthetic model of this shape needs {} of memory, but {} are available", human_bytes(needed),
                   human_bytes(available));
  }

  void make_pool() {
    std::uint64_t longest = 0;
    for (const Slot& slot : slots_) longest = std::max(longest, slot.spec.k);
    pool_.resize(kStarts + longest);
    for (std::size_t i = 0; i < pool_.size(); ++i) {
      // Box and Muller's normal numbers of two uniform ones; the first is never 0.
      const double u = static_cast<double>((mix(2 * i) >> 11) + 1) * 0x1p-53;
      const double v = static_cast<double>(mix(2 * i + 1) >> 11) * 0x1p-53;
      const double normal = std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
      pool_[i] = fp8::float_to_bf16(static_cast<float>(kDeviation * normal));
      amax_ = std::max(amax_, std::fabs(fp8::bf16_to_float(pool_[i])));
    }
  }

  // Rows [begin, end) of a slot.
  void make_rows(const Slot& slot, std::uint64_t begin, std::uint64_t end, std::vector<std::uint16_t>& rows) const {
    const std::uint64_t k = slot.spec.k;
    rows.resize((end - begin) * k);
    for (std::uint64_t row = begin; row < end; ++row) {
      const std::uint64_t start = mix(slot.values << 32 | row) % kStarts;
      std::memcpy(rows.data() + (row - begin) * k, pool_.data() + start, k * sizeof(std::uint16_t));
    }
  }

  Status fill() {
    struct Piece {
      std::size_t slot;
      std::uint64_t begin, end;  // rows
    };
    std::vector<Piece> pieces;
    std::vector<std::vector<float>> scales(slots_.size());
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      const LinearSpec& spec = slots_[i].spec;
      scales[i].resize(spec.scale_rows() * spec.scale_cols());
      // Whole blocks of rows; a tensor's one scale is known beforehand, and any rows will do.
      const std::uint64_t block = spec.block_n < spec.n ? std::max<std::uint64_t>(spec.block_n, 1) : 1;
      const std::uint64_t rows = std::max<std::uint64_t>(kPieceBytes / (2 * spec.k * block), 1) * block;
      for (std::uint64_t at = 0; at < spec.n; at += rows) pieces.push_back({i, at, std::min(spec.n, at + rows)});
    }
    struct Scratch {
      std::vector<std::uint16_t> rows;
      std::vector<std::uint8_t> codes;
    };
    std::vector<Scratch> scratch(static_cast<std::size_t>(options_.threads));
    OCTAVO_TRY(for_each_index(options_.threads, pieces.size(), [&](std::size_t i, int worker) -> Status {
      const Piece& piece = pieces[i];
      Scratch& own = scratch[static_cast<std::size_t>(worker)];
      const Slot& slot = slots_[piece.slot];
      make_rows(slot, piece.begin, piece.end, own.rows);
      const std::span<std::byte> values = std::as_writable_bytes(std::span(own.rows));
      const backend::Rectangle part{piece.begin, piece.end, 0, slot.spec.k};
      if (is_fp8(slot.spec.dtype)) {
        encode(slot, piece.begin, values, own.codes, scales[piece.slot]);
        backend_.pack(**slot.place, part, std::as_bytes(std::span(own.codes)));
      } else {
        backend_.pack(**slot.place, part, values);
      }
      if (options_.progress != nullptr) options_.progress->advance(values.size(), "random weights");
      return {};
    }));
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (!scales[i].empty()) backend_.set_scales(**slots_[i].place, scales[i]);
    }
    return {};
  }

  void encode(const Slot& slot, std::uint64_t row, std::span<std::byte> values, std::vector<std::uint8_t>& codes,
              std::vector<float>& scales) const {
    const quant::WeightEncoding& e = *slot.encoding;
    const std::uint64_t rows = values.size() / (2 * slot.spec.k);
    quant::PieceEncoder encoder(cpu::encode_kernels(options_.isa), e, DType::kBF16);
    encoder.load(values, rows, slot.spec.k);
    codes.resize(rows * slot.spec.k);
    // The pool is finite, so encoding cannot fail.
    if (e.granularity == quant::Granularity::kTensor) {
      if (row == 0) scales[0] = encoder.scale(amax_);
      (void)encoder.encode_at(encoder.scale(amax_), codes);
      return;
    }
    const std::uint64_t first = row / e.block_n * slot.spec.scale_cols();
    (void)encoder.encode(codes, std::span(scales).subspan(first, ceil_div(rows, e.block_n) * slot.spec.scale_cols()));
  }

  Status make_norm(std::uint64_t size, std::unique_ptr<Buffer>& place) {
    OCTAVO_ASSIGN(place, backend_.create_buffer(size));
    backend_.upload(std::vector<float>(size, 1.0f), place->matrix(1, size));
    norms_ += size;
    return {};
  }

  Status make_norms() {
    const bool qk_norm = !config_.architecture->names.q_norm.empty();
    OCTAVO_TRY(make_norm(config_.hidden, out_.weights.final_norm));
    for (LayerWeights& layer : out_.weights.layers) {
      OCTAVO_TRY(make_norm(config_.hidden, layer.input_norm));
      OCTAVO_TRY(make_norm(config_.hidden, layer.post_attention_norm));
      if (!qk_norm) continue;
      OCTAVO_TRY(make_norm(config_.head_dim, layer.q_norm));
      OCTAVO_TRY(make_norm(config_.head_dim, layer.k_norm));
    }
    return {};
  }

  const DecoderConfig& config_;
  backend::Backend& backend_;
  const LoadOptions& options_;
  LoadedModel& out_;
  std::vector<Slot> slots_;
  std::vector<std::uint16_t> pool_;  // BF16
  float amax_ = 0;                   // of the pool
  std::uint64_t source_bytes_ = 0, norms_ = 0;
};

}  // namespace

std::vector<std::string> synthetic_names() {
  std::vector<std::string> names;
  for (const Published& p : kPublished) names.emplace_back(p.name);
  return names;
}

Result<DecoderConfig> synthetic_config(std::string_view name) {
  for (const Published& p : kPublished) {
    if (p.name != name) continue;
    OCTAVO_ASSIGN(const Json json, parse_json(p.config, p.name));
    return parse_decoder_config(json, p.name);
  }
  return usage_error("--synthetic {}: unknown; one of {}{}", printable(name), fmt::join(synthetic_names(), ", "),
                     did_you_mean(name, synthetic_names(), 1));
}

Result<LoadedModel> make_synthetic_model(const DecoderConfig& config, backend::Backend& backend,
                                         const LoadOptions& options) {
  LoadedModel out;
  out.config = config;
  OCTAVO_TRY(Maker(config, backend, options, out).run());
  return out;
}

}  // namespace octavo::model
