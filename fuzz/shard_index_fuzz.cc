// model.safetensors.index.json. No accepted name leaves the folder; what is read can be written and read again.
#include <map>

#include "fuzz/property.h"
#include "octavo/checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octavo;
  const auto index = parse_shard_index(fuzz::as_text(data, size), "index");
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
