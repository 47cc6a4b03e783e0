// octavo quantize: flags to a QuantSpec, plan, execute, summary.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/job_flags.h"
#include "cli/model_source.h"
#include "cli/progress_bar.h"
#include "cli/quant_options.h"
#include "octavo/base/cpu.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/quant/execute.h"
#include "octavo/quant/plan.h"

namespace octavo::cli {
namespace {

struct QuantizeOptions {
  CommonOptions common;
  std::string source, out;
  std::string scheme = "dynamic", format, dtype = "e4m3", scale_dtype, block, edge = "partial", nonfinite = "error";
  KeepOptions keep;
  std::vector<std::string> only;
  bool lm_head = false, pow2_scales = false, direct = false, dry_run = false, sqnr = false;
  std::string explain;
  JobFlags job;
};

// "128x128" or "128,128"; one number is both.
Status parse_block(const std::string& text, quant::Scheme& scheme) {
  constexpr std::uint64_t kLargest = 1 << 16;
  std::vector<std::uint64_t> sizes;
  for (const std::string_view part : split(text, text.find(',') != text.npos ? ',' : 'x')) {
    std::uint64_t size = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), size);
    const bool whole = error == std::errc() && end == part.data() + part.size();
    if (!whole || size == 0 || size > kLargest || sizes.size() == 2) {
      return usage_error("--block-size {}: must be ROWSxCOLUMNS of 1 to {} each, such as 128x128", printable(text),
                         kLargest);
    }
    sizes.push_back(size);
  }
  if (scheme.granularity != quant::Granularity::kBlock) {
    return usage_error("--block-size goes with --scheme block, not {}", scheme.name);
  }
  scheme.block_n = sizes.front();
  scheme.block_k = sizes.back();
  return {};
}

Result<quant::QuantSpec> make_spec(const QuantizeOptions& o) {
  OCTAVO_ASSIGN(quant::QuantSpec spec, quant::make_spec(o.scheme, o.format));
  if (!o.block.empty()) OCTAVO_TRY(parse_block(o.block, spec.scheme));
  spec.dtype = o.dtype == "e5m2" ? fp8::Format::kE5M2 : fp8::Format::kE4M3;
  if (!o.scale_dtype.empty()) {
    spec.scale_dtype = o.scale_dtype == "bf16" ? fp8::ScaleDType::kBF16 : fp8::ScaleDType::kF32;
  }
  spec.pow2_scales = o.pow2_scales;
  spec.direct = o.direct;
  spec.nonfinite = o.nonfinite == "zero" ? quant::NonFinite::kZero : quant::NonFinite::kError;
  spec.edge = edge_of(o.edge);
  set_kept(o.keep, spec);
  spec.only = o.only;
  spec.lm_head = o.lm_head;
  OCTAVO_TRY(quant::check_spec(spec));
  return spec;
}

// In dB; nothing lost is infinite.
double sqnr(const quant::Distortion& d) {
  return d.noise > 0 ? 10.0 * std::log10(d.signal / d.noise) : std::numeric_limits<double>::infinity();
}

// Read by this run, not by one before it.
double gb_per_second(const quant::Summary& s) {
  return s.seconds > 0 ? static_cast<double>(s.part_bytes - s.resumed_bytes) / 1e9 / s.seconds : 0;
}

// What was lost by kind of module, and where most of it.
std::string format_sqnr(const quant::Summary& s) {
  constexpr std::size_t kWorst = 5;
  std::string text = "  SQNR\n";
  for (const auto& kind : s.kinds) {
    text += fmt::format("    {:<12} {:6.2f} dB over {} weights\n", printable(kind.kind), sqnr(kind.distortion),
                        kind.tensors);
  }
  auto worst = s.distortions;
  std::stable_sort(worst.begin(), worst.end(),
                   [](const auto& a, const auto& b) { return sqnr(a.distortion) < sqnr(b.distortion); });
  if (worst.size() > kWorst) worst.resize(kWorst);
  if (!worst.empty()) text += "    lowest:\n";
  for (const auto& module : worst) {
    text += fmt::format("    {:6.2f} dB  {}\n", sqnr(module.distortion), printable(module.module));
  }
  return text;
}

