// The safetensors container: header rules, one file, many files with an index. Reads only headers; data is read by
// offset. Every rule of the format is enforced: docs/formats.md, "safetensors".
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/dtype.h"
#include "octavo/base/file.h"
#include "octavo/base/json.h"
#include "octavo/base/status.h"
#include "octavo/base/text_sink.h"

namespace octavo {

inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;  // bytes; the format's own limit

struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::uint64_t begin = 0;  // bytes from the start of the data buffer
  std::uint64_t end = 0;
  std::uint64_t bytes() const { return end - begin; }
};

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  // in data order
  std::map<std::string, std::string> metadata;
  std::uint64_t data_begin = 0;  // file offset of the data buffer
};

// Parses the JSON header, part by part. `data_size` is the size of the data buffer that follows it; `origin` names the
// file in messages. The tensors must tile the buffer exactly.
Result<SafetensorsHeader> parse_safetensors_header(const JsonRange& json, std::uint64_t data_size,
                                                   std::string_view origin);
Result<SafetensorsHeader> parse_safetensors_header(std::string_view json, std::uint64_t data_size,
                                                   std::string_view origin);

// Reads and parses the header of a file.
Result<SafetensorsHeader> read_safetensors_header(const ByteSource& source);

// Lays tensors out as the reference writer does (widest alignment first, then by name), sets begin and end, and
// returns the bytes that stand before the data buffer: 8 bytes of length and the header, padded to a multiple of 8.
// `tensors` is reordered. Fails when the header would exceed the format's limit.
Result<std::string> lay_out_safetensors(std::vector<TensorEntry>& tensors,
                                        const std::map<std::string, std::string>& metadata);

// The same bytes for tensors that are kept elsewhere, made part by part. `entry(i)` is the i-th of the file, with begin
// and end set; the tensors stand in the order that precedes() gives.
struct EntryView {
  std::string_view name;
  DType dtype = DType::kF32;
  std::span<const std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;
};
using EntryAt = std::function<EntryView(std::size_t)>;
using Metadata = std::map<std::string, std::string>;
bool precedes(DType a_dtype, std::string_view a_name, DType b_dtype, std::string_view b_name);
Result<std::uint64_t> safetensors_prefix_bytes(const Metadata& metadata, std::size_t count, const EntryAt& entry);
Status write_safetensors_prefix(const Metadata& metadata, std::size_t count, const EntryAt& entry,
                                const TextSink& sink);

// model.safetensors.index.json.
struct ShardIndex {
  std::vector<std::string> shards;                                // file names, in order of first mention
  std::vector<std::pair<std::string, std::uint32_t>> weight_map;  // tensor -> index into shards
  std::optional<std::uint64_t> total_size;                        // as the file states it
};

// Refuses names that leave the folder (absolute, with a path separator, "..", or without `suffix`) and duplicates.
// What is parsed is not held, but every tensor's name is. pytorch_model.bin.index.json differs in the suffix only.
Result<ShardIndex> parse_shard_index(const JsonRange& json, std::string_view origin,
                                     std::string_view suffix = ".safetensors");
Result<ShardIndex> parse_shard_index(std::string_view json, std::string_view origin);
// The text of an index: `total_size` in bytes, `weight_map` sorted by tensor name.
std::string format_shard_index(std::uint64_t total_size, const std::map<std::string, std::string>& weight_map);
// The same, made part by part; `entry(i)` is the i-th tensor by name and its shard.
using IndexEntryAt = std::function<std::pair<std::string_view, std::string_view>(std::size_t)>;
Status write_shard_index(std::uint64_t total_size, std::size_t count, const IndexEntryAt& entry, const TextSink& sink);

}  // namespace octavo
