// The safetensors header. A first byte of 0xFF: the rest is a whole file. Any other: it is the size of the data buffer,
// and the rest is the JSON. A header that is accepted must survive being laid out and read again.
#include <algorithm>

#include "fuzz/property.h"
#include "octavo/checkpoint/safetensors.h"

namespace octavo::fuzz {
namespace {

bool by_name(const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; }

void check(SafetensorsHeader header, std::uint64_t data_size) {
  std::uint64_t sum = 0;
  for (const TensorEntry& t : header.tensors) {
    require(t.begin == sum && t.end <= data_size, "tensors tile the buffer", t.name);
    require(byte_count(t.dtype, t.shape) == t.bytes(), "bytes are those of dtype and shape", t.name);
    sum = t.end;
  }
  require(sum == data_size, "tensors fill the buffer");

  std::vector<TensorEntry> tensors = header.tensors;
  const auto prefix = lay_out_safetensors(tensors, header.metadata);
  require(prefix.ok(), "what was read can be written");
  const auto again = parse_safetensors_header(std::string_view(*prefix).substr(8), data_size, "again");
  require(again.ok(), "what was written can be read", *prefix);
  require(again->metadata == header.metadata, "metadata survives");
  std::vector<TensorEntry> read = again->tensors;
  std::sort(read.begin(), read.end(), by_name);
  std::sort(header.tensors.begin(), header.tensors.end(), by_name);
  require(read.size() == header.tensors.size(), "no tensor is lost");
  for (std::size_t i = 0; i < read.size(); ++i) {
    const TensorEntry& a = read[i];
    const TensorEntry& b = header.tensors[i];
    require(a.name == b.name && a.dtype == b.dtype && a.shape == b.shape, "tensors survive", a.name);
  }
}

// Wherever the buffer of the parser ends: the same tensors, the same message.
void check_buffers(std::string_view json, std::uint64_t data_size, const Result<SafetensorsHeader>& whole) {
  const MemorySource source(as_bytes(json));
  JsonRange range{source, 0, json.size()};
  range.buffer = 1 + json.size() % 13;
  const auto parts = parse_safetensors_header(range, data_size, "header");
  require(parts.ok() == whole.ok(), "the buffer changes nothing", json);
  if (whole.ok()) {
    require(parts->tensors.size() == whole->tensors.size() && parts->metadata == whole->metadata,
            "the buffer changes no tensor", json);
  } else {
    require(parts.error().message == whole.error().message, "the buffer changes no message", parts.error().message);
  }
}

}  // namespace
}  // namespace octavo::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octavo;
  if (size == 0) return 0;
  const std::string_view rest = fuzz::as_text(data + 1, size - 1);
  const bool file = data[0] == 0xFF;
  auto header = file ? read_safetensors_header(MemorySource(as_bytes(rest), "file"))
                     : parse_safetensors_header(rest, data[0], "header");
  if (!file) fuzz::check_buffers(rest, data[0], header);
  if (!header.ok()) {
    fuzz::require_readable(header.error().message);
    return 0;
  }
  const std::uint64_t data_size = file ? rest.size() - header->data_begin : data[0];
  fuzz::check(std::move(header).value(), data_size);
  return 0;
}