std::string format_summary(const QuantizeOptions& o, const quant::Plan& plan, const quant::Summary& s) {
  const std::string& out = o.out;
  if (s.already_finished) {
    return fmt::format("{}: finished already; nothing to do\n{}", out,
                       o.sqnr ? "  SQNR is measured while a folder is written: choose another output for it\n" : "");
  }
  std::string text = fmt::format("{}: {} weights to FP8 ({}, {}), {} tensors kept\n", out, s.quantized,
                                 plan.spec.scheme.name, quant::format_name(plan.spec.format), s.kept);
  text += fmt::format("  bytes        {} -> {} ({:.1f} %)\n", human_bytes(s.source_bytes), human_bytes(s.output_bytes),
                      100.0 * static_cast<double>(s.output_bytes) / static_cast<double>(s.source_bytes));
  float low = s.kinds.empty() ? 0 : s.kinds.front().min_scale, high = 0;
  for (const auto& kind : s.kinds) {
    low = std::min(low, kind.min_scale);
    high = std::max(high, kind.max_scale);
  }
  text += fmt::format("  scales       {:.3g} .. {:.3g}\n", low, high);
  text += fmt::format("  time         {:.2f} s, {:.2f} GB/s of source\n", s.seconds, gb_per_second(s));
  if (s.resumed_bytes > 0) {
    text += fmt::format("  resumed      {} of {} had been done before\n", human_bytes(s.resumed_bytes),
                        human_bytes(s.part_bytes));
  }
  text += fmt::format("  peak memory  {}\n", human_bytes(peak_memory()));
  if (s.zeroed > 0) text += fmt::format("  zeroed       {} values that were NaN or infinite\n", s.zeroed);
  for (const std::string& module : plan.edge_channel) {
    text += fmt::format("  per channel  {} (does not fit whole blocks)\n", printable(module));
  }
  if (o.sqnr) text += format_sqnr(s);
  return text + missing_text(o.job, s.missing_parts, out);
}

// JSON has no infinity.
Json sqnr_json(const quant::Distortion& d) { return d.noise > 0 ? Json(sqnr(d)) : Json(nullptr); }

Json summary_json(const QuantizeOptions& o, const quant::Plan& plan, const quant::Summary& s) {
  Json kinds = Json::array();
  for (const auto& kind : s.kinds) {
    kinds.push_back(
        {{"kind", kind.kind}, {"tensors", kind.tensors}, {"min_scale", kind.min_scale}, {"max_scale", kind.max_scale}});
    if (o.sqnr) kinds.back()["sqnr_db"] = sqnr_json(kind.distortion);
  }
  Json out = {{"output", o.out},
              {"already_finished", s.already_finished},
              {"scheme", plan.spec.scheme.name},
              {"format", quant::format_name(plan.spec.format)},
              {"quantized", s.quantized},
              {"kept", s.kept},
              {"source_bytes", s.source_bytes},
              {"output_bytes", s.output_bytes},
              {"seconds", s.seconds},
              {"gb_per_s", gb_per_second(s)},
              {"resumed_bytes", s.resumed_bytes},
              {"missing_parts", s.missing_parts},
              {"peak_memory_bytes", peak_memory()},
              {"zeroed", s.zeroed},
              {"edge_channel", plan.edge_channel},
              {"kinds", std::move(kinds)},
              {"warnings", plan.warnings}};
  if (!o.sqnr || s.already_finished) return out;
  Json& modules = out["sqnr"] = Json::array();
  for (const auto& module : s.distortions) {
    modules.push_back({{"module", module.module}, {"db", sqnr_json(module.distortion)}});
  }
  return out;
}

Outcome run_quantize(const QuantizeOptions& o) {
  OCTAVO_ASSIGN(const quant::QuantSpec spec, make_spec(o));
  OCTAVO_ASSIGN(const Isa isa, select_isa());
  if (o.common.json && !o.explain.empty()) {
    return usage_error("--explain prints text; --dry-run --json has every tensor with its reason");
  }
  OCTAVO_TRY(parse_memory(o.job.memory));
  const bool writes = !o.dry_run && o.explain.empty();
  if (writes && o.out.empty()) return usage_error("-o OUT is missing: where the FP8 model goes");
  OCTAVO_ASSIGN(const Checkpoint checkpoint, open_model(o.source, "quantize", o.common.quiet));
  OCTAVO_ASSIGN(const quant::Plan plan, quant::make_plan(checkpoint, spec));
  for (const std::string& warning : plan.warnings) fmt::print(stderr, "octavo quantize: warning: {}\n", warning);
  if (!o.explain.empty()) {
    OCTAVO_ASSIGN(const std::string text, quant::explain(checkpoint, plan, o.explain));
    fmt::print("{}", text);
    return 0;
  }
  if (o.dry_run) {
    OCTAVO_TRY(print_streamed(
        o.common, [&](const TextSink& sink) { return quant::write_plan_text(checkpoint, plan, sink); },
        [&](const TextSink& sink) { return quant::write_plan_json(checkpoint, plan, sink); }));
    return 0;
  }
  quant::ExecuteOptions options;
  options.threads = worker_count(o.common.threads);
  options.isa = isa;
  options.sqnr = o.sqnr;
  OCTAVO_ASSIGN(const JobSetup setup,
                set_up_job(o.job, checkpoint.tensors().size(), plan.source_bytes + plan.output_bytes, options.threads));
  options.window_bytes = setup.window_bytes;
  catch_interrupts();
  quant::Summary summary;
  {
    ProgressBar progress("quantize", plan.source_bytes, o.common.quiet);
    options.progress = &progress;
    auto result = quant::execute(checkpoint, plan, o.out, options, setup.job);
    if (!result.ok() && result.error().kind == ErrorKind::kInterrupted) return interrupted(o.out);
    OCTAVO_ASSIGN(summary, std::move(result));
  }
  OCTAVO_TRY(print_result(o.common, format_summary(o, plan, summary), summary_json(o, plan, summary)));
  return 0;
}

}  // namespace

