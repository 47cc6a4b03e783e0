// Which way of writing and reading gigabytes is fastest here: the variants that were measured before octavo's output
// path was chosen (docs/benchmarks.md). Every variant writes new files and its time includes the final sync; rounds are
// alternated, so that a disk that slows down or speeds up meets all of them. Files are deleted and the deletion synced
// between measurements, untimed.
//   write_variants /var/tmp [--gib 2] [--rounds 3] [--only REGEX] [--files 2] [--piece-kib 1024]
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#ifdef OCTAVO_HAVE_LIBURING
#include <liburing.h>
#endif

namespace octavo {
namespace {

namespace fs = std::filesystem;

// From Linux 6.14 on; the headers of older systems do not have it.
constexpr int kRwfDontCache = 0x80;
constexpr std::size_t kAlign = 4096;
constexpr int kThreads = 2;
constexpr std::uint64_t kMiB = 1 << 20;

[[noreturn]] void die(const std::string& what) {
  fmt::print(stderr, "write_variants: {}: {}\n", what, std::strerror(errno));
  std::exit(1);
}

struct Options {
  fs::path dir;
  double gib = 2;
  int rounds = 3, files = 2;
  std::uint64_t piece = kMiB;
  std::string only;

  std::uint64_t pieces() const { return static_cast<std::uint64_t>(gib * 1024) * kMiB / piece; }
  std::uint64_t bytes() const { return pieces() * piece; }
};

enum class Space { kGrow, kTruncate, kAllocate };  // how a file gets its final size
enum class Mode { kBuffered, kDirect, kDontCache };

struct WriteVariant {
  std::string name;
  Mode mode = Mode::kBuffered;
  Space space = Space::kGrow;
  bool write_behind = false;         // sync_file_range(WRITE) after every 8 MiB
  std::uint64_t datasync_every = 0;  // bytes, in a thread of its own; 0: at the end only
  bool drop_synced = false;          // and drop the cache of what it has synced
  unsigned ring_depth = 0;           // io_uring with so many writes in flight a thread; 0: pwrite
};

struct ReadVariant {
  std::string name;
  Mode mode = Mode::kBuffered;
  std::uint64_t piece = kMiB;
  int advice = -1;              // posix_fadvise at open
  bool drop_behind = false;     // posix_fadvise(DONTNEED) after every piece
  std::uint64_t will_need = 0;  // posix_fadvise(WILLNEED) so far ahead
  unsigned ring_depth = 0;
};

struct AlignedFree {
  void operator()(std::byte* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<std::byte, AlignedFree>;

Buffer make_buffer(std::uint64_t bytes, std::uint64_t seed) {
  Buffer buffer(static_cast<std::byte*>(std::aligned_alloc(kAlign, bytes)));
  std::mt19937_64 random(seed);
  for (std::uint64_t i = 0; i + 8 <= bytes; i += 8) {
    const std::uint64_t value = random();
    std::memcpy(buffer.get() + i, &value, 8);
  }
  return buffer;
}

class OpenFile {
 public:
  OpenFile(const fs::path& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
    if (fd_ < 0) die(path.string());
  }
  OpenFile(OpenFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OpenFile& operator=(OpenFile&&) = delete;
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

fs::path file_path(const fs::path& folder, int i) { return folder / fmt::format("f{}", i); }

// Calls work(thread) on kThreads threads.
void on_threads(const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (std::thread& thread : threads) thread.join();
}

#ifdef OCTAVO_HAVE_LIBURING
// Keeps up to `depth` transfers in flight; `next(piece)` says which piece comes next, false when none.
void ring_transfers(unsigned depth, std::uint64_t piece, std::byte* buffers, bool write,
                    const std::function<bool(int& fd, std::uint64_t& offset)>& next) {
  io_uring ring{};
  const int made = io_uring_queue_init(depth, &ring, 0);
  if (made < 0) {
    errno = -made;
    die("io_uring_queue_init");
  }
  std::vector<unsigned> free_slots(depth);
  for (unsigned i = 0; i < depth; ++i) free_slots[i] = i;
  bool more = true;
  for (;;) {
    while (more && !free_slots.empty()) {
      int fd = -1;
      std::uint64_t offset = 0;
      more = next(fd, offset);
      if (!more) break;
      io_uring_sqe* sqe = io_uring_get_sqe(&ring);
      std::byte* buffer = buffers + free_slots.back() * piece;
      if (write) {
        io_uring_prep_write(sqe, fd, buffer, static_cast<unsigned>(piece), offset);
      } else {
        io_uring_prep_read(sqe, fd, buffer, static_cast<unsigned>(piece), offset);
      }
      sqe->user_data = free_slots.back();
      free_slots.pop_back();
    }
    if (free_slots.size() == depth) break;
    io_uring_submit_and_wait(&ring, 1);
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(&ring, &cqe) == 0 && cqe != nullptr) {
      if (cqe->res != static_cast<int>(piece)) {
        errno = cqe->res < 0 ? -cqe->res : EIO;
        die("io_uring transfer");
      }
      free_slots.push_back(static_cast<unsigned>(cqe->user_data));
      io_uring_cqe_seen(&ring, cqe);
    }
  }
  io_uring_queue_exit(&ring);
}
constexpr bool kHaveRing = true;
#else
void ring_transfers(unsigned, std::uint64_t, std::byte*, bool, const std::function<bool(int&, std::uint64_t&)>&) {}
constexpr bool kHaveRing = false;
#endif

// Syncs the data of the files whenever `every` further bytes have been written.
class DataSyncer {
 public:
  DataSyncer(const std::vector<OpenFile>& files, std::uint64_t every, bool drop)
      : files_(files), every_(every), drop_(drop) {
    if (every_ > 0) thread_ = std::thread([this] { run(); });
  }
  void wrote(std::uint64_t bytes) {
    if (every_ == 0) return;
    const std::uint64_t before = written_.fetch_add(bytes);
    if (before / every_ != (before + bytes) / every_) {
      const std::lock_guard lock(mutex_);
      due_ = true;
      changed_.notify_one();
    }
  }
  void finish() {
    if (every_ == 0) return;
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
      changed_.notify_one();
    }
    thread_.join();
  }

 private:
  void run() {
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return due_ || done_; });
        if (done_) return;
        due_ = false;
      }
      for (const OpenFile& file : files_) {
        if (::fdatasync(file.fd()) != 0) die("fdatasync");
        if (drop_) ::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED);
      }
    }
  }
  const std::vector<OpenFile>& files_;
  std::uint64_t every_;
  bool drop_;
  std::atomic<std::uint64_t> written_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool due_ = false, done_ = false;
  std::thread thread_;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

