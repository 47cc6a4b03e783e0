// The journal: what was appended is read, what is torn is not.
#include "octavo/checkpoint/journal.h"

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

using test::TempDir;

constexpr std::uint64_t kKey = 0x1234'5678'9ABC'DEF0;

JournalRecord record(std::uint32_t unit) {
  JournalRecord out;
  out.unit = unit;
  for (std::size_t i = 0; i < out.payload.size(); ++i) out.payload[i] = static_cast<std::byte>(unit * 31 + i);
  return out;
}

std::vector<JournalRecord> records(std::uint32_t begin, std::uint32_t end) {
  std::vector<JournalRecord> out;
  for (std::uint32_t unit = begin; unit < end; ++unit) out.push_back(record(unit));
  return out;
}

Result<JournalContents> parse(const std::string& bytes, std::uint64_t key = kKey, std::uint64_t units = 1u << 20) {
  return read_journal(MemorySource(as_bytes(bytes)), key, units);
}

std::string journal_bytes(std::uint32_t count) {
  const TempDir dir;
  auto writer = JournalWriter::create(dir / "journal", kKey);
  EXPECT_TRUE(writer.ok());
  EXPECT_TRUE(writer->append(records(0, count)).ok());
  return test::read_file(dir / "journal");
}

TEST(Journal, WhatIsAppendedIsRead) {
  const TempDir dir;
  {
    auto writer = JournalWriter::create(dir / "journal", kKey);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->append(records(0, 3000)).ok());  // more than are read at once
    ASSERT_TRUE(writer->append(records(3000, 3001)).ok());
    ASSERT_TRUE(writer->append({}).ok());
  }
  const auto contents = parse(test::read_file(dir / "journal"));
  ASSERT_TRUE(contents.ok());
  EXPECT_TRUE(contents->begun);
  EXPECT_EQ(contents->records, records(0, 3001));
}

TEST(Journal, CutAnywhereItKeepsWhatIsWhole) {
  const std::string whole = journal_bytes(5);
  ASSERT_EQ(whole.size(), 32 + 5 * 64u);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto contents = parse(whole.substr(0, size));
    ASSERT_TRUE(contents.ok());
    EXPECT_EQ(contents->begun, size >= 32) << size;
    EXPECT_EQ(contents->records.size(), size < 32 ? 0 : (size - 32) / 64) << size;
  }
}

TEST(Journal, ABadBitEndsItThere) {
  const std::string whole = journal_bytes(5);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string bad = whole;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    const auto contents = parse(bad);
    if (at < 32) {
      EXPECT_TRUE(contents.ok() && !contents->begun) << at;
    } else {
      ASSERT_TRUE(contents.ok()) << at;
      EXPECT_EQ(contents->records, records(0, static_cast<std::uint32_t>((at - 32) / 64))) << at;
    }
  }
}

TEST(Journal, RecordsDoNotMove) {
  const std::string whole = journal_bytes(3);
  const std::string swapped = whole.substr(0, 32) + whole.substr(96, 64) + whole.substr(32, 64) + whole.substr(160);
  const auto contents = parse(swapped);
  ASSERT_TRUE(contents.ok());
  EXPECT_TRUE(contents->records.empty());
}

TEST(Journal, ResumeGoesOnBehindTheLastWholeRecord) {
  const TempDir dir;
  test::write_file(dir / "journal", journal_bytes(4).substr(0, 32 + 2 * 64 + 17));
  const auto before = parse(test::read_file(dir / "journal"));
  ASSERT_TRUE(before.ok());
  auto writer = JournalWriter::resume(dir / "journal", kKey, *before);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->append(records(7, 9)).ok());
  const auto after = parse(test::read_file(dir / "journal"));
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->records, (std::vector<JournalRecord>{record(0), record(1), record(7), record(8)}));
}

TEST(Journal, AnotherJobsAndImpossibleUnitsAreRefused) {
  const std::string whole = journal_bytes(5);
  const auto other = parse(whole, kKey + 1);
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.error().message.find("the journal of another job"), std::string::npos);
  const auto few = parse(whole, kKey, 4);
  ASSERT_FALSE(few.ok());
  EXPECT_NE(few.error().message.find("names unit 4 of 4"), std::string::npos) << few.error().message;
}

}  // namespace
}  // namespace octavo
