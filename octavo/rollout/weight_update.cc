// Names to parameters, pieces to bands, bands to the shadow; then all at once.
#include "octavo/rollout/weight_update.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "octavo/base/hash.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/fp8/half.h"
#include "octavo/fp8/scale.h"

namespace octavo::rollout {
namespace {

constexpr std::size_t kNamed = 3;  // names in a sentence

// "a, b, c, ..."
std::string first_names(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < std::min(names.size(), kNamed); ++i) {
    out += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", printable(names[i]));
  }
  return names.size() > kNamed ? out + ", ..." : out;
}

bool is_scale_dtype(DType dtype) { return is_quantizable(dtype) || dtype == DType::kF8E8M0 || dtype == DType::kU8; }

std::vector<float> to_floats(DType dtype, std::span<const std::byte> bytes) {
  const unsigned size = dtype_bytes(dtype);
  std::vector<float> out(bytes.size() / size);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::byte* at = bytes.data() + i * size;
    if (size == 1) {
      out[i] = fp8::e8m0_decode(static_cast<std::uint8_t>(*at));
    } else if (size == 4) {
      std::memcpy(&out[i], at, 4);
    } else {
      std::uint16_t bits = 0;
      std::memcpy(&bits, at, 2);
      out[i] = dtype == DType::kBF16 ? fp8::bf16_to_float(bits) : fp8::f16_to_float(bits);
    }
  }
  return out;
}

std::uint64_t held_limit(const model::Parameters& parameters, std::uint64_t asked) {
  if (asked != 0) return asked;
  std::map<std::uint32_t, std::uint64_t> groups;
  std::uint64_t largest = 0;
  for (const model::LinearParameter& p : parameters.linears) {
    if (p.shared) largest = std::max(largest, groups[*p.shared] += p.spec.n * p.spec.k * sizeof(float));
  }
  return std::max(kDefaultHeldBytes, 2 * largest);
}

}  // namespace

WeightUpdate::WeightUpdate(const model::LoadedModel& model, backend::Backend& backend, ShadowWeights& shadow,
                           const UpdateOptions& options)
    : parameters_(model.parameters),
      backend_(backend),
      options_(options),
      serving_(model.weights),
      shadow_(shadow),
      limit_(held_limit(model.parameters, options.max_held_bytes)),
      index_(model.parameters),
      biases_(model.parameters.linears.size()),
      vectors_(model.parameters.vectors.size()),
      k_scales_(model.parameters.k_scales.size()),
      v_scales_(model.parameters.v_scales.size()),
      buffers_(static_cast<std::size_t>(options.threads)) {
  const cpu::EncodeKernels& kernels = cpu::encode_kernels(options.isa);
  for (const model::LinearParameter& p : parameters_.linears) {
    linears_.push_back(std::make_unique<LinearIntake>(p, parameters_.nonfinite, backend, kernels,
                                                      *p.place.in(shadow.weights_), memory_));
  }
  if (parameters_.tied) linears_.front()->hash_bands();  // a head of its own may come, too
}

Status WeightUpdate::fail(Error error) {
  failed_ = error;
  return error;
}

// ---- what arrives

Result<std::vector<WeightUpdate::Id>> WeightUpdate::declare_all(std::span<const TensorInfo> tensors) {
  if (failed_) return *failed_;
  std::vector<Id> out;
  std::vector<std::string> unknown;
  for (const TensorInfo& sent : tensors) {
    TensorInfo info = sent;
    info.name = ParameterIndex::canonical(sent.name);
    std::vector<Destination> destinations = index_.find(info.name);
    if (destinations.empty()) {
      unknown.push_back(sent.name);
      continue;
    }
    if (const auto it = ids_.find(info.name); it != ids_.end()) {
      const Incoming& there = *incoming_[it->second];
      if (there.info.dtype != info.dtype || there.info.shape != info.shape || there.whole()) {
        return fail(failure("tensor \"{}\": arrives twice", printable(sent.name))).error();
      }
      out.push_back(it->second);
      continue;
    }
    const Id id = incoming_.size();
    if (const Status added = add(info, std::move(destinations), id); !added.ok()) return fail(added.error()).error();
    out.push_back(id);
  }
  if (!unknown.empty()) {
    return fail(failure("{} tensor{} not of this model: {}{}", unknown.size(), unknown.size() == 1 ? " is" : "s are",
                        first_names(unknown), index_.suggestion(ParameterIndex::canonical(unknown[0]))))
        .error();
  }
  return out;
}

