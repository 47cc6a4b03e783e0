// A weight to codes and scales, for callers who have it in memory.
#include <memory>

#include "octavo/base/text.h"
#include "octavo/capi/error.h"
#include "octavo/capi/quant_words.h"
#include "octavo/quant/encode_matrix.h"

using namespace octavo;        // NOLINT: this file defines C functions
using namespace octavo::capi;  // NOLINT

struct octavo_encoded {
  quant::EncodedMatrix matrix;
  Shape shape;
};

namespace {

Result<std::unique_ptr<octavo_encoded>> encode(const char* scheme, const char* options, const char* dtype, Shape shape,
                                               std::span<const std::byte> values) {
  OCTAVO_ASSIGN(const Json json, parse_options(options, "options"));
  quant::SpecOptions words;
  FieldReader f(json);
  f.refuse("scheme", "stands beside the options here");
  read_spec(f, words);
  int threads = 0;
  read_threads(f, threads);
  OCTAVO_TRY(f.finish());
  words.scheme = scheme;
  // Of this format loaders differ in the name of the scale alone, which is not asked for here.
  if (words.scheme == "mxfp8" && words.loader.empty()) words.loader = "vllm";
  OCTAVO_ASSIGN(const quant::QuantSpec spec, quant::make_spec(words, *quant::find_scheme("dynamic")));
  const auto known = dtype_from_name(dtype);
  if (!known) return usage_error("{} is no dtype of safetensors, such as BF16", printable(dtype));
  OCTAVO_ASSIGN(const Isa isa, select_isa());
  auto out = std::make_unique<octavo_encoded>();
  OCTAVO_ASSIGN(out->matrix, quant::encode_matrix(spec, *known, shape, values, isa, threads));
  out->shape = std::move(shape);
  return out;
}

octavo_array array_of(const std::vector<std::byte>& bytes, DType dtype, const Shape& shape) {
  octavo_array out = {};
  out.data = bytes.data();
  out.bytes = bytes.size();
  out.dtype = dtype_name(dtype).data();  // names are literals
  out.rank = shape.size();
  for (std::size_t i = 0; i < shape.size(); ++i) out.shape[i] = shape[i];
  return out;
}

}  // namespace

extern "C" {

octavo_code octavo_encode(const char* scheme, const char* options, const char* dtype, uint64_t rows, uint64_t columns,
                          const void* data, size_t bytes, octavo_encoded** encoded) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(scheme, "scheme"));
    OCTAVO_TRY(needed(dtype, "dtype"));
    OCTAVO_TRY(needed(data, "data"));
    OCTAVO_TRY(needed(encoded, "encoded"));
    const std::span values(static_cast<const std::byte*>(data), bytes);
    OCTAVO_ASSIGN(auto made, encode(scheme, options, dtype, {rows, columns}, values));
    *encoded = made.release();
    return {};
  });
}

octavo_code octavo_encoded_codes(const octavo_encoded* encoded, octavo_array* codes) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(encoded, "encoded"));
    OCTAVO_TRY(needed(codes, "codes"));
    *codes = array_of(encoded->matrix.codes, encoded->matrix.codes_dtype, encoded->shape);
    return {};
  });
}

octavo_code octavo_encoded_scales(const octavo_encoded* encoded, octavo_array* scales) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(encoded, "encoded"));
    OCTAVO_TRY(needed(scales, "scales"));
    *scales = array_of(encoded->matrix.scales, encoded->matrix.scales_dtype, encoded->matrix.scales_shape);
    return {};
  });
}

void octavo_encoded_free(octavo_encoded* encoded) { delete encoded; }

}  // extern "C"
