// A file that is being downloaded: its ranges come in any order, from several threads, and what has come survives the
// process. The content lies at its place; behind it stands, for each range, how many of its first bytes are there:
//   [0, size)   content
//   size        u64 magic, u64 size, u64 bytes of a range, then u64 for each range (little-endian, 8 bytes a write)
// A range's count is written after its bytes, so a killed process leaves it too small, never too large. After a power
// cut it may be wrong: only the checksum of the whole decides.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/base/status.h"

namespace octavo::hub {

class PartialFile {
 public:
  // Goes on with the file at `path`, or starts it anew where there is none, or one of another size or kind. Only the
  // holder of the blob's lock may.
  static Result<PartialFile> open(const std::filesystem::path& path, std::uint64_t size, std::uint64_t range_bytes);

  std::uint64_t size() const { return size_; }
  std::size_t ranges() const { return done_.size(); }
  std::uint64_t begin(std::size_t range) const { return range * range_bytes_; }
  std::uint64_t end(std::size_t range) const { return std::min(size_, begin(range) + range_bytes_); }
  // The first byte of the range that is not there yet; end() when all is.
  std::uint64_t next(std::size_t range) const { return begin(range) + done_[range]; }
  bool whole(std::size_t range) const { return next(range) == end(range); }
  bool whole() const;
  std::uint64_t bytes() const;  // that are there

  // Writes what is new of `content`, which stands at `offset` of the file and may span ranges: in each, what goes on
  // from next(). Returns how many bytes that was. Two threads must not write to one range.
  Result<std::uint64_t> write(std::uint64_t offset, std::span<const std::byte> content);

  const File& file() const { return file_; }
  // Cuts the counts off, syncs, and gives the file its name.
  Status publish(const std::filesystem::path& path) &&;

 private:
  PartialFile(File file, std::uint64_t size, std::uint64_t range_bytes);
  Status read_counts();
  Status start();

  File file_;
  std::uint64_t size_, range_bytes_;
  std::vector<std::uint64_t> done_;
};

}  // namespace octavo::hub
