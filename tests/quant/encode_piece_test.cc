// The arithmetic of a piece: scales, codes, what encoding did, and NaN or infinity wherever it stands, for generated
// shapes and regions, every source dtype, format and instruction set of this machine, against octavo/fp8.
#include "octavo/quant/encode_piece.h"

#include <gtest/gtest.h>

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
    if (GetParam() > detect_isa()) GTEST_SKIP() << "this machine has no " << isa_name(GetParam());
  }
  const cpu::EncodeKernels& kernels() const { return cpu::encode_kernels(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Isa, EncodePieceTest, testing::Values(Isa::kScalar, Isa::kAvx2, Isa::kAvx512),
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

}  // namespace
}  // namespace octavo::quant
