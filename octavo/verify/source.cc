// Tensor sets, kept tensors in pieces, config keys, companion files.
#include "octavo/verify/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>

#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/verify/codes.h"

namespace octavo::verify {
namespace {

constexpr std::uint64_t kPiece = std::uint64_t{1} << 22;  // bytes compared at a time
constexpr std::uint64_t kLargestFile = 64u << 20;         // of companion files that are compared

// Keys that tools change without changing the model.
bool is_cosmetic(std::string_view key) {
  static constexpr std::array<std::string_view, 6> kKeys = {
      "quantization_config", "transformers_version", "_name_or_path", "use_cache", "torch_dtype", "dtype"};
  return std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end();
}

// Whole rows of a tensor that lies transposed: parts of one are expensive.
std::uint64_t piece_bytes(const CheckpointTensor& tensor) {
  if (tensor.pitch == 0) return kPiece;
  const std::uint64_t row = tensor.shape.back() * dtype_bytes(tensor.dtype);
  return std::max(kPiece / row * row, row);
}

// A tensor that is the same in both, to be compared in pieces.
struct Pair {
  const CheckpointTensor* ours;
  const CheckpointTensor* theirs;
};

struct Piece {
  std::size_t pair;
  std::uint64_t begin, end;
};

class Source {
 public:
  Source(const Subject& subject, const Checkpoint& source, const Options& options, Report& report)
      : subject_(subject), ours_(*subject.checkpoint), source_(source), options_(options), report_(report) {}

  Status check() {
    check_unquantized();
    match_tensors();
    OCTAVO_TRY(compare_kept());
    compare_config();
    compare_files();
    return {};
  }

 private:
  void violation(const std::string& where, std::string what) {
    report_.violations.push_back({printable(where), std::move(what), ""});
  }

  static std::string describe(const CheckpointTensor& t) {
    return fmt::format("{} {}", dtype_name(t.dtype), shape_string(t.shape));
  }

  // FP8 against FP8 measures nothing: the codes' errors are those against the weights they were made from.
  void check_unquantized() {
    const auto config = source_.config().find("quantization_config");
    const bool says_so = config != source_.config().end() && !config->is_null();
    const bool is_so = std::any_of(subject_.modules.begin(), subject_.modules.end(), [&](const Module& m) {
      const CheckpointTensor* theirs = m.quantized() ? source_.find(m.weight->name) : nullptr;
      return theirs != nullptr && is_fp8(theirs->dtype);
    });
    if (!says_so && !is_so) return;
    violation(source_.dir().string(), "the source is itself quantized; give the folder it was made from");
  }

  void match_tensors() {
    std::unordered_set<std::string_view> quantized;
    for (const Module& module : subject_.modules) {
      if (module.quantized()) quantized.insert(module.weight->name);
    }
    for (const CheckpointTensor& ours : ours_.tensors()) {
      const CheckpointTensor* theirs = source_.find(ours.name);
      if (theirs == nullptr) {
        if (!is_scale_tensor(ours_, ours)) violation(ours.name, "is not in the source");
      } else if (theirs->dtype == ours.dtype && theirs->shape == ours.shape) {
        pairs_.push_back({&ours, theirs});
      } else if (!quantized.contains(ours.name) || !is_quantizable(theirs->dtype) || theirs->shape != ours.shape) {
        violation(ours.name, fmt::format("is {}, the source has {}", describe(ours), describe(*theirs)));
      }
    }
    for (const CheckpointTensor& theirs : source_.tensors()) {
      if (ours_.find(theirs.name) != nullptr) continue;
      if (subject_.tied && theirs.name == "lm_head.weight") {
        report_.warnings.push_back("lm_head.weight is left out; the config ties it to the embedding");
      } else {
        violation(theirs.name, fmt::format("is missing; the source has it, {}", describe(theirs)));
      }
    }
  }

