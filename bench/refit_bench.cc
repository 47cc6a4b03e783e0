// A weight update beside a copy of the same BF16 bytes by the same threads, from memory to memory that is there already
// (docs/benchmarks.md, "Weight updates"). They take turns; a ratio is of the two times of one round.
//   refit_bench MODEL [--quantization none,fp8_block] [--threads 1,2] [--rounds 7]
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "octavo/backend/cpu/cpu_backend.h"
#include "octavo/base/cpu.h"
#include "octavo/base/workers.h"
#include "octavo/quant/online.h"
#include "octavo/rollout/weight_update.h"

namespace octavo {
namespace {

constexpr std::uint64_t kPiece = 1ull << 20;

struct Options {
  std::string model;
  std::vector<std::string> quantizations = {"none", "fp8_block", "fp8_channel", "fp8"};
  std::vector<int> threads = {1, 2};
  int rounds = 7;
};

struct Tensor {
  rollout::TensorInfo info;
  std::vector<std::byte> bytes;
};

double seconds_of(const std::function<Status()>& work, Status& status) {
  const auto start = std::chrono::steady_clock::now();
  if (status.ok()) status = work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

Status copy(const std::vector<Tensor>& tensors, std::vector<std::vector<std::byte>>& to, int threads) {
  struct Piece {
    std::size_t tensor;
    std::uint64_t at, size;
  };
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    for (std::uint64_t at = 0; at < to[i].size(); at += kPiece) {
      pieces.push_back({i, at, std::min<std::uint64_t>(kPiece, to[i].size() - at)});
    }
  }
  return for_each_index(threads, pieces.size(), [&](std::size_t i, int) -> Status {
    const Piece& p = pieces[i];
    std::memcpy(to[p.tensor].data() + p.at, tensors[p.tensor].bytes.data() + p.at, p.size);
    return {};
  });
}

Status run(const Options& o) {
  OCTAVO_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(o.model));
  OCTAVO_ASSIGN(const Isa isa, select_isa());
  std::vector<Tensor> tensors;
  std::vector<std::vector<std::byte>> copies;
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    tensors.push_back({{t.name, t.dtype, t.shape}, std::vector<std::byte>(t.bytes)});
    OCTAVO_TRY(checkpoint.read(t, 0, tensors.back().bytes));
    copies.emplace_back(t.bytes);
  }
  const double gb = static_cast<double>(checkpoint.data_bytes()) / 1e9;
  fmt::print("{}: {:.2f} GB, {}\n{:<14}{:>8}{:>14}{:>14}{:>10}{:>18}\n", o.model, gb, isa_name(isa), "scheme",
             "threads", "copy GB/s", "update GB/s", "ratio", "(least, most)");
  for (const std::string& name : o.quantizations) {
    for (const int threads : o.threads) {
      const auto backend = cpu::create_cpu_backend({.isa = isa, .threads = threads});
      model::LoadOptions load;
      load.isa = isa;
      load.threads = threads;
      if (name != "none") {
        OCTAVO_ASSIGN(load.quantize, quant::online_spec(name));
      }
      OCTAVO_ASSIGN(model::LoadedModel model, model::load_model(checkpoint, *backend, load));
      rollout::ShadowWeights shadow;
      OCTAVO_TRY(shadow.allocate(model, *backend));
      std::vector<double> copied, updated, ratios;
      for (int round = -1; round < o.rounds; ++round) {
        Status status;
        const double c = seconds_of([&] { return copy(tensors, copies, threads); }, status);
        const double u = seconds_of(
            [&]() -> Status {
              rollout::WeightUpdate update(model, *backend, shadow, {.isa = isa, .threads = threads});
              for (const Tensor& t : tensors) OCTAVO_TRY(update.write(t.info, t.bytes));
              OCTAVO_ASSIGN(const auto done, update.commit(model));
              return done.parameters > 0 ? Status() : failure("nothing was updated");
            },
            status);
        OCTAVO_TRY(status);
        if (round < 0) continue;
        copied.push_back(gb / c);
        updated.push_back(gb / u);
        ratios.push_back(c / u);
      }
      fmt::print("{:<14}{:>8}{:>14.2f}{:>14.2f}{:>10.2f}{:>18}\n", name, threads, median(copied), median(updated),
                 median(ratios),
                 fmt::format("({:.2f}, {:.2f})", *std::min_element(ratios.begin(), ratios.end()),
                             *std::max_element(ratios.begin(), ratios.end())));
    }
  }
  return {};
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) {
  octavo::Options options;
  CLI::App app("A weight update beside a copy of the same bytes");
  app.add_option("MODEL", options.model)->required();
  app.add_option("--quantization", options.quantizations)->delimiter(',');
  app.add_option("--threads", options.threads)->delimiter(',');
  app.add_option("--rounds", options.rounds);
  CLI11_PARSE(app, argc, argv);
  const octavo::Status status = octavo::run(options);
  if (!status.ok()) fmt::print(stderr, "refit_bench: {}\n", status.error().message);
  return status.ok() ? 0 : 1;
}
