// Brings files of one commit into the cache: several at once, large ones in several ranges, each checked before it gets
// its name.
#pragma once

#include <cstdint>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/checkpoint/hub/cache.h"
#include "octavo/checkpoint/hub/listing.h"
#include "octavo/checkpoint/hub/model_name.h"
#include "octavo/checkpoint/hub/options.h"

namespace octavo::hub {

// After success the snapshot of `commit` has every file of `files`. Those that it had are not looked at; the others
// must have a length and a checksum. Another process that downloads the same content is waited for. Returns the bytes
// that came over the network.
//
// A broken connection, 429 and 5xx are tried again from where they broke. Any other status, a length or a checksum that
// is not the listing's, and a disk without room end the download in one sentence; what has come of other files stays
// for the next run. Interrupted (Options::stop): the same, as an error of kind kInterrupted.
Result<std::uint64_t> download(const ModelName& model, const std::string& commit, const std::vector<RepoFile>& files,
                               const CacheRepo& cache, const Options& options);

}  // namespace octavo::hub