constexpr std::uint64_t kRing = 8;  // pieces in a thread's buffer

// Seconds, or nothing where the system does not have this. Piece p lies in file p % files: the threads' pieces meet in
// every file as those of octavo's workers do (with one file), or mostly have one of their own (with two).
std::optional<double> write_once(const WriteVariant& v, const Options& o, std::vector<Buffer>& buffers) {
  const fs::path folder = o.dir / "written";
  fs::create_directory(folder);
  const auto start = std::chrono::steady_clock::now();
  std::vector<OpenFile> files;
  const auto count = static_cast<std::uint64_t>(o.files);
  const std::uint64_t file_bytes = (o.pieces() + count - 1) / count * o.piece;
  for (int i = 0; i < o.files; ++i) {
    files.emplace_back(file_path(folder, i), O_RDWR | O_CREAT | O_TRUNC | (v.mode == Mode::kDirect ? O_DIRECT : 0));
    const auto size = static_cast<off_t>(file_bytes);
    if (v.space == Space::kTruncate && ::ftruncate(files.back().fd(), size) != 0) die("ftruncate");
    if (v.space == Space::kAllocate && ::fallocate(files.back().fd(), 0, 0, size) != 0) die("fallocate");
  }
  DataSyncer syncer(files, v.datasync_every, v.drop_synced);
  std::atomic<bool> missing = false;
  // With one file for every thread, a thread stays with its file; else the threads take turns.
  std::atomic<std::uint64_t> claimed{0};
  on_threads([&](int t) {
    std::byte* buffer = buffers[static_cast<std::size_t>(t)].get();
    std::uint64_t mine = static_cast<std::uint64_t>(t), slot = 0;
    const auto next = [&](int& fd, std::uint64_t& offset) {
      std::uint64_t p = 0;
      if (o.files == kThreads) {
        p = mine;
        mine += kThreads;
      } else {
        p = claimed.fetch_add(1);
      }
      if (p >= o.pieces()) return false;
      fd = files[p % count].fd();
      offset = p / count * o.piece;
      return true;
    };
    if (v.ring_depth > 0) return ring_transfers(v.ring_depth, o.piece, buffer, true, next);
    int fd = -1;
    for (std::uint64_t offset = 0; next(fd, offset) && !missing;) {
      const iovec part{buffer + slot * o.piece, o.piece};
      const ssize_t n = v.mode == Mode::kDontCache
                            ? ::pwritev2(fd, &part, 1, static_cast<off_t>(offset), kRwfDontCache)
                            : ::pwrite(fd, part.iov_base, part.iov_len, static_cast<off_t>(offset));
      if (n < 0 && errno == EOPNOTSUPP) {
        missing = true;
        return;
      }
      if (n != static_cast<ssize_t>(o.piece)) die(v.name);
      slot = (slot + 1) % kRing;
      const std::uint64_t behind = std::max(8 * kMiB, o.piece);
      if (v.write_behind && (offset + o.piece) % behind == 0) {
        const auto from = static_cast<off_t>(offset + o.piece - behind);
        if (::sync_file_range(fd, from, static_cast<off_t>(behind), SYNC_FILE_RANGE_WRITE) != 0) die("write behind");
      }
      syncer.wrote(o.piece);
    }
  });
  syncer.finish();
  for (const OpenFile& file : files) {
    if (::fsync(file.fd()) != 0) die("fsync");
  }
  const double seconds = seconds_since(start);
  files.clear();
  fs::remove_all(folder);
  ::sync();
  return missing ? std::nullopt : std::optional(seconds);
}

