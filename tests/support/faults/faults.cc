// libfaults.so, for LD_PRELOAD: fails, shortens, records and kills the file operations of the program it is loaded
// into, as environment variables say. Only what lies in the folders that it is told counts; everything else passes
// untouched.
//
//   OCTAVO_FAULT_PREFIX  absolute paths of folders, separated by ':'
//   OCTAVO_FAULT_RULES   rules separated by ';', each of words separated by ',':
//                          op=open|read|write|resize|allocate|sync|rename|unlink|mkdir|lock   required
//                          errno=ENOSPC|EIO|...                                       required
//                          nth=N       fails the Nth such call (1: the first; the default)
//                          bytes=B     instead: the read or write that would pass B bytes in total is cut short there,
//                                      the next one fails
//                          path=TEXT   counts only calls on paths that contain TEXT
//                          always      and all such calls from then on
//   OCTAVO_FAULT_SHORT   a seed: reads and writes move fewer bytes than asked for, and are interrupted (EINTR), at
//                        random
//   OCTAVO_FAULT_KILL    N:before, N:after or N:half: SIGKILL at the Nth operation that changes or syncs something
//                        (half: a write gets half of its bytes done); N:stop: SIGSTOP before it, and SIGCONT goes on.
//                        Nb instead of N: at the first operation when N bytes have been written
//   OCTAVO_FAULT_TRACE   a file for the trace (trace.h) of those operations
//   OCTAVO_FAULT_NOSYNC  syncs are counted, recorded and failed, but not carried out: nothing cuts the power here
//   OCTAVO_FAULT_COUNT   a file that gets, at the end of the program, three numbers: of those operations, of bytes read
//                        and of bytes written
//
// Operations that change something run one at a time (a lock is held around each): what the trace calls the order is
// the order. Programs that go around libc (raw system calls, io_uring, mmap) are not seen.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/faults/trace.h"

namespace {

using octavo::test::TraceHeader;
using octavo::test::TraceOp;

enum class Op { kOpen, kRead, kWrite, kResize, kAllocate, kSync, kRename, kUnlink, kMkdir, kLock };
constexpr std::string_view kOpNames[] = {"open", "read",   "write",  "resize", "allocate",
                                         "sync", "rename", "unlink", "mkdir",  "lock"};

[[noreturn]] void bad(const char* what, std::string_view value) {
  std::fprintf(stderr, "libfaults: %s: %.*s\n", what, static_cast<int>(value.size()), value.data());
  _exit(125);
}

int errno_of(std::string_view name) {
  constexpr std::pair<std::string_view, int> kNames[] = {
      {"ENOSPC", ENOSPC},        {"EIO", EIO},       {"EACCES", EACCES},
      {"EROFS", EROFS},          {"EDQUOT", EDQUOT}, {"EINTR", EINTR},
      {"EPERM", EPERM},          {"ENOENT", ENOENT}, {"ENAMETOOLONG", ENAMETOOLONG},
      {"EMFILE", EMFILE},        {"EFBIG", EFBIG},   {"EINVAL", EINVAL},
      {"EOPNOTSUPP", EOPNOTSUPP}};
  for (const auto& [known, code] : kNames) {
    if (known == name) return code;
  }
  bad("unknown errno", name);
}

std::uint64_t number_of(std::string_view text) {
  std::uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') bad("not a number", text);
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

std::vector<std::string_view> split(std::string_view text, char by) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(by), text.size());
    if (end > 0) parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

struct Rule {
  Op op = Op::kOpen;
  int code = 0;
  std::uint64_t nth = 1;
  bool by_bytes = false, always = false;
  std::uint64_t byte_limit = 0;
  std::string path;
  std::uint64_t calls = 0, bytes = 0;
};

Rule parse_rule(std::string_view text) {
  Rule rule;
  bool op = false;
  for (const std::string_view word : split(text, ',')) {
    const std::size_t equals = word.find('=');
    const std::string_view key = word.substr(0, equals);
    const std::string_view value = equals == word.npos ? std::string_view() : word.substr(equals + 1);
    if (key == "op") {
      const auto at = std::find(std::begin(kOpNames), std::end(kOpNames), value);
      if (at == std::end(kOpNames)) bad("unknown op", value);
      rule.op = static_cast<Op>(at - std::begin(kOpNames));
      op = true;
    } else if (key == "errno") {
      rule.code = errno_of(value);
    } else if (key == "nth") {
      rule.nth = number_of(value);
    } else if (key == "bytes") {
      rule.by_bytes = true;
      rule.byte_limit = number_of(value);
    } else if (key == "path") {
      rule.path = value;
    } else if (key == "always") {
      rule.always = true;
    } else {
      bad("unknown word", word);
    }
  }
  if (!op || rule.code == 0) bad("a rule needs op and errno", text);
  return rule;
}

struct Handle {
  std::uint32_t id = 0;  // 0: not a file of ours
  std::string path;
};

enum class KillHow { kBefore, kAfter, kHalf, kStop };

struct State {
  std::mutex mutex;
  std::vector<std::string> prefixes;
  std::vector<Rule> rules;
  std::vector<Handle> handles;  // by file descriptor
  std::uint32_t last_handle = 0;
  bool shortens = false, syncs = true, dies = false;
  std::uint64_t random = 0;
  std::uint64_t kill_at = 0;     // operation; 0: never
  std::uint64_t kill_bytes = 0;  // bytes written; 0: never
  KillHow kill_how = KillHow::kBefore;
  std::atomic<std::uint64_t> operations{0}, bytes_read{0}, bytes_written{0};
  int trace_fd = -1;

