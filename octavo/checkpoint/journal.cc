// Records: unit, payload, checksum, all little-endian. A record's checksum depends on the job and on the record's
// place, so neither a stale record of an earlier job nor one moved by a bad disk is taken for one of this.
#include "octavo/checkpoint/journal.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "octavo/base/hash.h"

namespace octavo {
namespace {

constexpr std::string_view kMagic = "octavo journal 1";
constexpr std::size_t kHeader = 32;  // magic, key, checksum
constexpr std::size_t kRecord = 64;  // unit, four bytes of zero, payload, checksum
static_assert(kMagic.size() == 16 && kRecord == 8 + JournalRecord::kPayload + 8);

void put(std::byte* out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(value >> (8 * i));
}

std::uint64_t get(const std::byte* in, int bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value |= std::to_integer<std::uint64_t>(in[i]) << (8 * i);
  return value;
}

std::array<std::byte, kHeader> make_header(std::uint64_t key) {
  std::array<std::byte, kHeader> out{};
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  put(out.data() + 16, key, 8);
  put(out.data() + 24, hash64(std::span(out).first(24)), 8);
  return out;
}

std::uint64_t record_checksum(const std::byte* record, std::uint64_t key, std::uint64_t offset) {
  return hash64({record, kRecord - 8}, key ^ offset);
}

}  // namespace

Result<JournalContents> read_journal(const ByteSource& source, std::uint64_t key, std::uint64_t units) {
  JournalContents out;
  if (source.size() < kHeader) return out;
  std::array<std::byte, kHeader> header{};
  OCTAVO_TRY(source.read_at(0, header));
  if (std::memcmp(header.data(), kMagic.data(), kMagic.size()) != 0 ||
      get(header.data() + 24, 8) != hash64(std::span(header).first(24))) {
    return out;
  }
  if (get(header.data() + 16, 8) != key) return failure("{}: the journal of another job", source.describe());
  out.begun = true;
  out.end = kHeader;

  constexpr std::size_t kRecordsPerRead = 1024;
  std::vector<std::byte> buffer;
  while (source.size() - out.end >= kRecord) {
    const std::uint64_t whole = (source.size() - out.end) / kRecord;
    buffer.resize(kRecord * static_cast<std::size_t>(std::min<std::uint64_t>(whole, kRecordsPerRead)));
    OCTAVO_TRY(source.read_at(out.end, buffer));
    for (std::size_t at = 0; at < buffer.size(); at += kRecord) {
      const std::byte* record = buffer.data() + at;
      if (get(record + kRecord - 8, 8) != record_checksum(record, key, out.end)) return out;
      JournalRecord& read = out.records.emplace_back();
      read.unit = static_cast<std::uint32_t>(get(record, 4));
      if (read.unit >= units) {
        return failure("{}: names unit {} of {}; --restart starts anew", source.describe(), read.unit, units);
      }
      std::memcpy(read.payload.data(), record + 8, JournalRecord::kPayload);
      out.end += kRecord;
    }
  }
  return out;
}

Result<JournalWriter> JournalWriter::create(const std::filesystem::path& path, std::uint64_t key) {
  OCTAVO_ASSIGN(File file, File::create(path));
  OCTAVO_TRY(file.write_at(0, make_header(key)));
  OCTAVO_TRY(file.sync());
  return JournalWriter(std::move(file), key, kHeader);
}

Result<JournalWriter> JournalWriter::resume(const std::filesystem::path& path, std::uint64_t key,
                                            const JournalContents& from) {
  OCTAVO_ASSIGN(File file, File::open_update(path));
  OCTAVO_TRY(file.resize(from.end));
  return JournalWriter(std::move(file), key, from.end);
}

Status JournalWriter::append(std::span<const JournalRecord> records) {
  std::vector<std::byte> bytes(records.size() * kRecord);
  for (std::size_t i = 0; i < records.size(); ++i) {
    std::byte* record = bytes.data() + i * kRecord;
    put(record, records[i].unit, 4);
    std::memcpy(record + 8, records[i].payload.data(), JournalRecord::kPayload);
    put(record + kRecord - 8, record_checksum(record, key_, end_ + i * kRecord), 8);
  }
  OCTAVO_TRY(file_.write_at(end_, bytes));
  OCTAVO_TRY(file_.sync_data());
  end_ += bytes.size();
  return {};
}

}  // namespace octavo
