// A file written by torch.save (pytorch_model.bin): its tensors' names, dtypes, shapes and places. Data is read by
// offset, as from safetensors. Nothing in the file can run: unpickler.h.
#pragma once

#include <string>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/safetensors.h"

namespace octavo {

struct TorchFile {
  std::vector<TensorEntry> tensors;  // begin and end from the start of the file; by place. Tied tensors share theirs
  std::vector<std::string> notes;    // one sentence each: what lies in the file and is not read
};

// Reads the ZIP format (PyTorch 1.6 and later) and the one before it, both little-endian. What is read
// and what is refused: docs/formats.md, "pytorch_model.bin". Thread-safe.
Result<TorchFile> read_torch_file(const ByteSource& source);

}  // namespace octavo
