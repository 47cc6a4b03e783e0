// The files of routes and what each adds.
#pragma once

#include "octavo/serve/router.h"
#include "octavo/serve/serve_context.h"

namespace octavo::serve {

void add_completion_routes(RouteTable& table, ServeContext& context);  // /v1/completions
void add_chat_routes(RouteTable& table, ServeContext& context);        // /v1/chat/completions
// /v1/models, /tokenize, /detokenize, /health, /version, /v1/embeddings and others that are refused
void add_general_routes(RouteTable& table, ServeContext& context);
void add_metrics_route(RouteTable& table, ServeContext& context);   // /metrics
void add_generate_route(RouteTable& table, ServeContext& context);  // SGLang's /generate
void add_token_routes(RouteTable& table, ServeContext& context);    // vLLM's /inference/v1/generate
// /get_model_info, /model_info, /server_info, /flush_cache, /abort_request, /health_generate, /v1/loads
void add_sglang_routes(RouteTable& table, ServeContext& context);

// All of them.
void add_serve_routes(RouteTable& table, ServeContext& context);

}  // namespace octavo::serve
