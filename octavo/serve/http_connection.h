// One TCP connection: requests in, answers out, one after the other, until one of the sides has enough.
#pragma once

#include <atomic>

#include "octavo/serve/http_options.h"
#include "octavo/serve/router.h"

namespace octavo::serve {

// What the server and its connections' threads share. Owned by the server.
struct ConnectionContext {
  const RouteTable& routes;
  const HttpOptions& options;
  const std::atomic<bool>& closing;  // answers say "Connection: close"
};

// Serves the socket until it ends; closes nothing. `busy` is true from a request's first byte to the end of its answer:
// whoever sets `closing` may shut down the sockets of those that are not.
void serve_connection(int fd, const ConnectionContext& context, std::atomic<bool>& busy);

}  // namespace octavo::serve
