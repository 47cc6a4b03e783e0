// Loading a model beside a plain copy of its file: the same threads read the same bytes out of the page cache into as
// much fresh memory (docs/benchmarks.md, "Loading"). All variants take turns, so that a machine that slows down meets
// all of them; a ratio is of the two times of one round. The file must fit the page cache, and is read once before.
//   load_bench MODEL [--quantization none,fp8_block] [--threads 1,2] [--rounds 7]
#include <fmt/format.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "octavo/backend/cpu/cpu_backend.h"
#include "octavo/base/cpu.h"
#include "octavo/base/workers.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/model/weights.h"
#include "octavo/quant/online.h"

namespace octavo {
namespace {

constexpr std::uint64_t kPiece = 1ull << 20;     // of a read, as the loader's
constexpr std::uint64_t kCopied = 257ull << 20;  // of the memcpy, over and over: more than the caches of most
constexpr int kColumn = 24;

struct Options {
  std::string model;
  std::vector<std::string> quantizations = {"none", "fp8_block", "fp8_channel", "fp8"};
  std::vector<int> threads = {1, 2};
  int rounds = 7;
};

// Pages that nobody has touched, huge where the system gives them, as the loader's; given back at the end.
class FreshMemory {
 public:
  explicit FreshMemory(std::uint64_t bytes) : bytes_(bytes) {
    void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return;
    madvise(pages, bytes, MADV_HUGEPAGE);
    data_ = static_cast<std::byte*>(pages);
  }
  FreshMemory(const FreshMemory&) = delete;
  FreshMemory& operator=(const FreshMemory&) = delete;
  ~FreshMemory() {
    if (data_ != nullptr) munmap(data_, bytes_);
  }
  std::byte* data() const { return data_; }

