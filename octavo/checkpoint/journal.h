// The journal of a job: which of its units are done and durable, with what they found. Append-only, one checksummed
// record of 64 bytes a unit, so that a torn or lost end is seen and cut off. Format: docs/formats.md, "Unfinished
// output".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/base/status.h"

namespace octavo {

struct JournalRecord {
  static constexpr std::size_t kPayload = 48;
  std::uint32_t unit = 0;
  std::array<std::byte, kPayload> payload{};  // what the unit found; the job's own business
  bool operator==(const JournalRecord&) const = default;
};

struct JournalContents {
  bool begun = false;                  // its header is there and whole
  std::vector<JournalRecord> records;  // up to the first that is torn
  std::uint64_t end = 0;               // bytes of header and records
};

// Reads a journal of the job `key`. What stands behind the last whole record was never promised and is left out; a
// header that is absent or torn means that nothing was. Fails when the journal is another job's, or when a whole record
// names a unit not below `units`.
Result<JournalContents> read_journal(const ByteSource& source, std::uint64_t key, std::uint64_t units);

// Writes a journal. One thread at a time.
class JournalWriter {
 public:
  // A new journal, durable but for its directory entry.
  static Result<JournalWriter> create(const std::filesystem::path& path, std::uint64_t key);
  // Goes on behind what read_journal found, and cuts off what stands there.
  static Result<JournalWriter> resume(const std::filesystem::path& path, std::uint64_t key,
                                      const JournalContents& from);

  Status append(std::span<const JournalRecord> records);  // durable when it returns

 private:
  JournalWriter(File file, std::uint64_t key, std::uint64_t end) : file_(std::move(file)), key_(key), end_(end) {}
  File file_;
  std::uint64_t key_ = 0, end_ = 0;
};

}  // namespace octavo
