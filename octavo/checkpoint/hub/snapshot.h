// A model by its name: a folder of the Hugging Face cache that has what is wanted of it, downloaded where it must be.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "octavo/base/status.h"
#include "octavo/checkpoint/hub/model_name.h"
#include "octavo/checkpoint/hub/options.h"

namespace octavo::hub {

enum class Wanted {
  kModel,      // config, tokenizer, weights
  kTokenizer,  // all but the weights
};

struct Snapshot {
  std::filesystem::path folder;  // CACHE/models--ORG--NAME/snapshots/COMMIT
  std::string commit;
  std::uint64_t received = 0;  // bytes over the network
};

// The folder of a snapshot that is in the cache and looks whole (its weights are there): no network.
std::optional<Snapshot> find_snapshot(const ModelName& model, Wanted wanted, const std::filesystem::path& cache);

// Whether the cache has a folder of this repository at all.
bool is_in_cache(const std::string& repo, const std::filesystem::path& cache);

// Asks the hub which commit the revision is at, and downloads what the cache lacks of it. Offline, what the cache has.
// Where the hub cannot be reached or refuses, and the cache has the revision: that, with a warning.
// Errors are one sentence each, without the model's name.
Result<Snapshot> open_snapshot(const ModelName& model, Wanted wanted, const Options& options);

}  // namespace octavo::hub
