// The journal of an unfinished output. Whole records are taken, the rest is left; a record can't be invented.
#include "fuzz/property.h"
#include "octavo/base/file.h"
#include "octavo/base/hash.h"
#include "octavo/checkpoint/journal.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octavo;
  constexpr std::uint64_t kKey = 7, kUnits = 1000;
  // Nearly no input has a checksum right by chance, so the first byte says which checksums to put right.
  std::string bytes(fuzz::as_text(data, size));
  const unsigned mend = bytes.empty() ? 0 : static_cast<unsigned char>(bytes[0]);
  if (!bytes.empty()) bytes.erase(0, 1);
  const auto put = [&](std::size_t at, std::uint64_t value) {
    for (std::size_t i = 0; i < 8; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i));
  };
  if ((mend & 1) != 0 && bytes.size() >= 32) {
    bytes.replace(0, 16, "octavo journal 1");
    put(16, kKey);
    put(24, hash64(as_bytes(bytes).first(24)));
  }
  std::size_t mended = 0;
  for (std::size_t at = 32; (mend & 2) != 0 && at + 64 <= bytes.size() && mended < mend / 4; at += 64, ++mended) {
    put(at + 56, hash64(as_bytes(bytes).subspan(at, 56), kKey ^ at));
  }
  const auto contents = read_journal(MemorySource(as_bytes(bytes)), kKey, kUnits);
  if (!contents.ok()) {
    fuzz::require_readable(contents.error().message);
    return 0;
  }
  fuzz::require(contents->end <= bytes.size(), "nothing is read behind the end");
  fuzz::require(contents->begun || contents->records.empty(), "no records without a header");
  fuzz::require(!contents->begun || contents->end == 32 + 64 * contents->records.size(), "records stand in a row");
  for (const JournalRecord& record : contents->records) fuzz::require(record.unit < kUnits, "units are in range");
  if (contents->begun && (mend & 2) != 0) fuzz::require(contents->records.size() >= mended, "whole records are read");
  return 0;
}
