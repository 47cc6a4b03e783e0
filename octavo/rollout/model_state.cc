// Values come back through Backend::embed, which gives any weight's rows as FP32; codes and scales as they stand there.
#include "octavo/rollout/model_state.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "octavo/base/hash.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/fp8/half.h"
#include "octavo/fp8/scale.h"
#include "octavo/quant/encode_piece.h"
#include "octavo/rollout/parameter_index.h"

namespace octavo::rollout {
namespace {

constexpr std::uint64_t kTileBytes = 4ull << 20;

// Rows [begin, begin + count) of a weight.
Result<std::vector<float>> read_rows(backend::Backend& backend, const backend::LinearWeight& weight,
                                     std::uint64_t begin, std::uint64_t count) {
  const std::uint64_t k = weight.spec().k;
  std::vector<std::int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), static_cast<std::int32_t>(begin));
  OCTAVO_ASSIGN(const auto buffer, backend.create_buffer(count * k));
  const backend::Matrix rows = buffer->matrix(count, k);
  backend.embed(ids, weight, rows);
  std::vector<float> out(count * k);
  backend.download(rows, out);
  return out;
}

// The elements as the backend stores them, row by row.
std::string weight_sum(const backend::Backend& backend, const backend::LinearWeight& weight) {
  const std::uint64_t n = weight.spec().n, row_bytes = weight.spec().k * dtype_bytes(weight.stored_dtype());
  const std::uint64_t step = std::max<std::uint64_t>(kTileBytes / row_bytes, 1);
  std::vector<std::byte> tile(std::min(step, n) * row_bytes);
  ByteHash sum;
  for (std::uint64_t row = 0; row < n; row += step) {
    const std::uint64_t rows = std::min(step, n - row);
    const std::span part = std::span(tile).first(rows * row_bytes);
    backend.unpack(weight, {row, row + rows, 0, weight.spec().k}, part);
    sum.add(part);
  }
  return sum.hex();
}

// Numbers that stand here as FP32, in the dtype that the checkpoint has them in; where that would round one, as FP32.
std::string number_sum(std::span<const float> values, DType dtype) {
  std::vector<std::uint16_t> halves;
  for (const float value : values) {
    if (dtype != DType::kBF16 && dtype != DType::kF16) break;
    const std::uint16_t half = dtype == DType::kBF16 ? fp8::float_to_bf16(value) : fp8::float_to_f16(value);
    const float back = dtype == DType::kBF16 ? fp8::bf16_to_float(half) : fp8::f16_to_float(half);
    if (std::bit_cast<std::uint32_t>(back) != std::bit_cast<std::uint32_t>(value)) break;
    halves.push_back(half);
  }
  const bool exact = !values.empty() && halves.size() == values.size();
  return ByteHash().add(exact ? std::as_bytes(std::span(halves)) : std::as_bytes(values)).hex();
}

std::string scale_sum(std::span<const float> scales, fp8::ScaleDType dtype) {
  if (dtype == fp8::ScaleDType::kBF16) return number_sum(scales, DType::kBF16);
  const bool exact = dtype == fp8::ScaleDType::kE8M0 && std::all_of(scales.begin(), scales.end(), [](float scale) {
                       return fp8::e8m0_decode(fp8::e8m0_encode_up(scale)) == scale;
                     });
  std::vector<std::byte> bytes;
  quant::store_scales(scales, exact ? dtype : fp8::ScaleDType::kF32, bytes);
  return ByteHash().add(bytes).hex();
}

fp8::ScaleDType scale_dtype_of(const model::LinearParameter& p) {
  return p.encoding ? p.encoding->scale_dtype : fp8::ScaleDType::kF32;
}

DType stored_as(fp8::ScaleDType dtype) {
  return dtype == fp8::ScaleDType::kBF16 ? DType::kBF16 : dtype == fp8::ScaleDType::kE8M0 ? DType::kU8 : DType::kF32;
}

// Name and checksum of each tensor of a linear layer.
using Sums = std::vector<std::pair<std::string, std::string>>;
Result<Sums> linear_sums(const model::LoadedModel& model, const backend::Backend& backend,
                         const model::LinearParameter& p) {
  const backend::LinearWeight& weight = *p.place.in(model.weights);
  // A tied embedding's FP8 copy is the head.
  const std::string& name = p.made_fp8 && model.parameters.tied ? model.parameters.head : p.name;
  Sums out = {{name, weight_sum(backend, weight)}};
  if (p.spec.scale_rows() != 0) {
    std::vector<float> scales(p.spec.scale_rows() * p.spec.scale_cols());
    const Status read = backend.read_scales(weight, scales);
    if (!read.ok()) return failure("tensor \"{}\": {}", name, read.error().message);
    out.emplace_back(p.scale.empty() ? name + "_scale" : p.scale, scale_sum(scales, scale_dtype_of(p)));
  }
  if (!p.bias.empty()) {
    std::vector<float> bias(p.spec.n);
    backend.read_bias(weight, bias);
    out.emplace_back(p.bias, number_sum(bias, p.bias_dtype));
  }
  return out;
}

}  // namespace

