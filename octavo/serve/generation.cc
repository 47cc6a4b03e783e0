// The mailbox between the engine's thread and a handler's.
#include "octavo/serve/generation.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <mutex>

namespace octavo::serve {
namespace {

// `later` follows `first` in the same continuation.
void append(engine::Event& first, engine::Event later) {
  const auto join = [](auto& to, auto& from) {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
    from = std::move(to);
  };
  join(first.tokens, later.tokens);
  join(first.logprobs, later.logprobs);
  first.text += later.text;
  later.text = std::move(first.text);
  if (first.prompt_logprobs) later.prompt_logprobs = std::move(first.prompt_logprobs);
  first = std::move(later);
}

}  // namespace

struct Generation::Mailbox {
  Mailbox(Wait mode, std::size_t most) : wait(mode), most_pending(most), fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Mailbox() {
    if (fd >= 0) ::close(fd);
  }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // On the engine's thread. False: too much lies here.
  bool put(std::size_t prompt, engine::Event event) {
    const std::lock_guard lock(mutex);
    if (closed) return true;
    const bool last = event.all_finished;
    const std::size_t tokens = event.tokens.size();
    std::size_t& slot = slots[prompt][event.index];
    if (slot == kNone) {
      slot = pending.size();
      pending.push_back({prompt, std::move(event)});
    } else {
      append(pending[slot].event, std::move(event));
    }
    if (last) --unfinished;
    pending_tokens += tokens;
    if (wait == Wait::kEach || (unfinished == 0 && complete)) wake();
    return wait == Wait::kAll || pending_tokens <= most_pending;
  }
  void wake() const {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(fd, &one, sizeof one));
  }

  static constexpr std::size_t kNone = ~std::size_t{0};
  const Wait wait;
  const std::size_t most_pending;
  const int fd;
  std::mutex mutex;
  // All guarded by mutex.
  bool closed = false;
  bool complete = false;  // nothing more will be submitted
  std::vector<GenerationEvent> pending;
  std::vector<std::vector<std::size_t>> slots;  // [prompt][continuation] -> place in pending
  std::size_t pending_tokens = 0, unfinished = 0;
};

Status Generation::check_count(std::uint64_t prompts, std::uint64_t n) {
  if (n <= kMostContinuations / std::max<std::uint64_t>(prompts, 1)) return {};
  return usage_error("{} prompts with n {}: more than {} outputs of one request", prompts, n, kMostContinuations);
}

Generation::Generation(ServeContext& context, Wait wait, std::size_t most_pending)
    : context_(context), mailbox_(std::make_shared<Mailbox>(wait, most_pending)) {}

Generation::~Generation() {
  bool unfinished = false;
  {
    const std::lock_guard lock(mailbox_->mutex);
    mailbox_->closed = true;
    unfinished = mailbox_->unfinished > 0;
  }
  for (const auto& [id, names] : requests_) {
    if (unfinished) context_.engine.abort(id, "the client has gone");
    for (const std::string& name : names) context_.names.remove(name, id);
  }
}

Status Generation::submit(engine::Request request, const std::vector<std::string>& names) {
  if (mailbox_->fd < 0) return failure("the server has no file descriptor left for the request");
  std::size_t prompt = 0;
  {
    const std::lock_guard lock(mailbox_->mutex);
    prompt = mailbox_->slots.size();
    // The engine refuses a number of continuations that is too large; until then no memory is taken for them.
    mailbox_->slots.emplace_back();
    if (request.n <= 1024) mailbox_->slots.back().assign(static_cast<std::size_t>(request.n), Mailbox::kNone);
    ++mailbox_->unfinished;
  }
  engine::EngineThread& engine = context_.engine;
  const auto sink = [mailbox = mailbox_, prompt, &engine, told = false](engine::Event event) mutable {
    const engine::RequestId id = event.id;
    const bool last = event.all_finished;
    if (mailbox->put(prompt, std::move(event)) || told || last) return;
    told = true;
    engine.abort(id, "the client reads too slowly");
  };
  Result<engine::RequestId> id = engine.submit(std::move(request), sink);
  if (!id.ok()) {
    const std::lock_guard lock(mailbox_->mutex);
    --mailbox_->unfinished;
    return std::move(id).error();
  }
  requests_.emplace_back(*id, names);
  for (const std::string& name : names) context_.names.add(name, *id);
  return {};
}

std::optional<std::vector<GenerationEvent>> Generation::next(Exchange& exchange) {
  for (;;) {
    {
      const std::lock_guard lock(mailbox_->mutex);
      Mailbox& box = *mailbox_;
      box.complete = true;
      const bool ready = box.wait == Wait::kEach ? !box.pending.empty() : box.unfinished == 0;
      if (ready || box.unfinished == 0) {
        for (auto& slots : box.slots) std::fill(slots.begin(), slots.end(), Mailbox::kNone);
        box.pending_tokens = 0;
        return std::exchange(box.pending, {});
      }
    }
    if (!exchange.wait_readable(mailbox_->fd)) return std::nullopt;
    std::uint64_t count = 0;
    static_cast<void>(!::read(mailbox_->fd, &count, sizeof count));
  }
}

}  // namespace octavo::serve
