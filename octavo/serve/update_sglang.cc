// SGLang's routes of weight updates (io_struct.py, http_server.py of 0.5.23): {"success", "message"} with 200 or 400.
#include <algorithm>

#include "octavo/base/hash.h"
#include "octavo/base/text.h"
#include "octavo/serve/update_state.h"

namespace octavo::serve {
namespace {

using engine::InFlight;
using Routes = std::shared_ptr<UpdateRoutes>;

// Fields that are taken and change nothing here: the prefix cache is always forgotten with the old weights, there is no
// torch, there are no CUDA graphs and there is no draft model.
void ignore_the_rest(FieldReader& f) {
  f.ignore({"flush_cache", "torch_empty_cache", "is_async", "recapture_cuda_graph", "token_step"});
  std::string selector = "all";
  f.read("selector", selector);
  if (selector != "all" && selector != "target") f.fail("selector", "must be all or target: there is no draft model");
}

void refuse(Exchange& x, const Error& error) {
  if (x.answered()) return;
  static_cast<void>(x.reply(Reply::json({{"success", false}, {"message", error.message}}, 400)));
}

void succeed(Exchange& x, Json more, const std::string& message) {
  Json out = {{"success", true}, {"message", message}};
  out.update(more);
  static_cast<void>(x.reply(Reply::json(out)));
}

// What a commit is told besides the tensors.
struct CommitFields {
  std::optional<std::string> label;
  std::string policy;
  std::optional<bool> abort_all;

