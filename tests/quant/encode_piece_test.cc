// The arithmetic of a piece: scales, codes, what encoding did, and NaN or infinity wherever it stands, for generated
// shapes and regions, every source dtype, format and instruction set of this machine, against octavo/fp8.
#include "octavo/quant/encode_piece.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "octavo/fp8/half.h"
#include "octavo/fp8/scale.h"
#include "tests/support/random_tensor.h"

namespace octavo::quant {
namespace {

struct PieceCase {
  std::uint64_t rows, cols;
  DType dtype;
  WeightEncoding encoding;
};

float value_at(DType dtype, const std::vector<std::byte>& data, std::size_t i) {
  if (dtype == DType::kF32) {
    float value = 0;
    std::memcpy(&value, data.data() + 4 * i, 4);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, data.data() + 2 * i, 2);
  return dtype == DType::kBF16 ? fp8::bf16_to_float(bits) : fp8::f16_to_float(bits);
}

void set_value(DType dtype, std::vector<std::byte>& data, std::size_t i, float value) {
  if (dtype == DType::kF32) {
    std::memcpy(data.data() + 4 * i, &value, 4);
    return;
  }
  const std::uint16_t bits = dtype == DType::kBF16 ? fp8::float_to_bf16(value) : fp8::float_to_f16(value);
  std::memcpy(data.data() + 2 * i, &bits, 2);
}

struct Encoded {
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;
  Distortion distortion;
};

// The definition (docs/numerics.md), element by element.
Encoded reference(const PieceCase& c, const std::vector<std::byte>& data) {
  std::vector<float> x(c.rows * c.cols);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = value_at(c.dtype, data, i);
    if (c.encoding.via_bf16) x[i] = fp8::bf16_to_float(fp8::float_to_bf16(x[i]));
  }
  Encoded out;
  out.codes.resize(x.size());
  for (std::uint64_t r = 0; r < c.rows; r += c.encoding.block_n) {
    for (std::uint64_t k = 0; k < c.cols; k += c.encoding.block_k) {
      const std::uint64_t row_end = std::min(c.rows, r + c.encoding.block_n);
      const std::uint64_t col_end = std::min(c.cols, k + c.encoding.block_k);
      float amax = 0;
      for (std::uint64_t row = r; row < row_end; ++row) {
        for (std::uint64_t col = k; col < col_end; ++col) amax = std::max(amax, std::abs(x[row * c.cols + col]));
      }
      const float scale = fp8::scale_from_amax(amax, c.encoding.format, c.encoding.scale_dtype, c.encoding.pow2_scales);
      out.scales.push_back(scale);
      for (std::uint64_t row = r; row < row_end; ++row) {
        for (std::uint64_t col = k; col < col_end; ++col) {
          const std::size_t i = row * c.cols + col;
          out.codes[i] = fp8::encode(c.encoding.format, x[i] / scale);
          const double value = static_cast<double>(x[i]);
          const double difference =
              value - static_cast<double>(fp8::decode(c.encoding.format, out.codes[i])) * static_cast<double>(scale);
          out.distortion.signal += value * value;
          out.distortion.noise += difference * difference;
        }
      }
    }
  }
  return out;
}

void expect_near(double truth, double value) { EXPECT_LE(std::abs(value - truth), 1e-6 * truth) << truth; }

class EncodePieceTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!has_isa(GetParam())) GTEST_SKIP() << "this machine has no " << isa_name(GetParam());
  }
  const cpu::EncodeKernels& kernels() const { return cpu::encode_kernels(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Isa, EncodePieceTest, testing::ValuesIn(kIsas),
                         [](const auto& test) { return std::string(isa_name(test.param)); });

// Regions of all granularities, and some that no scheme has.
std::vector<WeightEncoding> encodings(const PieceCase& shape) {
  const std::uint64_t all = std::max(shape.rows, shape.cols);
  std::vector<WeightEncoding> out;
  for (const auto& [block_n, block_k] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {1, all}, {128, 128}, {1, 128}, {all, all}, {3, 700}, {64, 32}, {all, 5}}) {
    WeightEncoding encoding;
    encoding.block_n = block_n;
    encoding.block_k = block_k;
    encoding.format = fp8::kFormats[out.size() % 4];
    encoding.scale_dtype = out.size() % 3 == 1 ? fp8::ScaleDType::kBF16 : fp8::ScaleDType::kF32;
    encoding.pow2_scales = out.size() % 5 == 4;
    out.push_back(encoding);
  }
  return out;
}

