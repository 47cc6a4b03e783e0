// Carries a plan out: reads in pieces, encodes in parallel, writes positionally. Memory is bounded by the window
// whatever the size of a model, shard or tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "octavo/base/cpu.h"
#include "octavo/base/json.h"
#include "octavo/base/progress.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/quant/plan.h"

namespace octavo::quant {

inline constexpr std::uint64_t kDefaultWindow = 128ull << 20;  // bytes of buffers, all threads together

struct ExecuteOptions {
  int threads = 1;
  Isa isa = Isa::kScalar;
  std::uint64_t window_bytes = kDefaultWindow;
  ProgressSink* progress = nullptr;  // counts bytes of the source
};

struct KindScales {
  std::string kind;  // last component of the modules' names
  std::size_t tensors = 0;
  float min_scale = 0, max_scale = 0;
};

struct Summary {
  std::uint64_t source_bytes = 0, output_bytes = 0;
  std::size_t quantized = 0, kept = 0;
  std::uint64_t zeroed = 0;       // values that were not finite (NonFinite::kZero)
  std::vector<KindScales> kinds;  // by name
  double seconds = 0;
};

// Writes OUT (through OUT.partial: it appears whole or not at all). On an error nothing is left behind.
Result<Summary> execute(const Checkpoint& checkpoint, const Plan& plan, const std::filesystem::path& out,
                        const ExecuteOptions& options);

}  // namespace octavo::quant
