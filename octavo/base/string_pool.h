// Many short strings that live equally long, packed into large blocks: names of 90,000 tensors cost their letters.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace octavo {

// Views stay valid as long as the pool, also when it is moved. Not safe to fill from several threads.
class StringPool {
 public:
  std::string_view add(std::string_view text) { return add(text, {}); }
  std::string_view add(std::string_view head, std::string_view tail);  // one string made of two
  // The same view for the same text: for the few that many things share.
  std::string_view intern(std::string_view text);

 private:
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* free_ = nullptr;
  std::size_t left_ = 0;
  std::unordered_set<std::string_view> interned_;
};

}  // namespace octavo