std::optional<double> read_once(const ReadVariant& v, bool warm, const Options& o, std::vector<Buffer>& buffers) {
  const fs::path folder = o.dir / "source";
  std::vector<OpenFile> files;
  for (int i = 0; i < kThreads; ++i) {
    const fs::path path = file_path(folder, i);
    {
      const OpenFile plain(path, O_RDONLY);
      ::posix_fadvise(plain.fd(), 0, 0, POSIX_FADV_DONTNEED);
      const auto size = static_cast<off_t>(fs::file_size(path));
      const auto step = static_cast<off_t>(kMiB);
      for (off_t at = 0; warm && at < size; at += step) {
        if (::pread(plain.fd(), buffers[0].get(), kMiB, at) < 0) die(path.string());
      }
    }
    files.emplace_back(path, O_RDONLY | (v.mode == Mode::kDirect ? O_DIRECT : 0));
  }
  const auto start = std::chrono::steady_clock::now();
  std::atomic<bool> missing = false;
  on_threads([&](int t) {
    const int fd = files[static_cast<std::size_t>(t)].fd();
    const std::uint64_t size = fs::file_size(file_path(folder, t)) / v.piece * v.piece;
    std::byte* buffer = buffers[static_cast<std::size_t>(t)].get();
    if (v.advice >= 0) ::posix_fadvise(fd, 0, 0, v.advice);
    if (v.ring_depth > 0) {
      std::uint64_t at = 0;
      return ring_transfers(v.ring_depth, v.piece, buffer, false, [&](int& out_fd, std::uint64_t& offset) {
        out_fd = fd;
        offset = at;
        at += v.piece;
        return offset < size;
      });
    }
    for (std::uint64_t at = 0; at < size && !missing; at += v.piece) {
      const iovec part{buffer, v.piece};
      const auto offset = static_cast<off_t>(at), step = static_cast<off_t>(v.piece);
      if (v.will_need > 0) {
        ::posix_fadvise(fd, offset + static_cast<off_t>(v.will_need), step, POSIX_FADV_WILLNEED);
      }
      const ssize_t n = v.mode == Mode::kDontCache ? ::preadv2(fd, &part, 1, offset, kRwfDontCache)
                                                   : ::pread(fd, part.iov_base, part.iov_len, offset);
      if (n < 0 && errno == EOPNOTSUPP) {
        missing = true;
        return;
      }
      if (n != static_cast<ssize_t>(v.piece)) die(v.name);
      if (v.drop_behind) ::posix_fadvise(fd, offset, step, POSIX_FADV_DONTNEED);
    }
  });
  return missing ? std::nullopt : std::optional(seconds_since(start));
}

