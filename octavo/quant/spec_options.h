// What a user says of an FP8 output, in words: the options of `octavo quantize`, and of the C ABI and Python by the
// same names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/quant/spec.h"

namespace octavo::quant {

// Which modules stay as they are.
struct KeepOptions {
  std::vector<std::string> ignore;
  std::uint64_t keep_first = 0, keep_last = 0;
};
void set_kept(const KeepOptions& options, QuantSpec& spec);
Edge edge_of(std::string_view edge);  // "channel", else partial

struct SpecOptions {
  std::string scheme, format, loader;  // "": the default
  std::string dtype = "e4m3";          // e4m3, e5m2
  std::string arith = "f32";           // f32, bf16
  std::string scale_dtype;             // f32, bf16; "": the format's
  std::string block;                   // "128x128"
  std::string edge = "partial";        // partial, channel
  std::string nonfinite = "error";     // error, zero
  bool pow2_scales = false, direct = false;
  KeepOptions keep;
};

// The spec of the options; `scheme` is taken where options.scheme is missing. Checked by check_spec() and, where there
// is a loader, by check_loader().
Result<QuantSpec> make_spec(const SpecOptions& options, const Scheme& scheme);

}  // namespace octavo::quant
