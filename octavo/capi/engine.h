// What stands behind an octavo_engine: the engine's thread, the model's text, the manager of its updates.
#pragma once

#include <memory>

#include "octavo/capi/engine_settings.h"
#include "octavo/capi/octavo.h"
#include "octavo/engine/engine_thread.h"
#include "octavo/rollout/update_manager.h"
#include "octavo/serve/serve_context.h"

struct octavo_engine {
  octavo_engine(std::unique_ptr<octavo::engine::Engine> opened, octavo::serve::ServedModel served,
                const octavo::capi::EngineSettings& settings)
      : model(std::move(served)),
        logprobs_mode(settings.logprobs_mode),
        thread(std::move(opened)),
        updates(thread, settings.updates) {}

  // The tokenizer, or a sentence that says there is none.
  octavo::Result<const octavo::text::Tokenizer*> tokenizer() const {
    if (!model.tokenizer) return octavo::failure("{}: the model has no tokenizer; give token ids", model.path);
    return &*model.tokenizer;
  }

  const octavo::serve::ServedModel model;
  const octavo::engine::LogprobsMode logprobs_mode;
  octavo::Json info;  // does not change
  octavo::engine::EngineThread thread;
  octavo::rollout::UpdateManager updates;  // ends before the thread
};
