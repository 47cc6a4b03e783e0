// A plan into a sink, or into the folder of a job.
#include "octavo/quant/execute.h"

#include <chrono>

#include "octavo/checkpoint/job_inputs.h"
#include "octavo/quant/executor.h"

namespace octavo::quant {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The shards of an output folder, at the places the plan gave them.
class FolderSink final : public TensorSink {
 public:
  FolderSink(const Plan& plan, OutputJob& job) : plan_(plan), job_(job) {}
  Status write(std::uint32_t output, std::uint64_t offset, std::span<const std::byte> bytes) override {
    const OutputTensor& out = plan_.outputs[output];
    return job_.write(out.shard, out.offset + offset, bytes);
  }

 private:
  const Plan& plan_;
  OutputJob& job_;
};

// The shard that a unit writes to, and how much.
OutputUnit output_unit(const Plan& plan, const Unit& unit) {
  if (unit.pass == Pass::kAmax) return {kNoFile, unit.extent.count()};  // to be recorded as often as the others
  // Bytes of a copy, or codes of a byte each; scales are not worth counting.
  const OutputTensor& out = plan.outputs[plan.tensors[unit.tensor].output];
  return {out.shard, unit.extent.count() * (unit.pass == Pass::kDecode ? dtype_bytes(out.dtype) : 1)};
}

JobDescription describe(const Checkpoint& checkpoint, const Plan& plan, const Schedule& schedule) {
  JobDescription job;
  job.record.command = plan.convert ? "convert" : "quantize";
  job.record.options = spec_json(plan.spec);
  job.record.source = checkpoint_fingerprint(checkpoint);
  job.inputs = input_files(checkpoint);
  for (const PlannedShard& shard : plan.shards) job.files.push_back({shard.name, shard.bytes});
  job.head = [&plan](std::size_t file) { return shard_header(plan, file); };
  for (const Unit& unit : schedule.units) job.units.push_back(output_unit(plan, unit));
  // It would speak of the source.
  job.copies = copied_files(checkpoint, {"hf_quant_config.json"});
  for (const PlannedText& text : plan.texts) job.texts.push_back({text.name, text.text});
  if (plan.has_index) job.texts.push_back({"model.safetensors.index.json", index_text(plan)});
  job.texts.push_back({"config.json", plan.config_text});
  return job;
}

// What the part of `job` has to do: units that write its files, and the measuring ones of their regions.
void leave_out_others(const Schedule& schedule, const Plan& plan, const OutputJob& job, Executor& executor) {
  std::vector<bool> needed(schedule.regions);
  const auto mine = [&](const Unit& unit) { return job.mine(plan.outputs[plan.tensors[unit.tensor].output].shard); };
  for (const Unit& unit : schedule.units) {
    if (unit.pass == Pass::kEncodeShared && mine(unit)) needed[unit.region] = true;
  }
  for (std::uint32_t i = 0; i < schedule.units.size(); ++i) {
    const Unit& unit = schedule.units[i];
    if (unit.pass == Pass::kAmax ? !needed[unit.region] : !mine(unit)) executor.leave_out(i);
  }
}

}  // namespace

Result<Summary> encode_tensors(const Checkpoint& checkpoint, const Plan& plan, TensorSink& sink,
                               const ExecuteOptions& options) {
  const auto start = Clock::now();
  const Schedule schedule = make_schedule(checkpoint, plan);
  const std::uint64_t window = options.window_bytes != 0 ? options.window_bytes : online_window(options.threads);
  Executor executor(checkpoint, plan, schedule, sink, options, window);
  OCTAVO_TRY(executor.run({}));
  Summary summary = executor.summary();
  summary.seconds = seconds_since(start);
  return summary;
}

Result<Summary> execute(const Checkpoint& checkpoint, const Plan& plan, const std::filesystem::path& out,
                        const ExecuteOptions& options, const JobOptions& job_options) {
  const auto start = Clock::now();
  const Schedule schedule = make_schedule(checkpoint, plan);
  OCTAVO_ASSIGN(OutputJob job,
                OutputJob::open(out, {checkpoint.dir()}, describe(checkpoint, plan, schedule), job_options));
  FolderSink sink(plan, job);
  const std::uint64_t window = options.window_bytes != 0 ? options.window_bytes : kDefaultWindow;
  ExecuteOptions work = options;
  work.stop = job_options.stop;
  work.release_cache = job_options.release_cache;
  Executor executor(checkpoint, plan, schedule, sink, work, window);
  if (job.finished()) {
    Summary summary = executor.summary();
    summary.already_finished = true;
    return summary;
  }
  leave_out_others(schedule, plan, job, executor);
  std::uint64_t resumed = 0;
  for (const JournalRecord& record : job.done()) {
    if (record.unit >= schedule.units.size()) continue;  // a copied file
    const UnitResult result = from_record(record);
    if (result.zeroed != 0 && plan.spec.nonfinite != NonFinite::kZero) {
      return failure("{}: was begun with --nonfinite zero and has replaced {} values; go on with it, or --restart",
                     out.string(), result.zeroed);
    }
    const Unit& unit = schedule.units[record.unit];
    const bool encoded = unit.pass == Pass::kEncode || unit.pass == Pass::kEncodeShared;
    if (encoded && options.sqnr && result.measured == 0) continue;  // done again, to be measured: the same bytes
    executor.resume(record.unit, result);
    if (unit.pass != Pass::kAmax) resumed += executor.source_bytes(unit);
  }
  if (options.progress != nullptr) options.progress->skip(resumed);
  OCTAVO_TRY(executor.run(
      [&](std::uint32_t unit, const UnitResult& result) { return job.complete(to_record(unit, result)); }));
  OCTAVO_ASSIGN(const std::vector<std::uint32_t> missing, job.finish());
  Summary summary = executor.summary();
  summary.resumed_bytes = resumed;
  summary.missing_parts = missing;
  for (std::uint32_t i = 0; i < schedule.units.size(); ++i) {
    const Unit& unit = schedule.units[i];
    if (unit.pass != Pass::kAmax && job.mine(plan.outputs[plan.tensors[unit.tensor].output].shard)) {
      summary.part_bytes += executor.source_bytes(unit);
    }
  }
  summary.seconds = seconds_since(start);
  return summary;
}

}  // namespace octavo::quant
