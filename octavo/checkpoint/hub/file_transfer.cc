// Range requests, and what is believed of their responses: nothing that contradicts the listing.
#include "octavo/checkpoint/hub/file_transfer.h"

#include <fmt/format.h>

#include <charconv>

#include "octavo/base/text.h"
#include "octavo/checkpoint/hub/digest.h"

namespace octavo::hub {
namespace {

struct ContentRange {
  std::uint64_t first = 0, last = 0;
  std::optional<std::uint64_t> total;
};

// "bytes 0-99/200", "bytes 0-99/*" (RFC 9110 14.4).
std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return std::nullopt;
  text.remove_prefix(kUnit.size());
  const auto take = [&](std::uint64_t& value, std::string_view separator) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (!text.starts_with(separator)) return false;
    text.remove_prefix(separator.size());
    return true;
  };
  ContentRange out;
  if (!take(out.first, "-") || !take(out.last, "/") || out.last < out.first) return std::nullopt;
  if (text == "*") return out;
  std::uint64_t total = 0;
  if (!take(total, "") || !text.empty()) return std::nullopt;
  out.total = total;
  return out;
}

}  // namespace

struct FileTransfer::Attempt {
  std::uint64_t asked_first = 0, asked_end = 0;  // of the file; the whole file: no Range was sent
  bool ranged = false;
  std::uint64_t at = 0;    // where the next byte of the body stands in the file
  std::uint64_t stop = 0;  // bytes from here on are not wanted
  Ranges seen = Ranges::kUnknown;
};

FileTransfer::FileTransfer(const ModelName& model, const std::string& commit, const RepoFile& file,
                           const Options& options, const std::function<bool()>& cancelled)
    : model_(model), commit_(commit), file_(file), options_(options), cancelled_(cancelled) {}

std::string FileTransfer::url() const {
  return fmt::format("{}/{}/resolve/{}/{}", options_.endpoint, model_.repo, commit_, url_encode(file_.name, true));
}

Status FileTransfer::check_head(const HttpHead& head, const FileHeaders& file, Attempt& a) const {
  const std::uint64_t size = *file_.bytes;
  if (!file.commit.empty() && file.commit != commit_) {
    return failure("{} answers with commit {}, not {}", options_.endpoint, printable(file.commit), commit_);
  }
  if (is_checksum(file.etag) && file.etag != file_.etag) {
    return failure("{} answers with ETag {}, its listing has {}: not taken", options_.endpoint, file.etag, file_.etag);
  }
  const auto wrong_length = [&](std::uint64_t found) {
    return failure("the server says {} bytes, the hub's listing {}: not taken", found, size);
  };
  if (file.bytes && *file.bytes != size) return wrong_length(*file.bytes);
  constexpr long kPartialContent = 206;
  if (head.status != kPartialContent) {
    if (head.length && *head.length != size) return wrong_length(*head.length);
    a.at = 0;
    a.seen = a.ranged ? Ranges::kIgnored : Ranges::kUnknown;
    return {};
  }
  const auto range = parse_content_range(head.header("content-range"));
  const bool fits = a.ranged && range && range->first == a.asked_first && range->last < a.asked_end;
  if (!fits) {
    return failure("the server answers bytes {}-{} with \"{}\": not taken", a.asked_first, a.asked_end - 1,
                   printable(head.header("content-range")));
  }
  if (range->total && *range->total != size) return wrong_length(*range->total);
  if (head.length && *head.length != range->last - range->first + 1) return wrong_length(*head.length);
  a.at = range->first;
  a.seen = Ranges::kServed;
  return {};
}

Status FileTransfer::fetch(Client& client, PartialFile& partial, std::size_t range, bool alone,
                           const std::function<void(Ranges)>& on_ranges, std::uint64_t& received) const {
  Retrier retrier(options_.retry, cancelled_);
  bool told = false;
  while (!partial.whole(range)) {
    Attempt a;
    a.asked_first = partial.next(range);
    a.asked_end = partial.end(range);
    a.ranged = a.asked_first != 0 || a.asked_end != partial.size();
    bool new_bytes = false;
    ClientHandlers handlers;
    handlers.head = [&](const HttpHead& head, const FileHeaders& file) -> Status {
      OCTAVO_TRY(check_head(head, file, a));
      // A server that sends all of the file, asked or not: where nobody else fetches it, all of it is taken.
      a.stop = a.seen != Ranges::kServed && alone ? partial.size() : a.asked_end;
      if (!told) on_ranges(a.seen);
      told = true;
      alone = alone && a.seen != Ranges::kServed;  // from now on others may fetch the other ranges
      return {};
    };
    handlers.body = [&](std::span<const std::byte> bytes) -> Result<bool> {
      received += bytes.size();
      if (bytes.size() > partial.size() - a.at) {
        return failure("the server sends more than the {} bytes of the hub's listing: not taken", partial.size());
      }
      OCTAVO_ASSIGN(const std::uint64_t written,
                    partial.write(a.at, bytes.first(std::min<std::uint64_t>(bytes.size(), a.stop - a.at))));
      a.at += bytes.size();
      new_bytes = new_bytes || written > 0;
      if (options_.progress != nullptr && written > 0) options_.progress->advance(written, file_.name);
      return a.at < a.stop;
    };
    const std::string wanted = a.ranged ? fmt::format("bytes={}-{}", a.asked_first, a.asked_end - 1) : "";
    OCTAVO_ASSIGN(ClientAnswer answer, client.get(url(), wanted, handlers));
    if (new_bytes) retrier.progressed();
    if (partial.whole(range)) break;
    Error problem = explain(answer, model_, options_);
    if (answer.good()) {
      problem = failure("{}: the response ends at byte {} of {}", options_.endpoint, a.at, a.asked_end);
      if (new_bytes && a.seen == Ranges::kServed) continue;  // a server may serve less of a range than was asked for
    } else if (!answer.try_again()) {
      return problem;
    }
    OCTAVO_TRY(retrier.wait(problem.message, answer.http.retry_after));
  }
  return {};
}

Result<bool> FileTransfer::check(const PartialFile& partial, std::string& found) const {
  OCTAVO_ASSIGN(found, content_etag(partial.file(), partial.size(), file_.etag.size(), cancelled_));
  return found == file_.etag;
}

}  // namespace octavo::hub
