// What a repository holds at a commit, and which of it Octavo takes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/status.h"

namespace octavo::hub {

struct RepoFile {
  std::string name;
  std::optional<std::uint64_t> bytes;
  std::string etag;  // its checksum (digest.h), which names its blob; "" where the listing has none
};

struct Listing {
  std::string commit;
  std::vector<RepoFile> files;  // those at the top of the repository, by name

  const RepoFile* find(std::string_view name) const;
};

// The answer of GET /api/models/REPO/revision/REVISION?blobs=true: "sha" and "siblings", each with "rfilename" and,
// from a hub that gives them, "size", "blobId" and "lfs" {"sha256", "size"}. Files in folders and those whose names are
// no plain file names are left out.
Result<Listing> parse_listing(std::string_view json, std::string_view origin);

// Names of the files beside the weights: config, tokenizer, chat template, code, license.
std::vector<std::string> small_files(const Listing& listing);

// The one set of weights that is taken. Safetensors are preferred, so that no model comes twice.
struct WeightChoice {
  std::string index;               // of shards, itself to be read first; "" for one file
  std::vector<std::string> files;  // without an index: the file
};
Result<WeightChoice> choose_weights(const Listing& listing);

}  // namespace octavo::hub
