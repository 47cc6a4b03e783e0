// Fuzzes files of torch.save: the input as a whole file, and as a pickle alone, so that the machine is reached
// whatever the container says.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fuzz/property.h"
#include "octavo/base/file.h"
#include "octavo/checkpoint/torch/state_dict.h"
#include "octavo/checkpoint/torch/torch_file.h"
#include "octavo/checkpoint/torch/unpickler.h"

namespace {

using namespace octavo;
using fuzz::require;

void whole_file(std::span<const std::byte> bytes) {
  const MemorySource source(bytes);
  const auto file = read_torch_file(source);
  if (!file.ok()) return fuzz::require_readable(file.error().message);
  require(!file->tensors.empty(), "a file has tensors");
  std::uint64_t at = 0;
  for (const TensorEntry& tensor : file->tensors) {
    require(tensor.begin <= tensor.end && tensor.end <= bytes.size(), "a tensor lies in the file", tensor.name);
    require(byte_count(tensor.dtype, tensor.shape) == tensor.bytes(), "a tensor has its shape's bytes", tensor.name);
    require(tensor.begin >= at, "tensors come by place", tensor.name);
    require(is_valid_utf8(tensor.name), "names are UTF-8", tensor.name);
    at = tensor.begin;
  }
  for (const std::string& note : file->notes) fuzz::require_readable(note);
}

void pickle_alone(std::span<const std::byte> bytes) {
  const MemorySource source(bytes);
  PickleHeap heap;
  PickleInput input(source, 0, bytes.size(), 0);
  const auto top = Unpickler(heap).load(input);
  if (!top.ok()) return fuzz::require_readable(top.error().message);
  const auto state = read_state_dict(heap, *top);
  if (!state.ok()) return fuzz::require_readable(state.error().message);
  for (const StateTensor& tensor : state->tensors) {
    const auto storage = storage_bytes(heap.storage(tensor.storage));
    require(storage && tensor.begin <= *storage && tensor.bytes <= *storage - tensor.begin,
            "a tensor lies in its storage", tensor.name);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  whole_file(bytes);
  pickle_alone(bytes);
  return 0;
}