Result<WeightUpdate::Id> WeightUpdate::declare(const TensorInfo& tensor) {
  OCTAVO_ASSIGN(const std::vector<Id> ids, declare_all(std::span(&tensor, 1)));
  return ids[0];
}

// Shape and dtype, by what the first of its destinations is: those of a fused tensor are of one kind.
Status WeightUpdate::check_tensor(const TensorInfo& info, const std::vector<Destination>& destinations) const {
  const Destination& d = destinations.front();
  const auto wrong = [&](const Shape& wanted) {
    return failure("tensor \"{}\": arrives with shape {}, but the running model has {}", printable(info.name),
                   shape_string(info.shape), shape_string(wanted));
  };
  const auto numbers = [&](std::uint64_t count, bool scales) -> Status {
    if (scales ? !is_scale_dtype(info.dtype) : !is_quantizable(info.dtype)) {
      return failure("tensor \"{}\": arrives in {}; BF16, F16 and F32 are taken", printable(info.name),
                     dtype_name(info.dtype));
    }
    // Scales are written in several shapes, other vectors in one.
    return (scales ? element_count(info.shape) == count : info.shape == Shape{count}) ? Status() : wrong({count});
  };
  switch (d.kind) {
    case Kind::kWeight: {
      const backend::LinearSpec& spec = parameters_.linears[d.index].spec;
      std::uint64_t rows = 0;
      for (const Destination& each : destinations) rows = std::max(rows, each.row_end);
      return info.shape == Shape{rows, spec.k} ? Status() : wrong({rows, spec.k});
    }
    case Kind::kTiedHead: {
      const backend::LinearSpec& spec = parameters_.linears.front().spec;  // the embedding
      return info.shape == Shape{spec.n, spec.k} ? Status() : wrong({spec.n, spec.k});
    }
    case Kind::kScale: {
      const backend::LinearSpec& spec = parameters_.linears[d.index].spec;
      std::uint64_t rows = 0;
      for (const Destination& each : destinations) rows = std::max(rows, each.row_end);
      if (rows == destinations.size() && spec.scale_cols() == 1 && element_count(info.shape) == 1) {
        return numbers(1, true);  // per tensor, and one for all
      }
      for (std::size_t i = 0; i + 1 < destinations.size(); ++i) {
        const backend::LinearSpec& part = parameters_.linears[destinations[i].index].spec;
        if (part.block_n > 1 && part.block_n < part.n && part.n % part.block_n != 0) {
          return failure("tensor \"{}\": blocks of {} rows would lie across the weights it is made of; send them apart",
                         printable(info.name), part.block_n);
        }
      }
      return numbers(rows * spec.scale_cols(), true);
    }
    case Kind::kBias: {
      std::uint64_t rows = 0;
      for (const Destination& each : destinations) rows = std::max(rows, each.row_end);
      return numbers(rows, false);
    }
    case Kind::kVector: return numbers(parameters_.vectors[d.index].size, false);
    case Kind::kInputScale: return numbers(element_count(info.shape) == 1 ? 1 : destinations.size(), true);
    case Kind::kKScale:
    case Kind::kVScale: return numbers(1, true);
    case Kind::kNothing: break;
  }
  return {};
}

