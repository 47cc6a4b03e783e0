// A checkpoint's tensors on their way into a model that runs: in random order and random pieces.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "octavo/rollout/weight_update.h"
#include "tests/model/run_model.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/tiny_decoder.h"

namespace octavo::test {

inline const std::vector<std::int32_t> kUpdateTokens = {5, 1, 300, 77, 5, 200, 9, 31};

inline rollout::TensorInfo info_of(const BuiltTensor& tensor) { return {tensor.name, tensor.dtype, tensor.shape}; }

// The tensors of a folder as they lie there.
inline std::vector<BuiltTensor> tensors_of(const std::filesystem::path& folder) {
  const Checkpoint checkpoint = Checkpoint::open(folder).value();
  std::vector<BuiltTensor> out;
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    BuiltTensor built{t.name, t.dtype, t.shape, std::vector<std::byte>(t.bytes), 0};
    EXPECT_TRUE(checkpoint.read(t, 0, built.bytes).ok());
    out.push_back(std::move(built));
  }
  return out;
}

// All tensors, cut into pieces of up to `most` bytes at any byte, all pieces shuffled. most = 0: tensor by tensor.
inline Status send(rollout::WeightUpdate& update, const std::vector<BuiltTensor>& tensors, std::uint64_t most = 0,
                   std::uint64_t seed = 1) {
  struct Piece {
    std::size_t tensor;
    std::uint64_t begin, end;
  };
  std::mt19937_64 random(seed);
  std::vector<Piece> pieces;
  std::vector<rollout::TensorInfo> infos;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    infos.push_back(info_of(tensors[i]));
    const std::uint64_t size = tensors[i].bytes.size();
    for (std::uint64_t at = 0; at < size;) {
      const std::uint64_t step = most == 0 ? size : std::min(size - at, 1 + random() % most);
      pieces.push_back({i, at, at + step});
      at += step;
    }
  }
  if (most != 0) std::shuffle(pieces.begin(), pieces.end(), random);
  OCTAVO_ASSIGN(const auto ids, update.declare_all(infos));
  for (const Piece& p : pieces) {
    const std::vector<std::byte> copy(tensors[p.tensor].bytes.begin() + static_cast<std::ptrdiff_t>(p.begin),
                                      tensors[p.tensor].bytes.begin() + static_cast<std::ptrdiff_t>(p.end));
    OCTAVO_TRY(update.write(ids[p.tensor], p.begin, copy));
  }
  return {};
}

// A model with the memory for its updates.
struct Updatable {
  std::unique_ptr<RunModel> model;
  rollout::ShadowWeights shadow;
  rollout::UpdateOptions options;

  explicit Updatable(const std::filesystem::path& folder, const RunSettings& settings)
      : model(RunModel::open(folder, settings)) {
    options.isa = settings.isa;
    options.threads = settings.threads;
    const Status allocated = shadow.allocate(model->loaded(), model->backend());
    EXPECT_TRUE(allocated.ok()) << (allocated.ok() ? "" : allocated.error().message);
  }
  rollout::WeightUpdate begin() { return {model->loaded(), model->backend(), shadow, options}; }
  // begin, send, commit.
  Result<rollout::UpdateSummary> update(const std::vector<BuiltTensor>& tensors, std::uint64_t most = 0,
                                        std::uint64_t seed = 1) {
    rollout::WeightUpdate update = begin();
    OCTAVO_TRY(send(update, tensors, most, seed));
    return update.commit(model->loaded());
  }
  std::vector<float> logits() { return model->logits(kUpdateTokens); }
};

}  // namespace octavo::test
