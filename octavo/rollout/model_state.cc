// Rows come back through Backend::embed, which gives any weight's rows as FP32; biases as the layer's answer to zeros.
#include "octavo/rollout/model_state.h"

#include <algorithm>
#include <numeric>

#include "octavo/base/file.h"
#include "octavo/base/hash.h"
#include "octavo/base/text.h"
#include "octavo/rollout/parameter_index.h"

namespace octavo::rollout {
namespace {

constexpr std::uint64_t kTileBytes = 4ull << 20;

std::string_view text_of(std::span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

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

Result<std::vector<float>> read_bias(backend::Backend& backend, const backend::LinearWeight& weight) {
  const std::uint64_t n = weight.spec().n, k = weight.spec().k;
  OCTAVO_ASSIGN(const auto zeros, backend.create_buffer(k));  // zeroed
  OCTAVO_ASSIGN(const auto norm, backend.create_buffer(k));
  OCTAVO_ASSIGN(const auto x, backend.create_activations(1, k));
  OCTAVO_ASSIGN(const auto y, backend.create_buffer(n));
  backend.rms_norm(zeros->matrix(1, k), *norm, 1.0f, *x);
  const backend::LinearWeight* weights[] = {&weight};
  backend.linear(*x, weights, y->matrix(1, n));
  std::vector<float> out(n);
  backend.download(y->matrix(1, n), out);
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
    if (!p.scale.empty()) out.push_back({p.scale, DType::kF32, {p.spec.scale_rows(), p.spec.scale_cols()}});
    if (!p.bias.empty()) out.push_back({p.bias, DType::kF32, {p.spec.n}});
  }
  for (const model::VectorParameter& p : model.parameters.vectors) out.push_back({p.name, DType::kF32, {p.size}});
  for (const auto* scales : {&model.parameters.k_scales, &model.parameters.v_scales}) {
    for (const std::string& name : *scales) {
      if (!name.empty()) out.push_back({name, DType::kF32, {}});
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

Result<std::map<std::string, std::string>> parameter_checksums(engine::Runner& runner) {
  const model::LoadedModel& model = *runner.model;
  backend::Backend& backend = *runner.backend;
  std::map<std::string, std::string> out;
  for (const model::LinearParameter& p : model.parameters.linears) {
    const backend::LinearWeight& weight = *p.place.in(model.weights);
    const std::uint64_t step = std::max<std::uint64_t>(kTileBytes / (p.spec.k * sizeof(float)), 1);
    Fingerprint sum;
    for (std::uint64_t row = 0; row < p.spec.n; row += step) {
      OCTAVO_ASSIGN(const auto rows, read_rows(backend, weight, row, std::min(step, p.spec.n - row)));
      sum.add(text_of(rows));
    }
    if (!p.bias.empty()) {
      OCTAVO_ASSIGN(const auto bias, read_bias(backend, weight));
      sum.add(text_of(bias));
    }
    // A tied embedding's FP8 copy is the head.
    out[p.made_fp8 && model.parameters.tied ? model.parameters.head : p.name] = sum.hex();
  }
  for (const model::VectorParameter& p : model.parameters.vectors) {
    std::vector<float> values(p.size);
    backend.download(p.place.in(model.weights)->matrix(1, p.size), values);
    out[p.name] = Fingerprint().add(text_of(values)).hex();
  }
  const auto scales = [&](const std::vector<float>& values, std::string_view kind) {
    for (std::size_t layer = 0; layer < values.size(); ++layer) {
      out[fmt::format("{}{}", model.parameters.attention[layer], kind)] =
          Fingerprint().add(text_of(std::span(&values[layer], 1))).hex();
    }
  };
  scales(model.weights.k_scales, "k_scale");
  scales(model.weights.v_scales, "v_scale");
  return out;
}

}  // namespace octavo::rollout
