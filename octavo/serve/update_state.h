// What the routes of weight updates share; for update_*.cc only.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "octavo/serve/json_reader.h"
#include "octavo/serve/update_routes.h"

namespace octavo::serve {

struct UpdateRoutes {
  UpdateRoutes(ServeContext& served, const UpdateRouteOptions& asked)
      : context(served), options(asked), updates(served.engine, asked.manager) {}

  ServeContext& context;
  const UpdateRouteOptions options;
  rollout::UpdateManager updates;

  std::mutex mutex;  // of what follows
  std::map<std::string, std::string> snapshot;
  bool sleeping = false;

  // ---- what all of them do
  // The tensors of this request's body, or of the path that its JSON names, into the transaction that is open. A body
  // that breaks ends the transaction.
  Status receive(Exchange& x, rollout::UpdateManager::Transaction id);
  // "abort", "keep", ... or "" for the server's own.
  Result<engine::InFlight> policy(const std::string& name) const;
  Result<rollout::CommitResult> commit(const std::string& policy_name, std::optional<std::string> label);
  Status pause(engine::InFlight mode, bool refuse_new);
  Status resume();
  Status sleep(std::uint64_t level, engine::InFlight mode);
  Status wake();
};

// {"weight_version", "weight_version_number", "in_flight", "parameters", "kept", "bytes", "seconds", "commit_seconds"}
Json commit_json(const rollout::CommitResult& result);
std::string commit_sentence(const rollout::CommitResult& result);

// The request's parameters: its JSON body (may be empty), or, without one, those of the query, where numbers, true,
// false and null are read as JSON. Nothing: the error has been sent.
std::optional<Json> read_parameters(Exchange& x);
Json query_parameters(const RequestHead& head);

void add_sglang_update_routes(RouteTable& table, const std::shared_ptr<UpdateRoutes>& routes);
void add_vllm_update_routes(RouteTable& table, const std::shared_ptr<UpdateRoutes>& routes);

}  // namespace octavo::serve
