// A resumable writer of the simplest kind, in the shape of octavo's: the test of the crash simulator, which must find
// nothing in it, and must find each of the mistakes that it can be told to make.
//   toy_writer OUT none|no-data-sync|no-journal-sync|no-folder-sync|no-config-sync
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kUnits = 24, kFiles = 2, kCommitEvery = 5;
constexpr std::size_t kUnitBytes = 3000;  // neither pages nor sectors

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "toy_writer: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags) : path_(path), fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
    if (fd_ < 0) die(path.string());
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(fd_); }
  void write(const void* data, std::size_t bytes, std::size_t at) const {
    const char* from = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t n = ::pwrite(fd_, from, bytes, static_cast<off_t>(at));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) die(path_.string());
      from += n;
      bytes -= static_cast<std::size_t>(n);
      at += static_cast<std::size_t>(n);
    }
  }
  std::size_t read(void* data, std::size_t bytes, std::size_t at) const {
    std::size_t done = 0;
    while (done < bytes) {
      const ssize_t n = ::pread(fd_, static_cast<char*>(data) + done, bytes - done, static_cast<off_t>(at + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) die(path_.string());
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }
  void resize(std::size_t bytes) const {
    if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) die(path_.string());
  }
  void sync() const {
    if (::fsync(fd_) != 0) die(path_.string());
  }

 private:
  fs::path path_;
  int fd_;
};

void sync_folder(const fs::path& path) { Descriptor(path, O_RDONLY | O_DIRECTORY).sync(); }

struct JournalEntry {
  std::uint32_t unit, check;
};
std::uint32_t check_of(std::uint32_t unit) { return unit * 2654435761u + 12345; }

std::array<unsigned char, kUnitBytes> bytes_of_unit(std::uint32_t unit) {
  std::array<unsigned char, kUnitBytes> bytes;
  for (std::size_t i = 0; i < kUnitBytes; ++i) bytes[i] = static_cast<unsigned char>(1 + (unit * 31 + i * 7) % 250);
  return bytes;
}

void write_all(const fs::path& out, std::string_view mistake) {
  fs::path partial = out;
  partial += ".partial";
  const fs::path state = partial / ".octavo", journal_path = state / "journal";
  const fs::path parent = out.parent_path();
  if (fs::exists(out)) {
    fs::remove_all(out / ".octavo");
    return;
  }
  fs::create_directories(state);
  const Descriptor a(partial / "a", O_RDWR | O_CREAT), b(partial / "b", O_RDWR | O_CREAT);
  const std::array<const Descriptor*, kFiles> files = {&a, &b};
  for (const Descriptor* file : files) {
    file->resize(kUnitBytes * kUnits / kFiles);
    file->sync();
  }
  const Descriptor journal(journal_path, O_RDWR | O_CREAT);
  // From here on the journal may say that something is done: what it speaks of must be there.
  if (mistake != "no-folder-sync") {
    sync_folder(state);
    sync_folder(partial);
    sync_folder(parent);
  }
  std::array<bool, kUnits> done{};
  std::size_t end = 0;
  for (JournalEntry entry{}; journal.read(&entry, sizeof entry, end) == sizeof entry &&
                             entry.check == check_of(entry.unit) && entry.unit < kUnits;
       end += sizeof entry) {
    done[entry.unit] = true;
  }
  journal.resize(end);
  std::vector<JournalEntry> fresh;
  const auto commit = [&] {
    if (mistake != "no-data-sync") {
      for (const Descriptor* file : files) file->sync();
    }
    journal.write(fresh.data(), fresh.size() * sizeof(JournalEntry), end);
    end += fresh.size() * sizeof(JournalEntry);
    if (mistake != "no-journal-sync") journal.sync();
    fresh.clear();
  };
  for (std::uint32_t unit = 0; unit < kUnits; ++unit) {
    if (done[unit]) continue;
    const auto bytes = bytes_of_unit(unit);
    files[unit % kFiles]->write(bytes.data(), bytes.size(), unit / kFiles * kUnitBytes);
    fresh.push_back({unit, check_of(unit)});
    if (fresh.size() == kCommitEvery) commit();
  }
  commit();
  {
    const Descriptor config(partial / "config.json", O_RDWR | O_CREAT | O_TRUNC);
    config.write("{\"units\": 24}\n", 14, 0);
    if (mistake != "no-config-sync") config.sync();
  }
  sync_folder(partial);
  if (::rename(partial.c_str(), out.c_str()) != 0) die(out.string());
  sync_folder(parent);
  fs::remove_all(out / ".octavo");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  write_all(argv[1], argv[2]);
  return 0;
}
