// Pieces of weights as `octavo quantize` encodes them (amax, scale, codes; with /sqnr also signal and noise), beside a
// plain loop that reads the same values and writes the same codes with the same, ordinary, stores. bytes_per_second
// counts the bytes read, so the ratio of two is the ratio of speeds. "memory": every thread streams through its share
// of 1 GiB in huge pages, in pieces of 1 MiB, 64 MiB an iteration ("memory8M", "memory64M": in larger pieces);
// "cache256K" and so on: one piece, again and again. "threads:2" is the sum of both.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "bench/encode_bench.h"
#include "octavo/base/cpu.h"
#include "octavo/quant/encode_piece.h"
#include "tests/support/random_tensor.h"

namespace octavo {
namespace {

constexpr std::size_t kMemory = std::size_t{1} << 30;  // bytes of source, beyond any cache

struct Place {
  std::string name;
  std::size_t piece_bytes;
  bool streams;
};

struct Case {
  std::string scheme;  // dynamic, block, tensor, tensor_twice
  std::uint64_t cols;
  DType dtype = DType::kBF16;
  bool via_bf16 = false;  // of F32
};

constexpr std::size_t kWindow = std::size_t{64} << 20;

// Memory for the whole run, in huge pages where the system has them.
std::span<std::byte> allocate(std::size_t bytes) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  void* memory = std::aligned_alloc(kHugePage, bytes);
  if (memory == nullptr) std::abort();
  madvise(memory, bytes, MADV_HUGEPAGE);
  std::memset(memory, 0, bytes);
  return {static_cast<std::byte*>(memory), bytes};
}

// The source, a megabyte of random values repeated, and the codes of all benchmarks; filled again for another dtype.
class Memory {
 public:
  static Memory& get(DType dtype) {
    static Memory memory;
    const std::lock_guard lock(memory.mutex_);
    if (memory.dtype_ == dtype) return memory;
    memory.dtype_ = dtype;
    const auto values = test::random_tensor(dtype, (std::size_t{1} << 20) / dtype_bytes(dtype), 1);
    for (std::size_t i = 0; i < kMemory; i += values.size()) {
      std::memcpy(memory.source.data() + i, values.data(), values.size());
    }
    return memory;
  }

  const std::span<std::byte> source = allocate(kMemory), codes = allocate(kMemory / 2);

 private:
  std::mutex mutex_;
  DType dtype_ = DType::kBool;
};

// What one thread works on: whole pieces, as many as fit into kWindow, from another place each time.
class Share {
 public:
  Share(const benchmark::State& state, DType dtype, std::size_t piece_bytes, bool streams)
      : memory_(Memory::get(dtype)),
        element_bytes_(dtype_bytes(dtype)),
        bytes_(streams ? kWindow / piece_bytes * piece_bytes : piece_bytes),
        size_(kMemory / static_cast<std::size_t>(state.threads())),
        begin_(static_cast<std::size_t>(state.thread_index()) * size_),
        windows_(streams ? size_ / bytes_ : 1) {}

  struct Part {
    std::span<std::byte> source;
    std::uint8_t* codes;
  };
  Part next() {
    const std::size_t at = begin_ + next_ % windows_ * bytes_;
    ++next_;
    return {memory_.source.subspan(at, bytes_),
            reinterpret_cast<std::uint8_t*>(memory_.codes.data()) + at / element_bytes_};
  }
  std::size_t bytes() const { return bytes_; }

