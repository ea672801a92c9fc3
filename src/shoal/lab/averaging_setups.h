// The rows of `shoal lab averaging`: peers, lines, how the work is split, and how long that takes at best.
// Source: DeDLOC, notes 5.3 and 6.2 (a tenth of the paper's rates and of its payload).
#pragma once

#include <string>
#include <vector>

#include "shoal/lab/averaging_rounds.h"

namespace shoal::lab {

struct AveragingSetup {
    std::string name;             ///< for --only and JSON
    std::string title;            ///< for the table
    AveragingTask task;           ///< of no rounds yet
    int warm_up = 1;              ///< rounds that are not counted: connections are made, lines are measured
    double analytic_seconds = 0;  ///< on lines that carry kDelivered of their rate, without any overhead
};

/// What the rows are made of.
struct AveragingSize {
    std::size_t fast = 4, middle = 8, slow = 4;  ///< peers at 20, 10 and 5 Mb/s
    std::size_t auxiliary = 4;                   ///< at 100 Mb/s
    std::size_t elements = 1'785'000;            ///< 3.57 MB as fp16
};

inline constexpr const char* kEqualSplit = "hetero-equal-split";
inline constexpr const char* kLoadBalanced = "hetero-balanced";

std::vector<AveragingSetup> averaging_setups(const AveragingSize& size);

}  // namespace shoal::lab