void add_quantize(CLI::App& app, Action& action) {
  auto options = std::make_shared<QuantizeOptions>();
  QuantizeOptions& o = *options;
  CLI::App* command = add_command(app, "quantize", "Write a model folder in FP8, streaming, in bounded memory",
                                  "octavo quantize Qwen3-8B -o Qwen3-8B-FP8 --scheme block");
  command->add_option("MODEL", o.source, "Hugging Face model folder (safetensors)")->required()->option_text(" ");
  command->add_option("-o,--output", o.out, "folder to write; OUT.partial until it is whole")->option_text("OUT");

  command
      ->add_option("--scheme", o.scheme,
                   "dynamic: per channel, activations per token (default)\n"
                   "block: 128x128 blocks\n"
                   "tensor: one scale a tensor, shared by q/k/v and gate/up\n"
                   "weight-only: per channel, activations in BF16")
      ->option_text("NAME")
      ->group("Scheme");
  command->add_option("--format", o.format, "dialect of config.json: fp8 or compressed-tensors (default: by scheme)")
      ->option_text("NAME")
      ->group("Scheme");
  command->add_option("--dtype", o.dtype, "e4m3 (default) or e5m2 (fp8 format only; no engine loads it)")
      ->check(CLI::IsMember({"e4m3", "e5m2"}))
      ->option_text("NAME")
      ->group("Scheme");
  command->add_option("--block-size", o.block, "block of --scheme block (default 128x128)")
      ->option_text("ROWSxCOLS")
      ->group("Scheme");
  add_edge_option(*command, o.edge, "compressed-tensors", "Scheme");
  command->add_option("--scale-dtype", o.scale_dtype, "f32 or bf16 (default: f32 in fp8, bf16 in compressed-tensors)")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->option_text("NAME")
      ->group("Scheme");
  command->add_flag("--pow2-scales", o.pow2_scales, "round scales up to powers of two")->group("Scheme");

  add_keep_options(*command, o.keep, "Selection");
  command->add_option("--only", o.only, "quantize nothing but these; repeatable")
      ->allow_extra_args(false)
      ->option_text("PATTERN")
      ->group("Selection");
  command->add_flag("--lm-head", o.lm_head, "quantize the output head too, per channel (compressed-tensors)")
      ->group("Selection");

  command->add_flag("--direct", o.direct, "quantize FP32 weights as they are, not rounded to BF16 first")
      ->group("Numbers");
  command->add_option("--nonfinite", o.nonfinite, "NaN or infinity in a weight: error (default) or zero")
      ->check(CLI::IsMember({"error", "zero"}))
      ->option_text("HOW")
      ->group("Numbers");

  command->add_flag("--sqnr", o.sqnr, "measure what quantization does to each weight: signal to noise in dB")
      ->group("Numbers");

  command->add_flag("--dry-run", o.dry_run, "print the plan, write nothing")->group("Run");
  command->add_option("--explain", o.explain, "say what happens to a tensor, and why; write nothing")
      ->option_text("NAME")
      ->group("Run");
  add_job_flags(*command, o.job, true);
  add_common_options(*command, o.common);
  command->footer("Legal pairs of --scheme and --format, and who loads them:\n" + quant::legal_pairs_table() +
                  "\nExample:\n  octavo quantize Qwen3-8B -o Qwen3-8B-FP8 --scheme block");
  command->callback([options, &action] { action = [options] { return run_quantize(*options); }; });
}

}  // namespace octavo::cli
