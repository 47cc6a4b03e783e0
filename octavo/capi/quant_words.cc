// JSON to a quant::SpecOptions.
#include "octavo/capi/quant_words.h"

#include "octavo/base/workers.h"

namespace octavo::capi {

void read_threads(FieldReader& f, int& out) {
  constexpr std::uint64_t kMost = 4096;
  std::uint64_t asked = 0;
  f.read("threads", asked);
  if (asked > kMost) f.fail("threads", fmt::format("{} is more than {}", asked, kMost));
  out = worker_count(static_cast<int>(std::min(asked, kMost)));
}

void read_kept(FieldReader& f, quant::KeepOptions& out) {
  f.strings("ignore", out.ignore);
  f.read("keep_first", out.keep_first);
  f.read("keep_last", out.keep_last);
}

void read_spec(FieldReader& f, quant::SpecOptions& out) {
  f.read("scheme", out.scheme);
  f.read("format", out.format);
  read_name(f, "loader", {"vllm", "sglang", "transformers", "tensorrt-llm"}, out.loader);
  read_name(f, "dtype", {"e4m3", "e5m2"}, out.dtype);
  read_name(f, "arith", {"f32", "bf16"}, out.arith);
  read_name(f, "scale_dtype", {"f32", "bf16"}, out.scale_dtype);
  f.read("block_size", out.block);
  read_name(f, "edge", {"partial", "channel"}, out.edge);
  read_name(f, "nonfinite", {"error", "zero"}, out.nonfinite);
  f.read("pow2_scales", out.pow2_scales);
  f.read("direct", out.direct);
}

}  // namespace octavo::capi
