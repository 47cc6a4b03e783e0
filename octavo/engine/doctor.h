// What this machine is to Octavo: its parts, the kernels that will run, what it gives at most, what would make it
// faster.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/cpu.h"
#include "octavo/base/machine.h"
#include "octavo/base/status.h"

namespace octavo::engine {

struct MeasuredLimits {
  int threads = 1;
  double dram_gb_per_s = 0, fma_gflop_per_s = 0;
  std::optional<double> bf16_gflop_per_s;  // where the machine has BF16 dot products
};

struct Diagnosis {
  Machine machine;
  std::vector<int> cpus;                           // that this process may use; empty: unknown
  Isa chosen = Isa::kScalar, best = Isa::kScalar;  // best: what is chosen where nobody forces another
  std::vector<Isa> found;
  int threads = 1;                     // that commands use unless told otherwise
  std::vector<MeasuredLimits> limits;  // of one thread and of all
};

// Reads the machine; `chosen` is select_isa()'s.
Diagnosis diagnose(Isa chosen);
// Adds `limits`: a few seconds, and memory of four times the largest cache, at most a quarter of what is free.
Status measure_limits(Diagnosis& diagnosis);

// Why the chosen instruction set is used, in one sentence.
std::string isa_reason(const Diagnosis& diagnosis);
// What would make this machine faster: a sentence each, only what is true of it.
std::vector<std::string> advice(const Diagnosis& diagnosis);

}  // namespace octavo::engine