  State() {
    for (const std::string_view prefix : split(variable("OCTAVO_FAULT_PREFIX"), ':')) prefixes.emplace_back(prefix);
    for (const std::string_view rule : split(variable("OCTAVO_FAULT_RULES"), ';')) rules.push_back(parse_rule(rule));
    if (const std::string_view seed = variable("OCTAVO_FAULT_SHORT"); !seed.empty()) {
      shortens = true;
      random = number_of(seed) * 0x9e3779b97f4a7c15u + 1;
    }
    if (const std::string_view kill = variable("OCTAVO_FAULT_KILL"); !kill.empty()) {
      const std::size_t colon = std::min(kill.find(':'), kill.size());
      std::string_view when = kill.substr(0, colon);
      const bool by_bytes = when.ends_with('b');
      if (by_bytes) when.remove_suffix(1);
      (by_bytes ? kill_bytes : kill_at) = number_of(when);
      const std::string_view how = kill.substr(std::min(colon + 1, kill.size()));
      constexpr std::string_view kHows[] = {"before", "after", "half", "stop"};
      const auto at = std::find(std::begin(kHows), std::end(kHows), how);
      if (at == std::end(kHows)) bad("not before, after, half or stop", how);
      kill_how = static_cast<KillHow>(at - std::begin(kHows));
    }
    syncs = variable("OCTAVO_FAULT_NOSYNC").empty();
    if (const std::string_view trace = variable("OCTAVO_FAULT_TRACE"); !trace.empty()) {
      const long fd = syscall(SYS_openat, AT_FDCWD, std::string(trace).c_str(),
                              O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
      // Out of the way of the descriptors that the program expects to get.
      trace_fd = static_cast<int>(syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900));
      if (trace_fd < 0) bad("cannot write the trace", trace);
      syscall(SYS_close, fd);
    }
    handles.resize(4096);
  }

