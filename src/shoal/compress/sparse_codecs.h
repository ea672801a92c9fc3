// The codecs that send some of the values and leave the others out, for make_codec.
#pragma once

#include <memory>
#include <string>

#include "shoal/compress/codec.h"

namespace shoal::compress {

inline constexpr std::size_t kMaximumDevices = std::size_t{1} << 20;

// What each keeps and costs stands in codec.h. Kept are, of n values,
//   - rand_k and top_k: k = share * n, rounded, and at least one;
//   - perm_k: the n values (floor(devices / n) times over where there are fewer values than devices) are
//     dealt out to the devices like cards, after as many blanks have been added as it takes to give each the
//     same number. A card holds its value times devices (divided by how many cards hold it), a blank holds 0.
// `values` encodes the kept ones, in the order of their places; fp32 if it is null.
// 0 < share <= 1, device < devices <= kMaximumDevices.
std::unique_ptr<const Codec> make_rand_k(std::string name, double share, std::unique_ptr<const Codec> values);
std::unique_ptr<const Codec> make_top_k(std::string name, double share, std::unique_ptr<const Codec> values);
std::unique_ptr<const Codec> make_perm_k(std::string name, std::size_t device, std::size_t devices,
                                         std::unique_ptr<const Codec> values);

}  // namespace shoal::compress
