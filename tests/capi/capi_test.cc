// The C ABI: a C program runs it; what it encodes and writes is what the command writes; its library shows nothing
// else.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "octavo/capi/octavo.h"
#include "octavo/checkpoint/checkpoint.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"
#include "tests/support/tiny_tokenizer.h"

namespace octavo::test {
namespace {

std::vector<std::byte> read_all(const Checkpoint& folder, const CheckpointTensor& tensor) {
  std::vector<std::byte> out(tensor.bytes);
  EXPECT_TRUE(folder.read(tensor, 0, out).ok());
  return out;
}

std::vector<std::byte> bytes_of(const octavo_array& array) {
  const auto* data = static_cast<const std::byte*>(array.data);
  return {data, data + array.bytes};
}

TEST(CAbi, RunsFromC) {
  const TempDir dir;
  CheckpointBuilder model = tiny_decoder();
  add_tiny_tokenizer(model);
  const std::string command =
      std::string(OCTAVO_CAPI_EXAMPLE) + " " + model.write(dir / "model").string() + " 128 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string out;
  std::array<char, 4096> piece{};
  while (const std::size_t count = std::fread(piece.data(), 1, piece.size(), pipe)) out.append(piece.data(), count);
  const int status = ::pclose(pipe);
  EXPECT_EQ(WEXITSTATUS(status), 0) << out;
  EXPECT_EQ(out, "ok\n");
}

struct Case {
  std::string scheme;
  DType dtype;
  std::string options;  // JSON, of encode and quantize alike
};

class EncodeTest : public testing::TestWithParam<Case> {};

// One module is left alone by every scale that several share.
TEST_P(EncodeTest, BytesAreThoseOfQuantize) {
  const Case& param = GetParam();
  const TempDir dir;
  TinyDecoder shape;
  shape.dtype = param.dtype;
  const std::string source = tiny_decoder(shape).write(dir / "source"), output = dir / "output";
  std::string options = R"({"scheme": ")" + param.scheme + "\"";
  if (!param.options.empty()) options += ", " + param.options;
  if (param.scheme == "mxfp8") options += R"(, "loader": "vllm")";
  options += "}";
  octavo_buffer summary = {nullptr, 0};
  ASSERT_EQ(octavo_quantize(source.c_str(), output.c_str(), options.c_str(), nullptr, nullptr, &summary), OCTAVO_OK)
      << octavo_last_error();
  EXPECT_NE(std::string(static_cast<char*>(summary.data)).find("\"quantized\":14"), std::string::npos);
  octavo_buffer_free(&summary);

  const Checkpoint before = Checkpoint::open(source).value(), after = Checkpoint::open(output).value();
  const std::string encode_options = param.options.empty() ? "" : "{" + param.options + "}";
  std::size_t compared = 0;
  for (const CheckpointTensor& tensor : before.tensors()) {
    if (!tensor.name.ends_with("o_proj.weight") && !tensor.name.ends_with("down_proj.weight")) continue;
    const std::vector<std::byte> values = read_all(before, tensor);
    octavo_encoded* encoded = nullptr;
    ASSERT_EQ(octavo_encode(param.scheme.c_str(), encode_options.c_str(), dtype_name(tensor.dtype).data(),
                            tensor.shape[0], tensor.shape[1], values.data(), values.size(), &encoded),
              OCTAVO_OK)
        << octavo_last_error();
    octavo_array codes = {}, scales = {};
    ASSERT_EQ(octavo_encoded_codes(encoded, &codes), OCTAVO_OK);
    ASSERT_EQ(octavo_encoded_scales(encoded, &scales), OCTAVO_OK);
    const CheckpointTensor* weight = after.find(tensor.name);
    const CheckpointTensor* scale = after.find(tensor.name + "_scale");
    if (scale == nullptr) scale = after.find(tensor.name + "_scale_inv");
    ASSERT_NE(weight, nullptr);
    ASSERT_NE(scale, nullptr);
    EXPECT_EQ(codes.dtype, dtype_name(weight->dtype));
    EXPECT_EQ(bytes_of(codes), read_all(after, *weight)) << tensor.name;
    EXPECT_EQ(scales.dtype, dtype_name(scale->dtype));
    EXPECT_EQ(Shape(scales.shape, scales.shape + scales.rank), scale->shape);
    EXPECT_EQ(bytes_of(scales), read_all(after, *scale)) << tensor.name;
    octavo_encoded_free(encoded);
    ++compared;
  }
  EXPECT_EQ(compared, 4u);

