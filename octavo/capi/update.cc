// Weight updates through the engine's UpdateManager, which HTTP uses as well.
#include "octavo/base/text.h"
#include "octavo/capi/engine.h"
#include "octavo/capi/error.h"
#include "octavo/rollout/safetensors_stream.h"

using namespace octavo;        // NOLINT: this file defines C functions
using namespace octavo::capi;  // NOLINT

struct octavo_update {
  octavo_engine* engine = nullptr;
  rollout::UpdateManager::Transaction id = 0;
};

namespace {

Result<rollout::TensorInfo> tensor_info(const char* name, const char* dtype, const std::uint64_t* shape,
                                        std::size_t rank) {
  constexpr std::size_t kMostDimensions = 8;
  OCTAVO_TRY(needed(name, "name"));
  OCTAVO_TRY(needed(dtype, "dtype"));
  if (rank > 0) OCTAVO_TRY(needed(shape, "shape"));
  if (rank > kMostDimensions) return usage_error("{}: {} dimensions", printable(name), rank);
  const auto known = dtype_from_name(dtype);
  if (!known) return usage_error("{}: {} is no dtype of safetensors, such as BF16", printable(name), printable(dtype));
  return rollout::TensorInfo{name, *known, Shape(shape, shape + rank)};
}

Json summary_json(const rollout::CommitResult& r) {
  return {{"weight_version", r.version.number},
          {"label", r.version.label},
          {"policy", rollout::policy_name(r.policy)},
          {"tensors", r.summary.tensors},
          {"source_bytes", r.summary.source_bytes},
          {"parameters", r.summary.parameters},
          {"kept", r.summary.kept},
          {"most_held_bytes", r.summary.most_held_bytes},
          {"seconds", r.seconds},
          {"commit_seconds", r.commit_seconds}};
}

}  // namespace

extern "C" {

octavo_code octavo_update_begin(octavo_engine* engine, int partial, octavo_update** update) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(engine, "engine"));
    OCTAVO_TRY(needed(update, "update"));
    auto out = std::make_unique<octavo_update>();
    out->engine = engine;
    OCTAVO_ASSIGN(out->id, engine->updates.begin(partial != 0));
    *update = out.release();
    return {};
  });
}

octavo_code octavo_update_tensor(octavo_update* update, const char* name, const char* dtype, const uint64_t* shape,
                                 size_t rank, const void* data, size_t bytes) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(update, "update"));
    if (bytes > 0) OCTAVO_TRY(needed(data, "data"));
    rollout::UpdateManager& updates = update->engine->updates;
    const auto refuse = [&](Error error) {
      updates.abort(update->id, error.message);
      return error;
    };
    Result<rollout::TensorInfo> info = tensor_info(name, dtype, shape, rank);
    if (!info.ok()) return refuse(std::move(info).error());
    const auto wanted = byte_count(info->dtype, info->shape);
    if (!wanted || *wanted != bytes) {
      return refuse(usage_error("{}: {} bytes are not a {} of {}", printable(name), bytes, shape_string(info->shape),
                                dtype_name(info->dtype)));
    }
    OCTAVO_ASSIGN(const auto ids, updates.declare_all(update->id, {&*info, 1}));
    if (bytes == 0) return {};
    return updates.write(update->id, ids.front(), 0, {static_cast<const std::byte*>(data), bytes});
  });
}

octavo_code octavo_update_path(octavo_update* update, const char* path) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(update, "update"));
    OCTAVO_TRY(needed(path, "path"));
    rollout::UpdateManager& updates = update->engine->updates;
    Status sent = rollout::send_path(path, updates.receiver(update->id));
    if (!sent.ok()) updates.abort(update->id, sent.error().message);
    return sent;
  });
}

octavo_code octavo_update_commit(octavo_update* update, const char* policy, const char* label, octavo_buffer* summary) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(update, "update"));
    OCTAVO_ASSIGN(const engine::InFlight in_flight, rollout::find_policy(policy == nullptr ? "abort" : policy));
    const auto name = label == nullptr ? std::nullopt : std::optional<std::string>(label);
    OCTAVO_ASSIGN(const rollout::CommitResult result, update->engine->updates.commit(update->id, in_flight, name));
    if (summary != nullptr) give(summary, json_text(summary_json(result)));
    return {};
  });
}

void octavo_update_free(octavo_update* update) {
  if (update == nullptr) return;
  static_cast<void>(guarded([&]() -> Status {
    update->engine->updates.abort(update->id, "the sender has given it up");
    return {};
  }));
  delete update;
}

octavo_code octavo_weight_version(const octavo_engine* engine, uint64_t* number, octavo_buffer* label) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(engine, "engine"));
    const engine::WeightVersion version = engine->updates.version();
    if (label != nullptr) give(label, version.label);
    if (number != nullptr) *number = version.number;
    return {};
  });
}

octavo_code octavo_weight_checksums(octavo_engine* engine, octavo_buffer* json) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(engine, "engine"));
    OCTAVO_TRY(needed(json, "json"));
    OCTAVO_ASSIGN(const auto checksums, engine->updates.checksums());
    give(json, json_text(checksums));
    return {};
  });
}

octavo_code octavo_release_memory(octavo_engine* engine) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(engine, "engine"));
    return engine->updates.release_memory();
  });
}

octavo_code octavo_resume_memory(octavo_engine* engine) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(engine, "engine"));
    return engine->updates.resume_memory();
  });
}

octavo_code octavo_reset_prefix_cache(octavo_engine* engine) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(engine, "engine"));
    return engine->thread.run_exclusive([](engine::Engine& owned) -> Status {
      owned.flush_prefix_cache();
      return {};
    });
  });
}

}  // extern "C"
