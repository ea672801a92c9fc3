// The 4-bit map of the codec blockwise4: NormalFloat (NF4) of QLoRA (Dettmers et al. 2023, "QLoRA: Efficient
// Finetuning of Quantized LLMs", section 3 and appendix E).
//
// With Q the quantile function of the normal distribution and p = (1 - 1/32 + 1 - 1/30) / 2 (rounded to
// 0.9677083 there), the values are 0, and Q at 8 equal steps from p down towards 1/2 without 1/2 itself
// (positive), and minus Q at 7 such steps (negative), all divided by Q(p). So zero, -1 and 1 are exact, and
// normally distributed values use all codes about equally often.
#pragma once

#include <array>
#include <cstddef>

namespace shoal::compress {

inline constexpr std::size_t kNormalCodes = 16;

/// What the codes stand for, ascending; a share of the block's largest magnitude.
inline constexpr std::array<float, kNormalCodes> kNormalMap = {
    -1.0F,         -0.696192801F, -0.525073051F, -0.394917488F, -0.284441382F, -0.184773430F,
    -0.091050036F, 0.0F,          0.079580300F,  0.160930201F,  0.246112302F,  0.337915242F,
    0.440709829F,  0.562617004F,  0.722956836F,  1.0F};

/// The code of zero.
inline constexpr unsigned kNormalZero = 7;

/// Entry k is halfway between the values of the codes k and k + 1: what is greater has a code above k.
inline constexpr std::array<float, kNormalCodes - 1> kNormalBorders = [] {
    std::array<float, kNormalCodes - 1> borders{};
    for (std::size_t k = 0; k < borders.size(); ++k)
        borders[k] = static_cast<float>(
            (static_cast<double>(kNormalMap[k]) + static_cast<double>(kNormalMap[k + 1])) / 2);
    return borders;
}();

}  // namespace shoal::compress
