// The folders of huggingface_hub's cache: CACHE/models--ORG--NAME/{blobs,refs,snapshots} and CACHE/.locks.
//   refs/REVISION             the commit that a branch or tag was at when it was last looked up
//   blobs/ETAG                content, under its checksum
//   snapshots/COMMIT/FILE     a relative link into blobs
//   blobs/ETAG.HOST.octavo.incomplete   what is being downloaded; no other program takes that name
//   .locks/models--ORG--NAME/ETAG.lock   held (flock) by whoever downloads ETAG
// Some shared filesystems keep flock to one machine, or do not have it at all (Lustre, as mounted), and tell nobody. So
// machines write to files of their own, and where a lock does not hold even here, so do processes: at worst a file is
// downloaded twice, never written by two.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "octavo/base/file.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/hub/model_name.h"

namespace octavo::hub {

class CacheRepo {
 public:
  CacheRepo(const std::filesystem::path& cache, const std::string& repo);

  std::filesystem::path blob(const std::string& etag) const { return folder_ / "blobs" / etag; }
  // `locked`: the lock of `etag` is held, and holds.
  std::filesystem::path incomplete(const std::string& etag, bool locked = true) const;
  std::filesystem::path snapshot(const std::string& commit) const { return folder_ / "snapshots" / commit; }

  // The commit that the cache has for a revision (a commit is its own), whether or not its snapshot is there.
  std::optional<std::string> commit_of(const std::string& revision) const;
  // Whether the file of the snapshot is there, to the end of its link.
  bool has(const std::string& commit, const std::string& name) const;

  // Bytes on the disk of what is being downloaded.
  std::uint64_t incomplete_bytes(const std::string& etag) const;

  // What writes: each makes the folders that it needs.
  Status set_ref(const std::string& revision, const std::string& commit) const;
  Result<File> open_lock(const std::string& etag) const;  // not yet locked
  // Whether the lock, which the caller holds, keeps others out.
  bool lock_holds(const std::string& etag) const;
  // Gives incomplete(etag) what another machine began and left alone for ten minutes, if there is such a file.
  void adopt(const std::string& etag) const;
  Status link(const std::string& commit, const std::string& name, const std::string& etag) const;

 private:
  std::filesystem::path cache_, folder_, locks_;
};

}  // namespace octavo::hub
