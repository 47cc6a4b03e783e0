// model.safetensors.index.json. No accepted name leaves the folder; what is read can be written and read again.
#include <map>

#include "fuzz/property.h"
#include "octavo/checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octavo;
  const std::string_view json = fuzz::as_text(data, size);
  const auto index = parse_shard_index(json, "index");
  const MemorySource source(as_bytes(json));
  JsonRange range{source, 0, json.size()};
  range.buffer = 1 + size % 13;
  const auto parts = parse_shard_index(range, "index");
  fuzz::require(parts.ok() == index.ok(), "the buffer changes nothing", json);
  if (index.ok()) {
    fuzz::require(parts->weight_map == index->weight_map && parts->shards == index->shards,
                  "the buffer changes no name", json);
  } else {
    fuzz::require(parts.error().message == index.error().message, "the buffer changes no message",
                  parts.error().message);
  }
  if (!index.ok()) {
    fuzz::require_readable(index.error().message);
    return 0;
  }
  fuzz::require(!index->shards.empty() && !index->weight_map.empty(), "an index names something");
  for (const std::string& shard : index->shards) {
    fuzz::require(shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos && shard != "..",
                  "shards stay in the folder", shard);
  }
  std::map<std::string, std::string> map;
  for (const auto& [tensor, shard] : index->weight_map) {
    fuzz::require(shard < index->shards.size(), "shard numbers are in range", tensor);
    fuzz::require(map.emplace(tensor, index->shards[shard]).second, "tensors are named once", tensor);
  }
  const std::string text = format_shard_index(index->total_size.value_or(0), map);
  const auto again = parse_shard_index(text, "again");
  fuzz::require(again.ok(), "what was written can be read", text);
  fuzz::require(again->total_size == index->total_size.value_or(0), "total_size survives");
  fuzz::require(again->weight_map.size() == map.size(), "no tensor is lost");
  for (const auto& [tensor, shard] : again->weight_map) {
    fuzz::require(map.at(tensor) == again->shards[shard], "the map survives", tensor);
  }
  return 0;
}