// The yardstick: the source is in the page cache.
double copy_once(const Options& o) {
  const std::string source = (o.dir / "source").string(), target = (o.dir / "copied").string();
  if (std::system(fmt::format("cat '{}'/* > /dev/null", source).c_str()) != 0) die("cat");
  const auto start = std::chrono::steady_clock::now();
  if (std::system(fmt::format("cp -r --reflink=never '{}' '{}' && sync", source, target).c_str()) != 0) die("cp");
  const double seconds = seconds_since(start);
  fs::remove_all(target);
  ::sync();
  return seconds;
}

std::vector<WriteVariant> write_variants() {
  std::vector<WriteVariant> all;
  for (const auto& [suffix, space] : {std::pair{"", Space::kGrow}, std::pair{", ftruncate", Space::kTruncate},
                                      std::pair{", fallocate", Space::kAllocate}}) {
    const auto add = [&](WriteVariant v) {
      v.space = space;
      v.name += suffix;
      all.push_back(std::move(v));
    };
    add({.name = "pwrite"});
    add({.name = "pwrite + write behind", .write_behind = true});
    add({.name = "pwrite + fdatasync 64 MiB", .datasync_every = 64 * kMiB});
    add({.name = "pwrite + fdatasync 256 MiB", .datasync_every = 256 * kMiB});
    add({.name = "pwrite + write behind + fdatasync 256 MiB", .write_behind = true, .datasync_every = 256 * kMiB});
    add({.name = "pwrite + write behind + fdatasync 64 MiB", .write_behind = true, .datasync_every = 64 * kMiB});
    for (const std::uint64_t every : {32 * kMiB, 64 * kMiB, 256 * kMiB}) {
      add({.name = fmt::format("pwrite + write behind + fdatasync {} MiB + DONTNEED", every / kMiB),
           .write_behind = true,
           .datasync_every = every,
           .drop_synced = true});
    }
    add({.name = "O_DIRECT", .mode = Mode::kDirect});
    add({.name = "O_DIRECT + fdatasync 256 MiB", .mode = Mode::kDirect, .datasync_every = 256 * kMiB});
    add({.name = "RWF_DONTCACHE", .mode = Mode::kDontCache});
    add({.name = "RWF_DONTCACHE + fdatasync 64 MiB", .mode = Mode::kDontCache, .datasync_every = 64 * kMiB});
    add({.name = "RWF_DONTCACHE + fdatasync 256 MiB", .mode = Mode::kDontCache, .datasync_every = 256 * kMiB});
    if (kHaveRing) {
      add({.name = "io_uring x8", .ring_depth = kRing});
      add({.name = "io_uring x4, O_DIRECT", .mode = Mode::kDirect, .ring_depth = kRing / 2});
    }
  }
  return all;
}

std::vector<ReadVariant> read_variants() {
  std::vector<ReadVariant> all;
  for (const std::uint64_t piece : {kMiB / 4, kMiB, 4 * kMiB}) {
    const std::string size = piece < kMiB ? "256 KiB" : fmt::format("{} MiB", piece / kMiB);
    all.push_back({.name = "pread " + size, .piece = piece});
    all.push_back({.name = "pread " + size + ", SEQUENTIAL", .piece = piece, .advice = POSIX_FADV_SEQUENTIAL});
    all.push_back({.name = "pread " + size + ", O_DIRECT", .mode = Mode::kDirect, .piece = piece});
  }
  all.push_back({.name = "pread 1 MiB, DONTNEED behind", .drop_behind = true});
  all.push_back(
      {.name = "pread 1 MiB, SEQUENTIAL, DONTNEED behind", .advice = POSIX_FADV_SEQUENTIAL, .drop_behind = true});
  all.push_back({.name = "pread 1 MiB, WILLNEED 4 MiB ahead", .will_need = 4 * kMiB});
  all.push_back({.name = "pread 1 MiB, WILLNEED 16 MiB ahead", .will_need = 16 * kMiB});
  all.push_back({.name = "pread 1 MiB, RWF_DONTCACHE", .mode = Mode::kDontCache});
  if (kHaveRing) {
    all.push_back({.name = "io_uring x8 1 MiB", .ring_depth = kRing});
    all.push_back({.name = "io_uring x4 1 MiB, O_DIRECT", .mode = Mode::kDirect, .ring_depth = kRing / 2});
    all.push_back({.name = "io_uring x8 1 MiB, O_DIRECT", .mode = Mode::kDirect, .ring_depth = kRing});
  }
  return all;
}

