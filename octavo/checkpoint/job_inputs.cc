// What a job knows of the checkpoint it reads.
#include "octavo/checkpoint/job_inputs.h"

#include <algorithm>

#include "octavo/base/hash.h"

namespace octavo {

std::string checkpoint_fingerprint(const Checkpoint& checkpoint) {
  Fingerprint print;
  print.add(checkpoint.config_text()).add(checkpoint.has_index() ? 1u : 0u);
  for (const Shard& shard : checkpoint.shards()) {
    print.add(shard.name).add(shard.file->size());
    for (const auto& [key, value] : shard.metadata) print.add(key).add(value);
  }
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    print.add(tensor.name).add(dtype_name(tensor.dtype)).add(tensor.shard).add(tensor.offset);
    for (const std::uint64_t size : tensor.shape) print.add(size);
    if (tensor.pitch != 0) print.add(tensor.pitch);
  }
  return print.hex();
}

std::vector<InputFile> input_files(const Checkpoint& checkpoint) {
  std::vector<InputFile> out;
  for (const Shard& shard : checkpoint.shards()) out.push_back({shard.name, checkpoint.dir() / shard.name});
  if (checkpoint.has_index()) {
    out.push_back({checkpoint.index_name(), checkpoint.dir() / checkpoint.index_name()});
  }
  if (checkpoint.has_config()) out.push_back({"config.json", checkpoint.config_path()});
  return out;
}

std::vector<CopiedFile> copied_files(const Checkpoint& checkpoint, const std::vector<std::string>& without) {
  std::vector<CopiedFile> out;
  for (const std::string& name : checkpoint.other_files()) {
    if (name == kRecordName || std::find(without.begin(), without.end(), name) != without.end()) continue;
    out.push_back({name, checkpoint.dir() / name});
  }
  return out;
}

}  // namespace octavo
