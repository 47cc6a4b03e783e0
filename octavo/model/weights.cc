// Loading: slots from headers, memory asked for, then bytes straight into the backend's layout.
#include "octavo/model/weights.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <unordered_map>

#include "octavo/base/memory.h"
#include "octavo/base/scratch.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/fp8/half.h"
#include "octavo/fp8/nan_codes.h"
#include "octavo/model/fp8_head.h"
#include "octavo/model/load_report.h"
#include "octavo/model/slots.h"
#include "octavo/quant/cut_range.h"
#include "octavo/quant/execute.h"
#include "octavo/quant/online.h"
#include "octavo/quant/plan.h"

namespace octavo::model {
namespace {

constexpr std::uint64_t kReadBytes = 1ull << 20;  // of one read, a thread: enough for the disk, little beside a model
constexpr std::uint64_t kLargestVector = 1ull << 26;  // bytes of a norm, a bias, a tensor's scales: they fit at once
constexpr std::size_t kUnusedNamed = 3;               // unused tensors that a warning names

std::vector<float> to_floats(DType dtype, std::span<const std::byte> bytes) {
  std::vector<float> out(bytes.size() / dtype_bytes(dtype));
  if (dtype == DType::kF32) {
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + 2 * i, 2);
    out[i] = dtype == DType::kBF16 ? fp8::bf16_to_float(bits) : fp8::f16_to_float(bits);
  }
  return out;
}

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, backend::Backend& backend, const LoadOptions& options, LoadedModel& out)
      : checkpoint_(checkpoint), backend_(backend), options_(options), out_(out) {}

  Status run() {
    const auto start = std::chrono::steady_clock::now();
    OCTAVO_ASSIGN(const auto info, read_quantization(checkpoint_));
    OCTAVO_ASSIGN(slots_,
                  find_slots(checkpoint_, out_.config, info, options_.activations, options_.head, out_.weights));
    if (options_.quantize) {
      if (info) {
        return failure("{} is already quantized ({}); online quantization takes BF16, FP16 or FP32 models",
                       checkpoint_.dir().string(), info->describe());
      }
      OCTAVO_TRY(plan_online());
    }
    if (options_.check_memory) OCTAVO_TRY(check_memory());
    for (LinearSlot& slot : slots_.linears) {
      OCTAVO_ASSIGN(*slot.place, backend_.create_linear(slot.spec));
    }
    if (options_.quantize) {
      OCTAVO_TRY(quantize_online());
      if (slots_.fp8_head) OCTAVO_TRY(read_linears(/*head_only=*/true));
    } else {
      OCTAVO_TRY(read_linears(/*head_only=*/false));
    }
    OCTAVO_TRY(read_small());
    out_.parameters =
        find_parameters(checkpoint_, out_.config, info, slots_, plan_ ? &*plan_ : nullptr, pow2_scales_, out_.weights);
    report(start);
    return {};
  }

 private:
  Status plan_online() {
    OCTAVO_ASSIGN(quant::Plan plan, quant::make_plan(checkpoint_, *options_.quantize));
    plan_ = std::move(plan);
    for (LinearSlot& slot : slots_.linears) {
      if (is_fp8_head(slot)) continue;
      const quant::PlannedTensor* planned = quant::find_planned(checkpoint_, *plan_, slot.weight->name);
      if (planned == nullptr || !planned->encodes()) continue;
      slot.spec.dtype = plan_->outputs[planned->output].dtype;
      slot.spec.block_n = planned->encoding->block_n;
      slot.spec.block_k = planned->encoding->block_k;
      if (options_.activations == ActivationMode::kFp8) {
        slot.spec.input = quant::input_rounding(plan_->spec, *planned->encoding);
      }
    }
    if (!slots_.fp8_head) return {};
    for (quant::PlannedTensor& planned : plan_->tensors) {
      // read_linears() reads it, once for both where it is the embedding, too.
      if (&checkpoint_.tensors()[planned.source] == fp8_head()->weight) planned.action = quant::Action::kDrop;
    }
    return {};
  }

  const LinearSlot* fp8_head() const { return slots_.fp8_head ? &slots_.linears[*slots_.fp8_head] : nullptr; }
  bool is_fp8_head(const LinearSlot& slot) const { return &slot == fp8_head(); }

  Status check_memory() const {
    std::uint64_t weights = 0;
    for (const LinearSlot& slot : slots_.linears) weights += backend_.linear_bytes(slot.spec);
    for (const VectorSlot& slot : slots_.vectors) weights += slot.tensor->shape[0] * sizeof(float);
    const std::uint64_t buffers = options_.extra_bytes + quant::online_window(options_.threads);
    const std::uint64_t available = available_memory();
    if (weights + buffers <= available) return {};
    return failure("{} needs {} of memory ({} of weights, {} of cache and buffers), but {} are available",
                   checkpoint_.dir().string(), human_bytes(weights + buffers), human_bytes(weights),
                   human_bytes(buffers), human_bytes(available));
  }

  // Linears as they are, and the head that becomes FP8: pieces of whole rows (or of one long row), read and packed in
  // parallel. A tied embedding and its FP8 copy are made of the same read. head_only: of the head's tensor alone.
  Status read_linears(bool head_only) {
    struct Piece {
      const LinearSlot* stored;  // null: only the head is made of it
      const CheckpointTensor* tensor;
      bool head;  // the FP8 head is made of it
      std::uint64_t offset, bytes;
    };
    const LinearSlot* head = fp8_head();
    std::vector<Piece> pieces;
    const auto cut = [&](const LinearSlot* stored, const CheckpointTensor& tensor, std::uint64_t k, bool of_head) {
      const std::uint64_t row = k * dtype_bytes(tensor.dtype);
      std::uint64_t step = row >= kReadBytes ? kReadBytes : kReadBytes / row * row;
      if (of_head) step = std::max(step, row);  // a channel has one scale
      for (std::uint64_t at = 0; at < tensor.bytes; at += step) {
        pieces.push_back({stored, &tensor, of_head, at, std::min(step, tensor.bytes - at)});
      }
    };
    bool tied = false;
    for (const LinearSlot& slot : slots_.linears) {
      if (&slot == head) continue;
      const bool of_head = head != nullptr && head->weight == slot.weight;
      tied = tied || of_head;
      if (of_head || !head_only) cut(&slot, *slot.weight, slot.spec.k, of_head);
    }
    if (head != nullptr && !tied) cut(nullptr, *head->weight, head->spec.k, true);
    std::optional<Fp8HeadEncoder> encoder;
    if (head != nullptr) {
      encoder.emplace(backend_, options_.isa, options_.threads,
                      backend::LinearSpec{.n = head->spec.n, .k = head->spec.k, .dtype = head->weight->dtype},
                      **head->place);
    }

    std::vector<Scratch<std::byte>> buffers(static_cast<std::size_t>(options_.threads));
    const Status done = for_each_index(options_.threads, pieces.size(), [&](std::size_t i, int worker) -> Status {
      const Piece& piece = pieces[i];
      const CheckpointTensor& tensor = *piece.tensor;
      Scratch<std::byte>& buffer = buffers[static_cast<std::size_t>(worker)];
      buffer.resize(piece.bytes);
      OCTAVO_TRY(checkpoint_.read(tensor, piece.offset, buffer));
      if (is_fp8(tensor.dtype)) {
        if (const auto nan = fp8::find_nan(code_format(tensor.dtype),
                                           {reinterpret_cast<const std::uint8_t*>(buffer.data()), buffer.size()})) {
          const std::uint64_t element = piece.offset + *nan, k = piece.stored->spec.k;
          return failure("tensor \"{}\" in {}: NaN at [{}, {}]; the checkpoint is damaged", tensor.name,
                         checkpoint_.shards()[tensor.shard].name, element / k, element % k);
        }
      }
      if (piece.stored != nullptr) pack(*piece.stored, tensor.dtype, piece.offset, buffer);
      if (piece.head) {
        const std::uint64_t row = piece.offset / (head->spec.k * dtype_bytes(tensor.dtype));
        if (const auto bad = encoder->encode(row, buffer, worker)) {
          return failure("tensor \"{}\" in {}: {} at [{}, {}]; --lm-head fp8 takes finite values", tensor.name,
                         checkpoint_.shards()[tensor.shard].name, std::isnan(bad->value) ? "NaN" : "infinity",
                         row + bad->row, bad->col);
        }
      }
      progress(tensor, piece.bytes);
      return {};
    });
    if (encoder && done.ok()) encoder->finish();
    return done;
  }

  void pack(const LinearSlot& slot, DType dtype, std::uint64_t offset, std::span<const std::byte> bytes) {
    for (const quant::RangePart& part : quant::cut_range(slot.spec.k, dtype_bytes(dtype), offset, bytes.size())) {
      backend_.pack(**slot.place, part.rectangle, bytes.subspan(part.begin, part.bytes));
    }
  }

  void progress(const CheckpointTensor& tensor, std::uint64_t bytes) const {
    if (options_.progress != nullptr) options_.progress->advance(bytes, tensor.name);
  }

  // Receives what `octavo quantize` would write.
  class Sink final : public quant::TensorSink {
   public:
    explicit Sink(Loader& loader) : loader_(loader) {
      const quant::Plan& plan = *loader.plan_;
      std::unordered_map<const CheckpointTensor*, const LinearSlot*> by_tensor;
      for (const LinearSlot& slot : loader.slots_.linears) {
        if (!loader.is_fp8_head(slot)) by_tensor[slot.weight] = &slot;
      }
      slots_.resize(plan.outputs.size());
      scales_.resize(plan.outputs.size());
      for (std::size_t i = 0; i < plan.outputs.size(); ++i) {
        const quant::PlannedTensor& planned = plan.tensors[plan.outputs[i].tensor];
        const auto it = by_tensor.find(&loader.checkpoint_.tensors()[planned.source]);
        if (it == by_tensor.end()) continue;
        slots_[i] = it->second;
        if (planned.scale == i) scales_[i].resize(plan.outputs[i].bytes / dtype_bytes(plan.outputs[i].dtype));
      }
    }

    Status write(std::uint32_t output, std::uint64_t offset, std::span<const std::byte> bytes) override {
      const LinearSlot* slot = slots_[output];
      if (slot == nullptr) return {};  // a norm or a bias: read on its own; or a tensor the model does not use
      const DType dtype = loader_.plan_->outputs[output].dtype;
      if (scales_[output].empty()) {
        loader_.pack(*slot, dtype, offset, bytes);
        return {};
      }
      const std::vector<float> values = to_floats(dtype, bytes);
      std::copy(values.begin(), values.end(),
                scales_[output].begin() + static_cast<std::ptrdiff_t>(offset / dtype_bytes(dtype)));
      return {};
    }

    void set_scales() {
      for (std::size_t i = 0; i < slots_.size(); ++i) {
        if (!scales_[i].empty()) loader_.backend_.set_scales(**slots_[i]->place, scales_[i]);
      }
    }

   private:
    Loader& loader_;
    std::vector<const LinearSlot*> slots_;    // by output; null: nothing of the model's linears
    std::vector<std::vector<float>> scales_;  // by output; empty: not a scale
  };

  Status quantize_online() {
    Sink sink(*this);
    quant::ExecuteOptions options;
    options.threads = options_.threads;
    options.isa = options_.isa;
    options.progress = options_.progress;
    OCTAVO_TRY(quant::encode_tensors(checkpoint_, *plan_, sink, options));
    sink.set_scales();
    return {};
  }

  Result<std::vector<float>> read_vector(const CheckpointTensor& tensor) const {
    if (tensor.bytes > kLargestVector) return failure("tensor \"{}\": has {} bytes", tensor.name, tensor.bytes);
    std::vector<std::byte> bytes(tensor.bytes);
    OCTAVO_TRY(checkpoint_.read(tensor, 0, bytes));
    return to_floats(tensor.dtype, bytes);
  }

  // Norms, biases, and the scales that the checkpoint holds.
  Status read_small() {
    for (const VectorSlot& slot : slots_.vectors) {
      OCTAVO_ASSIGN(const std::vector<float> values, read_vector(*slot.tensor));
      OCTAVO_ASSIGN(*slot.place, backend_.create_buffer(values.size()));
      backend_.upload(values, (*slot.place)->matrix(1, values.size()));
      progress(*slot.tensor, slot.tensor->bytes);
    }
    for (const LinearSlot& slot : slots_.linears) {
      if (slot.bias != nullptr) {
        OCTAVO_ASSIGN(const std::vector<float> bias, read_vector(*slot.bias));
        backend_.set_bias(**slot.place, bias);
      }
      if (slot.scale == nullptr) continue;
      OCTAVO_ASSIGN(const std::vector<float> scales, checkpoint_.read_scales(*slot.scale, kLargestVector));
      const auto broken = std::find_if(scales.begin(), scales.end(), [](float s) { return !std::isfinite(s); });
      if (broken != scales.end()) {
        return failure("tensor \"{}\" in {}: the scale at index {} is {}; the checkpoint is damaged", slot.scale->name,
                       checkpoint_.shards()[slot.scale->shard].name, broken - scales.begin(), *broken);
      }
      pow2_scales_ = pow2_scales_ && std::all_of(scales.begin(), scales.end(), [](float x) {
                       int exponent = 0;
                       return std::frexp(x, &exponent) == 0.5f;
                     });
      backend_.set_scales(**slot.place, scales);
    }
    OCTAVO_TRY(read_cache_scales(slots_.k_scales, out_.weights.k_scales));
    return read_cache_scales(slots_.v_scales, out_.weights.v_scales);
  }

  Status read_cache_scales(const std::vector<const CheckpointTensor*>& tensors, std::vector<float>& out) const {
    if (std::all_of(tensors.begin(), tensors.end(), [](const auto* t) { return t == nullptr; })) return {};
    out.assign(tensors.size(), 1.0f);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i] == nullptr) continue;
      OCTAVO_ASSIGN(const std::vector<float> values, checkpoint_.read_scales(*tensors[i], kLargestVector));
      if (values.size() != 1 || !(values[0] > 0) || !std::isfinite(values[0])) {
        return failure("tensor \"{}\": must hold one positive finite scale", tensors[i]->name);
      }
      out[i] = values[0];
    }
    return {};
  }

  void report(std::chrono::steady_clock::time_point start) {
    ReportBuilder builder;
    for (const LinearSlot& slot : slots_.linears) {
      if (is_fp8_head(slot)) {
        builder.add_fp8_head(**slot.place, /*copy=*/slot.weight->name == out_.config.architecture->names.embedding);
      } else {
        builder.add(**slot.place);
      }
    }
    for (const VectorSlot& slot : slots_.vectors) builder.add_vector(slot.tensor->shape[0]);
    LoadReport& r = out_.report;
    r = builder.finish();
    r.source_bytes = checkpoint_.data_bytes();
    if (plan_) {
      r.edge_channel = plan_->edge_channel;
      r.warnings = plan_->warnings;
    }
    r.warnings.insert(r.warnings.end(), slots_.warnings.begin(), slots_.warnings.end());
    if (!slots_.unused.empty()) {
      const std::size_t named = std::min(kUnusedNamed, slots_.unused.size());
      r.warnings.push_back(fmt::format(
          "{} tensor{} of the folder {} not used: {}{}", slots_.unused.size(), slots_.unused.size() == 1 ? "" : "s",
          slots_.unused.size() == 1 ? "is" : "are",
          fmt::join(slots_.unused.begin(), slots_.unused.begin() + static_cast<std::ptrdiff_t>(named), ", "),
          slots_.unused.size() > named ? ", ..." : ""));
    }
    r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  const Checkpoint& checkpoint_;
  backend::Backend& backend_;
  const LoadOptions& options_;
  LoadedModel& out_;
  Slots slots_;
  std::optional<quant::Plan> plan_;
  bool pow2_scales_ = true;  // all scales of the checkpoint are
};

}  // namespace

std::uint64_t LoadReport::resident_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [dtype, count] : resident) bytes += count;
  return bytes;
}

Result<LoadedModel> load_model(const Checkpoint& checkpoint, backend::Backend& backend, const LoadOptions& options) {
  LoadedModel out;
  OCTAVO_ASSIGN(out.config, parse_decoder_config(checkpoint.config(), checkpoint.config_path().string()));
  OCTAVO_TRY(Loader(checkpoint, backend, options, out).run());
  return out;
}

}  // namespace octavo::model
