// Timing the loops of limits_kernels.h on a pool of threads.
#include "octavo/backend/cpu/limits.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "octavo/backend/cpu/limits_kernels.h"
#include "octavo/base/text.h"
#include "octavo/base/thread_pool.h"

namespace octavo::cpu {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 3;  // of a measurement: the best counts
constexpr std::uint64_t kLeastDram = 1ull << 30, kMostDram = 8ull << 30;
constexpr std::uint64_t kCaches = 4;           // times the largest cache
constexpr std::uint64_t kPiece = 32ull << 20;  // of memory that a thread claims at a time
constexpr double kComputeSeconds = 0.03;       // of a round of multiply-adds
constexpr std::size_t kShares = 8;             // that a thread claims of it, one after the other
constexpr std::uint64_t kFirstRounds = 1 << 14;
constexpr float kSeed = 0.5f;  // chains of s * 0.5 + 0.5 stay at 1

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Memory of the system's own, in huge pages where it gives them: their use of the TLB is what a limit should not count.
class Pages {
 public:
  Pages() = default;
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() {
    if (data_ != nullptr) munmap(data_, bytes_);
  }
  bool map(std::uint64_t bytes) {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) return false;
    data_ = data;
    bytes_ = bytes;
#if defined(MADV_HUGEPAGE)
    madvise(data, bytes, MADV_HUGEPAGE);
#endif
    return true;
  }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::uint64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace

const LimitKernels& limit_kernels(Isa isa) {
  static const LimitKernels scalar_kernels = scalar::limit_kernels();
#if defined(__x86_64__)
  // Each is built only when asked for: code compiled for an instruction set must not run where it is missing.
  if (isa == Isa::kAmx) {
    static const LimitKernels amx_kernels = amx::limit_kernels();
    return amx_kernels;
  }
  if (isa == Isa::kAvx512Bf16) {
    static const LimitKernels avx512_bf16_kernels = avx512_bf16::limit_kernels();
    return avx512_bf16_kernels;
  }
  if (isa == Isa::kAvx512) {
    static const LimitKernels avx512_kernels = avx512::limit_kernels();
    return avx512_kernels;
  }
  if (isa == Isa::kAvx2) {
    static const LimitKernels avx2_kernels = avx2::limit_kernels();
    return avx2_kernels;
  }
#else
  (void)isa;
#endif
  return scalar_kernels;
}

std::uint64_t dram_probe_bytes(std::uint64_t cache_bytes, std::uint64_t most_bytes) {
  const std::uint64_t caches = cache_bytes > kMostDram / kCaches ? kMostDram : kCaches * cache_bytes;
  const std::uint64_t wanted = std::min(std::clamp(caches, kLeastDram, kMostDram), most_bytes);
  return std::max(wanted / kPiece, std::uint64_t{1}) * kPiece;
}

namespace {

// Whose products of BF16 are the limit of a run with `isa`: its own, or those that it could have.
Isa bf16_isa(Isa isa) {
  if (isa == Isa::kAmx) return isa;
  return has_isa(Isa::kAvx512Bf16) ? Isa::kAvx512Bf16 : Isa::kScalar;
}

}  // namespace

struct Limits::State {
  explicit State(const LimitOptions& options)
      : kernels(limit_kernels(options.isa)),
        bf16_kernels(limit_kernels(bf16_isa(options.isa))),
        pool(options.threads) {}

  // Calls body(task) for `tasks` tasks; the seconds of the fastest of kRounds rounds.
  template <typename Body>
  double best(std::size_t tasks, const Body& body) {
    double seconds = 0;
    for (int round = 0; round < kRounds; ++round) {
      const auto start = Clock::now();
      pool.run(tasks, [&](std::size_t task, int) { body(task); });
      const double now = seconds_since(start);
      seconds = round == 0 ? now : std::min(seconds, now);
    }
    return seconds;
  }

  // `rounds` is kept between calls: as many as take the time wanted, found by doubling.
  double compute(float (*chains)(std::uint64_t, float), double flops, std::uint64_t& rounds) {
    if (rounds == 0) {
      double seconds = 0;
      for (rounds = kFirstRounds; seconds < kComputeSeconds / kShares; rounds *= 2) {
        const auto start = Clock::now();
        keep(chains(rounds, kSeed));
        seconds = seconds_since(start);
      }
    }
    const std::size_t tasks = kShares * static_cast<std::size_t>(pool.threads());
    const double seconds = best(tasks, [&](std::size_t) { keep(chains(rounds, kSeed)); });
    return static_cast<double>(tasks) * static_cast<double>(rounds) * flops / seconds / 1e9;
  }

  // So that no loop is left out.
  template <typename T>
  void keep(T value) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    sink.fetch_xor(bits, std::memory_order_relaxed);
  }

  const LimitKernels& kernels;
  const LimitKernels& bf16_kernels;  // whose bf16 may be null
  ThreadPool pool;
  Pages pages;
  std::uint64_t fma_rounds = 0, bf16_rounds = 0;  // of a task; 0: not yet known
  std::atomic<std::uint64_t> sink{0};
};

Limits::Limits(std::unique_ptr<State> state) : state_(std::move(state)) {}
Limits::Limits(Limits&&) noexcept = default;
Limits& Limits::operator=(Limits&&) noexcept = default;
Limits::~Limits() = default;

Result<Limits> Limits::create(const LimitOptions& options) {
  auto state = std::make_unique<State>(options);
  const std::uint64_t bytes = dram_probe_bytes(options.cache_bytes, options.most_bytes);
  if (!state->pages.map(bytes)) {
    return failure("the measurement of memory needs {}, which the system does not give", human_bytes(bytes));
  }
  // Written once: untouched pages are all the same page of zeros.
  State& s = *state;
  s.pool.run(bytes / kPiece, [&](std::size_t piece, int) { std::memset(s.pages.data() + piece * kPiece, 1, kPiece); });
  return Limits(std::move(state));
}

int Limits::threads() const { return state_->pool.threads(); }
std::uint64_t Limits::dram_bytes() const { return state_->pages.bytes(); }
bool Limits::has_bf16() const { return state_->bf16_kernels.bf16 != nullptr; }

double Limits::dram_read_gb_per_s() {
  State& s = *state_;
  const double seconds = s.best(s.pages.bytes() / kPiece, [&](std::size_t piece) {
    s.keep(s.kernels.read(s.pages.data() + piece * kPiece, kPiece));
  });
  return static_cast<double>(s.pages.bytes()) / seconds / 1e9;
}

double Limits::fma_gflop_per_s() {
  return state_->compute(state_->kernels.fma, state_->kernels.fma_flops, state_->fma_rounds);
}

double Limits::bf16_gflop_per_s() {
  if (!has_bf16()) return 0;
  return state_->compute(state_->bf16_kernels.bf16, state_->bf16_kernels.bf16_flops, state_->bf16_rounds);
}

}  // namespace octavo::cpu
