// Models by name, as a user gives them to the commands: a hub on this machine, a cache in a temporary folder.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <thread>

#include "tests/support/fake_hub.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"
#include "tests/support/tiny_tokenizer.h"

namespace octavo::test {
namespace {

namespace fs = std::filesystem;
using Environment = std::vector<std::pair<std::string, std::string>>;

bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

std::map<std::string, std::string> bytes_of_folder(const fs::path& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) out[entry.path().filename()] = read_file(entry.path());
  }
  return out;
}

class HubCommand : public testing::Test {
 protected:
  HubCommand() {
    for (const char* name :
         {"HF_ENDPOINT", "HF_HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN",
          "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_OFFLINE",
          "TRANSFORMERS_OFFLINE", "HF_HUB_DOWNLOAD_TIMEOUT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}) {
      unsetenv(name);
    }
    setenv("HF_ENDPOINT", (hub.url() + "/").c_str(), 1);
    setenv("HF_HOME", (dir / "hf").c_str(), 1);
    setenv("HOME", dir.path().c_str(), 1);
    CheckpointBuilder model = tiny_decoder();
    add_tiny_tokenizer(model);
    model.spread(2);
    model.write(dir / "m");
    hub.repos["org/name"].add_folder(dir / "m");
    hub.repos["org/name"].files["model.fp16.safetensors"] = {"not this", true};
  }
  ~HubCommand() override {
    for (const char* name : {"HF_ENDPOINT", "HF_HOME"}) unsetenv(name);
  }

  std::uint64_t model_bytes() const {
    std::uint64_t out = 0;
    for (const auto& [name, content] : bytes_of_folder(dir / "m")) out += content.size();
    return out;
  }
  // One sentence on standard error and nothing else.
  static void expect_error(const CommandResult& run, int code, const std::vector<std::string>& parts) {
    EXPECT_EQ(run.exit_code, code) << run.err;
    EXPECT_EQ(run.out, "");
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
    for (const std::string& part : parts) EXPECT_TRUE(has(run.err, part)) << run.err << "  lacks " << part;
  }

  TempDir dir;
  FakeHub hub;
};

TEST_F(HubCommand, QuantizeThenOffline) {
  auto run = run_octavo({"quantize", "org/name", "-o", dir / "out"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const fs::path snapshot = dir / "hf/hub/models--org--name/snapshots" / hub.repos["org/name"].commit;
  EXPECT_TRUE(has(run.err, "octavo quantize: org/name: ")) << run.err;
  EXPECT_TRUE(has(run.err, " downloaded to " + snapshot.string())) << run.err;
  EXPECT_EQ(bytes_of_folder(snapshot), bytes_of_folder(dir / "m"));  // and no model.fp16.safetensors
  // As from a folder.
  ASSERT_EQ(run_octavo({"quantize", dir / "m", "-o", dir / "local"}).exit_code, 0);
  auto from_hub = bytes_of_folder(dir / "out"), from_folder = bytes_of_folder(dir / "local");
  from_hub.erase("octavo.json");
  from_folder.erase("octavo.json");
  EXPECT_EQ(from_hub, from_folder);

  for (const char* variable : {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}) {
    hub.forget_requests();
    run = run_octavo({"quantize", "org/name", "-o", dir / variable}, {{variable, "true"}});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(run.err, "");
    EXPECT_EQ(hub.count("/"), 0);
  }
  // The finished output is recognised by its source's name, too.
  run = run_octavo({"quantize", "org/name@main", "-o", dir / "out"});
  EXPECT_TRUE(has(run.out, "finished already")) << run.out << run.err;
}

TEST_F(HubCommand, EveryCommandThatTakesAModel) {
  ASSERT_EQ(run_octavo({"quantize", dir / "m", "-o", dir / "fp8"}).exit_code, 0);
  hub.repos["org/fp8"].add_folder(dir / "fp8");
  const std::vector<std::vector<std::string>> commands = {
      {"inspect", "org/name", "--summary"},
      {"verify", "org/fp8", "--against", "org/name"},
      {"dequantize", "org/fp8", "-o", dir / "back"},
      {"quantize", "org/name", "--dry-run"},
      {"generate", "org/name", "--prompt", "a", "--max-tokens", "2"},
      {"score", "org/name", "--summary"},
      {"chat", "org/name", "--max-tokens", "2"},
      {"tokenize", "org/name", "hello"},
      {"detokenize", "org/name", "104"},
      {"template", "org/name"},
  };
  for (const auto& words : commands) {
    const std::string input = words[0] == "score"      ? "{\"text\": \"ab\"}\n"
                              : words[0] == "chat"     ? "hi\n"
                              : words[0] == "template" ? R"({"messages": [{"role": "user", "content": "hi"}]})"
                                                       : "";
    const auto run = run_octavo(words, {}, input);
    EXPECT_EQ(run.exit_code, 0) << words[0] << ": " << run.err;
    EXPECT_FALSE(has(run.err, "warning: org/")) << words[0] << ": " << run.err;
  }
}

TEST_F(HubCommand, TokenizersComeWithoutWeights) {
  const auto run = run_octavo({"tokenize", "org/name", "a"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(hub.count(".safetensors"), 0);
  EXPECT_EQ(hub.count("/tokenizer.json"), 1);
}

TEST_F(HubCommand, AFolderOfThatNameWins) {
  const fs::path before = fs::current_path();
  fs::create_directories(dir / "here/org");
  fs::current_path(dir / "here");
  fs::copy(dir / "m", "org/name");
  const auto run = run_octavo({"inspect", "org/name", "--summary"});
  fs::current_path(before);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(hub.count("/"), 0);
}

TEST_F(HubCommand, WhatIsNoNameStaysAPath) {
  for (const char* path : {"none", "gpt2", "./org/name", "../org/name", "/org/name", "a/b/c", "org/name/", "-x/y",
                           "a--b/c", "org/name@", "org/na me", "~/org/name"}) {
    const auto run = run_octavo({"inspect", "--", path});
    expect_error(run, 1, {std::string(path) + ": no such folder"});
  }
  EXPECT_EQ(hub.count("/"), 0);
}

TEST_F(HubCommand, ALegacyNameIsFoundInTheCacheAlone) {
  const fs::path repo = dir / "hf/hub/models--gpt2";
  const std::string commit(40, 'a');
  fs::create_directories(repo / "snapshots");
  fs::copy(dir / "m", repo / "snapshots" / commit);
  write_file(repo / "refs/main", commit);
  EXPECT_EQ(run_octavo({"inspect", "gpt2", "--summary"}, {{"HF_HUB_OFFLINE", "1"}}).exit_code, 0);
}

TEST_F(HubCommand, Errors) {
  expect_error(run_octavo({"inspect", "org/none"}), 1,
               {"octavo inspect: org/none (no folder here, so a model's name): " + hub.url() + " answers 401",
                "HF_TOKEN", (dir / "hf/token").string()});
  expect_error(run_octavo({"inspect", "org/none"}, {{"HF_TOKEN", "x"}}), 1, {"has no repository of this name (404)"});
  expect_error(run_octavo({"inspect", "org/name@v2"}), 1, {"org/name@v2", "has no revision v2 of it (404)"});
  expect_error(run_octavo({"inspect", "org/name"}, {{"HF_HUB_OFFLINE", "1"}}), 1, {"HF_HUB_OFFLINE is set"});
  const auto endpoint = run_octavo({"inspect", "org/name"}, {{"HF_ENDPOINT", "huggingface.co"}});
  EXPECT_EQ(endpoint.exit_code, 2);
  EXPECT_TRUE(has(endpoint.err, "HF_ENDPOINT huggingface.co: must be a URL")) << endpoint.err;
  EXPECT_EQ(run_octavo({"inspect", "org/name"}, {{"HF_HUB_DOWNLOAD_TIMEOUT", "soon"}}).exit_code, 2);
  expect_error(run_octavo({"inspect", "org/name"}, {{"HF_TOKEN",
                                                     "a\x01"
                                                     "b"}}),
               1, {"HF_TOKEN: the token has characters"});
}

TEST_F(HubCommand, TokensAsHuggingFaceHubFindsThem) {
  hub.repos["org/name"].token = "hf_right";
  hub.repos["org/name"].gated = true;
  write_file(dir / "file", " hf_right\n");
  write_file(dir / "bad", "hf_wrong\n");
  struct Case {
    Environment environment;
    bool works;
  };
  const std::string token_file = dir / "file", bad = dir / "bad";
  const std::vector<Case> cases = {
      {{}, false},
      {{{"HF_TOKEN", "hf_right"}}, true},
      {{{"HF_TOKEN", " hf_right\n"}}, true},
      {{{"HUGGING_FACE_HUB_TOKEN", "hf_right"}}, true},
      {{{"HF_TOKEN_PATH", token_file}}, true},
      {{{"HF_TOKEN_PATH", "$HOME/file"}}, true},
      {{{"HF_TOKEN_PATH", "~/file"}}, true},
      {{{"HF_TOKEN", "hf_right"}, {"HF_TOKEN_PATH", bad}}, true},
      {{{"HF_TOKEN", "hf_wrong"}, {"HF_TOKEN_PATH", token_file}}, false},
      {{{"HF_TOKEN", "hf_right"}, {"HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"}}, false},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto run = run_octavo({"tokenize", "org/name", "a"}, cases[i].environment);
    EXPECT_EQ(run.exit_code, cases[i].works ? 0 : 1) << i << ": " << run.err;
    EXPECT_FALSE(has(run.err, "hf_wrong"));
    fs::remove_all(dir / "hf");
  }
  write_file(dir / "hf/token", "hf_right");
  EXPECT_EQ(run_octavo({"tokenize", "org/name", "a"}).exit_code, 0);
}

TEST_F(HubCommand, TheCacheIsWhereHuggingFaceHubHasIt) {
  struct Case {
    Environment environment;
    std::string folder;
  };
  unsetenv("HF_HOME");
  const std::string root = dir.path();
  const std::vector<Case> cases = {
      {{}, ".cache/huggingface/hub"},
      {{{"XDG_CACHE_HOME", root + "/xdg"}}, "xdg/huggingface/hub"},
      {{{"XDG_CACHE_HOME", root + "/xdg2"}, {"HF_HOME", root + "/home"}}, "home/hub"},
      {{{"HF_HOME", "~/home2"}}, "home2/hub"},
      {{{"HF_HOME", "${HOME}/home3"}}, "home3/hub"},
      {{{"HF_HOME", root + "/home4"}, {"HUGGINGFACE_HUB_CACHE", root + "/old"}}, "old"},
      {{{"HUGGINGFACE_HUB_CACHE", root + "/old2"}, {"HF_HUB_CACHE", "$HOME/new"}}, "new"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(run_octavo({"tokenize", "org/name", "a"}, c.environment).exit_code, 0);
    EXPECT_TRUE(fs::exists(dir / c.folder / "models--org--name/refs/main")) << c.folder;
  }
}

// The command in a process of its own, to be killed.
pid_t start(std::vector<std::string> words) {
  words.insert(words.begin(), OCTAVO_BINARY);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  EXPECT_EQ(posix_spawn(&pid, argv[0], &quiet, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&quiet);
  return pid;
}

TEST_F(HubCommand, KilledOrStoppedItGoesOn) {
  // Large enough to be caught in the middle.
  hub.repos["org/big"] = hub.repos["org/name"];
  const std::string pad = hub.repos["org/big"].files["pad.txt"].content = std::string(3 << 20, 'x');
  std::uint64_t size = 0;
  for (const auto& [name, file] : hub.repos["org/big"].files) size += file.content.size();
  hub.pause = std::chrono::milliseconds(10);
  for (const int signal : {SIGKILL, SIGINT, SIGTERM}) {
    fs::remove_all(dir / "hf");
    const std::uint64_t before = hub.bytes_sent();
    const pid_t pid = start({"inspect", "org/big", "--summary"});
    while (hub.bytes_sent() - before < size / 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    kill(pid, signal);
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    if (signal == SIGKILL) {
      EXPECT_TRUE(WIFSIGNALED(status));
    } else {
      EXPECT_TRUE(WIFEXITED(status));
      EXPECT_EQ(WEXITSTATUS(status), 128 + signal);
    }
    const auto run = run_octavo({"inspect", "org/big", "--summary"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    // Both together: what there is, the listing twice, and what was on the way.
    EXPECT_LT(hub.bytes_sent() - before, size + size / 4 + (1 << 20)) << signal;
    for (const auto& entry : fs::directory_iterator(dir / "hf/hub/models--org--big/blobs")) {
      EXPECT_FALSE(has(entry.path().string(), "incomplete")) << entry.path();
    }
    const fs::path snapshot = dir / "hf/hub/models--org--big/snapshots" / hub.repos["org/big"].commit;
    EXPECT_EQ(read_file(snapshot / "pad.txt"), pad);
  }
}

// With OCTAVO_HUB_PYTHON, a Python that has huggingface_hub: what one downloads, the other finds, without a network.
class HubInterop : public HubCommand {
 protected:
  void SetUp() override {
    const char* python = std::getenv("OCTAVO_HUB_PYTHON");
    if (python == nullptr) GTEST_SKIP() << "OCTAVO_HUB_PYTHON names no Python with huggingface_hub (docs/testing.md)";
    python_ = python;
  }
  // Runs it with the environment of this process; its standard output, without the last line break.
  std::string python(const std::string& code, const std::string& variables = "") {
    write_file(dir / "script.py", code);
    const std::string out = dir / "out.txt";
    const std::string line = "HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1 " + variables + " '" + python_ +
                             "' '" + (dir / "script.py").string() + "' > '" + out + "'";
    EXPECT_EQ(std::system(line.c_str()), 0) << line;  // NOLINT: a test's own line
    std::string text = read_file(out);
    while (text.ends_with('\n')) text.pop_back();
    return text;
  }
  std::string python_;
};

TEST_F(HubInterop, HuggingFaceHubFindsWhatOctavoDownloaded) {
  ASSERT_EQ(run_octavo({"inspect", "org/name", "--summary"}).exit_code, 0);
  hub.forget_requests();
  const std::string found = python(
      "from huggingface_hub import snapshot_download, hf_hub_download, try_to_load_from_cache, scan_cache_dir\n"
      "import os\n"
      "folder = snapshot_download('org/name')\n"
      "assert os.path.dirname(hf_hub_download('org/name', 'tokenizer.json')) == folder\n"
      "assert try_to_load_from_cache('org/name', 'model-00001-of-00002.safetensors').startswith(folder)\n"
      "cache = scan_cache_dir()\n"
      "assert not cache.warnings, cache.warnings\n"
      "assert [r.repo_id for r in cache.repos] == ['org/name']\n"
      "assert next(iter(cache.repos)).refs['main'].commit_hash == os.path.basename(folder)\n"
      "print(folder)\n",
      "HF_HUB_OFFLINE=1");
  EXPECT_EQ(found, (dir / "hf/hub/models--org--name/snapshots" / hub.repos["org/name"].commit).string());
  EXPECT_EQ(hub.count("/"), 0);
  // With a network it fetches what Octavo leaves out, and nothing else.
  python("from huggingface_hub import snapshot_download\nsnapshot_download('org/name')\n", "HF_HUB_DISABLE_XET=1");
  EXPECT_EQ(hub.storage_requests().size(), 1u);
}

TEST_F(HubInterop, OctavoFindsWhatHuggingFaceHubDownloaded) {
  python("from huggingface_hub import snapshot_download\nsnapshot_download('org/name')\n", "HF_HUB_DISABLE_XET=1");
  hub.forget_requests();
  auto run = run_octavo({"quantize", "org/name", "-o", dir / "out"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(hub.count("/"), 1);  // which commit is main at?
  EXPECT_EQ(run.err, "");
  run = run_octavo({"quantize", "org/name", "-o", dir / "out2"}, {{"HF_HUB_OFFLINE", "1"}});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  // One that lacks files is completed.
  fs::remove_all(dir / "hf");
  python("from huggingface_hub import hf_hub_download\nhf_hub_download('org/name', 'config.json')\n");
  run = run_octavo({"quantize", "org/name", "-o", dir / "out3"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
}

TEST_F(HubInterop, BothAtOnceDownloadEachFileOnce) {
  hub.pause = std::chrono::milliseconds(30);
  std::thread other([&] {
    python("from huggingface_hub import snapshot_download\nsnapshot_download('org/name', ignore_patterns='*.fp16.*')\n",
           "HF_HUB_DISABLE_XET=1");
  });
  // Once it has begun.
  while (hub.storage_requests().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const auto run = run_octavo({"inspect", "org/name", "--summary"});
  other.join();
  EXPECT_EQ(run.exit_code, 0) << run.err;
  int shards = 0;
  for (const auto& request : hub.storage_requests()) shards += request.method == "GET" ? 1 : 0;
  EXPECT_EQ(shards, 2);
}

TEST_F(HubInterop, TransformersLoadsWhatOctavoDownloaded) {
  ASSERT_EQ(run_octavo({"inspect", "org/name", "--summary"}).exit_code, 0);
  const std::string ids = python(
      "from transformers import AutoConfig, AutoTokenizer\n"
      "print(AutoConfig.from_pretrained('org/name').model_type, "
      "AutoTokenizer.from_pretrained('org/name').encode('the', add_special_tokens=False))\n",
      "HF_HUB_OFFLINE=1");
  EXPECT_EQ(ids, "qwen3 [" + std::to_string(TinyTokenizer::kThe) + "]");
}

}  // namespace
}  // namespace octavo::test