TEST_P(EncodePieceTest, EveryShapeAndRegion) {
  std::vector<test::MatrixShape> shapes;
  for (const test::MatrixShape& shape : test::matrix_shapes()) {
    if (shape.count() <= 100'000) shapes.push_back(shape);
  }
  shapes.push_back({130, 3000});  // more than one stretch of columns
  shapes.push_back({129, 4300});  // not all of them equal
  for (const test::MatrixShape& shape : shapes) {
    for (const auto& [dtype, via_bf16] : std::vector<std::pair<DType, bool>>{
             {DType::kBF16, false}, {DType::kF16, false}, {DType::kF32, false}, {DType::kF32, true}}) {
      PieceCase c{shape.rows, shape.cols, dtype, {}};
      for (const WeightEncoding& encoding : encodings(c)) {
        c.encoding = encoding;
        c.encoding.via_bf16 = via_bf16;
        auto data = test::random_tensor(dtype, shape.count(), shape.rows * 31 + shape.cols);
        const Encoded truth = reference(c, data);
        PieceEncoder encoder(kernels(), c.encoding, dtype);
        encoder.load(data, c.rows, c.cols);
        std::vector<std::uint8_t> codes(truth.codes.size(), 0xA5);
        std::vector<float> scales(truth.scales.size());
        ASSERT_TRUE(encoder.encode(codes, scales));
        ASSERT_EQ(truth.scales, scales) << c.rows << "x" << c.cols;
        ASSERT_EQ(truth.codes, codes) << c.rows << "x" << c.cols;
        Distortion distortion;
        codes.assign(codes.size(), 0xA5);
        ASSERT_TRUE(encoder.encode(codes, scales, &distortion));
        ASSERT_EQ(truth.codes, codes) << c.rows << "x" << c.cols << " while measuring";
        expect_near(truth.distortion.signal, distortion.signal);
        expect_near(truth.distortion.noise, distortion.noise);
        if (truth.scales.size() != 1) continue;
        Distortion at;
        codes.assign(codes.size(), 0xA5);
        ASSERT_TRUE(encoder.encode_at(scales[0], codes, &at));
        ASSERT_EQ(truth.codes, codes);
        expect_near(truth.distortion.noise, at.noise);
        const auto amax = encoder.amax(0, c.rows, 0, c.cols);
        ASSERT_TRUE(amax.has_value());
        ASSERT_EQ(scales[0], encoder.scale(*amax));
      }
    }
  }
}

// A scale that is not the piece's own: values saturate.
TEST_P(EncodePieceTest, OneScaleForAll) {
  constexpr std::uint64_t kRows = 70, kCols = 700;
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const fp8::Format format : fp8::kFormats) {
      WeightEncoding encoding;
      encoding.format = format;
      auto data = test::random_tensor(dtype, kRows * kCols, 6);
      PieceEncoder encoder(kernels(), encoding, dtype);
      encoder.load(data, kRows, kCols);
      for (const float factor : {0.001f, 0.99f, 1.0f, 1.3f}) {
        const float scale = encoder.scale(*encoder.amax(0, kRows, 0, kCols)) * factor;
        std::vector<std::uint8_t> codes(kRows * kCols), measured(kRows * kCols);
        Distortion truth, distortion;
        ASSERT_TRUE(encoder.encode_at(scale, codes));
        ASSERT_TRUE(encoder.encode_at(scale, measured, &distortion));
        ASSERT_EQ(codes, measured);
        for (std::size_t i = 0; i < codes.size(); ++i) {
          const float x = value_at(dtype, data, i);
          ASSERT_EQ(fp8::encode(format, x / scale), codes[i]);
          const double value = static_cast<double>(x);
          const double difference =
              value - static_cast<double>(fp8::decode(format, codes[i])) * static_cast<double>(scale);
          truth.signal += value * value;
          truth.noise += difference * difference;
        }
        expect_near(truth.signal, distortion.signal);
        expect_near(truth.noise, distortion.noise);
      }
    }
  }
}

