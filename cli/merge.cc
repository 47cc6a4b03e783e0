// octavo merge: parts of an output (--part) that were made in folders of their own, put together.
#include "octavo/checkpoint/merge.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/job_flags.h"
#include "cli/progress_bar.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"

namespace octavo::cli {
namespace {

struct Options {
  CommonOptions common;
  std::vector<std::string> parts;
  std::string out;
  JobFlags job;
};

Outcome run(const Options& o) {
  const std::vector<std::filesystem::path> parts(o.parts.begin(), o.parts.end());
  MergeOptions options;
  options.threads = worker_count(o.common.threads);
  const std::uint64_t bytes = merge_bytes(parts);
  OCTAVO_ASSIGN(const JobSetup setup, set_up_job(o.job, 0, 2 * bytes, options.threads));
  options.window_bytes = setup.window_bytes;
  options.job = setup.job;
  catch_interrupts();
  MergeSummary s;
  {
    ProgressBar progress("merge", bytes, o.common.quiet);
    options.progress = &progress;
    auto result = merge_parts(parts, o.out, options);
    if (!result.ok() && result.error().kind == ErrorKind::kInterrupted) return interrupted(o.out);
    OCTAVO_ASSIGN(s, std::move(result));
  }
  const std::string human = s.already_finished
                                ? fmt::format("{}: finished already; nothing to do\n", o.out)
                                : fmt::format("{}: {} parts, {} files, {}{} in {:.2f} s\n", o.out, s.parts, s.files,
                                              human_bytes(s.bytes), s.in_place ? " (in place)" : "", s.seconds);
  const Json json = {{"output", o.out},        {"parts", s.parts},
                     {"files", s.files},       {"bytes", s.bytes},
                     {"in_place", s.in_place}, {"already_finished", s.already_finished},
                     {"seconds", s.seconds},   {"peak_memory_bytes", peak_memory()}};
  OCTAVO_TRY(print_result(o.common, human, json));
  return 0;
}

}  // namespace

void add_merge(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  Options& o = *options;
  CLI::App* command = add_command(app, "merge", "Put parts made with --part I/N together",
                                  "octavo merge part1 part2 part3 part4 -o Qwen3-235B-FP8");
  command->add_option("PARTS", o.parts, "the outputs of the parts (OUT.partial is found by OUT)")
      ->required()
      ->option_text(" ");
  command->add_option("-o,--output", o.out, "folder to write; may be the parts' own, when they share one")
      ->option_text("OUT")
      ->required();
  add_job_flags(*command, o.job, false);
  add_common_options(*command, o.common);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace octavo::cli
