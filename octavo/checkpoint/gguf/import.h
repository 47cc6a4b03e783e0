// GGUF to a Hugging Face folder: config.json, tokenizer, safetensors in shards. Streams: memory does not grow with the
// model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "octavo/base/dtype.h"
#include "octavo/base/progress.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/output_job.h"

namespace octavo {

struct GgufImportOptions {
  DType dtype = DType::kBF16;  // of every tensor written: kBF16, kF16 or kF32
  int threads = 0;             // 0: one a hardware thread
  // Bytes of output a thread works on at a time; it holds as much of the source besides. A head of q_proj or k_proj
  // larger than this is moved row by row. An unfinished import can only be gone on with at the same size.
  std::uint64_t window_bytes = std::uint64_t{1} << 20;
  // Tensors go to a shard as long as it has no more bytes of data than this; a larger tensor has one of its own. The
  // default is transformers'.
  std::uint64_t shard_bytes = 5'000'000'000;
  ProgressSink* progress = nullptr;  // not owned; receives bytes of the source's tensors
  JobOptions job;
};

struct ImportSummary {
  std::string architecture;  // "llama"
  std::string name;          // general.name; "" when absent
  std::size_t tensors = 0;
  std::uint64_t source_bytes = 0;            // of the imported tensors, as stored in the GGUF file
  std::uint64_t output_bytes = 0;            // of all shards
  std::map<std::string, std::size_t> types;  // ggml type -> tensors of it
  std::vector<std::string> notes;            // sentences a user should see
  double seconds = 0.0;
  bool already_finished = false;             // nothing was left to do
  std::vector<std::uint32_t> missing_parts;  // not empty: OUT is not there yet
};

// Imports a llama, qwen2 or qwen3 model. The folder is made as `out`.partial and renamed when all of it is on the disk
// (octavo/checkpoint/output_job.h); what an earlier run left is gone on with. A value that is not finite, or that
// `dtype` cannot hold, is an error that names the tensor.
Result<ImportSummary> import_gguf(const std::filesystem::path& file, const std::filesystem::path& out,
                                  const GgufImportOptions& options);

}  // namespace octavo
