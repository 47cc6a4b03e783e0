// The CPU backend: portable C++ and, where the machine has them, AVX2 and AVX-512.
#pragma once

#include <memory>

#include "octavo/backend/backend.h"
#include "octavo/base/cpu.h"

namespace octavo::cpu {

struct CpuOptions {
  Isa isa = Isa::kScalar;
  int threads = 1;  // at least 1
  backend::Compute compute = backend::Compute::kBF16;
};

std::unique_ptr<backend::Backend> create_cpu_backend(const CpuOptions& options);

}  // namespace octavo::cpu