std::vector<TensorInfo> list_parameters(const model::LoadedModel& model) {
  std::vector<TensorInfo> out;
  for (const model::LinearParameter& p : model.parameters.linears) {
    if (p.made_fp8) {  // a tied embedding's second weight has no tensor of its own; a head is sent as values
      if (p.name == model.parameters.head) out.push_back({p.name, DType::kBF16, {p.spec.n, p.spec.k}});
      continue;
    }
    out.push_back({p.name, p.spec.dtype, {p.spec.n, p.spec.k}});
    if (!p.scale.empty()) {
      out.push_back({p.scale, stored_as(scale_dtype_of(p)), {p.spec.scale_rows(), p.spec.scale_cols()}});
    }
    if (!p.bias.empty()) out.push_back({p.bias, p.bias_dtype, {p.spec.n}});
  }
  for (const model::VectorParameter& p : model.parameters.vectors) out.push_back({p.name, p.dtype, {p.size}});
  for (const auto* scales : {&model.parameters.k_scales, &model.parameters.v_scales}) {
    for (const std::string& name : *scales) {
      if (!name.empty()) out.push_back({name, model.parameters.cache_scale_dtype, {}});
    }
  }
  return out;
}

Result<ParameterValues> read_parameter(engine::Runner& runner, const std::string& name, std::uint64_t rows) {
  const model::LoadedModel& model = *runner.model;
  const ParameterIndex index(model.parameters);
  const std::string canonical = ParameterIndex::canonical(name);
  const std::vector<Destination> found = index.find(canonical);
  if (found.empty()) {
    return failure("\"{}\" is no tensor of this model{}", printable(name), index.suggestion(canonical));
  }
  const Destination& d = found.front();
  if (d.kind == Destination::Kind::kVector) {
    const model::VectorParameter& p = model.parameters.vectors[d.index];
    const std::uint64_t count = std::min(rows, p.size);
    ParameterValues out{{p.size}, std::vector<float>(count), 1};
    runner.backend->download(p.place.in(model.weights)->matrix(1, count), out.values);
    return out;
  }
  const bool tied_head = d.kind == Destination::Kind::kTiedHead;
  const bool fused = found.size() > 1 && canonical != model.parameters.embedding;
  if ((d.kind != Destination::Kind::kWeight && !tied_head) || fused) {
    return failure("\"{}\": only weights and norms are read back, under their own names", printable(name));
  }
  const model::LinearParameter& p = model.parameters.linears[tied_head ? 0 : d.index];
  const std::uint64_t count = std::min(rows, p.spec.n);
  OCTAVO_ASSIGN(std::vector<float> values, read_rows(*runner.backend, *p.place.in(model.weights), 0, count));
  return ParameterValues{{p.spec.n, p.spec.k}, std::move(values), p.spec.k};
}

Result<std::map<std::string, std::string>> parameter_checksums(const model::LoadedModel& model,
                                                               backend::Backend& backend, int threads) {
  const model::Parameters& parameters = model.parameters;
  std::vector<Sums> linears(parameters.linears.size());
  OCTAVO_TRY(for_each_index(threads, linears.size(), [&](std::size_t i, int) -> Status {
    OCTAVO_ASSIGN(linears[i], linear_sums(model, backend, parameters.linears[i]));
    return {};
  }));
  std::map<std::string, std::string> out;
  for (const Sums& sums : linears) out.insert(sums.begin(), sums.end());
  for (const model::VectorParameter& p : parameters.vectors) {
    std::vector<float> values(p.size);
    backend.download(p.place.in(model.weights)->matrix(1, p.size), values);
    out[p.name] = number_sum(values, p.dtype);
  }
  const auto scales = [&](const std::vector<float>& values, const std::vector<std::string>& names,
                          std::string_view kind) {
    for (std::size_t layer = 0; layer < values.size(); ++layer) {
      const std::string unnamed = fmt::format("{}{}", parameters.attention[layer], kind);
      out[names[layer].empty() ? unnamed : names[layer]] =
          number_sum(std::span(&values[layer], 1), parameters.cache_scale_dtype);
    }
  };
  scales(model.weights.k_scales, parameters.k_scales, "k_scale");
  scales(model.weights.v_scales, parameters.v_scales, "v_scale");
  return out;
}

}  // namespace octavo::rollout