  std::uint64_t next_random() {  // xorshift64*
    random ^= random >> 12;
    random ^= random << 25;
    random ^= random >> 27;
    return random * 0x2545f4914f6cdd1du;
  }
};

// Lives for ever: other libraries' destructors may still write.
State& state() {
  static State* const instance = new State;
  return *instance;
}

__attribute__((destructor)) void write_count() {
  const std::string_view path = variable("OCTAVO_FAULT_COUNT");
  if (path.empty()) return;
  const long fd = syscall(SYS_openat, AT_FDCWD, std::string(path).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const State& s = state();
  const std::string text =
      std::to_string(s.operations) + " " + std::to_string(s.bytes_read) + " " + std::to_string(s.bytes_written);
  if (syscall(SYS_write, fd, text.data(), text.size()) < 0) bad("cannot write the count", path);
  syscall(SYS_close, fd);
}

template <typename Function>
Function* real(const char* name) {
  void* found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) bad("no such function", name);
  return reinterpret_cast<Function*>(found);
}
#define REAL(name)                                          \
  [] {                                                      \
    static auto* const found = real<decltype(name)>(#name); \
    return found;                                           \
  }()

std::string descriptor_path(int fd) {
  char buffer[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t n = ::readlink(link.c_str(), buffer, sizeof buffer);
  return n < 0 ? std::string() : std::string(buffer, static_cast<std::size_t>(n));
}

std::string absolute(int dir, const char* path) {
  namespace fs = std::filesystem;
  fs::path whole = path == nullptr ? "" : path;
  if (whole.is_relative()) {
    std::error_code error;
    whole = (dir == AT_FDCWD ? fs::current_path(error) : fs::path(descriptor_path(dir))) / whole;
  }
  std::string text = whole.lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

bool ours(std::string_view path) {
  for (const std::string& prefix : state().prefixes) {
    if (path.starts_with(prefix) && (path.size() == prefix.size() || path[prefix.size()] == '/')) return true;
  }
  return false;
}

// The open file behind a descriptor when it is one of ours. Call with the lock held.
Handle* handle_of(int fd) {
  auto& handles = state().handles;
  if (fd < 0 || static_cast<std::size_t>(fd) >= handles.size()) return nullptr;
  Handle& handle = handles[static_cast<std::size_t>(fd)];
  return handle.id == 0 ? nullptr : &handle;
}

// Whether a rule fails this call; sets errno. `bytes`: of a transfer, may be made less.
bool fails(Op op, std::string_view path, std::size_t* bytes = nullptr) {
  for (Rule& rule : state().rules) {
    if (rule.op != op || path.find(rule.path) == path.npos) continue;
    bool now = false;
    if (rule.by_bytes) {
      const std::uint64_t left = rule.byte_limit - std::min(rule.byte_limit, rule.bytes);
      if (bytes != nullptr && *bytes > left) {
        now = left == 0;
        *bytes = left;
      }
      if (bytes != nullptr && !now) rule.bytes += *bytes;
    } else {
      now = ++rule.calls == rule.nth || (rule.always && rule.calls > rule.nth);
    }
    if (!now) continue;
    if (rule.by_bytes && !rule.always) rule.byte_limit = UINT64_MAX;  // once
    errno = rule.code;
    return true;
  }
  return false;
}

// Shortens or interrupts a transfer at random; true when interrupted.
bool interrupted(std::size_t& bytes) {
  State& s = state();
  if (!s.shortens || bytes == 0) return false;
  const std::uint64_t dice = s.next_random() % 8;
  if (dice == 0) {
    errno = EINTR;
    return true;
  }
  const std::size_t most = dice < 3 ? std::min<std::size_t>(bytes, 16) : bytes;
  bytes = 1 + s.next_random() % most;
  return false;
}

[[noreturn]] void die() {
  syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
  for (;;) ::pause();
}

// Until somebody sends SIGCONT.
void stop() { syscall(SYS_kill, syscall(SYS_getpid), SIGSTOP); }

void record(TraceOp op, std::uint32_t handle, std::uint64_t a, std::uint64_t b, std::string_view text) {
  const int fd = state().trace_fd;
  if (fd < 0) return;
  const TraceHeader header{op, handle, a, b, text.size()};
  const iovec parts[2] = {{const_cast<TraceHeader*>(&header), sizeof header},
                          {const_cast<char*>(text.data()), text.size()}};
  const long wanted = static_cast<long>(sizeof header + text.size());
  if (syscall(SYS_writev, fd, parts, 2) != wanted) bad("cannot write the trace", "");
}

// An operation that changes or syncs something, with the lock held: counts it, kills at the one that is wanted.
// `perform` does it, `half` does half of it.
template <typename Perform, typename Half>
auto changing(Perform perform, Half half) {
  State& s = state();
  bool last = ++s.operations == s.kill_at;
  if (s.kill_bytes > 0 && s.bytes_written >= s.kill_bytes) {
    last = true;
    s.kill_bytes = 0;  // once
  }
  if (last && s.kill_how == KillHow::kBefore) die();
  if (last && s.kill_how == KillHow::kStop) stop();
  if (last && s.kill_how == KillHow::kHalf) {
    half();
    die();
  }
  const auto result = perform();
  if (last && s.kill_how == KillHow::kAfter) s.dies = true;
  return result;
}
template <typename Perform>
auto changing(Perform perform) {
  return changing(perform, [] {});
}

// One operation at a time; a process that is to be killed after its operation is, when that has been recorded.
class Turn {
 public:
  Turn() : lock_(state().mutex) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    if (state().dies) die();
  }

 private:
  const std::lock_guard<std::mutex> lock_;
};

// `perform(flags)` opens.
template <typename Perform>
int opening(int dir, const char* path, int flags, Perform perform) {
  const std::string whole = absolute(dir, path);
  const bool mine = ours(whole);
  const Turn turn;
  int fd = -1;
  if (!mine) {
    fd = perform();
  } else {
    if (fails(Op::kOpen, whole)) return -1;
    const bool writes = (flags & O_ACCMODE) != O_RDONLY;
    struct stat info {};
    const bool existed = ::stat(whole.c_str(), &info) == 0;
    std::uint64_t how = 0;
    if (writes && (flags & O_CREAT) != 0 && !existed) {
      how = 1;
    } else if (writes && (flags & O_TRUNC) != 0 && existed) {
      how = 2;
    }
    if (how == 0) {
      fd = perform();
    } else {
      fd = changing([&] { return perform(); });
    }
    if (fd >= 0) {
      const bool folder = ::fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
      record(TraceOp::kOpen, ++state().last_handle, how, folder ? 1 : 0, whole);
    }
  }
  if (fd >= 0 && static_cast<std::size_t>(fd) < state().handles.size()) {
    state().handles[static_cast<std::size_t>(fd)] = mine ? Handle{state().last_handle, whole} : Handle{};
  }
  return fd;
}

// `perform(bytes)` reads so many at most.
template <typename Perform>
ssize_t reading(int fd, std::size_t bytes, Perform perform) {
  bool mine = false;
  {
    const Turn turn;
    const Handle* handle = handle_of(fd);
    mine = handle != nullptr;
    if (mine && (fails(Op::kRead, handle->path, &bytes) || interrupted(bytes))) return -1;
  }
  const ssize_t n = perform(bytes);
  if (mine && n > 0) state().bytes_read += static_cast<std::uint64_t>(n);
  return n;
}

// `perform(bytes)` writes so many at most, from `data`.
template <typename Perform>
ssize_t writing(int fd, const void* data, std::size_t bytes, std::uint64_t offset, Perform perform) {
  const Turn turn;
  const Handle* handle = handle_of(fd);
  if (handle == nullptr) return perform(bytes);
  if (fails(Op::kWrite, handle->path, &bytes) || interrupted(bytes)) return -1;
  const auto write = [&](std::size_t most) {
    const ssize_t n = perform(most);
    if (n > 0) {
      state().bytes_written += static_cast<std::uint64_t>(n);
      record(TraceOp::kWrite, handle->id, offset, 0, {static_cast<const char*>(data), static_cast<std::size_t>(n)});
    }
    return n;
  };
  return changing([&] { return write(bytes); }, [&] { write(bytes / 2); });
}

template <typename Perform>
int on_descriptor(Op op, TraceOp trace, int fd, std::uint64_t a, Perform perform) {
  const Turn turn;
  const Handle* handle = handle_of(fd);
  if (handle == nullptr) return perform();
  if (fails(op, handle->path)) return -1;
  const int result = changing(perform);
  if (result == 0) record(trace, handle->id, a, 0, {});
  return result;
}

template <typename Perform>
int on_path(Op op, TraceOp trace, const std::string& path, const std::string& other, Perform perform) {
  if (!ours(path) && !ours(other)) return perform();
  const Turn turn;
  if (fails(op, path)) return -1;
  const int result = changing(perform);
  if (result == 0) record(trace, 0, 0, 0, other.empty() ? path : path + '\0' + other);
  return result;
}

std::uint64_t position(int fd) {
  const off_t at = ::lseek(fd, 0, SEEK_CUR);
  return at < 0 ? 0 : static_cast<std::uint64_t>(at);
}

mode_t mode_of(int flags, va_list args) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? static_cast<mode_t>(va_arg(args, unsigned)) : 0;
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

#define OPEN(name)                                                                        \
  EXPORT int name(const char* path, int flags, ...) {                                     \
    va_list args;                                                                         \
    va_start(args, flags);                                                                \
    const mode_t mode = mode_of(flags, args);                                             \
    va_end(args);                                                                         \
    return opening(AT_FDCWD, path, flags, [&] { return REAL(name)(path, flags, mode); }); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                      \
  EXPORT int name(int dir, const char* path, int flags, ...) {                            \
    va_list args;                                                                         \
    va_start(args, flags);                                                                \
    const mode_t mode = mode_of(flags, args);                                             \
    va_end(args);                                                                         \
    return opening(dir, path, flags, [&] { return REAL(name)(dir, path, flags, mode); }); \
  }
OPENAT(openat)
OPENAT(openat64)

EXPORT int close(int fd) {
  const Turn turn;
  if (Handle* handle = handle_of(fd)) {
    record(TraceOp::kClose, handle->id, 0, 0, {});
    *handle = {};
  }
  return REAL(close)(fd);
}

EXPORT ssize_t read(int fd, void* data, std::size_t bytes) {
  return reading(fd, bytes, [&](std::size_t n) { return REAL(read)(fd, data, n); });
}
#define PREAD(name)                                                                        \
  EXPORT ssize_t name(int fd, void* data, std::size_t bytes, off_t at) {                   \
    return reading(fd, bytes, [&](std::size_t n) { return REAL(name)(fd, data, n, at); }); \
  }
PREAD(pread)
PREAD(pread64)

EXPORT ssize_t write(int fd, const void* data, std::size_t bytes) {
  return writing(fd, data, bytes, position(fd), [&](std::size_t n) { return REAL(write)(fd, data, n); });
}
#define PWRITE(name)                                                            \
  EXPORT ssize_t name(int fd, const void* data, std::size_t bytes, off_t at) {  \
    return writing(fd, data, bytes, static_cast<std::uint64_t>(at),             \
                   [&](std::size_t n) { return REAL(name)(fd, data, n, at); }); \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

// Only the first part: a short transfer, which callers must expect anyway.
#define PREADV2(name)                                                               \
  EXPORT ssize_t name(int fd, const iovec* parts, int count, off_t at, int flags) { \
    if (count < 1) return REAL(name)(fd, parts, count, at, flags);                  \
    return reading(fd, parts->iov_len, [&](std::size_t n) {                         \
      const iovec part{parts->iov_base, n};                                         \
      return REAL(name)(fd, &part, 1, at, flags);                                   \
    });                                                                             \
  }
PREADV2(preadv2)
PREADV2(preadv64v2)
#define PWRITEV2(name)                                                                                       \
  EXPORT ssize_t name(int fd, const iovec* parts, int count, off_t at, int flags) {                          \
    if (count < 1) return REAL(name)(fd, parts, count, at, flags);                                           \
    return writing(fd, parts->iov_base, parts->iov_len, static_cast<std::uint64_t>(at), [&](std::size_t n) { \
      const iovec part{parts->iov_base, n};                                                                  \
      return REAL(name)(fd, &part, 1, at, flags);                                                            \
    });                                                                                                      \
  }
PWRITEV2(pwritev2)
PWRITEV2(pwritev64v2)

#define FTRUNCATE(name)                                                                       \
  EXPORT int name(int fd, off_t size) noexcept {                                              \
    return on_descriptor(Op::kResize, TraceOp::kResize, fd, static_cast<std::uint64_t>(size), \
                         [&] { return REAL(name)(fd, size); });                               \
  }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

#define FALLOCATE(name)                                                                                    \
  EXPORT int name(int fd, int mode, off_t offset, off_t size) {                                            \
    if (mode != 0) return REAL(name)(fd, mode, offset, size);                                              \
    return on_descriptor(Op::kAllocate, TraceOp::kAllocate, fd, static_cast<std::uint64_t>(offset + size), \
                         [&] { return REAL(name)(fd, mode, offset, size); });                              \
  }
FALLOCATE(fallocate)
FALLOCATE(fallocate64)

EXPORT int fsync(int fd) {
  return on_descriptor(Op::kSync, TraceOp::kSync, fd, 0, [&] { return state().syncs ? REAL(fsync)(fd) : 0; });
}
EXPORT int fdatasync(int fd) {
  return on_descriptor(Op::kSync, TraceOp::kSync, fd, 0, [&] { return state().syncs ? REAL(fdatasync)(fd) : 0; });
}
// sync_file_range makes no promise: it is not a sync, and needs no wrapper.

EXPORT int rename(const char* from, const char* to) noexcept {
  return on_path(Op::kRename, TraceOp::kRename, absolute(AT_FDCWD, from), absolute(AT_FDCWD, to),
                 [&] { return REAL(rename)(from, to); });
}
EXPORT int renameat(int from_dir, const char* from, int to_dir, const char* to) noexcept {
  return on_path(Op::kRename, TraceOp::kRename, absolute(from_dir, from), absolute(to_dir, to),
                 [&] { return REAL(renameat)(from_dir, from, to_dir, to); });
}
EXPORT int renameat2(int from_dir, const char* from, int to_dir, const char* to, unsigned flags) noexcept {
  return on_path(Op::kRename, TraceOp::kRename, absolute(from_dir, from), absolute(to_dir, to),
                 [&] { return REAL(renameat2)(from_dir, from, to_dir, to, flags); });
}
EXPORT int unlink(const char* path) noexcept {
  return on_path(Op::kUnlink, TraceOp::kUnlink, absolute(AT_FDCWD, path), {}, [&] { return REAL(unlink)(path); });
}
EXPORT int rmdir(const char* path) noexcept {
  return on_path(Op::kUnlink, TraceOp::kRmdir, absolute(AT_FDCWD, path), {}, [&] { return REAL(rmdir)(path); });
}
EXPORT int unlinkat(int dir, const char* path, int flags) noexcept {
  const TraceOp op = (flags & AT_REMOVEDIR) != 0 ? TraceOp::kRmdir : TraceOp::kUnlink;
  return on_path(Op::kUnlink, op, absolute(dir, path), {}, [&] { return REAL(unlinkat)(dir, path, flags); });
}
EXPORT int remove(const char* path) noexcept {
  struct stat info {};
  const bool folder = ::lstat(path, &info) == 0 && S_ISDIR(info.st_mode);
  return on_path(Op::kUnlink, folder ? TraceOp::kRmdir : TraceOp::kUnlink, absolute(AT_FDCWD, path), {},
                 [&] { return REAL(remove)(path); });
}
EXPORT int mkdir(const char* path, mode_t mode) noexcept {
  return on_path(Op::kMkdir, TraceOp::kMkdir, absolute(AT_FDCWD, path), {}, [&] { return REAL(mkdir)(path, mode); });
}
EXPORT int mkdirat(int dir, const char* path, mode_t mode) noexcept {
  return on_path(Op::kMkdir, TraceOp::kMkdir, absolute(dir, path), {}, [&] { return REAL(mkdirat)(dir, path, mode); });
}

EXPORT int flock(int fd, int operation) noexcept {
  {
    const Turn turn;
    const Handle* handle = handle_of(fd);
    if (handle != nullptr && fails(Op::kLock, handle->path)) return -1;
  }
  return REAL(flock)(fd, operation);  // may wait: not under our lock
}
