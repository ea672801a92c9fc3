// A bit for each value, lowest bit first. Included once for each instruction set, by files that Highway
// includes likewise.
#if defined(SHOAL_SIGN_BITS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SHOAL_SIGN_BITS_INL_H
#undef SHOAL_SIGN_BITS_INL_H
#else
#define SHOAL_SIGN_BITS_INL_H
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace shoal::compress {
namespace HWY_NAMESPACE {

/// The signs of `count` values as bits; what fills the last byte is zero. Writes (count + 7) / 8 bytes.
HWY_INLINE void write_signs(const float* values, std::size_t count, std::uint8_t* bits) {
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::CappedTag<float, 16> d;
    const hn::RebindToSigned<decltype(d)> di;
    const std::size_t lanes = hn::Lanes(d);
    std::size_t i = 0;
    // 64 at a time, so that every width has whole words.
    for (; i + 64 <= count; i += 64) {
        std::uint64_t word = 0;
        for (std::size_t at = 0; at < 64; at += lanes) {
            const auto signs = hn::BitCast(di, hn::LoadU(d, values + i + at));
            std::uint64_t part = 0;
            hn::StoreMaskBits(di, hn::Lt(signs, hn::Zero(di)), reinterpret_cast<std::uint8_t*>(&part));
            word |= (lanes < 8 ? part & ((std::uint64_t{1} << lanes) - 1) : part) << at;
        }
        std::memcpy(bits + i / 8, &word, sizeof(word));
    }
    for (; i < count; i += 8) {
        std::uint8_t byte = 0;
        for (std::size_t j = i; j < i + 8 && j < count; ++j) {
            std::uint32_t value;
            std::memcpy(&value, values + j, sizeof(value));
            byte = static_cast<std::uint8_t>(byte | (value >> 31) << (j - i));
        }
        bits[i / 8] = byte;
    }
}

/// The bits of the values from `at` on (a multiple of the lanes), each in the place of a float's sign.
template <class DU>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<DU> read_signs(DU du, const std::uint8_t* bits, std::size_t at) {
    namespace hn = hwy::HWY_NAMESPACE;
    static_assert(hn::MaxLanes(du) <= 16);
    alignas(64) static constexpr std::uint32_t kBits[16] = {
        1U << 0, 1U << 1, 1U << 2,  1U << 3,  1U << 4,  1U << 5,  1U << 6,  1U << 7,
        1U << 8, 1U << 9, 1U << 10, 1U << 11, 1U << 12, 1U << 13, 1U << 14, 1U << 15};
    std::uint32_t part = static_cast<std::uint32_t>(bits[at / 8]) >> at % 8;
    if (hn::Lanes(du) > 8) part |= static_cast<std::uint32_t>(bits[at / 8 + 1]) << 8;
    const auto own = hn::Load(du, kBits);
    const auto set = hn::Eq(hn::And(hn::Set(du, part), own), own);
    return hn::And(hn::VecFromMask(du, set), hn::Set(du, 0x80000000U));
}

}  // namespace HWY_NAMESPACE
}  // namespace shoal::compress
HWY_AFTER_NAMESPACE();

#endif
