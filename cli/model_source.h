// What a MODEL argument names: a folder, or a model of the Hugging Face cache and hub. The environment is read here.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "octavo/base/status.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/hub/snapshot.h"

namespace octavo::cli {

using hub::Wanted;

// The folder that `model` stands for:
//   1. what exists under that path, whatever it is;
//   2. ORG/NAME or ORG/NAME@REVISION: its snapshot in the cache, downloaded where it is not there;
//   3. a single word (a legacy name, "gpt2"): its snapshot, if the cache has that repository; it is never downloaded,
//   as
//      it is more often the name of a folder that is not there;
//   4. anything else: the path itself, so that whoever opens it says what is wrong.
// While something is downloaded, a bar is drawn on a terminal, and SIGINT, SIGTERM and SIGHUP stop cleanly. `command`
// starts what is said on standard error.
Result<std::filesystem::path> find_model(const std::string& model, std::string_view command, bool quiet,
                                         Wanted wanted = Wanted::kModel);

// The same, opened.
Result<Checkpoint> open_model(const std::string& model, std::string_view command, bool quiet);

// The environment as huggingface_hub reads it: HF_ENDPOINT, HF_HOME, XDG_CACHE_HOME, HF_HUB_CACHE,
// HUGGINGFACE_HUB_CACHE, HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH, HF_HUB_DISABLE_IMPLICIT_TOKEN,
// HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT, SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE.
Result<hub::Options> hub_options();

}  // namespace octavo::cli