TEST_P(EncodePieceTest, NonFiniteAnywhere) {
  PieceCase c{130, 300, DType::kBF16, {}};
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const auto& [block_n, block_k] :
         std::vector<std::pair<std::uint64_t, std::uint64_t>>{{1, 300}, {128, 128}, {1, 128}, {130, 300}}) {
      c.encoding.block_n = block_n;
      c.encoding.block_k = block_k;
      std::vector<std::uint8_t> codes(c.rows * c.cols);
      std::vector<float> scales(c.rows * c.cols);
      for (std::size_t i = 0; i < c.rows * c.cols; i += 997) {
        for (const float value : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                                  std::numeric_limits<float>::quiet_NaN()}) {
          auto data = test::random_tensor(dtype, c.rows * c.cols, 5);
          set_value(dtype, data, i, value);
          PieceEncoder encoder(kernels(), c.encoding, dtype);
          encoder.load(data, c.rows, c.cols);
          ASSERT_FALSE(encoder.encode(codes, scales)) << i;
          ASSERT_FALSE(encoder.encode_at(0.01f, codes));
          ASSERT_EQ(fp8::encode(c.encoding.format, value), codes[i]);
          const auto at = encoder.find_nonfinite();
          ASSERT_TRUE(at.has_value());
          ASSERT_EQ(i, at->row * c.cols + at->col);
          ASSERT_EQ(1u, encoder.zero_nonfinite());
          ASSERT_TRUE(encoder.encode(codes, scales));
          ASSERT_EQ(0, codes[i]);
        }
      }
    }
  }
}