Status WeightUpdate::add(const TensorInfo& info, std::vector<Destination> destinations, Id id) {
  OCTAVO_TRY(check_tensor(info, destinations));
  const auto bytes = byte_count(info.dtype, info.shape);
  if (!bytes)
    return failure("tensor \"{}\": its shape {} is too large", printable(info.name), shape_string(info.shape));
  auto tensor = std::make_unique<Incoming>();
  tensor->info = info;
  tensor->bytes = *bytes;
  std::uint64_t rows = 1;
  for (const Destination& d : destinations) rows = std::max(rows, d.row_end);
  const bool one_for_all = destinations.size() > 1 && element_count(info.shape) == 1;  // a scale of a fused weight
  for (const Destination& d : destinations) {
    if (d.kind == Kind::kNothing) continue;
    const auto [owner, free] = owners_.try_emplace({d.kind, d.index}, id);
    if (!free) {
      return failure("tensor \"{}\": arrives twice, also as \"{}\"", printable(info.name),
                     printable(incoming_[owner->second]->info.name));
    }
    if (d.kind == Kind::kWeight) OCTAVO_TRY(linears_[d.index]->begin(info.dtype));
    Target target{d, 0, *bytes, {}};
    if (d.kind != Kind::kTiedHead && !one_for_all) {
      target.begin = *bytes / rows * d.row_begin;
      target.end = *bytes / rows * d.row_end;
    }
    if (d.kind != Kind::kWeight && d.kind != Kind::kTiedHead) target.small.resize(target.end - target.begin);
    tensor->targets.push_back(std::move(target));
  }
  ids_.emplace(info.name, id);
  incoming_.push_back(std::move(tensor));
  ++summary_.tensors;
  return {};
}

Status WeightUpdate::write(const TensorInfo& tensor, std::span<const std::byte> bytes) {
  OCTAVO_ASSIGN(const Id id, declare(tensor));
  if (incoming_[id]->bytes != bytes.size()) {
    return fail(failure("tensor \"{}\": {} bytes arrive, but {} {} has {}", printable(tensor.name), bytes.size(),
                        dtype_name(tensor.dtype), shape_string(tensor.shape), incoming_[id]->bytes));
  }
  return write(id, 0, bytes);
}

Status WeightUpdate::write(Id id, std::uint64_t offset, std::span<const std::byte> bytes) {
  if (failed_) return *failed_;
  if (id >= incoming_.size()) return fail(failure("no tensor has been announced under number {}", id));
  Incoming& tensor = *incoming_[id];
  if (offset > tensor.bytes || bytes.size() > tensor.bytes - offset) {
    return fail(failure("tensor \"{}\": bytes from {} to {} arrive, but it has {}", printable(tensor.info.name), offset,
                        offset + bytes.size(), tensor.bytes));
  }
  if (bytes.empty()) return {};
  if (!tensor.there.add(offset, offset + bytes.size())) {
    return fail(failure("tensor \"{}\": bytes from {} on arrive twice", printable(tensor.info.name), offset));
  }
  summary_.source_bytes += bytes.size();
  if (Status status = write_targets(tensor, offset, bytes); !status.ok()) return fail(std::move(status).error());
  return {};
}

Status WeightUpdate::write_targets(Incoming& tensor, std::uint64_t offset, std::span<const std::byte> bytes) {
  std::vector<LinearIntake::Work> work;
  for (Target& target : tensor.targets) {
    const std::uint64_t from = std::max(offset, target.begin), to = std::min(offset + bytes.size(), target.end);
    if (from >= to) continue;
    const std::span<const std::byte> part = bytes.subspan(from - offset, to - from);
    const std::uint64_t at = from - target.begin;
    const Destination& d = target.destination;
    if (d.kind == Kind::kTiedHead) {
      write_tied_head(tensor.info.dtype, at, part, work);
    } else if (d.kind != Kind::kWeight) {
      std::memcpy(target.small.data() + at, part.data(), part.size());
    } else if (linears_[d.index]->codes()) {
      OCTAVO_TRY(linears_[d.index]->write_codes(at, part));
    } else {
      OCTAVO_TRY(write_weight(tensor, *linears_[d.index], at, part, work));
    }
  }
  OCTAVO_TRY(take(work));
  if (!tensor.whole()) return {};
  for (Target& target : tensor.targets) OCTAVO_TRY(finish_small(tensor, target));
  return encode_groups();
}

