// Fuzzes the GGUF import short of writing: head, model, tensor names, tokenizer, and the first blocks of each tensor.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/checkpoint/gguf/container.h"
#include "octavo/checkpoint/gguf/model.h"
#include "octavo/checkpoint/gguf/tensor_map.h"
#include "octavo/checkpoint/gguf/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octavo;
  const MemorySource source(std::as_bytes(std::span(data, size)));
  const auto file = parse_gguf(source);
  if (!file.ok()) return 0;

  constexpr std::size_t kBlocks = 4;  // of each tensor
  std::vector<std::byte> raw;
  std::vector<float> values(kBlocks * kMaxGgmlBlock);
  for (const GgufTensor& tensor : file->tensors) {
    if (tensor.type->decode == nullptr) continue;
    const std::size_t blocks = std::min<std::uint64_t>(kBlocks, tensor.elements / tensor.type->block_elements);
    raw.resize(blocks * tensor.type->block_bytes);
    if (!source.read_at(tensor.offset, raw).ok()) __builtin_trap();  // the parser has checked the place
    tensor.type->decode(raw.data(), blocks, values.data());
  }

  std::vector<std::string> notes;
  const auto model = describe_gguf_model(*file, source, notes);
  if (!model.ok()) return 0;
  (void)map_gguf_tensors(*file, *model);
  (void)make_config(*model, DType::kBF16).dump();
  (void)make_generation_config(*file, *model).dump();
  const auto vocabulary = read_gguf_vocabulary(*file, *model, notes);
  if (!vocabulary.ok() || !vocabulary.value()) return 0;
  if (const auto text = make_tokenizer_json(*file, **vocabulary, notes); text.ok()) {
    if (!parse_json(*text, "tokenizer.json").ok()) __builtin_trap();  // what is written must be JSON
  }
  if (const auto config = make_tokenizer_config(*file, **vocabulary, *model); config.ok()) (void)config->dump();
  return 0;
}
