// A decoder's weights in a backend, loaded from a folder: as they are, or quantized to FP8 on the way in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/base/cpu.h"
#include "octavo/base/progress.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/model/decoder_config.h"
#include "octavo/model/parameters.h"
#include "octavo/quant/spec.h"

namespace octavo::model {

using backend::Buffer;
using backend::LinearWeight;

struct LayerWeights {
  std::unique_ptr<Buffer> input_norm, post_attention_norm;  // [hidden]
  std::unique_ptr<Buffer> q_norm, k_norm;                   // [head_dim], where the family has them
  std::unique_ptr<LinearWeight> q, k, v;                    // [q_size, hidden], [kv_size, hidden]
  std::unique_ptr<LinearWeight> o;                          // [hidden, q_size]
  std::unique_ptr<LinearWeight> gate, up;                   // [intermediate, hidden]
  std::unique_ptr<LinearWeight> down;                       // [hidden, intermediate]
};

struct ModelWeights {
  std::unique_ptr<LinearWeight> embedding;  // [vocab, hidden]
  std::unique_ptr<LinearWeight> head;       // [vocab, hidden]; null: the embedding is the head (tied)
  std::unique_ptr<Buffer> final_norm;       // [hidden]
  std::vector<LayerWeights> layers;
  std::vector<float> k_scales, v_scales;  // of an FP8 cache, one a layer, where the checkpoint has them
};

// Whether the inputs of FP8 linears are rounded to FP8 (W8A8, the checkpoint's own scheme) or not (W8A16).
enum class ActivationMode : std::uint8_t { kBF16, kFp8 };

// The output head: as it is stored, or FP8 made while loading (E4M3, a scale a channel; octavo/model/fp8_head.h), of a
// tied one a copy beside the embedding.
enum class HeadMode : std::uint8_t { kStored, kFp8 };

struct LoadOptions {
  ActivationMode activations = ActivationMode::kBF16;
  std::optional<quant::QuantSpec> quantize;  // online: BF16, F16 or F32 linears become FP8 as `octavo quantize` would
  HeadMode head = HeadMode::kStored;
  Isa isa = Isa::kScalar;  // of the encode kernels
  int threads = 1;
  ProgressSink* progress = nullptr;  // counts bytes of the source
  std::uint64_t extra_bytes = 0;     // what else the run needs (cache, buffers), for the memory check
  bool check_memory = true;          // refuse before loading what does not fit
};

// What HeadMode::kFp8 made.
struct Fp8HeadReport {
  std::string weights;      // "F8_E4M3 per channel"
  std::string activations;  // W8A8: "E4M3 per token"; "": not rounded
  std::uint64_t bytes = 0;  // scales included
  bool copy = false;        // of a tied embedding, which stays in memory as it is
};

struct LoadReport {
  double seconds = 0;
  std::uint64_t source_bytes = 0;
  std::map<std::string, std::uint64_t> resident;  // dtype ("F8_E4M3", "BF16") -> bytes, scales and biases included
  std::uint64_t resident_bytes() const;
  // These are of all linears but an FP8 head that was made here.
  std::uint64_t fp8_linears = 0;
  std::string weights;      // "F8_E4M3 128x128 blocks"; "BF16"
  std::string activations;  // W8A8: "E4M3 per token"; "" where nothing is rounded to FP8
  std::optional<Fp8HeadReport> fp8_head;
  std::vector<std::string> warnings;      // tensors that were not used, ...
  std::vector<std::string> edge_channel;  // modules that --edge channel gave per-channel scales
};

struct LoadedModel {
  DecoderConfig config;
  ModelWeights weights;
  Parameters parameters;  // what `weights` was loaded from; empty for synthetic models
  LoadReport report;
};

// Checks config.json against the tensors (missing, wrong shape, contradictions: one sentence each, before any data is
// read), asks whether memory suffices, then reads in parallel, straight into the backend's layout: at no time is there
// a second copy of a weight.
Result<LoadedModel> load_model(const Checkpoint& checkpoint, backend::Backend& backend, const LoadOptions& options);

}  // namespace octavo::model