// Made with compressed-tensors 0.20 and torch on a CPU: calculate_qparams() and quantize() of two rows.
TEST_P(EncodePieceTest, Bf16ArithmeticIsThatOfCompressedTensors) {
  const std::vector<std::uint16_t> values = {
      0xBAC9, 0x3BEC, 0xBC80, 0x3ABC, 0x3C5A, 0xBBBC, 0x3D05, 0xBD03, 0xBA87, 0xBBC9, 0x3BA3, 0xBB92, 0x3C96,
      0x3B86, 0x3C3C, 0x3C08, 0x3BAB, 0x3C99, 0xBC29, 0xBD07, 0x3CAB, 0x3C2B, 0xBB5B, 0x3A8B, 0x3C39, 0x3D39,
      0x3D19, 0xBCC4, 0x3CA3, 0x3C16, 0x3D48, 0xBB40, 0xBC1C, 0xBBC0, 0xBBE4, 0x3BE5, 0x3A42, 0xBAB1, 0x3C0D,
      0xBC8E, 0xBBB2, 0x3B3A, 0x3B2A, 0x3C5F, 0xBC9D, 0x3AA8, 0x3C58, 0x3C86, 0xBC15, 0x3D35, 0xBBF7, 0xBB3C,
      0x3C54, 0xBD3F, 0x3CD0, 0xBBA3, 0x3C9D, 0xBCD3, 0xBD07, 0x3C88, 0xBC89, 0xBC2E, 0x3CDE, 0x3CE2};
  struct Row {
    Granularity granularity;
    std::array<float, 2> scales;
    std::vector<std::uint8_t> codes;
  };
  const std::vector<Row> rows = {
      {Granularity::kChannel,
       {0x1.cap-14f, 0x1.b4p-14f},
       {0xD6, 0x68, 0xF1, 0x55, 0x6F, 0xE5, 0x79, 0xF9, 0xD1, 0xE6, 0x63, 0xE2, 0x72, 0x61, 0x6D, 0x6A,
        0x64, 0x73, 0xEC, 0xF9, 0x74, 0x6C, 0xDF, 0x52, 0x6D, 0x7D, 0x7B, 0xF6, 0x73, 0x6A, 0x7E, 0xDD,
        0xEB, 0xE6, 0xE8, 0x68, 0x4E, 0xD5, 0x6A, 0xF2, 0xE5, 0x5E, 0x5C, 0x70, 0xF4, 0x54, 0x70, 0x72,
        0xEB, 0x7D, 0xE9, 0xDE, 0x70, 0xFE, 0x77, 0xE4, 0x74, 0xF8, 0xFA, 0x72, 0xF2, 0xED, 0x78, 0x78}},
      {Granularity::kGroup,
       {0x1p-13f, 0x1p-13f},
       {0xD5, 0x67, 0xF0, 0x54, 0x6E, 0xE4, 0x78, 0xF8, 0xD0, 0xE5, 0x62, 0xE1, 0x71, 0x60, 0x6C, 0x68,
        0x63, 0x72, 0xEB, 0xF8, 0x73, 0x6B, 0xDE, 0x51, 0x6C, 0x7C, 0x7A, 0xF4, 0x72, 0x69, 0x7C, 0xDC,
        0xEA, 0xE4, 0xE6, 0x66, 0x4C, 0xD3, 0x69, 0xF1, 0xE3, 0x5C, 0x5B, 0x6E, 0xF2, 0x52, 0x6E, 0x70,
        0xE9, 0x7B, 0xE7, 0xDC, 0x6D, 0xFC, 0x75, 0xE2, 0x72, 0xF5, 0xF8, 0x70, 0xF1, 0xEB, 0x76, 0x76}}};
  for (const Row& row : rows) {
    WeightEncoding encoding;
    encoding.granularity = row.granularity;
    encoding.block_n = 1;
    encoding.block_k = 32;
    encoding.bf16_arithmetic = true;
    auto data = values;
    std::vector<std::uint8_t> codes(64);
    std::vector<float> scales(2);
    PieceEncoder encoder(kernels(), encoding, DType::kBF16);
    encoder.load(std::as_writable_bytes(std::span(data)), 2, 32);
    ASSERT_TRUE(encoder.encode(codes, scales));
    EXPECT_EQ(codes, row.codes);
    EXPECT_EQ(scales, std::vector<float>(row.scales.begin(), row.scales.end()));
    ASSERT_TRUE(encoder.encode_at(row.scales[0], codes));
    EXPECT_TRUE(std::equal(codes.begin(), codes.begin() + 32, row.codes.begin()));
  }
  // Largest magnitude, scale per channel, scale of a group.
  struct Scale {
    float amax, channel, group;
  };
  for (const Scale& s : std::vector<Scale>{{0, 0.0078125f, 0x1p-127f},
                                           {1, 0.002227783203125f, 0.00390625f},
                                           {1.75f, 0.00390625f, 0.0078125f},
                                           {1.7421875f, 0.0038909912109375f, 0.00390625f},
                                           {448, 1, 2},
                                           {0x1p-118f, 6.703991219533358e-39f, 0x1p-126f},
                                           {0x1p-119f, 3.397913357845675e-39f, 0x1p-127f},
                                           {0x1p-126f, 0.0078125f, 0x1p-127f}}) {
    WeightEncoding encoding;
    encoding.bf16_arithmetic = true;
    encoding.granularity = Granularity::kChannel;
    EXPECT_EQ(PieceEncoder(kernels(), encoding, DType::kBF16).scale(s.amax), s.channel) << s.amax;
    encoding.granularity = Granularity::kGroup;
    EXPECT_EQ(PieceEncoder(kernels(), encoding, DType::kBF16).scale(s.amax), s.group) << s.amax;
  }
}

}  // namespace
}  // namespace octavo::quant