Status WeightUpdate::write_weight(const Incoming& tensor, LinearIntake& linear, std::uint64_t offset,
                                  std::span<const std::byte> bytes, std::vector<LinearIntake::Work>& work) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(bytes.data()) % dtype_bytes(tensor.info.dtype) == 0;
  const bool direct = aligned && tensor.whole() && linear.shares() && completes_group(linear);
  const std::uint64_t more = linear.would_hold(offset, bytes.size(), direct);
  if (held_ + more > limit_) {
    return failure(
        "tensor \"{}\": with it {} of tensors are begun and not whole, more than the {} that an update may hold; "
        "send one tensor after the other{}",
        printable(tensor.info.name), human_bytes(held_ + more), human_bytes(limit_),
        linear.parameter().shared ? ", and those that share a scale (q/k/v, gate/up) together" : "");
  }
  held_ -= linear.held();
  linear.write(offset, bytes, direct, work);
  held_ += linear.held();
  summary_.most_held_bytes = std::max(summary_.most_held_bytes, held_);
  return {};
}

// Work without a linear: only its checksum is wanted.
void WeightUpdate::write_tied_head(DType dtype, std::uint64_t offset, std::span<const std::byte> bytes,
                                   std::vector<LinearIntake::Work>& work) {
  TiedHead& tied = tied_head_;
  if (!tied.bands) {
    const model::LinearParameter& embedding = parameters_.linears.front();
    tied.bands.emplace(embedding.spec.n * embedding.spec.k * dtype_bytes(dtype),
                       LinearIntake::band_bytes(embedding, dtype), memory_);
    tied.hashes.resize(tied.bands->count());
  }
  held_ -= tied.bands->held();
  tied.bands->write(offset, bytes, [&](Band band) { work.push_back({nullptr, std::move(band)}); });
  held_ += tied.bands->held();
  summary_.most_held_bytes = std::max(summary_.most_held_bytes, held_);
}

Status WeightUpdate::take(std::vector<LinearIntake::Work>& work) {
  if (work.empty()) return {};
  const int threads = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(options_.threads), work.size()));
  return for_each_index(threads, work.size(), [&](std::size_t i, int worker) -> Status {
    if (work[i].linear == nullptr) {
      tied_head_.hashes[work[i].band.index] = hash64(work[i].band.bytes);
      return {};
    }
    return work[i].linear->take(work[i], buffers_[static_cast<std::size_t>(worker)]);
  });
}

// Whether all others that share its scale are there.
bool WeightUpdate::completes_group(const LinearIntake& linear) const {
  return std::all_of(linears_.begin(), linears_.end(), [&](const auto& other) {
    return other.get() == &linear || other->parameter().shared != linear.parameter().shared || other->measured();
  });
}

// Groups of which every member is there.
Status WeightUpdate::encode_groups() {
  std::map<std::uint32_t, std::vector<LinearIntake*>> groups;
  std::set<std::uint32_t> waiting;
  for (const auto& linear : linears_) {
    const auto& shared = linear->parameter().shared;
    if (!shared || encoded_groups_.contains(*shared)) continue;
    if (linear->measured()) {
      groups[*shared].push_back(linear.get());
    } else {
      waiting.insert(*shared);
    }
  }
  for (const auto& [number, members] : groups) {
    if (waiting.contains(number)) continue;
    OCTAVO_TRY(encode_group(members));
    encoded_groups_.insert(number);
  }
  return {};
}

Status WeightUpdate::encode_group(const std::vector<LinearIntake*>& group) {
  std::vector<std::pair<LinearIntake*, std::uint64_t>> parts;
  for (LinearIntake* linear : group) {
    for (std::uint64_t part = 0; part < linear->parts(); ++part) parts.emplace_back(linear, part);
  }
  float largest = 0;
  for (const LinearIntake* linear : group) largest = std::max(largest, linear->amax());
  OCTAVO_TRY(for_each_index(options_.threads, parts.size(), [&](std::size_t i, int worker) {
    return parts[i].first->encode_part(parts[i].second, largest, buffers_[static_cast<std::size_t>(worker)]);
  }));
  for (LinearIntake* linear : group) {
    held_ -= linear->held();
    linear->finish_shared(largest);
    held_ += linear->held();
  }
  return {};
}

