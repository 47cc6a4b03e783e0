// A checkpoint as the source of a job: its fingerprint, the files that must not change meanwhile, those taken over.
#pragma once

#include <string>
#include <vector>

#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/output_job.h"

namespace octavo {

// Of every tensor's name, dtype, shape and place, of config.json and the shards' metadata. Not of the weights' values:
// that they did not change is told by the times of their files.
std::string checkpoint_fingerprint(const Checkpoint& checkpoint);
// Shards, index, config.json.
std::vector<InputFile> input_files(const Checkpoint& checkpoint);
// Checkpoint::other_files but for octavo.json, which says how the source was made, and what is named in `without`.
std::vector<CopiedFile> copied_files(const Checkpoint& checkpoint, const std::vector<std::string>& without = {});

}  // namespace octavo
