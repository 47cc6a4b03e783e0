// Judges a quantized checkpoint: is it what its config says, would the loaders take it, is it near its source.
// Shares no code with the writer (octavo/quant, octavo/backend) but the truth in octavo/fp8: tests/layering_test.py.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "octavo/base/progress.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/loader_table.h"
#include "octavo/verify/report.h"

namespace octavo::verify {

using octavo::Loader;  // its rules are those of loader_version()

struct Options {
  std::vector<Loader> loaders;  // whose refusals count as violations
  int threads = 1;
  ProgressSink* progress = nullptr;  // bytes of the verified folder's tensors
};

// Violations are in the report; an Error is returned only when the folder (or the source) cannot be read at all.
// `source`, when given, is the checkpoint that was quantized.
Result<Report> verify(const Checkpoint& checkpoint, const Checkpoint* source, const Options& options);

}  // namespace octavo::verify
