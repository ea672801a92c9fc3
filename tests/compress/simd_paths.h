// Runs a piece of code once on each SIMD path that this machine can run, down to the scalar one.
#pragma once

#include <cstdint>
#include <hwy/highway.h>
#include <string>
#include <vector>

#include "shoal/compress/simd_config.h"

namespace shoal::test {

/// All paths that are both compiled and supported here, best first; the last one is the baseline (scalar).
inline std::vector<std::int64_t> simd_paths() {
    hwy::SetSupportedTargetsForTest(0);
    std::vector<std::int64_t> paths = hwy::SupportedAndGeneratedTargets();
    if (paths.empty() || paths.back() != HWY_STATIC_TARGET) paths.push_back(HWY_STATIC_TARGET);
    return paths;
}

/// While it lives, kernels take this path.
class ForcedPath {
  public:
    explicit ForcedPath(std::int64_t path) {
        hwy::SetSupportedTargetsForTest(path);
        hwy::GetChosenTarget().Update(path);
    }
    ~ForcedPath() {
        hwy::SetSupportedTargetsForTest(0);
        hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    }
    ForcedPath(const ForcedPath&) = delete;
    ForcedPath& operator=(const ForcedPath&) = delete;
};

/// Calls f(name of the path) on each path.
template <typename Function>
void on_every_simd_path(Function f) {
    for (const std::int64_t path : simd_paths()) {
        const ForcedPath forced(path);
        f(std::string(hwy::TargetName(path)));
    }
}

}  // namespace shoal::test
