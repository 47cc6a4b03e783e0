// What a unit found out, as the journal keeps it, so that a resumed run knows what the one before saw.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "octavo/checkpoint/journal.h"
#include "octavo/quant/encode_piece.h"

namespace octavo::quant {

struct UnitResult {
  float amax = 0;                             // kAmax
  float min_scale = INFINITY, max_scale = 0;  // kEncode, and the kEncodeShared unit that stores the scale
  std::uint32_t measured = 0;                 // 1: `distortion` was
  std::uint64_t zeroed = 0;
  Distortion distortion;

  void add_scale(float scale) {
    min_scale = std::min(min_scale, scale);
    max_scale = std::max(max_scale, scale);
  }
};
static_assert(sizeof(UnitResult) <= JournalRecord::kPayload && std::endian::native == std::endian::little);

inline JournalRecord to_record(std::uint32_t unit, const UnitResult& result) {
  JournalRecord record;
  record.unit = unit;
  std::memcpy(record.payload.data(), &result, sizeof result);
  return record;
}

inline UnitResult from_record(const JournalRecord& record) {
  UnitResult result;
  std::memcpy(&result, record.payload.data(), sizeof result);
  return result;
}

}  // namespace octavo::quant
