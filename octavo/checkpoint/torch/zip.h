// The ZIP container that torch.save writes: which entry lies where. Nothing is unpacked, no entry's data is read.
// Ours, because no packaged library serves: Debian's minizip misreads ZIP64 (every file over 4 GB), libzip gives no
// positions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/base/status.h"

namespace octavo {

struct ZipEntry {
  std::string name;
  std::uint64_t offset = 0;  // of its data, from the start of the file
  std::uint64_t bytes = 0;   // as it is stored
  bool compressed = false;
};

// The entries in the order of their data, ZIP64 included. Encrypted or divided archives, duplicate names, entries that
// overlap or leave the file, and directories that contradict themselves are refused. Checksums are not compared: that
// would read all the data. Thread-safe.
Result<std::vector<ZipEntry>> read_zip_entries(const ByteSource& source);

}  // namespace octavo