struct Row {
  std::string name;
  std::function<std::optional<double>()> measure;
  std::vector<double> seconds;
};

void run(const Options& o) {
  std::vector<Buffer> buffers;
  for (int t = 0; t < kThreads; ++t) {
    buffers.push_back(make_buffer(kRing * std::max(4 * kMiB, o.piece), static_cast<std::uint64_t>(t) + 1));
  }
  // What is read and copied: one file a thread.
  const fs::path source = o.dir / "source";
  fs::create_directories(source);
  on_threads([&](int t) {
    const OpenFile file(file_path(source, t), O_WRONLY | O_CREAT | O_TRUNC);
    const std::uint64_t pieces = o.bytes() / kThreads / kMiB;
    for (std::uint64_t i = 0; i < pieces; ++i) {
      const std::byte* from = buffers[static_cast<std::size_t>(t)].get() + i % kRing * kMiB;
      if (::pwrite(file.fd(), from, kMiB, static_cast<off_t>(i * kMiB)) != kMiB) die("source");
    }
    if (::fsync(file.fd()) != 0) die("fsync");
  });

  std::vector<Row> rows;
  const std::regex only(o.only);
  const auto add = [&](std::string name, std::function<std::optional<double>()> measure) {
    if (std::regex_search(name, only)) rows.push_back({std::move(name), std::move(measure), {}});
  };
  add("write: cp -r --reflink=never, sync (reads too)", [&] { return copy_once(o); });
  for (const WriteVariant& v : write_variants()) {
    add("write: " + v.name, [&o, &buffers, v] { return write_once(v, o, buffers); });
  }
  for (const ReadVariant& v : read_variants()) {
    add("read cold: " + v.name, [&o, &buffers, v] { return read_once(v, false, o, buffers); });
    add("read warm: " + v.name, [&o, &buffers, v] { return read_once(v, true, o, buffers); });
  }
  for (int round = 0; round < o.rounds; ++round) {
    for (Row& row : rows) {
      if (const std::optional<double> seconds = row.measure()) row.seconds.push_back(*seconds);
    }
  }
  fmt::print("{:.2f} GB, {} files, pieces of {} KiB, {} threads, {} rounds in turn; seconds: median (min-max), GB/s\n",
             static_cast<double>(o.bytes()) / 1e9, o.files, o.piece >> 10, kThreads, o.rounds);
  for (Row& row : rows) {
    if (row.seconds.empty()) {
      fmt::print("{:<62} not on this system\n", row.name);
      continue;
    }
    std::sort(row.seconds.begin(), row.seconds.end());
    const double median = row.seconds[row.seconds.size() / 2];
    fmt::print("{:<62} {:6.2f} ({:.2f}-{:.2f})  {:5.2f}\n", row.name, median, row.seconds.front(), row.seconds.back(),
               static_cast<double>(o.bytes()) / 1e9 / median);
  }
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) {
  octavo::Options options;
  CLI::App app("ways to write and to read");
  app.add_option("DIR", options.dir)->required();
  app.add_option("--gib", options.gib);
  app.add_option("--rounds", options.rounds)->check(CLI::PositiveNumber);
  app.add_option("--files", options.files)->check(CLI::PositiveNumber);
  std::uint64_t piece_kib = 1024;
  app.add_option("--piece-kib", piece_kib)->check(CLI::Range(4, 16384));
  app.add_option("--only", options.only);
  CLI11_PARSE(app, argc, argv);
  options.piece = piece_kib << 10;
  std::string pattern = (options.dir / "write-variants-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) octavo::die(pattern);
  options.dir = pattern;
  octavo::run(options);
  std::filesystem::remove_all(options.dir);
  return 0;
}