 private:
  std::uint64_t bytes_;
  std::byte* data_ = nullptr;
};

// Calls body(offset, bytes, worker) for every piece of `total` bytes.
Status for_pieces(int threads, std::uint64_t total,
                  const std::function<Status(std::uint64_t, std::uint64_t, int)>& body) {
  return for_each_index(threads, (total + kPiece - 1) / kPiece, [&](std::size_t i, int worker) {
    const std::uint64_t at = i * kPiece;
    return body(at, std::min(kPiece, total - at), worker);
  });
}

Result<double> seconds_of(const std::function<Status()>& work) {
  const auto start = std::chrono::steady_clock::now();
  OCTAVO_TRY(work());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The host of a virtual machine takes back what is free there for seconds, and giving it again costs more than all that
// is measured here: as much as will be taken is touched and given back just before.
Status have_memory_at_hand(int threads, std::uint64_t bytes) {
  constexpr std::uint64_t kPage = 4096;
  const FreshMemory memory(bytes);
  if (memory.data() == nullptr) return failure("no memory for a copy of {} bytes", bytes);
  return for_pieces(threads, bytes, [&](std::uint64_t at, std::uint64_t count, int) -> Status {
    for (std::uint64_t i = at; i < at + count; i += kPage) memory.data()[i] = std::byte{1};
    return {};
  });
}

struct Variant {
  std::string name;
  std::function<Result<double>()> run;  // seconds
  std::vector<double> seconds = {};
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

Status measure(const Options& o, int threads) {
  OCTAVO_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(o.model));
  OCTAVO_ASSIGN(const Isa isa, select_isa());
  std::uint64_t total = 0;
  for (const Shard& shard : checkpoint.shards()) total += shard.file->size();

  const auto read_all = [&](const std::function<std::byte*(std::uint64_t, int)>& place) -> Status {
    std::uint64_t base = 0;
    for (const Shard& shard : checkpoint.shards()) {
      const File& file = *shard.file;
      OCTAVO_TRY(for_pieces(threads, file.size(), [&](std::uint64_t at, std::uint64_t bytes, int worker) {
        return file.read_at(at, {place(base + at, worker), bytes});
      }));
      base += file.size();
    }
    return {};
  };
  const auto copy = [&]() -> Result<double> {
    const FreshMemory memory(total);
    if (memory.data() == nullptr) return failure("no memory for a copy of {} bytes", total);
    return seconds_of([&] { return read_all([&](std::uint64_t at, int) { return memory.data() + at; }); });
  };
  std::vector<std::vector<std::byte>> buffers(static_cast<std::size_t>(threads), std::vector<std::byte>(kPiece));
  std::vector<std::byte> from(kCopied, std::byte{1}), to(kCopied, std::byte{1});

  std::vector<Variant> variants;
  variants.push_back({"copy", copy});
  variants.push_back(
      {"read, one buffer", [&] {
         return seconds_of([&] {
           return read_all([&](std::uint64_t, int worker) { return buffers[static_cast<std::size_t>(worker)].data(); });
         });
       }});
  const auto copy_memory = [&] {
    return seconds_of([&] {
      return for_pieces(threads, total, [&](std::uint64_t at, std::uint64_t bytes, int) -> Status {
        const std::uint64_t place = at % (kCopied - kPiece);
        std::memcpy(to.data() + place, from.data() + place, bytes);
        return {};
      });
    });
  };
  variants.push_back({"memcpy", copy_memory});
  for (const std::string& name : o.quantizations) {
    model::LoadOptions options;
    if (name != "none") {
      OCTAVO_ASSIGN(options.quantize, quant::online_spec(name));
    }
    options.isa = isa;
    options.threads = threads;
    variants.push_back(
        {"load " + name, [&checkpoint, options]() -> Result<double> {
           const auto backend = cpu::create_cpu_backend({.isa = options.isa, .threads = options.threads});
           OCTAVO_ASSIGN(const model::LoadedModel loaded, model::load_model(checkpoint, *backend, options));
           return loaded.report.seconds;
         }});
  }

  for (int round = -1; round < o.rounds; ++round) {  // the first one warms up
    for (Variant& variant : variants) {
      OCTAVO_TRY(have_memory_at_hand(threads, total + total / 16));
      OCTAVO_ASSIGN(const double seconds, variant.run());
      if (round >= 0) variant.seconds.push_back(seconds);
    }
  }
  fmt::print("{}: {:.2f} GB, {} thread{}, {}, {} rounds: median (min-max)\n", o.model, static_cast<double>(total) / 1e9,
             threads, threads == 1 ? "" : "s", isa_name(isa), o.rounds);
  for (const Variant& variant : variants) {
    const auto [least, most] = std::minmax_element(variant.seconds.begin(), variant.seconds.end());
    const double seconds = median(variant.seconds);
    std::vector<double> ratios;
    for (std::size_t i = 0; i < variant.seconds.size(); ++i) {
      ratios.push_back(variants.front().seconds[i] / variant.seconds[i]);
    }
    const auto [low, high] = std::minmax_element(ratios.begin(), ratios.end());
    fmt::print("  {:{}} {:.3f} s ({:.3f}-{:.3f})  {:5.2f} GB/s  {:.2f} ({:.2f}-{:.2f}) of copy\n", variant.name,
               kColumn, seconds, *least, *most, static_cast<double>(total) / 1e9 / seconds, median(ratios), *low,
               *high);
  }
  std::fflush(stdout);  // a table is there though the next run is ended
  return {};
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) {
  octavo::Options options;
  CLI::App app("loading against copying");
  app.add_option("MODEL", options.model, "model folder")->required();
  app.add_option("--quantization", options.quantizations, "none or names of online quantization")->delimiter(',');
  app.add_option("--threads", options.threads)->delimiter(',')->check(CLI::PositiveNumber);
  app.add_option("--rounds", options.rounds)->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  for (const int threads : options.threads) {
    if (const octavo::Status status = octavo::measure(options, threads); !status.ok()) {
      fmt::print(stderr, "load_bench: {}\n", status.error().message);
      return 1;
    }
  }
  return 0;
}
