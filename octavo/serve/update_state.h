// What the routes of weight updates share; for update_*.cc only.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/serve/json_reader.h"
#include "octavo/serve/update_routes.h"

namespace octavo::serve {

// What a request says of those in flight at its commit.
struct AskedPolicy {
  std::string name;   // "abort", "keep", ...; "": not named
  bool keep = false;  // none is named, and nothing is to be aborted (SGLang's abort_all_requests: false)
};

// Where tensors would come by other ways than HTTP.
inline constexpr std::string_view kNoTransfer =
    "NCCL and CUDA IPC are not spoken here; send safetensors to /update_weights_from_tensor (docs/rollout.md)";

struct UpdateRoutes {
  UpdateRoutes(ServeContext& served, const UpdateRouteOptions& asked)
      : context(served), options(asked), updates(served.engine, asked.manager) {}

  ServeContext& context;
  const UpdateRouteOptions options;
  rollout::UpdateManager updates;

  mutable std::mutex mutex;  // of what follows
  std::map<std::string, std::string> snapshot;
  bool sleeping = false;
  std::optional<engine::InFlight> paused_for;  // the mode of the pause that stands

  // ---- what all of them do
  // The tensors of this request's body, or of the path that its JSON names, into the transaction that is open. A body
  // that breaks ends the transaction.
  Status receive(Exchange& x, rollout::UpdateManager::Transaction id);
  // What is named; else what the pause that stands keeps requests for (in place, or to be computed again); else
  // kRecompute where `keep` is asked for; else the server's own.
  Result<engine::InFlight> policy(const AskedPolicy& asked) const;
  Result<rollout::CommitResult> commit(const AskedPolicy& asked, std::optional<std::string> label);  // what is open
  // The policy as it is now: a pause may have come while tensors did.
  Result<rollout::CommitResult> commit(rollout::UpdateManager::Transaction id, const AskedPolicy& asked,
                                       std::optional<std::string> label);
  Error none_open(std::string_view sentence) const;  // and why the last update failed, where it did
  Status pause(engine::InFlight mode, bool refuse_new);
  Status resume();  // refused while asleep
  Status release_memory();
  Status sleep(std::uint64_t level, engine::InFlight mode);
  Status wake();

 private:
  Status hold(engine::InFlight mode, bool refuse_new, std::string why);
};

// {"weight_version", "weight_version_number", "in_flight", "parameters", "kept", "bytes", "seconds", "commit_seconds"}
Json commit_json(const rollout::CommitResult& result);
std::string commit_sentence(const rollout::CommitResult& result);

// The request's parameters: its JSON body (may be empty), or, without one, those of the query, where numbers, true,
// false and null are read as JSON. Nothing: the error has been sent.
std::optional<Json> read_parameters(Exchange& x);
Json query_parameters(const RequestHead& head);

// "tags": what of the memory is meant; a tag that is none is an error of the reader.
std::vector<std::string> memory_tags(FieldReader& f);

void add_sglang_update_routes(RouteTable& table, const std::shared_ptr<UpdateRoutes>& routes);
void add_vllm_update_routes(RouteTable& table, const std::shared_ptr<UpdateRoutes>& routes);

}  // namespace octavo::serve
