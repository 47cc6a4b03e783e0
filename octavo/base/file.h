// Files with positional reads and writes; every error names the path and what the system said.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "octavo/base/status.h"

namespace octavo {

// Random-access bytes. Implementations are safe to read from several threads at once.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual std::uint64_t size() const = 0;
  // Fills `out` from `offset`, or fails (also when the source ends early).
  virtual Status read_at(std::uint64_t offset, std::span<std::byte> out) const = 0;
  virtual std::string describe() const = 0;  // for messages: the path
};

// Bytes in memory, not owned.
class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> bytes, std::string name = "memory")
      : bytes_(bytes), name_(std::move(name)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  Status read_at(std::uint64_t offset, std::span<std::byte> out) const override;
  std::string describe() const override { return name_; }

 private:
  std::span<const std::byte> bytes_;
  std::string name_;
};

// An open regular file. Movable, closes itself. read_at and write_at may be called from any thread.
class File final : public ByteSource {
 public:
  static Result<File> open_read(const std::filesystem::path& path);
  static Result<File> open_update(const std::filesystem::path& path);     // must exist; read and write
  static Result<File> create(const std::filesystem::path& path);          // truncates; read and write
  static Result<File> open_or_create(const std::filesystem::path& path);  // for locks

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() override;

  std::uint64_t size() const override { return size_; }  // at open, or as set by resize
  Status read_at(std::uint64_t offset, std::span<std::byte> out) const override;
  std::string describe() const override { return path_.string(); }
  const std::filesystem::path& path() const { return path_; }

  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  Status resize(std::uint64_t size);
  // Reserves the disk's blocks for all of size(), where the filesystem can: a full disk is then found before the work.
  Status reserve();
  Status sync();       // data and metadata are on the disk after it
  Status sync_data();  // the same for data and the size, without times
  // Asks that what was written to a range goes to the disk soon, and does not wait for it.
  void start_writeback(std::uint64_t offset, std::uint64_t bytes) const;
  // Hints: read ahead from front to back, or at once what lies in a range; drop what is cached of a range (of written
  // data: what has been synced).
  void expect_sequential() const;
  void read_ahead(std::uint64_t offset, std::uint64_t bytes) const;
  void drop_cache(std::uint64_t offset, std::uint64_t bytes) const;
  // Takes an exclusive lock that ends when this file closes. False when another open file has it.
  bool try_lock();
  Status lock();  // the same, waiting
  // Whether the path still leads to this very file.
  bool is_at(const std::filesystem::path& path) const;
  Status close();  // reports what the destructor would swallow

 private:
  File(int fd, std::filesystem::path path, std::uint64_t size) : fd_(fd), path_(std::move(path)), size_(size) {}
  int fd_ = -1;
  std::filesystem::path path_;
  std::uint64_t size_ = 0;
};

// What tells whether a file is still the one it was.
struct FileState {
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;  // since 1970
  bool operator==(const FileState&) const = default;
};
Result<FileState> file_state(const std::filesystem::path& path);  // follows links

// A whole small file; refuses one over `limit` bytes.
Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t limit);
Status write_text_file(const std::filesystem::path& path, std::string_view text);      // synced
Status copy_file(const std::filesystem::path& from, const std::filesystem::path& to);  // follows links; synced
Status sync_directory(const std::filesystem::path& path);
Status rename_path(const std::filesystem::path& from, const std::filesystem::path& to);  // replaces, as rename(2) does
// Bytes that this process may still write on the filesystem of `path`; the largest number where it does not say.
std::uint64_t free_space(const std::filesystem::path& path);

inline std::span<std::byte> as_writable_bytes(std::string& text) {
  return std::as_writable_bytes(std::span<char>(text.data(), text.size()));
}
inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

}  // namespace octavo
