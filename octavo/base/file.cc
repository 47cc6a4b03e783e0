// POSIX files: EINTR and short transfers are handled here, nowhere else.
#include "octavo/base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <system_error>
#include <vector>

namespace octavo {
namespace {

std::string system_message(int code) { return std::generic_category().message(code); }

// Linux moves at most 0x7ffff000 bytes a call; a smaller round step keeps signals responsive.
constexpr std::size_t kMaxTransfer = std::size_t{1} << 30;

// A call that a signal interrupted is made again: on network filesystems and FUSE that happens to all of them.
template <typename Call>
auto uninterrupted(Call call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

}  // namespace

Status MemorySource::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  if (offset > bytes_.size() || out.size() > bytes_.size() - offset) {
    return failure("{}: ends at byte {}, {} bytes wanted at {}", name_, bytes_.size(), out.size(), offset);
  }
  if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
  return {};
}

Result<File> File::open_read(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe that nobody writes to must not wait for ever; regular files do not mind.
  const int fd = uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); });
  if (fd < 0) return failure("{}: cannot open: {}", path.string(), system_message(errno));
  struct stat info {};
  if (::fstat(fd, &info) != 0) {
    const int code = errno;
    ::close(fd);
    return failure("{}: cannot stat: {}", path.string(), system_message(code));
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return failure("{}: {}", path.string(), S_ISDIR(info.st_mode) ? "is a folder, not a file" : "not a regular file");
  }
  return File(fd, path, static_cast<std::uint64_t>(info.st_size));
}

Result<File> File::open_update(const std::filesystem::path& path) {
  const int fd = uninterrupted([&] { return ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK); });
  if (fd < 0) return failure("{}: cannot open for writing: {}", path.string(), system_message(errno));
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return failure("{}: not a regular file", path.string());
  }
  return File(fd, path, static_cast<std::uint64_t>(info.st_size));
}

Result<File> File::create(const std::filesystem::path& path) {
  const int fd = uninterrupted([&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644); });
  if (fd < 0) return failure("{}: cannot create: {}", path.string(), system_message(errno));
  return File(fd, path, 0);
}

Result<File> File::open_or_create(const std::filesystem::path& path) {
  const int fd = uninterrupted([&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644); });
  if (fd < 0) return failure("{}: cannot create: {}", path.string(), system_message(errno));
  return File(fd, path, 0);
}

File::File(File&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), size_(std::exchange(other.size_, 0)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Status File::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), std::min(out.size(), kMaxTransfer), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return failure("{}: read failed at byte {}: {}", path_.string(), offset, system_message(errno));
    }
    if (n == 0) return failure("{}: ends at byte {}, {} more bytes expected", path_.string(), offset, out.size());
    offset += static_cast<std::uint64_t>(n);
    out = out.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status File::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), std::min(bytes.size(), kMaxTransfer), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return failure("{}: write failed at byte {}: {}", path_.string(), offset, system_message(errno));
    }
    offset += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status File::resize(std::uint64_t size) {
  if (uninterrupted([&] { return ::ftruncate(fd_, static_cast<off_t>(size)); }) != 0) {
    return failure("{}: cannot set its length to {} bytes: {}", path_.string(), size, system_message(errno));
  }
  size_ = size;
  return {};
}

Status File::reserve() {
#ifdef __linux__
  const int result = uninterrupted([&] { return ::fallocate(fd_, 0, 0, static_cast<off_t>(size_)); });
  // Only a lack of room counts: not every filesystem can reserve, and one that cannot still takes the writes.
  if (result != 0 && size_ > 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    return failure("{}: cannot reserve {} bytes: {}", path_.string(), size_, system_message(errno));
  }
#endif
  return {};
}

Status File::sync_data() {
#ifdef __linux__
  if (uninterrupted([&] { return ::fdatasync(fd_); }) != 0) {
    return failure("{}: sync failed: {}", path_.string(), system_message(errno));
  }
  return {};
#else
  return sync();
#endif
}

void File::start_writeback(std::uint64_t offset, std::uint64_t bytes) const {
#ifdef __linux__
  ::sync_file_range(fd_, static_cast<off64_t>(offset), static_cast<off64_t>(bytes), SYNC_FILE_RANGE_WRITE);
#else
  static_cast<void>(offset);
  static_cast<void>(bytes);
#endif
}

void File::expect_sequential() const {
#ifdef __linux__
  ::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
#endif
}