 private:
  Memory& memory_;
  const std::size_t element_bytes_, bytes_, size_, begin_, windows_;
  std::size_t next_ = 0;
};

void count_bytes(benchmark::State& state, std::size_t bytes) {
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
}

void run_plain(benchmark::State& state, DType dtype, const Place& place) {
  Share share(state, dtype, place.piece_bytes, place.streams);
  for (auto _ : state) {
    const Share::Part mine = share.next();
    const std::size_t n = mine.source.size() / dtype_bytes(dtype);
    if (dtype == DType::kF32) {
      bench::plain_loop_4_to_1(reinterpret_cast<const std::uint32_t*>(mine.source.data()), mine.codes, n);
    } else {
      bench::plain_loop_2_to_1(reinterpret_cast<const std::uint16_t*>(mine.source.data()), mine.codes, n);
    }
    benchmark::ClobberMemory();
  }
  count_bytes(state, share.bytes());
}

void run_piece(benchmark::State& state, const Case& c, Isa isa, const Place& place, bool sqnr) {
  const std::size_t row_bytes = c.cols * dtype_bytes(c.dtype);
  quant::WeightEncoding encoding;
  std::size_t rows = std::max<std::size_t>(1, place.piece_bytes / row_bytes);
  if (c.scheme == "block") {
    encoding.block_n = encoding.block_k = 128;
    rows = std::max<std::size_t>(1, rows / 128) * 128;
  } else {
    encoding.block_k = c.cols;
  }
  encoding.via_bf16 = c.via_bf16;
  Share share(state, c.dtype, rows * row_bytes, place.streams);
  const cpu::EncodeKernels& kernels = cpu::encode_kernels(isa);
  std::vector<std::byte> copy(rows * row_bytes);
  std::vector<float> scales(rows * ((c.cols - 1) / encoding.block_k + 1));
  quant::Distortion distortion;
  const auto each_piece = [&](const Share::Part& mine, auto body) {
    for (std::size_t at = 0; at < mine.source.size(); at += rows * row_bytes) {
      quant::PieceEncoder encoder(kernels, encoding, c.dtype);
      std::span<std::byte> data = mine.source.subspan(at, rows * row_bytes);
      if (c.via_bf16) {  // which is done in place
        std::memcpy(copy.data(), data.data(), data.size());
        data = copy;
      }
      encoder.load(data, rows, c.cols);
      body(encoder, std::span(mine.codes + at / dtype_bytes(c.dtype), rows * c.cols));
    }
  };
  for (auto _ : state) {
    const Share::Part mine = share.next();
    bool finite = true;
    if (c.scheme == "tensor") {  // of pieces kept in memory: amax and codes of each at once
      each_piece(mine, [&](const quant::PieceEncoder& encoder, std::span<std::uint8_t> codes) {
        const auto amax = encoder.amax(0, rows, 0, c.cols);
        finite = finite && amax;
        encoder.encode_at(encoder.scale(amax.value_or(0)), codes, sqnr ? &distortion : nullptr);
      });
    } else if (c.scheme == "tensor_twice") {  // amax of everything, then codes of everything
      float largest = 0;
      each_piece(mine, [&](const quant::PieceEncoder& encoder, std::span<std::uint8_t>) {
        const auto amax = encoder.amax(0, rows, 0, c.cols);
        finite = finite && amax;
        largest = std::max(largest, amax.value_or(0));
      });
      each_piece(mine, [&](const quant::PieceEncoder& encoder, std::span<std::uint8_t> codes) {
        encoder.encode_at(encoder.scale(largest), codes, sqnr ? &distortion : nullptr);
      });
    } else {
      each_piece(mine, [&](const quant::PieceEncoder& encoder, std::span<std::uint8_t> codes) {
        finite = encoder.encode(codes, scales, sqnr ? &distortion : nullptr) && finite;
      });
    }
    if (!finite) state.SkipWithError("not finite");
    benchmark::ClobberMemory();
  }
  benchmark::DoNotOptimize(distortion);
  count_bytes(state, share.bytes());
}

// What a scale that needs a whole piece moves at least: each piece is read for its largest magnitude, then a plain
// loop.
void run_two_passes(benchmark::State& state, const Place& place) {
  const cpu::EncodeKernels& kernels = cpu::encode_kernels(detect_isa());
  Share share(state, DType::kBF16, place.piece_bytes, place.streams);
  const std::size_t n = place.piece_bytes / 2;
  for (auto _ : state) {
    const Share::Part mine = share.next();
    const auto* in = reinterpret_cast<const std::uint16_t*>(mine.source.data());
    for (std::size_t at = 0; at + n <= mine.source.size() / 2; at += n) {
      benchmark::DoNotOptimize(kernels.amax_bits16(in + at, n));
      bench::plain_loop_2_to_1(in + at, mine.codes + at, n);
    }
    benchmark::ClobberMemory();
  }
  count_bytes(state, share.bytes());
}

std::string dtype_label(const Case& c) {
  switch (c.dtype) {
    case DType::kF16: return "f16";
    case DType::kF32: return c.via_bf16 ? "f32_rounded" : "f32";
    default: return "bf16";
  }
}

}  // namespace

void bench::register_pieces() {
  const std::vector<Place> places = {{"memory", std::size_t{1} << 20, true},
                                     {"memory8M", std::size_t{8} << 20, true},
                                     {"memory64M", kWindow, true},
                                     {"cache256K", std::size_t{256} << 10, false},
                                     {"cache1M", std::size_t{1} << 20, false},
                                     {"cache4M", std::size_t{4} << 20, false}};
  std::vector<Case> cases = {{"dynamic", 4096}, {"dynamic", 896}, {"block", 4096},       {"block", 14336},
                             {"block", 896},    {"tensor", 4096}, {"tensor_twice", 4096}};
  for (const char* scheme : {"dynamic", "block"}) {
    cases.push_back({scheme, 4096, DType::kF16});
    cases.push_back({scheme, 4096, DType::kF32});
    cases.push_back({scheme, 4096, DType::kF32, true});
  }
  const auto add = [](const std::string& name, auto body) {
    for (const int threads : {1, 2}) benchmark::RegisterBenchmark(name.c_str(), body)->Threads(threads)->UseRealTime();
  };
  // Grouped by dtype, so that memory is filled twice only.
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const Place& place : places) {
      add("plain_loop/" + dtype_label({"", 0, dtype}) + "/" + place.name,
          [=](benchmark::State& state) { run_plain(state, dtype, place); });
      if (dtype == DType::kBF16 && place.streams) {
        add("two_passes/bf16/" + place.name, [=](benchmark::State& state) { run_two_passes(state, place); });
      }
      for (const Case& c : cases) {
        if (c.dtype != dtype || (c.scheme == "tensor_twice" && !place.streams)) continue;
        for (const Isa isa : {Isa::kAvx512, Isa::kAvx2, Isa::kScalar}) {
          if (!has_isa(isa)) continue;
          for (const bool sqnr : {false, true}) {
            add("piece/" + c.scheme + "/k" + std::to_string(c.cols) + "/" + dtype_label(c) + "/" +
                    std::string(isa_name(isa)) + "/" + place.name + (sqnr ? "/sqnr" : ""),
                [=](benchmark::State& state) { run_piece(state, c, isa, place, sqnr); });
          }
        }
      }
    }
  }
}

}  // namespace octavo