Status WeightUpdate::finish_small(const Incoming& tensor, Target& target) {
  const Destination& d = target.destination;
  if (d.kind == Kind::kWeight || d.kind == Kind::kTiedHead) return {};
  std::vector<float> values = to_floats(tensor.info.dtype, target.small);
  target.small = {};
  const bool scale = d.kind != Kind::kBias && d.kind != Kind::kVector;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && (!scale || values[i] > 0)) continue;
    return failure("tensor \"{}\": holds {} at index {}{}; the weights that serve are kept",
                   printable(tensor.info.name), values[i], target.begin / dtype_bytes(tensor.info.dtype) + i,
                   scale ? "; a scale must be positive and finite" : "");
  }
  switch (d.kind) {
    case Kind::kScale: linears_[d.index]->set_scales(std::move(values)); break;
    case Kind::kBias: biases_[d.index] = std::move(values); break;
    case Kind::kVector: vectors_[d.index] = std::move(values); break;
    case Kind::kKScale: k_scales_[d.index] = values[0]; break;
    case Kind::kVScale: v_scales_[d.index] = values[0]; break;
    case Kind::kInputScale: {
      const backend::InputRounding& input = parameters_.linears[d.index].spec.input;
      if (input.kind == backend::InputRounding::Kind::kStatic && input.scale != values[0]) {
        return failure(
            "tensor \"{}\": is {}, but the running model rounds its activations at {}, which only a restart "
            "changes",
            printable(tensor.info.name), values[0], input.scale);
      }
      break;
    }
    default: break;
  }
  return {};
}

// ---- what is there

std::string WeightUpdate::group_names(std::uint32_t shared) const {
  std::vector<std::string> names;
  for (const model::LinearParameter& p : parameters_.linears) {
    if (p.shared == shared) names.push_back(p.name);
  }
  return first_names(names);
}

// A linear's weight with all that belongs to it.
Status WeightUpdate::check_linear(std::size_t i, std::vector<std::string>& missing) const {
  const model::LinearParameter& p = parameters_.linears[i];
  const LinearIntake& linear = *linears_[i];
  const bool scale = owners_.contains({Kind::kScale, i}), bias = biases_[i].has_value();
  if (!linear.begun()) {
    if (scale) {
      return failure("the scales \"{}\" arrived without their codes \"{}\"", printable(p.scale), printable(p.name));
    }
    if (bias && options_.partial) {
      return failure("\"{}\" arrived without \"{}\"; a linear's weight and bias are updated together", p.bias, p.name);
    }
    missing.push_back(p.name);
    if (!p.bias.empty() && !bias) missing.push_back(p.bias);
    return {};
  }
  if (linear.codes() && !scale) missing.push_back(p.scale);
  if (!linear.codes() && scale) {
    return failure(
        "tensor \"{}\" arrived as {} values, which are encoded here, and with scales (\"{}\"), which belong to "
        "codes",
        p.name, dtype_name(incoming_[owners_.at({Kind::kWeight, i})]->info.dtype), p.scale);
  }
  if (!p.bias.empty() && !bias) {
    if (options_.partial) {
      return failure("\"{}\" arrived without \"{}\"; a linear's weight and bias are updated together", p.name, p.bias);
    }
    missing.push_back(p.bias);
  }
  if (linear.shares() && !encoded_groups_.contains(*p.shared)) {
    for (std::size_t other = 0; other < linears_.size(); ++other) {
      if (parameters_.linears[other].shared != p.shared || (linears_[other]->begun() && !linears_[other]->codes()))
        continue;
      if (!linears_[other]->begun() && !options_.partial) continue;  // is listed as missing
      return failure("{} share one scale: send all of them as values, or all as codes", group_names(*p.shared));
    }
  }
  return {};
}

Status WeightUpdate::check() {
  if (failed_) return *failed_;
  if (Status status = check_missing(); !status.ok()) return fail(std::move(status).error());
  return {};
}

