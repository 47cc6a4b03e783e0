// A plan carried out for the command line: what `quantize` and `convert` have in common.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cli/command.h"
#include "cli/job_flags.h"
#include "octavo/base/cpu.h"
#include "octavo/checkpoint/loader_table.h"
#include "octavo/quant/plan.h"

namespace octavo::cli {

struct PlanRun {
  CommonOptions common;
  std::string out, explain;
  std::optional<Loader> loader;  // --for: what it does not take of the plan is an error
  bool dry_run = false, sqnr = false;
  JobFlags job;
};
// --dry-run, --explain, and what every command that makes a folder has.
void add_plan_run(CLI::App& command, PlanRun& options);
// What can be told before the model is opened.
Status check_plan_run(const PlanRun& options);
// Warnings, then the plan's text, or the folder and its summary. `command`: for messages.
Outcome run_plan(std::string_view command, const Checkpoint& checkpoint, const quant::Plan& plan,
                 const PlanRun& options, Isa isa);

}  // namespace octavo::cli