// The kernel takes no more than one read-ahead window of each such hint.
void File::read_ahead(std::uint64_t offset, std::uint64_t bytes) const {
#ifdef __linux__
  constexpr std::uint64_t kWindow = 128ull << 10;
  for (const std::uint64_t end = offset + bytes; offset < end; offset += kWindow) {
    const std::uint64_t step = std::min(kWindow, end - offset);
    ::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(step), POSIX_FADV_WILLNEED);
  }
#else
  static_cast<void>(offset);
  static_cast<void>(bytes);
#endif
}

void File::drop_cache(std::uint64_t offset, std::uint64_t bytes) const {
#ifdef __linux__
  ::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
#else
  static_cast<void>(offset);
  static_cast<void>(bytes);
#endif
}

Status File::sync() {
  if (uninterrupted([&] { return ::fsync(fd_); }) != 0) {
    return failure("{}: sync failed: {}", path_.string(), system_message(errno));
  }
  return {};
}

bool File::try_lock() {
  // A filesystem that has no locks cannot say that somebody holds one.
  return uninterrupted([&] { return ::flock(fd_, LOCK_EX | LOCK_NB); }) == 0 || errno != EWOULDBLOCK;
}

Status File::lock() {
  if (uninterrupted([&] { return ::flock(fd_, LOCK_EX); }) != 0) {
    if (errno == EOPNOTSUPP || errno == ENOLCK || errno == ENOSYS) return {};  // as try_lock
    return failure("{}: cannot lock: {}", path_.string(), system_message(errno));
  }
  return {};
}

bool File::is_at(const std::filesystem::path& path) const {
  struct stat mine {
  }, there{};
  return ::fstat(fd_, &mine) == 0 && ::stat(path.c_str(), &there) == 0 && mine.st_dev == there.st_dev &&
         mine.st_ino == there.st_ino;
}

Status File::close() {
  if (fd_ < 0) return {};
  if (::close(std::exchange(fd_, -1)) != 0) {
    return failure("{}: close failed: {}", path_.string(), system_message(errno));
  }
  return {};
}

Result<FileState> file_state(const std::filesystem::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return failure("{}: cannot stat: {}", path.string(), system_message(errno));
#ifdef __APPLE__
  const struct timespec modified = info.st_mtimespec;
#else
  const struct timespec modified = info.st_mtim;
#endif
  return FileState{static_cast<std::uint64_t>(info.st_size),
                   static_cast<std::int64_t>(modified.tv_sec) * 1'000'000'000 + modified.tv_nsec};
}

Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t limit) {
  OCTAVO_ASSIGN(const File file, File::open_read(path));
  if (file.size() > limit) return failure("{}: {} bytes, at most {} are read", path.string(), file.size(), limit);
  std::string text(file.size(), '\0');
  OCTAVO_TRY(file.read_at(0, as_writable_bytes(text)));
  return text;
}

Status write_text_file(const std::filesystem::path& path, std::string_view text) {
  OCTAVO_ASSIGN(File file, File::create(path));
  OCTAVO_TRY(file.write_at(0, as_bytes(text)));
  OCTAVO_TRY(file.sync());
  return file.close();
}

Status copy_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  OCTAVO_ASSIGN(const File source, File::open_read(from));
  OCTAVO_ASSIGN(File target, File::create(to));
  std::vector<std::byte> buffer(std::min<std::uint64_t>(source.size(), std::uint64_t{1} << 20));
  for (std::uint64_t offset = 0; offset < source.size(); offset += buffer.size()) {
    const auto part = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), source.size() - offset));
    OCTAVO_TRY(source.read_at(offset, part));
    OCTAVO_TRY(target.write_at(offset, part));
  }
  OCTAVO_TRY(target.sync());
  return target.close();
}

Status rename_path(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    return failure("{}: cannot rename to {}: {}", from.string(), to.string(), system_message(errno));
  }
  return {};
}

std::uint64_t free_space(const std::filesystem::path& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0 || info.f_blocks == 0) return std::numeric_limits<std::uint64_t>::max();
  return static_cast<std::uint64_t>(info.f_bavail) * static_cast<std::uint64_t>(info.f_frsize);
}

Status sync_directory(const std::filesystem::path& path) {
  const int fd = uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (fd < 0) return failure("{}: cannot open: {}", path.string(), system_message(errno));
  const int result = uninterrupted([&] { return ::fsync(fd); });
  const int code = errno;
  ::close(fd);
  // Some network filesystems cannot sync a directory; that is not the user's error.
  if (result != 0 && code != EINVAL) return failure("{}: sync failed: {}", path.string(), system_message(code));
  return {};
}

}  // namespace octavo