  void read(FieldReader& f) {
    f.read("weight_version", label);
    f.read("policy", policy);
    f.read("abort_all_requests", abort_all);
    ignore_the_rest(f);
  }
  AskedPolicy asked() const {
    if (!policy.empty() || !abort_all) return {.name = policy};
    return *abort_all ? AskedPolicy{.name = "abort"} : AskedPolicy{.name = "", .keep = true};
  }
};

void begin(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  bool partial = false;
  f.read("partial", partial);
  ignore_the_rest(f);
  if (const Status status = f.finish(); !status.ok()) return refuse(x, status.error());
  const auto id = r.updates.begin(partial);
  if (!id.ok()) return refuse(x, id.error());
  succeed(x, {{"transaction", *id}}, "a weight update has begun");
}

void from_tensor(Exchange& x, UpdateRoutes& r) {
  const Json query = query_parameters(x.head());
  FieldReader f(query);
  CommitFields fields;
  bool whole = false, partial = false;
  f.read("whole", whole);
  f.read("partial", partial);
  fields.read(f);
  f.ignore({"load_format"});
  if (const Status status = f.finish(); !status.ok()) return refuse(x, status.error());
  if (whole) {
    // Said before the tensors come.
    if (const auto policy = r.policy(fields.asked()); !policy.ok()) return refuse(x, policy.error());
    const auto id = r.updates.begin(partial);
    if (!id.ok()) return refuse(x, id.error());
    if (const Status status = r.receive(x, *id); !status.ok()) return refuse(x, status.error());
    const auto done = r.commit(*id, fields.asked(), fields.label);
    if (!done.ok()) return refuse(x, done.error());
    return succeed(x, commit_json(*done), commit_sentence(*done));
  }
  const auto id = r.updates.open();
  if (!id) {
    return refuse(x, r.none_open("update_weights_from_tensor() must run between begin_weight_update() and "
                                 "end_weight_update(); ?whole=true makes a body an update of its own"));
  }
  if (const Status status = r.receive(x, *id); !status.ok()) return refuse(x, status.error());
  succeed(x, Json::object(), "the tensors have arrived; they serve after end_weight_update()");
}

void end(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  CommitFields fields;
  fields.read(f);
  if (const Status status = f.finish(); !status.ok()) return refuse(x, status.error());
  const auto done = r.commit(fields.asked(), fields.label);
  if (!done.ok()) return refuse(x, done.error());
  succeed(x, commit_json(*done), commit_sentence(*done));
}

void from_disk(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  CommitFields fields;
  std::string path, format;
  bool partial = false, keep_pause = false;
  f.read("model_path", path);
  f.read("load_format", format);
  f.read("partial", partial);
  f.read("keep_pause", keep_pause);  // an engine that was paused stays paused in any case
  f.refuse("manifest", "is not read");
  fields.read(f);
  if (path.empty()) f.fail("model_path", "is missing: a model folder or a safetensors file");
  if (!format.empty() && format != "auto" && format != "safetensors") {
    f.fail("load_format", "must be auto or safetensors");
  }
  if (const Status status = f.finish(); !status.ok()) return refuse(x, status.error());
  if (const auto policy = r.policy(fields.asked()); !policy.ok()) return refuse(x, policy.error());
  const auto id = r.updates.begin(partial);
  if (!id.ok()) return refuse(x, id.error());
  if (const Status sent = rollout::send_path(path, r.updates.receiver(*id)); !sent.ok()) {
    r.updates.abort(*id, sent.error().message);
    return refuse(x, sent.error());
  }
  const auto done = r.commit(*id, fields.asked(), fields.label);
  if (!done.ok()) return refuse(x, done.error());
  Json more = commit_json(*done);
  more["num_paused_requests"] = done->kept_requests;
  succeed(x, more, commit_sentence(*done));
}

void by_name(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  std::string name;
  std::uint64_t rows = 100;
  f.read("name", name);
  f.read("truncate_size", rows);
  if (const Status status = f.finish(); !status.ok()) return refuse(x, status.error());
  const auto got = r.updates.read(name, rows);
  if (!got.ok()) return refuse(x, got.error());
  Json out = Json::array();
  if (got->shape.size() == 1) {
    out = got->values;
  } else {
    for (std::size_t at = 0; at < got->values.size(); at += got->columns) {
      out.push_back(std::vector<float>(got->values.begin() + static_cast<std::ptrdiff_t>(at),
                                       got->values.begin() + static_cast<std::ptrdiff_t>(at + got->columns)));
    }
  }
  static_cast<void>(x.reply(Reply::json(out)));
}

void checker(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  std::string action;
  std::vector<std::string> skipped;
  f.read("action", action);
  f.strings("skip_tensor_list", skipped);
  f.ignore({"allow_quant_error", "selector"});
  if (action != "checksum" && action != "snapshot" && action != "compare") {
    f.fail("action", action == "reset_tensors" ? "reset_tensors would destroy the weights that serve"
                                               : "must be checksum, snapshot or compare");
  }
  if (const Status status = f.finish(); !status.ok()) return refuse(x, status.error());
  auto sums = r.updates.checksums();
  if (!sums.ok()) return refuse(x, sums.error());
  for (const std::string& name : skipped) sums->erase(name);
  Fingerprint all;
  for (const auto& [name, sum] : *sums) all.add(name).add(sum);
  if (action == "checksum") {
    Json rank = {{"checksums", *sums}, {"per_gpu_checksum", all.hex()}, {"parallelism_info", Json::array()}};
    return succeed(x, {{"ranks", Json::array({rank})}, {"per_engine_checksum", all.hex()}}, "");
  }
  const std::lock_guard lock(r.mutex);
  if (action == "snapshot") {
    r.snapshot = std::move(*sums);
    return succeed(x, Json::object(), "the checksums are kept");
  }
  if (r.snapshot.empty()) return refuse(x, failure("compare: there is no snapshot"));
  std::vector<std::string> differ;
  for (const auto& [name, sum] : *sums) {
    const auto before = r.snapshot.find(name);
    if (before == r.snapshot.end() || before->second != sum) differ.push_back(name);
  }
  if (differ.empty()) return succeed(x, Json::object(), "all tensors are those of the snapshot");
  refuse(x, failure("{} of {} tensors differ from the snapshot, first \"{}\"", differ.size(), sums->size(), differ[0]));
}

void rename(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  std::string label;
  bool abort_all = true;
  f.read("new_version", label);
  f.read("abort_all_requests", abort_all);
  if (label.empty()) f.fail("new_version", "is missing");
  if (const Status status = f.finish(); !status.ok()) return refuse(x, status.error());
  if (abort_all) r.context.engine.abort_all("the weight version was renamed");
  if (const Status status = r.updates.set_label(label); !status.ok()) return refuse(x, status.error());
  succeed(x, {{"new_version", label}}, fmt::format("the weight version is called {}", printable(label)));
}

void pause(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  std::string mode = "abort";
  f.read("mode", mode);
  const auto policy = rollout::find_policy(mode);
  if (!policy.ok()) f.fail("mode", policy.error().message);
  Status status = f.finish();
  if (status.ok()) status = r.pause(*policy, /*refuse_new=*/false);
  if (!status.ok()) return refuse(x, status.error());
  static_cast<void>(x.reply(Reply::json({{"message", "Generation paused successfully."}, {"status", "ok"}})));
}

void go_on(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  if (const Status status = r.resume(); !status.ok()) return refuse(x, status.error());
  static_cast<void>(x.reply(Reply::json({{"message", "Generation continued successfully."}, {"status", "ok"}})));
}

// The body of the answer is null, as SGLang's.
void memory(Exchange& x, UpdateRoutes& r, bool release) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  const std::vector<std::string> tags = memory_tags(f);
  const bool cache = tags.empty() || std::find(tags.begin(), tags.end(), "kv_cache") != tags.end();
  Status status = f.finish();
  // Weights stay: they have no other copy. What is released of them is the second set, with the cache.
  if (status.ok() && cache) status = release ? r.release_memory() : r.updates.resume_memory();
  if (!status.ok()) return refuse(x, status.error());
  static_cast<void>(x.reply(Reply::json(nullptr)));
}

}  // namespace

void add_sglang_update_routes(RouteTable& table, const Routes& routes) {
  const auto handler = [&](void (*handle)(Exchange&, UpdateRoutes&)) -> Handler {
    return [routes, handle](Exchange& x) { handle(x, *routes); };
  };
  table.add("POST", "/begin_weight_update", handler(begin));
  table.add("POST", "/update_weights_from_tensor", handler(from_tensor), {.body_limit = kUnlimitedBody});
  table.add("POST", "/end_weight_update", handler(end));
  table.add("POST", "/update_weights_from_disk", handler(from_disk));
  table.add_both("/get_weights_by_name", handler(by_name));
  table.add("POST", "/weights_checker", handler(checker));
  table.add("POST", "/update_weight_version", handler(rename));
  table.add("POST", "/pause_generation", handler(pause));
  table.add("POST", "/continue_generation", handler(go_on));
  table.add_both("/release_memory_occupation", [routes](Exchange& x) { memory(x, *routes, true); });
  table.add_both("/resume_memory_occupation", [routes](Exchange& x) { memory(x, *routes, false); });
  for (const char* path : {"/init_weights_update_group", "/update_weights_from_distributed", "/update_weights_from_ipc",
                           "/destroy_weights_update_group"}) {
    table.add("POST", path, [](Exchange& x) { refuse(x, failure("{}", kNoTransfer)); });
  }
}

}  // namespace octavo::serve