  octavo_buffer report = {nullptr, 0};
  const std::string against = R"({"against": ")" + source + "\"}";
  ASSERT_EQ(octavo_verify(output.c_str(), against.c_str(), nullptr, nullptr, &report), OCTAVO_OK)
      << octavo_last_error();
  EXPECT_EQ(std::string(static_cast<char*>(report.data)).find("{\"ok\":true"), 0u);
  octavo_buffer_free(&report);
}

INSTANTIATE_TEST_SUITE_P(Schemes, EncodeTest,
                         testing::Values(Case{"dynamic", DType::kBF16, ""}, Case{"dynamic", DType::kF16, ""},
                                         Case{"dynamic", DType::kF32, ""},
                                         Case{"dynamic", DType::kF32, R"("direct": true)"},
                                         Case{"block", DType::kBF16, ""},
                                         Case{"block", DType::kF32, R"("pow2_scales": true)"},
                                         Case{"tensor", DType::kBF16, ""}, Case{"tensor", DType::kF32, ""},
                                         Case{"weight-only", DType::kBF16, ""}, Case{"mxfp8", DType::kBF16, ""},
                                         Case{"block", DType::kBF16, R"("block_size": "64x64", "format": "fp8")"}));

TEST(CAbi, EncodeSaysWhereAValueIsNotFinite) {
  std::vector<float> values(300 * 8, 1.0f);
  values[250 * 8 + 3] = std::numeric_limits<float>::infinity();
  octavo_encoded* encoded = nullptr;
  for (const char* scheme : {"dynamic", "tensor", "block"}) {
    EXPECT_EQ(octavo_encode(scheme, nullptr, "F32", 300, 8, values.data(), values.size() * 4, &encoded),
              OCTAVO_FAILURE);
    EXPECT_EQ(std::string(octavo_last_error()).find("the value at [250, 3] is infinite"), 0u) << octavo_last_error();
  }
  EXPECT_EQ(encoded, nullptr);
  for (const char* scheme : {"dynamic", "tensor", "block"}) {
    const char* zero = R"({"nonfinite": "zero"})";
    ASSERT_EQ(octavo_encode(scheme, zero, "F32", 300, 8, values.data(), values.size() * 4, &encoded), OCTAVO_OK);
    octavo_array codes = {};
    ASSERT_EQ(octavo_encoded_codes(encoded, &codes), OCTAVO_OK);
    EXPECT_EQ(static_cast<const unsigned char*>(codes.data)[250 * 8 + 3], 0);
    octavo_encoded_free(encoded);
  }
  EXPECT_TRUE(std::isinf(values[250 * 8 + 3]));  // what was given stays as it was
}

TEST(CAbi, RefusesInOneSentence) {
  const TempDir dir;
  const std::string source = tiny_decoder().write(dir / "source"), output = dir / "output";
  const auto quantize = [&](const char* options) {
    return octavo_quantize(source.c_str(), output.c_str(), options, nullptr, nullptr, nullptr);
  };
  EXPECT_EQ(quantize(R"({"schema": "block"})"), OCTAVO_USAGE);
  EXPECT_STREQ(octavo_last_error(), "unknown field \"schema\"; did you mean scheme?");
  EXPECT_EQ(quantize(R"({"scheme": "dynamic", "block_size": "64x64"})"), OCTAVO_USAGE);
  EXPECT_STREQ(octavo_last_error(), "block_size goes with scheme block, not dynamic");
  EXPECT_EQ(quantize(R"({"dtype": "e3m4"})"), OCTAVO_USAGE);
  EXPECT_EQ(octavo_quantize(source.c_str(), source.c_str(), nullptr, nullptr, nullptr, nullptr), OCTAVO_USAGE);
  octavo_buffer report = {nullptr, 0};
  EXPECT_EQ(octavo_verify(source.c_str(), R"({"loaders": ["vlm"]})", nullptr, nullptr, &report), OCTAVO_USAGE);
  EXPECT_EQ(report.data, nullptr);
}

// Two copies of C++ code in one process must not find each other.
TEST(CAbi, ShowsNothingElse) {
  const std::string command = std::string("nm -D --defined-only ") + OCTAVO_SHARED_LIBRARY;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::array<char, 512> line{};
  std::size_t functions = 0;
  while (std::fgets(line.data(), line.size(), pipe) != nullptr) {
    const std::string text(line.data());
    EXPECT_NE(text.find(" octavo_"), std::string::npos) << text;
    ++functions;
  }
  EXPECT_EQ(::pclose(pipe), 0);
  EXPECT_GE(functions, 30u);
}

}  // namespace
}  // namespace octavo::test
