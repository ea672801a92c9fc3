// Records of made-up peers, for tests of how they are judged.
#pragma once

#include "shoal/collective/progress.h"

namespace shoal::collective::testing_support {

inline PeerId peer(int n) {
    Digest digest;
    digest.bytes[0] = static_cast<std::uint8_t>(n);
    return PeerId(digest);
}

inline Progress trainer(int n, std::int64_t step, std::int64_t samples = 0) {
    Progress progress;
    progress.peer = peer(n);
    progress.step = static_cast<Step>(step);
    progress.samples = static_cast<Samples>(samples);
    progress.samples_per_second = 100;
    progress.micro_batch_seconds = 1;
    progress.training = true;
    progress.digest = {static_cast<std::uint64_t>(step), 0};
    return progress;
}

inline Progress newcomer(int n, std::int64_t step) {
    Progress progress = trainer(n, step);
    progress.training = false;
    return progress;
}

}  // namespace shoal::collective::testing_support
