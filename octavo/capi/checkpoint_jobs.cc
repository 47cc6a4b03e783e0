// quantize and verify, as the command does them.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "octavo/base/memory.h"
#include "octavo/capi/error.h"
#include "octavo/capi/quant_words.h"
#include "octavo/quant/summary_json.h"
#include "octavo/verify/verify.h"

using namespace octavo;        // NOLINT: this file defines C functions
using namespace octavo::capi;  // NOLINT

namespace {

constexpr auto kPollEvery = std::chrono::milliseconds(100);

class ByteCounter : public ProgressSink {
 public:
  void advance(std::uint64_t bytes, std::string_view /*item*/) override { done_ += bytes; }
  void skip(std::uint64_t bytes) override { done_ += bytes; }
  std::uint64_t done() const { return done_; }

 private:
  std::atomic<std::uint64_t> done_{0};
};

// Runs `work` in a thread of its own while this one polls. `stop` is set when the poll asks for the end.
Status run_polled(octavo_poll poll, void* user, const ByteCounter& progress, std::uint64_t total,
                  std::atomic<int>& stop, const std::function<Status()>& work) {
  if (poll == nullptr) return work();
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<octavo_code> done;
  std::string message;
  Status status;
  std::thread worker([&] {
    Status result;
    const octavo_code ended = guarded([&]() -> Status {
      result = work();
      return result;
    });
    if (ended != OCTAVO_OK && result.ok()) result = failure("{}", octavo_last_error());  // an exception
    const std::lock_guard lock(mutex);
    status = std::move(result);
    done = ended;
    changed.notify_all();
  });
  {
    std::unique_lock lock(mutex);
    while (!done) {
      if (changed.wait_for(lock, kPollEvery, [&] { return done.has_value(); })) break;
      lock.unlock();
      if (poll(user, std::min(progress.done(), total), total) != 0) stop = 1;
      lock.lock();
    }
  }
  worker.join();
  return status;
}

Result<Checkpoint> open_folder(const std::string& path) { return Checkpoint::open(path); }

Result<Json> quantize(const std::string& model, const std::string& output, const char* options, octavo_poll poll,
                      void* user) {
  OCTAVO_ASSIGN(const Json json, parse_options(options, "options"));
  quant::SpecOptions words;
  std::vector<std::string> only;
  bool lm_head = false, sqnr = false, restart = false;
  int threads = 0;
  FieldReader f(json);
  read_spec(f, words);
  read_kept(f, words.keep);
  f.strings("only", only);
  f.read("lm_head", lm_head);
  f.read("sqnr", sqnr);
  f.read("restart", restart);
  read_threads(f, threads);
  OCTAVO_TRY(f.finish());
  OCTAVO_ASSIGN(quant::QuantSpec spec, quant::make_spec(words, *quant::find_scheme("dynamic")));
  spec.only = only;
  spec.lm_head = lm_head;
  OCTAVO_TRY(quant::check_spec(spec));
  OCTAVO_ASSIGN(const Isa isa, select_isa());
  OCTAVO_ASSIGN(Checkpoint checkpoint, open_folder(model));
  checkpoint.split_experts();
  OCTAVO_ASSIGN(const quant::Plan plan, quant::make_plan(checkpoint, spec));
  for (const quant::LoaderRefusal& refusal : plan.refused) {
    if (refusal.loader == find_loader(words.loader)) return failure("loader {}: {}", words.loader, refusal.why);
  }
  ByteCounter progress;
  std::atomic<int> stop{0};
  quant::ExecuteOptions execute;
  execute.threads = threads;
  execute.isa = isa;
  execute.sqnr = sqnr;
  execute.progress = &progress;
  JobOptions job;
  job.folder.restart = restart;
  job.stop = &stop;
  // Where the model does not fit the memory, its pages would push out those of everybody else.
  job.release_cache = plan.source_bytes + plan.output_bytes > available_memory() / 2;
  quant::Summary summary;
  OCTAVO_TRY(run_polled(poll, user, progress, plan.read_bytes, stop, [&]() -> Status {
    auto result = quant::execute(checkpoint, plan, output, execute, job);
    if (!result.ok() && result.error().kind == ErrorKind::kInterrupted) {
      return Error{
          ErrorKind::kInterrupted,
          fmt::format("stopped; what is done is kept in {}.partial, and the same call goes on from there", output)};
    }
    OCTAVO_ASSIGN(summary, std::move(result));
    return {};
  }));
  return quant::summary_json(output, plan, summary, sqnr);
}

Result<Json> verify_folder(const std::string& folder, const char* options, octavo_poll poll, void* user) {
  OCTAVO_ASSIGN(const Json json, parse_options(options, "options"));
  std::string against;
  std::vector<std::string> loaders;
  verify::Options wanted;
  FieldReader f(json);
  f.read("against", against);
  f.strings("loaders", loaders);
  read_threads(f, wanted.threads);
  OCTAVO_TRY(f.finish());
  for (const std::string& name : loaders) {
    const auto loader = find_loader(name);
    if (!loader) return usage_error("loaders: {} is unknown; one of {}", printable(name), loader_names());
    const bool known = std::find(wanted.loaders.begin(), wanted.loaders.end(), *loader) != wanted.loaders.end();
    if (!known) wanted.loaders.push_back(*loader);
  }
  OCTAVO_ASSIGN(const Checkpoint checkpoint, open_folder(folder));
  std::optional<Checkpoint> source;
  if (!against.empty()) {
    OCTAVO_ASSIGN(source, open_folder(against));
    // `quantize` writes experts one by one, in whatever form the source has them.
    const auto joined = [&](const CheckpointTensor& t) { return t.shape.size() == 3 && !checkpoint.find(t.name); };
    if (std::any_of(source->tensors().begin(), source->tensors().end(), joined)) source->split_experts();
  }
  ByteCounter progress;
  std::atomic<int> stop{0};
  wanted.progress = &progress;
  Json report;
  OCTAVO_TRY(run_polled(poll, user, progress, checkpoint.data_bytes(), stop, [&]() -> Status {
    OCTAVO_ASSIGN(const verify::Report made, verify::verify(checkpoint, source ? &*source : nullptr, wanted));
    report = verify::report_json(made);
    return {};
  }));
  if (stop != 0) return stopped();
  return report;
}

}  // namespace

extern "C" {

octavo_code octavo_quantize(const char* model, const char* output, const char* options, octavo_poll poll, void* user,
                            octavo_buffer* summary) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(model, "model"));
    OCTAVO_TRY(needed(output, "output"));
    OCTAVO_ASSIGN(const Json made, quantize(model, output, options, poll, user));
    if (summary != nullptr) give(summary, json_text(made));
    return {};
  });
}

octavo_code octavo_verify(const char* folder, const char* options, octavo_poll poll, void* user,
                          octavo_buffer* report) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(folder, "folder"));
    OCTAVO_TRY(needed(report, "report"));
    OCTAVO_ASSIGN(const Json made, verify_folder(folder, options, poll, user));
    give(report, json_text(made));
    return {};
  });
}

}  // extern "C"
