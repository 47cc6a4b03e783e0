// One file on its way into the cache: the responses that bring it, what must be true of them, and the check of the
// whole.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "octavo/base/status.h"
#include "octavo/checkpoint/hub/client.h"
#include "octavo/checkpoint/hub/listing.h"
#include "octavo/checkpoint/hub/partial_file.h"

namespace octavo::hub {

// How a transfer's ranges may be fetched: known once a response has been seen.
enum class Ranges { kUnknown, kServed, kIgnored };

class FileTransfer {
 public:
  // `file` has a length and a checksum. All must outlive it.
  FileTransfer(const ModelName& model, const std::string& commit, const RepoFile& file, const Options& options,
               const std::function<bool()>& cancelled);

  // Fetches what is missing of a range of `partial`; the first time, `on_ranges` is told whether the server serves
  // ranges, before any body is read. Where it does not and `alone` says so, the whole file is taken from one response.
  // Several threads may fetch different ranges at once, each with a client of its own. Adds to `received`.
  Status fetch(Client& client, PartialFile& partial, std::size_t range, bool alone,
               const std::function<void(Ranges)>& on_ranges, std::uint64_t& received) const;

  // Compares the checksum of what has come. False: it is another; `found` says which.
  Result<bool> check(const PartialFile& partial, std::string& found) const;

 private:
  // What one response is for and has brought.
  struct Attempt;
  Status check_head(const HttpHead& head, const FileHeaders& file, Attempt& attempt) const;
  std::string url() const;

  const ModelName& model_;
  const std::string& commit_;
  const RepoFile& file_;
  const Options& options_;
  const std::function<bool()>& cancelled_;
};

}  // namespace octavo::hub
