// One spec out of several ways to say it, and what contradicts itself.
#include "octavo/dialect/online_choice.h"

#include "octavo/dialect/vllm.h"

namespace octavo::dialect {
namespace {

// What a file or an object of another language says, if one is given.
Result<std::optional<Meaning>> foreign_meaning(const OnlineChoice& o) {
  if (o.file) return o.file;
  if (!o.hf_overrides.empty()) {
    if (!o.quantization_config.empty()) {
      return usage_error("--hf-overrides and --quantization-config both say how to quantize; keep one");
    }
    const Config config = read_hf_overrides(o.hf_overrides, o.quantization, "--hf-overrides");
    if (!config.errors.empty()) return config.error();
    return std::optional(config.meanings.front());
  }
  if (o.quantization_config.empty()) {
    if (o.quantization == "online") return usage_error("--quantization online needs --quantization-config");
    return std::optional<Meaning>();
  }
  const Config config = read_quantization_config(o.quantization_config, o.quantization, "--quantization-config");
  if (!config.errors.empty()) return config.error();
  return std::optional(config.meanings.front());
}

// Two ways to say which modules stay as they are must not say different things.
Status check_kept(const OnlineChoice& o, const Meaning& m) {
  const quant::KeepOptions& keep = o.keep;
  const char* flag = !keep.ignore.empty() && m.said.contains("ignore")       ? "ignore"
                     : keep.keep_first != 0 && m.said.contains("keep-first") ? "keep-first"
                     : keep.keep_last != 0 && m.said.contains("keep-last")   ? "keep-last"
                                                                             : nullptr;
  if (flag == nullptr) return {};
  return usage_error("--{} and {} both say which modules stay as they are; keep one", flag, m.said.at(flag));
}

Result<std::optional<quant::QuantSpec>> chosen_spec(const OnlineChoice& o, const std::optional<Meaning>& foreign) {
  if (foreign ? !foreign->spec : o.quantization.empty()) {
    const char* stray = !o.keep.ignore.empty()   ? "--ignore"
                        : o.keep.keep_first != 0 ? "--keep-first"
                        : o.keep.keep_last != 0  ? "--keep-last"
                        : !o.edge.empty()        ? "--edge"
                                                 : nullptr;
    if (stray != nullptr) {
      return usage_error("{} goes with --quantization: without it the model runs as its folder has it", stray);
    }
    return std::optional<quant::QuantSpec>();
  }
  OCTAVO_ASSIGN(quant::QuantSpec spec,
                online_spec(foreign ? foreign->online_name : o.quantization, quant::edge_of(o.edge)));
  quant::set_kept(o.keep, spec);
  if (foreign) {
    const quant::QuantSpec& said = *foreign->spec;
    OCTAVO_TRY(check_kept(o, *foreign));
    spec.scheme = said.scheme;
    spec.pow2_scales = said.pow2_scales;
    spec.only = said.only;
    if (spec.ignore.empty()) spec.ignore = said.ignore;
    if (spec.keep_first == 0) spec.keep_first = said.keep_first;
    if (spec.keep_last == 0) spec.keep_last = said.keep_last;
  }
  OCTAVO_TRY(quant::check_spec(spec));
  return std::optional(std::move(spec));
}

}  // namespace

Result<OnlineQuantization> online_quantization(const OnlineChoice& choice) {
  OCTAVO_ASSIGN(const std::optional<Meaning> foreign, foreign_meaning(choice));
  OnlineQuantization out;
  OCTAVO_ASSIGN(out.spec, chosen_spec(choice, foreign));
  if (foreign) out.kv_cache_dtype = foreign->kv_cache_dtype;
  return out;
}

}  // namespace octavo::dialect
