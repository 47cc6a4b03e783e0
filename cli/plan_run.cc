// A plan carried out for the command line: --dry-run, --explain, progress, the summary. For `quantize` and `convert`.
#include "cli/plan_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/interrupt.h"
#include "cli/progress_bar.h"
#include "octavo/base/memory.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/quant/summary_json.h"

namespace octavo::cli {
namespace {

// What was lost by kind of module, and where most of it.
std::string format_sqnr(const quant::Summary& s) {
  constexpr std::size_t kWorst = 5;
  std::string text = "  SQNR\n";
  for (const auto& kind : s.kinds) {
    text += fmt::format("    {:<12} {:6.2f} dB over {} weights\n", printable(kind.kind),
                        quant::sqnr_db(kind.distortion), kind.tensors);
  }
  auto worst = s.distortions;
  std::stable_sort(worst.begin(), worst.end(), [](const auto& a, const auto& b) {
    return quant::sqnr_db(a.distortion) < quant::sqnr_db(b.distortion);
  });
  if (worst.size() > kWorst) worst.resize(kWorst);
  if (!worst.empty()) text += "    lowest:\n";
  for (const auto& module : worst) {
    text += fmt::format("    {:6.2f} dB  {}\n", quant::sqnr_db(module.distortion), printable(module.module));
  }
  return text;
}

std::string format_summary(const PlanRun& o, const quant::Plan& plan, const quant::Summary& s) {
  const std::string& out = o.out;
  if (s.already_finished) {
    return fmt::format("{}: finished already; nothing to do\n{}", out,
                       o.sqnr ? "  SQNR is measured while a folder is written: choose another output for it\n" : "");
  }
  std::string text = fmt::format("{}: {} weights to FP8 ({}, {}), {} tensors kept\n", out, s.quantized,
                                 plan.spec.scheme.name, quant::format_name(plan.spec.format), s.kept);
  if (plan.convert) {
    text +=
        fmt::format("  from         {}\n  codes        {} weights have theirs as they were, {} were encoded again\n",
                    printable(plan.source_format), plan.relabelled, plan.quantized - plan.relabelled);
    if (plan.decoded > 0) text += fmt::format("  to BF16      {} weights that were FP8\n", plan.decoded);
  }
  text += fmt::format("  bytes        {} -> {} ({:.1f} %)\n", human_bytes(s.source_bytes), human_bytes(s.output_bytes),
                      100.0 * static_cast<double>(s.output_bytes) / static_cast<double>(s.source_bytes));
  float low = s.kinds.empty() ? 0 : s.kinds.front().min_scale, high = 0;
  for (const auto& kind : s.kinds) {
    low = std::min(low, kind.min_scale);
    high = std::max(high, kind.max_scale);
  }
  if (!s.kinds.empty()) text += fmt::format("  scales       {:.3g} .. {:.3g}\n", low, high);
  text += fmt::format("  time         {:.2f} s, {:.2f} GB/s of source\n", s.seconds, quant::gb_per_second(s));
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

}  // namespace

Status check_plan_run(const PlanRun& o) {
  if (o.common.json && !o.explain.empty()) {
    return usage_error("--explain prints text; --dry-run --json has every tensor with its reason");
  }
  OCTAVO_TRY(parse_memory(o.job.memory));
  const bool writes = !o.dry_run && o.explain.empty();
  if (writes && o.out.empty()) return usage_error("-o OUT is missing: where the FP8 model goes");
  return {};
}

Outcome run_plan(std::string_view command, const Checkpoint& checkpoint, const quant::Plan& plan, const PlanRun& o,
                 Isa isa) {
  for (const quant::LoaderRefusal& refusal : plan.refused) {
    if (refusal.loader == o.loader) return failure("--for {}: {}", loader_name(*o.loader), refusal.why);
  }
  for (const std::string& warning : plan.warnings) fmt::print(stderr, "octavo {}: warning: {}\n", command, warning);
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
    ProgressBar progress(std::string(command), plan.read_bytes, o.common.quiet);
    options.progress = &progress;
    auto result = quant::execute(checkpoint, plan, o.out, options, setup.job);
    if (!result.ok() && result.error().kind == ErrorKind::kInterrupted) return interrupted(o.out);
    OCTAVO_ASSIGN(summary, std::move(result));
  }
  OCTAVO_TRY(
      print_result(o.common, format_summary(o, plan, summary), quant::summary_json(o.out, plan, summary, o.sqnr)));
  return 0;
}

void add_plan_run(CLI::App& command, PlanRun& o) {
  command.add_flag("--dry-run", o.dry_run, "print the plan, write nothing")->group("Run");
  command.add_option("--explain", o.explain, "say what happens to a tensor, and why; write nothing")
      ->option_text("NAME")
      ->group("Run");
  add_job_flags(command, o.job, true);
  add_common_options(command, o.common);
}

}  // namespace octavo::cli