Status WeightUpdate::check_missing() const {
  std::vector<std::string> halves;
  for (const auto& tensor : incoming_) {
    if (!tensor->whole()) {
      halves.push_back(fmt::format("{}: {} of {} bytes", tensor->info.name, tensor->there.total(), tensor->bytes));
    }
  }
  if (!halves.empty()) {
    return failure("{} tensor{} not whole: {}", halves.size(), halves.size() == 1 ? " is" : "s are",
                   first_names(halves));
  }
  std::vector<std::string> missing;
  std::size_t expected = 0;
  for (std::size_t i = 0; i < linears_.size(); ++i) {
    expected += parameters_.linears[i].bias.empty() ? 1 : 2;
    OCTAVO_TRY(check_linear(i, missing));
  }
  for (std::size_t i = 0; i < vectors_.size(); ++i, ++expected) {
    if (!vectors_[i]) missing.push_back(parameters_.vectors[i].name);
  }
  for (std::size_t i = 0; i < k_scales_.size(); ++i) {
    const std::string &k = parameters_.k_scales[i], &v = parameters_.v_scales[i];
    expected += (k.empty() ? 0u : 1u) + (v.empty() ? 0u : 1u);
    if (!k.empty() && !k_scales_[i]) missing.push_back(k);
    if (!v.empty() && !v_scales_[i]) missing.push_back(v);
  }
  // Of a tied embedding with an FP8 head the same name twice.
  missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
  if (options_.partial ? incoming_.empty() : !missing.empty()) {
    if (incoming_.empty()) return failure("no tensor has arrived");
    return failure("{} of {} parameters did not arrive: {}", missing.size(), expected, first_names(missing));
  }
  // Codes and scales belong together also where others are kept.
  for (std::size_t i = 0; i < linears_.size(); ++i) {
    if (linears_[i]->codes() && linears_[i]->scales().empty()) {
      return failure("the codes \"{}\" arrived without their scales \"{}\"", parameters_.linears[i].name,
                     parameters_.linears[i].scale);
    }
  }
  // Of another dtype they differ, too.
  if (tied_head_.bands && tied_head_.hashes != linears_.front()->hashes()) {
    return failure("\"{}\" differs from \"{}\", but the running model has one weight for both (tie_word_embeddings)",
                   parameters_.head, parameters_.embedding);
  }
  return {};
}

bool WeightUpdate::changes_cache_scales() const {
  const auto differ = [](const std::vector<std::optional<float>>& sent, const std::vector<float>& there) {
    for (std::size_t i = 0; i < sent.size(); ++i) {
      if (sent[i] && *sent[i] != (there.empty() ? 1.0f : there[i])) return true;
    }
    return false;
  };
  return differ(k_scales_, serving_.k_scales) || differ(v_scales_, serving_.v_scales);
}

Result<UpdateSummary> WeightUpdate::commit(model::LoadedModel& model) {
  OCTAVO_TRY(check());
  model::ModelWeights& serving = model.weights;
  model::ModelWeights& made = shadow_.weights_;
  std::uint64_t kept = 0;
  for (std::size_t i = 0; i < linears_.size(); ++i) {
    const LinearIntake& linear = *linears_[i];
    if (!linear.begun()) {
      ++kept;
      continue;
    }
    if (!linear.scales().empty()) backend_.set_scales(linear.weight(), linear.scales());
    if (biases_[i]) backend_.set_bias(linear.weight(), *biases_[i]);
    std::swap(linear.parameter().place.in(serving), linear.parameter().place.in(made));
    ++summary_.parameters;
  }
  for (std::size_t i = 0; i < vectors_.size(); ++i) {
    if (!vectors_[i]) {
      ++kept;
      continue;
    }
    const model::VectorParameter& p = parameters_.vectors[i];
    backend_.upload(*vectors_[i], p.place.in(made)->matrix(1, p.size));
    std::swap(p.place.in(serving), p.place.in(made));
    ++summary_.parameters;
  }
  summary_.cache_scales = changes_cache_scales();
  const auto scales = [&](const std::vector<std::optional<float>>& sent, std::vector<float>& out) {
    for (std::size_t i = 0; i < sent.size(); ++i) {
      if (!sent[i]) continue;
      if (out.empty()) out.assign(sent.size(), 1.0f);
      out[i] = *sent[i];
      ++summary_.parameters;
    }
  };
  scales(k_scales_, serving.k_scales);
  scales(v_scales_, serving.v_scales);
  summary_.kept = kept;
  failed_ = failure("this weight update has been committed");
  return summary_;
}

}  // namespace octavo::rollout