  Status compare_kept() {
    std::vector<Piece> pieces;
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      const std::uint64_t bytes = pairs_[i].ours->bytes;
      const std::uint64_t step = piece_bytes(*pairs_[i].theirs);
      for (std::uint64_t at = 0; at < bytes; at += step) pieces.push_back({i, at, std::min(at + step, bytes)});
    }
    struct Buffers {
      std::vector<std::byte> ours, theirs;
    };
    std::vector<Buffers> buffers(static_cast<std::size_t>(options_.threads));
    std::vector<std::uint64_t> different(pieces.size(), kNowhere);  // first differing byte of the tensor
    Status done = for_each_index(options_.threads, pieces.size(), [&](std::size_t i, int worker) -> Status {
      const Piece& piece = pieces[i];
      const Pair& pair = pairs_[piece.pair];
      Buffers& b = buffers[static_cast<std::size_t>(worker)];
      const auto bytes = static_cast<std::size_t>(piece.end - piece.begin);
      b.ours.resize(bytes);
      b.theirs.resize(bytes);
      OCTAVO_TRY(ours_.read(*pair.ours, piece.begin, b.ours));
      OCTAVO_TRY(source_.read(*pair.theirs, piece.begin, b.theirs));
      if (std::memcmp(b.ours.data(), b.theirs.data(), bytes) != 0) {
        const auto at = std::mismatch(b.ours.begin(), b.ours.end(), b.theirs.begin()).first - b.ours.begin();
        different[i] = piece.begin + static_cast<std::uint64_t>(at);
      }
      if (options_.progress != nullptr && !is_counted(*pair.ours)) options_.progress->advance(bytes, pair.ours->name);
      return {};
    });
    if (!done.ok()) return done;
    std::vector<std::uint64_t> first(pairs_.size(), kNowhere);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      first[pieces[i].pair] = std::min(first[pieces[i].pair], different[i]);
    }
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      if (first[i] == kNowhere) continue;
      const std::uint64_t width = std::max<std::uint64_t>(dtype_bytes(pairs_[i].ours->dtype), 1);
      violation(pairs_[i].ours->name, fmt::format("is kept as {}, but differs from the source, first in element {}",
                                                  dtype_name(pairs_[i].ours->dtype), first[i] / width));
    }
    return {};
  }

  // Quantized weights and scales count as progress where they are read for themselves.
  bool is_counted(const CheckpointTensor& tensor) const {
    return is_fp8(tensor.dtype) || is_scale_tensor(ours_, tensor);
  }

  void compare_config() {
    if (!source_.has_config()) return;
    for (const auto& [key, value] : source_.config().items()) {
      if (is_cosmetic(key)) continue;
      const auto ours = ours_.config().find(key);
      if (ours == ours_.config().end()) {
        report_.warnings.push_back(fmt::format("config.json: /{} of the source is missing", printable(key)));
      } else if (*ours != value) {
        constexpr std::size_t kShown = 60;
        violation(
            fmt::format("config.json: /{}", printable(key)),
            fmt::format("is {}, the source has {}", printable(ours->dump(), kShown), printable(value.dump(), kShown)));
      }
    }
  }

  void compare_files() {
    const auto ours = ours_.other_files();
    for (const std::string& name : source_.other_files()) {
      if (!std::binary_search(ours.begin(), ours.end(), name)) {
        report_.warnings.push_back(fmt::format("{} of the source is missing", printable(name)));
        continue;
      }
      const auto a = read_text_file(ours_.dir() / name, kLargestFile);
      const auto b = read_text_file(source_.dir() / name, kLargestFile);
      if (a.ok() && b.ok() && *a != *b) {
        report_.warnings.push_back(fmt::format("{} differs from the source's", printable(name)));
      }
    }
  }

  const Subject& subject_;
  const Checkpoint& ours_;
  const Checkpoint& source_;
  const Options& options_;
  Report& report_;
  std::vector<Pair> pairs_;
};

}  // namespace

Status check_source(const Subject& subject, const Checkpoint& source, const Options& options, Report& report) {
  return Source(subject, source, options, report).check();
}

}  // namespace octavo::verify
