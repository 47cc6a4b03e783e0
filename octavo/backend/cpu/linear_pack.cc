// A panel is the transpose of its rows, in units of a pair (FP8: 2 bytes, BF16: 4) or of one FP32 number.
#include "octavo/backend/cpu/linear_pack.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <algorithm>
#include <cstring>

#include "octavo/backend/cpu/kernels.h"

namespace octavo::cpu {
namespace {

typedef std::uint16_t Units16 __attribute__((vector_size(16)));
typedef std::uint32_t Units32 __attribute__((vector_size(16)));
typedef std::uint64_t Units64 __attribute__((vector_size(16)));

template <typename T>
T load(const std::byte* in) {
  T value;
  std::memcpy(&value, in, sizeof value);
  return value;
}
template <typename T>
void store(std::byte* out, const T& value) {
  std::memcpy(out, &value, sizeof value);
}
template <typename To, typename From>
To cast(From value) {
  return __builtin_bit_cast(To, value);
}
Units64 low_halves(Units64 a, Units64 b) { return Units64{a[0], b[0]}; }
Units64 high_halves(Units64 a, Units64 b) { return Units64{a[1], b[1]}; }

// Eight rows of eight units of 2 bytes; in: rows, out: columns.
void transpose(const std::byte* in, std::uint64_t in_stride, std::byte* out, std::uint64_t out_stride, std::uint16_t) {
  Units16 r[8], a[8];
  for (std::size_t i = 0; i < 8; ++i) r[i] = load<Units16>(in + i * in_stride);
  for (std::size_t i = 0; i < 4; ++i) {  // rows 2 i and 2 i + 1: units 0..3, units 4..7
    a[i] = __builtin_shufflevector(r[2 * i], r[2 * i + 1], 0, 8, 1, 9, 2, 10, 3, 11);
    a[i + 4] = __builtin_shufflevector(r[2 * i], r[2 * i + 1], 4, 12, 5, 13, 6, 14, 7, 15);
  }
  Units32 b[8];  // four rows each: [units 0..1, 2..3, 4..5, 6..7] of rows 0..3, the same of rows 4..7
  for (std::size_t half = 0; half < 2; ++half) {
    for (std::size_t four = 0; four < 2; ++four) {
      const auto first = cast<Units32>(a[4 * half + 2 * four]), second = cast<Units32>(a[4 * half + 2 * four + 1]);
      b[4 * four + 2 * half] = __builtin_shufflevector(first, second, 0, 4, 1, 5);
      b[4 * four + 2 * half + 1] = __builtin_shufflevector(first, second, 2, 6, 3, 7);
    }
  }
  for (std::size_t i = 0; i < 4; ++i) {
    const auto first = cast<Units64>(b[i]), second = cast<Units64>(b[4 + i]);
    store(out + 2 * i * out_stride, low_halves(first, second));
    store(out + (2 * i + 1) * out_stride, high_halves(first, second));
  }
}

// Four rows of four units of 4 bytes.
void transpose(const std::byte* in, std::uint64_t in_stride, std::byte* out, std::uint64_t out_stride, std::uint32_t) {
  Units32 r[4], a[4];
  for (std::size_t i = 0; i < 4; ++i) r[i] = load<Units32>(in + i * in_stride);
  for (std::size_t i = 0; i < 2; ++i) {
    a[i] = __builtin_shufflevector(r[2 * i], r[2 * i + 1], 0, 4, 1, 5);
    a[i + 2] = __builtin_shufflevector(r[2 * i], r[2 * i + 1], 2, 6, 3, 7);
  }
  for (std::size_t i = 0; i < 2; ++i) {
    const auto first = cast<Units64>(a[2 * i]), second = cast<Units64>(a[2 * i + 1]);
    store(out + 2 * i * out_stride, low_halves(first, second));
    store(out + (2 * i + 1) * out_stride, high_halves(first, second));
  }
}

// Lines that nobody reads soon: the processor need not read what it will overwrite. `out` is aligned to a cache line.
void write_lines(const std::byte* in, std::size_t bytes, std::byte* out) {
#ifdef __SSE2__
  for (std::size_t at = 0; at < bytes; at += sizeof(__m128i)) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(out + at), load<__m128i>(in + at));
  }
#else
  std::memcpy(out, in, bytes);
#endif
}

// `units` units of `rows` rows of one panel, between rows in `in` and lines in `out`, where `out` is the first row's
// place in the first unit's line.
template <typename Unit>
class Units {
 public:
  static void place(const std::byte* in, std::uint64_t in_stride, std::uint64_t rows, std::uint64_t units,
                    std::byte* out) {
    std::uint64_t begin = 0;
    if (rows == kPanel && reinterpret_cast<std::uintptr_t>(out) % kCacheLine == 0) {
      // Made whole in a near cache first.
      alignas(kCacheLine) std::byte lines[kTogether * kLine];
      for (; begin + kTogether <= units; begin += kTogether) {
        move(in + begin * sizeof(Unit), in_stride, sizeof(Unit), lines, sizeof(Unit), kLine, kPanel, kTogether);
        write_lines(lines, sizeof lines, out + begin * kLine);
      }
    }
    for (; begin < units; begin += kTogether) {
      move(in + begin * sizeof(Unit), in_stride, sizeof(Unit), out + begin * kLine, sizeof(Unit), kLine, rows,
           std::min(kTogether, units - begin));
    }
  }
  static void take(const std::byte* lines, std::uint64_t rows, std::uint64_t units, std::byte* out,
                   std::uint64_t out_stride) {
    for (std::uint64_t begin = 0; begin < units; begin += kTogether) {
      move(lines + begin * kLine, sizeof(Unit), kLine, out + begin * sizeof(Unit), out_stride, sizeof(Unit), rows,
           std::min(kTogether, units - begin));
    }
  }

