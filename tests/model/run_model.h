// A model folder, loaded and ready to give logits, for the tests of this room.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "octavo/backend/cpu/cpu_backend.h"
#include "octavo/base/cpu.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/model/decoder.h"
#include "octavo/model/weights.h"

namespace octavo::test {

// Every instruction set that this machine has, the portable one first.
inline std::vector<Isa> machine_isas() {
  std::vector<Isa> out;
  for (const Isa isa : kIsas) {
    if (has_isa(isa)) out.push_back(isa);
  }
  return out;
}

struct RunSettings {
  Isa isa = Isa::kScalar;
  int threads = 1;
  backend::Compute compute = backend::Compute::kF32;
  model::ActivationMode activations = model::ActivationMode::kBF16;
  backend::KvDType kv = backend::KvDType::kF32;
  std::optional<quant::QuantSpec> quantize = std::nullopt;
  model::HeadMode head = model::HeadMode::kStored;
  std::uint64_t max_tokens = 128;  // a step
  std::uint64_t cache_blocks = 8;
  std::uint64_t block_size = 16;
};

// Backend, model, decoder and cache. Not to be moved: the decoder points into it.
class RunModel {
 public:
  // Fails the test and returns null where the folder does not load.
  static std::unique_ptr<RunModel> open(const std::filesystem::path& folder, const RunSettings& settings) {
    auto out = std::unique_ptr<RunModel>(new RunModel());
    const Status opened = out->load(folder, settings);
    if (opened.ok()) return out;
    ADD_FAILURE() << opened.error().message;
    return nullptr;
  }

  model::Decoder& decoder() { return *decoder_; }
  backend::KvCache& cache() { return *cache_; }
  const model::LoadedModel& loaded() const { return *model_; }
  model::LoadedModel& loaded() { return *model_; }
  backend::Backend& backend() { return *backend_; }
  std::uint64_t vocab() const { return model_->config.vocab; }

  // Logits of every position, [tokens, vocab], from one step over the whole sequence. Empty after a failure.
  std::vector<float> logits(const std::vector<std::int32_t>& tokens) {
    std::vector<std::int32_t> blocks(cache_->shape().blocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    model::BatchPlan plan;
    plan.tokens = tokens;
    plan.sequences = {{.row = 0, .count = tokens.size(), .position = 0, .blocks = blocks}};
    plan.logit_rows.resize(tokens.size());
    std::iota(plan.logit_rows.begin(), plan.logit_rows.end(), 0);
    return step(plan);
  }

  // Logits of plan.logit_rows.
  std::vector<float> step(const model::BatchPlan& plan) {
    std::vector<float> out(plan.logit_rows.size() * vocab());
    Status done = decoder_->step(plan, *cache_);
    if (done.ok()) done = decoder_->logits(0, plan.logit_rows.size(), out);
    if (done.ok()) return out;
    ADD_FAILURE() << done.error().message;
    return {};
  }

 private:
  RunModel() = default;

  Status load(const std::filesystem::path& folder, const RunSettings& s) {
    backend_ = cpu::create_cpu_backend({.isa = s.isa, .threads = s.threads, .compute = s.compute});
    OCTAVO_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(folder));
    model::LoadOptions options;
    options.activations = s.activations;
    options.quantize = s.quantize;
    options.head = s.head;
    options.isa = s.isa;
    options.threads = s.threads;
    OCTAVO_ASSIGN(auto loaded, model::load_model(checkpoint, *backend_, options));
    model_ = std::make_unique<model::LoadedModel>(std::move(loaded));
    OCTAVO_ASSIGN(auto decoder, model::Decoder::create(*model_, *backend_, s.max_tokens));
    decoder_ = std::make_unique<model::Decoder>(std::move(decoder));
    settings_ = s;
    return renew_cache();
  }

 public:
  // A new cache, with the scales that the weights have now.
  Status renew_cache() {
    OCTAVO_ASSIGN(cache_, decoder_->create_kv_cache(settings_.cache_blocks, settings_.kv, settings_.block_size));
    return {};
  }

 private:
  RunSettings settings_;
  std::unique_ptr<backend::Backend> backend_;
  std::unique_ptr<model::LoadedModel> model_;
  std::unique_ptr<model::Decoder> decoder_;
  std::unique_ptr<backend::KvCache> cache_;
};

// Natural logarithms of the probabilities of one row, in FP64.
inline std::vector<double> log_softmax(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - largest);
  const double normalizer = largest + std::log(sum);
  std::vector<double> out;
  out.reserve(logits.size());
  for (const float x : logits) out.push_back(x - normalizer);
  return out;
}

}  // namespace octavo::test
