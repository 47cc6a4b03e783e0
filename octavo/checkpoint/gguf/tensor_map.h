// Which GGUF tensor becomes which Hugging Face tensor, with which shape, for llama, qwen2 and qwen3.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/base/dtype.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/gguf/container.h"
#include "octavo/checkpoint/gguf/model.h"

namespace octavo {

struct MappedTensor {
  const GgufTensor* source = nullptr;  // into the GgufFile
  std::string name;                    // Hugging Face's
  // Number of heads whose rows llama.cpp's converter interleaved, 0 when rows are in order. With d rows a head:
  // hf[h*d + j*d/2 + i] = gguf[h*d + 2*i + j], j in {0, 1}, i in [0, d/2).
  std::uint64_t interleaved_heads = 0;
};

// Every tensor the model needs, in file order. Fails when one is missing, has another shape than the metadata says,
// is of a type that cannot be decoded, or has no place in the architecture.
Result<std::vector<MappedTensor>> map_gguf_tensors(const GgufFile& file, const GgufModel& model);

}  // namespace octavo
