// From what a pickle built to a list of tensors: which value is the state dict, where in its storage each tensor lies.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/base/dtype.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/torch/pickle_values.h"

namespace octavo {

struct StateTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::uint32_t storage = 0;  // a number in the heap
  std::uint64_t begin = 0;    // bytes from the start of the storage
  std::uint64_t bytes = 0;
};

struct StateDict {
  std::vector<StateTensor> tensors;   // in the order of the dict
  std::string wrapper;                // the key under which it lies; "" for the top level
  std::vector<std::string> left_out;  // the wrapper's neighbours
};

// `top` is a dict of tensors by name, or a dict that holds one such dict as state_dict, model or module. Refuses, by
// name: values that are no tensors, names that come twice or are not UTF-8, tensors that do not lie in one piece and in
// row-major order, tensors that reach past the size that the pickle gives their storage.
Result<StateDict> read_state_dict(const PickleHeap& heap, PickleValue top);

// Bytes of a storage as the pickle claims them; nullopt on overflow.
std::optional<std::uint64_t> storage_bytes(const PickleStorage& storage);

}  // namespace octavo
