#pragma once

namespace shoal::run {

/// As in CMakeLists.txt, project(Shoal VERSION ...).
inline constexpr const char* kVersion = "0.1.0";

}  // namespace shoal::run
