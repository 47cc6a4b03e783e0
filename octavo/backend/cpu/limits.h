// What this machine gives at most: bytes a second from memory, floating-point operations a second. Measured beside a
// run, on as many threads, so that its figures stand next to the limits of the same minute (clocks and the neighbours
// of a virtual machine change them).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "octavo/base/cpu.h"
#include "octavo/base/status.h"

namespace octavo::cpu {

struct LimitOptions {
  Isa isa = Isa::kScalar;
  int threads = 1;
  // Of the largest cache, all of it: what is read must be much larger. 0: unknown.
  std::uint64_t cache_bytes = 0;
  std::uint64_t most_bytes = ~std::uint64_t{0};  // that may be taken for it
};

// Bytes that the DRAM probe reads: several times the largest cache, at least 1 GiB and at most 8, and not more than
// `most_bytes`.
std::uint64_t dram_probe_bytes(std::uint64_t cache_bytes, std::uint64_t most_bytes);

// One thread calls it at a time. Every measurement takes a tenth to a half of a second and is the best of several
// rounds; what lies between measurements is drift of the machine, and the caller's to report.
class Limits {
 public:
  static Result<Limits> create(const LimitOptions& options);
  Limits(Limits&&) noexcept;
  Limits& operator=(Limits&&) noexcept;
  ~Limits();

  int threads() const;
  std::uint64_t dram_bytes() const;  // that a round reads
  bool has_bf16() const;             // the machine has AVX-512's dot products of BF16, whatever `isa` is

  double dram_read_gb_per_s();  // 10^9 bytes a second, all threads together
  double fma_gflop_per_s();     // FP32 multiply-adds of `isa`, two operations each
  double bf16_gflop_per_s();    // 0 without has_bf16()

 private:
  struct State;
  explicit Limits(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace octavo::cpu
