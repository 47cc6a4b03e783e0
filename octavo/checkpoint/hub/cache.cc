// Refs, links and lock files of the cache.
#include "octavo/checkpoint/hub/cache.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "octavo/base/text.h"

namespace octavo::hub {
namespace {

namespace fs = std::filesystem;

Status make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return failure("{}: cannot make this folder: {}", path.string(), error.message());
  return {};
}

// This machine, as a part of file names.
std::string host_name() {
  char raw[256] = {};
  if (::gethostname(raw, sizeof raw - 1) != 0) return "unknown";
  constexpr std::size_t kLongest = 63;
  std::string out = std::string(raw).substr(0, kLongest);
  for (char& c : out) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-') c = '_';
  }
  return out;
}

constexpr const char* kIncomplete = ".octavo.incomplete";

// models--ORG--NAME
std::string folder_name(const std::string& repo) {
  std::string out = "models";
  for (const std::string_view part : split(repo, '/')) out += fmt::format("--{}", part);
  return out;
}

}  // namespace

CacheRepo::CacheRepo(const fs::path& cache, const std::string& repo)
    : cache_(cache), folder_(cache / folder_name(repo)), locks_(cache / ".locks" / folder_name(repo)) {}

std::optional<std::string> CacheRepo::commit_of(const std::string& revision) const {
  if (is_commit(revision)) return revision;
  constexpr std::uint64_t kLongest = 256;
  const auto text = read_text_file(folder_ / "refs" / revision, kLongest);
  if (!text.ok()) return std::nullopt;
  const std::string commit = text->substr(0, text->find_last_not_of(" \r\n") + 1);
  return is_commit(commit) ? std::optional(commit) : std::nullopt;
}

fs::path CacheRepo::incomplete(const std::string& etag, bool locked) const {
  const std::string process = locked ? "" : fmt::format(".{}", ::getpid());
  return folder_ / "blobs" / fmt::format("{}.{}{}{}", etag, host_name(), process, kIncomplete);
}

bool CacheRepo::lock_holds(const std::string& etag) const {
  auto second = open_lock(etag);
  return second.ok() && !second->try_lock();
}

void CacheRepo::adopt(const std::string& etag) const {
  const fs::path own = incomplete(etag);
  std::error_code error;
  if (fs::exists(own, error)) return;
  constexpr std::chrono::minutes kIdle{10};  // longer than any download is silent: timeouts and waits together
  const auto now = fs::file_time_type::clock::now();
  for (fs::directory_iterator it(own.parent_path(), error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(etag + ".") || !name.ends_with(kIncomplete)) continue;
    std::error_code gone;
    if (now - it->last_write_time(gone) < kIdle || gone) continue;
    fs::rename(it->path(), own, gone);
    return;
  }
}

bool CacheRepo::has(const std::string& commit, const std::string& name) const {
  std::error_code ignored;
  return fs::is_regular_file(snapshot(commit) / name, ignored);
}

std::uint64_t CacheRepo::incomplete_bytes(const std::string& etag) const {
  constexpr std::uint64_t kBlock = 512;  // of st_blocks, whatever the filesystem's
  struct stat info {};
  return ::stat(incomplete(etag).c_str(), &info) == 0 ? static_cast<std::uint64_t>(info.st_blocks) * kBlock : 0;
}

Status CacheRepo::set_ref(const std::string& revision, const std::string& commit) const {
  if (revision == commit || commit_of(revision) == commit) return {};
  const fs::path path = folder_ / "refs" / revision;
  OCTAVO_TRY(make_folder(path.parent_path()));
  // By rename: a reader sees the old commit or the new one. Two threads of a process may write at once, too.
  const fs::path fresh = fmt::format("{}.{}.{}.tmp", path.string(), host_name(), ::gettid());
  OCTAVO_TRY(write_text_file(fresh, commit));
  return rename_path(fresh, path);
}

Result<File> CacheRepo::open_lock(const std::string& etag) const {
  OCTAVO_TRY(make_folder(folder_ / "blobs"));
  OCTAVO_TRY(make_folder(locks_));
  // https://bford.info/cachedir/: backups leave such a folder out.
  std::error_code error;
  if (const fs::path tag = cache_ / "CACHEDIR.TAG"; !fs::exists(tag, error)) {
    OCTAVO_TRY(write_text_file(tag, "Signature: 8a477f597d28d172789f06886806bc55\n"));
  }
  const fs::path path = locks_ / (etag + ".lock");
  const bool fresh = !fs::exists(path, error);
  OCTAVO_ASSIGN(File file, File::open_or_create(path));
  // As huggingface_hub: users that share a cache by a group wait for each other. Where it may not be, it is not.
  constexpr mode_t kGroupWritable = 0664;
  if (fresh) static_cast<void>(::chmod(path.c_str(), kGroupWritable));
  return file;
}

Status CacheRepo::link(const std::string& commit, const std::string& name, const std::string& etag) const {
  if (has(commit, name)) return {};
  const fs::path at = snapshot(commit) / name;
  OCTAVO_TRY(make_folder(at.parent_path()));
  const fs::path target = fs::path("..") / ".." / "blobs" / etag;
  int code = 0;
  for (int attempt = 0; attempt < 2; ++attempt) {
    code = ::symlink(target.c_str(), at.c_str()) == 0 ? 0 : errno;
    if (code == 0 || has(commit, name)) return {};
    if (code != EEXIST) break;
    ::unlink(at.c_str());  // a link to nowhere
  }
  return failure("{}: cannot make a symbolic link: {}; HF_HUB_CACHE names another place for the cache", at.string(),
                 std::generic_category().message(code));
}

}  // namespace octavo::hub
