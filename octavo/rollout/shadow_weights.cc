// The second set: the same specs, other memory.
#include "octavo/base/memory.h"
#include "octavo/base/text.h"
#include "octavo/rollout/weight_update.h"

namespace octavo::rollout {

std::uint64_t ShadowWeights::bytes_needed(const model::LoadedModel& model, const backend::Backend& backend) {
  std::uint64_t bytes = 0;
  for (const model::LinearParameter& p : model.parameters.linears) bytes += backend.linear_bytes(p.spec);
  for (const model::VectorParameter& p : model.parameters.vectors) bytes += p.size * sizeof(float);
  return bytes;
}

Status ShadowWeights::allocate(const model::LoadedModel& model, backend::Backend& backend) {
  const model::Parameters& parameters = model.parameters;
  if (parameters.linears.empty())
    return failure("this model was not loaded from a checkpoint: it has no names to send");
  if (allocated()) return {};
  const std::uint64_t needed = bytes_needed(model, backend), available = available_memory();
  if (needed > available) {
    return failure(
        "a weight update needs {} of memory for the new weights beside those that serve, but {} are available",
        human_bytes(needed), human_bytes(available));
  }
  model::ModelWeights made;
  made.layers.resize(model.weights.layers.size());
  for (const model::LinearParameter& p : parameters.linears) {
    OCTAVO_ASSIGN(p.place.in(made), backend.create_linear(p.spec));
  }
  for (const model::VectorParameter& p : parameters.vectors) {
    OCTAVO_ASSIGN(p.place.in(made), backend.create_buffer(p.size));
  }
  weights_ = std::move(made);
  return {};
}

std::uint64_t ShadowWeights::bytes() const {
  std::uint64_t bytes = 0;
  const auto linear = [&](const std::unique_ptr<backend::LinearWeight>& weight) {
    if (weight) bytes += weight->resident_bytes();
  };
  const auto vector = [&](const std::unique_ptr<backend::Buffer>& buffer) {
    if (buffer) bytes += buffer->size() * sizeof(float);
  };
  linear(weights_.embedding), linear(weights_.head), vector(weights_.final_norm);
  for (const model::LayerWeights& layer : weights_.layers) {
    for (const auto* w : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) linear(*w);
    for (const auto* v : {&layer.input_norm, &layer.post_attention_norm, &layer.q_norm, &layer.k_norm}) vector(*v);
  }
  return bytes;
}

}  // namespace octavo::rollout
