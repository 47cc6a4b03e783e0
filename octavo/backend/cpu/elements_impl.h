// Stored elements in a row as floats, once for every instruction set (math_impl.h says how): of keys and values, and of
// embeddings.
#pragma once

#include "octavo/backend/cpu/math_impl.h"

namespace octavo::cpu::impl {

template <typename V, bool kFinite>
struct LoadE4M3 {
  static constexpr uint64_t kBytes = 1;
  static typename V::F at(const std::byte* in, const float*) {
    return V::template load_e4m3<kFinite>(static_cast<const std::uint8_t*>(static_cast<const void*>(in)));
  }
};
template <typename V>
struct LoadE5M2 {
  static constexpr uint64_t kBytes = 1;
  static typename V::F at(const std::byte* in, const float*) {
    return V::load_e5m2(static_cast<const std::uint8_t*>(static_cast<const void*>(in)));
  }
};
template <typename V>
struct LoadTable {
  static constexpr uint64_t kBytes = 1;
  static typename V::F at(const std::byte* in, const float* table) {
    return V::load_table(static_cast<const std::uint8_t*>(static_cast<const void*>(in)), table);
  }
};
template <typename V>
struct LoadBf16 {
  static constexpr uint64_t kBytes = 2;
  static typename V::F at(const std::byte* in, const float*) {
    return V::load_bf16(static_cast<const std::uint16_t*>(static_cast<const void*>(in)));
  }
};
template <typename V>
struct LoadF32 {
  static constexpr uint64_t kBytes = 4;
  static typename V::F at(const std::byte* in, const float*) {
    return V::load(static_cast<const float*>(static_cast<const void*>(in)));
  }
};

// Calls body.operator()<Load>() for the element's loader.
template <typename V, typename Body>
void visit_element(Element element, const Body& body) {
  switch (element) {
    case Element::kE4M3: return body.template operator()<LoadE4M3<V, false>>();
    case Element::kE4M3Finite: return body.template operator()<LoadE4M3<V, true>>();
    case Element::kE5M2: return body.template operator()<LoadE5M2<V>>();
    case Element::kTable: return body.template operator()<LoadTable<V>>();
    case Element::kBF16: return body.template operator()<LoadBf16<V>>();
    case Element::kF32: return body.template operator()<LoadF32<V>>();
  }
}

// `in` can be read up to a multiple of kPad elements.
template <typename V>
void decode(Element element, const float* table, const std::byte* in, uint64_t count, float* out) {
  visit_element<V>(element, [&]<typename Load>() {
    uint64_t i = 0;
    for (; i + V::kLanes <= count; i += V::kLanes) V::store(out + i, Load::at(in + i * Load::kBytes, table));
    if (i < count) store_tail<V>(out + i, count - i, Load::at(in + i * Load::kBytes, table));
  });
}

}  // namespace octavo::cpu::impl
