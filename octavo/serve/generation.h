// One HTTP request's requests to the engine, and what comes of them: events go from the engine's thread into a mailbox,
// and from there to the handler that waits for them and for its client at once.
//
// Events of one continuation that nobody has taken yet become one, so a reader that is slower than the engine gets
// fewer and larger pieces; one that falls too far behind ends its request. A client that goes takes its requests with
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "octavo/serve/router.h"
#include "octavo/serve/serve_context.h"

namespace octavo::serve {

struct GenerationEvent {
  std::size_t prompt = 0;  // which of the submitted requests
  engine::Event event;     // tokens, text and logprobs since the last one
};

// Prompts times continuations of one HTTP request.
inline constexpr std::uint64_t kMostContinuations = 16384;

// Output tokens that wait for a streaming client before its requests are aborted.
inline constexpr std::size_t kMostPendingTokens = 16384;

class Generation {
 public:
  enum class Wait : std::uint8_t {
    kAll,   // next() gives nothing before every request has ended; then one event a continuation
    kEach,  // as they come
  };
  Generation(ServeContext& context, Wait wait, std::size_t most_pending = kMostPendingTokens);
  ~Generation();  // aborts what is unfinished
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // A usage error where one HTTP request asks for too much at once.
  static Status check_count(std::uint64_t prompts, std::uint64_t n);

  // `names`: the client's own, for abort_request. After a failure no more may be submitted.
  Status submit(engine::Request request, const std::vector<std::string>& names);
  // Waits. Nothing: the client has gone or the server ends; stop. Empty: all was given.
  std::optional<std::vector<GenerationEvent>> next(Exchange& exchange);

 private:
  struct Mailbox;
  ServeContext& context_;
  std::shared_ptr<Mailbox> mailbox_;
  std::vector<std::pair<engine::RequestId, std::vector<std::string>>> requests_;
};

}  // namespace octavo::serve