 private:
  static constexpr std::uint64_t kCacheLine = 64;
  static constexpr std::uint64_t kSide = 16 / sizeof(Unit);              // of a square that is transposed in registers
  static constexpr std::uint64_t kTogether = kCacheLine / sizeof(Unit);  // units: a cache line of a row
  static constexpr std::uint64_t kLine = kPanel * sizeof(Unit);

  // From where a row's units, and a unit's rows, are so many bytes apart to where they are so many apart: one of the
  // two is sizeof(Unit) on either side, and not the same.
  static void move(const std::byte* in, std::uint64_t in_row, std::uint64_t in_unit, std::byte* out,
                   std::uint64_t out_row, std::uint64_t out_unit, std::uint64_t rows, std::uint64_t units) {
    const std::uint64_t square_rows = rows / kSide * kSide, square_units = units / kSide * kSide;
    const auto one_by_one = [&](std::uint64_t row_begin, std::uint64_t row_end, std::uint64_t begin,
                                std::uint64_t end) {
      for (std::uint64_t row = row_begin; row < row_end; ++row) {
        for (std::uint64_t u = begin; u < end; ++u) {
          std::memcpy(out + row * out_row + u * out_unit, in + row * in_row + u * in_unit, sizeof(Unit));
        }
      }
    };
    for (std::uint64_t row = 0; row < square_rows; row += kSide) {
      for (std::uint64_t u = 0; u < square_units; u += kSide) {
        transpose(in + row * in_row + u * in_unit, in_unit == sizeof(Unit) ? in_row : in_unit,
                  out + row * out_row + u * out_unit, out_unit == sizeof(Unit) ? out_row : out_unit, Unit{});
      }
    }
    one_by_one(square_rows, rows, 0, square_units);
    one_by_one(0, rows, square_units, units);
  }
};

}  // namespace

std::uint64_t PanelLayout::panel_bytes() const { return padded_k * kPanel * size; }

std::uint64_t PanelLayout::at(std::uint64_t row, std::uint64_t k) const {
  const std::uint64_t panel = row / kPanel * panel_bytes(), column = row % kPanel;
  if (size == 4) return panel + (k * kPanel + column) * size;
  return panel + ((k / kPair * kPanel + column) * kPair + k % kPair) * size;
}

void place_in_panels(const PanelLayout& layout, const std::byte* in, std::uint64_t in_stride, std::uint64_t row,
                     std::uint64_t rows, std::uint64_t k, std::uint64_t count, std::byte* panels) {
  const std::uint64_t size = layout.size;
  const std::uint64_t per_unit = size == 4 ? 1 : kPair;
  const auto place_column = [&](std::uint64_t at) {
    for (std::uint64_t r = 0; r < rows; ++r) {
      std::memcpy(panels + layout.at(row + r, k + at), in + r * in_stride + at * size, size);
    }
  };
  std::uint64_t begin = 0;
  if (k % per_unit != 0 && count != 0) place_column(begin++);
  const std::uint64_t units = (count - begin) / per_unit;
  for (std::uint64_t r = 0; r < rows && units != 0;) {
    const std::uint64_t run = std::min(rows - r, kPanel - (row + r) % kPanel);
    const std::byte* from = in + r * in_stride + begin * size;
    std::byte* to = panels + layout.at(row + r, k + begin);
    if (size == 1) {
      Units<std::uint16_t>::place(from, in_stride, run, units, to);
    } else {
      Units<std::uint32_t>::place(from, in_stride, run, units, to);
    }
    r += run;
  }
  if (begin + units * per_unit < count) place_column(count - 1);
}

void finish_placing() {
#ifdef __SSE2__
  _mm_sfence();  // stores past the caches are in no order with others
#endif
}

void take_from_panels(const PanelLayout& layout, const std::byte* panels, std::uint64_t row, std::uint64_t rows,
                      std::uint64_t k, std::uint64_t count, std::byte* out, std::uint64_t out_stride) {
  const std::uint64_t size = layout.size;
  const std::uint64_t per_unit = size == 4 ? 1 : kPair;
  const auto take_column = [&](std::uint64_t at) {
    for (std::uint64_t r = 0; r < rows; ++r) {
      std::memcpy(out + r * out_stride + at * size, panels + layout.at(row + r, k + at), size);
    }
  };
  std::uint64_t begin = 0;
  if (k % per_unit != 0 && count != 0) take_column(begin++);
  const std::uint64_t units = (count - begin) / per_unit;
  for (std::uint64_t r = 0; r < rows && units != 0;) {
    const std::uint64_t run = std::min(rows - r, kPanel - (row + r) % kPanel);
    const std::byte* from = panels + layout.at(row + r, k + begin);
    std::byte* to = out + r * out_stride + begin * size;
    if (size == 1) {
      Units<std::uint16_t>::take(from, run, units, to, out_stride);
    } else {
      Units<std::uint32_t>::take(from, run, units, to, out_stride);
    }
    r += run;
  }
  if (begin + units * per_unit < count) take_column(count - 1);
}

}  // namespace octavo::cpu
