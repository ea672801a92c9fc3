// The codecs that round at random, and the one that keeps signs only, for make_codec.
#pragma once

#include <memory>
#include <string>

#include "shoal/compress/codec.h"

namespace shoal::compress {

/// So that a code fits a byte.
inline constexpr unsigned kMaximumSteps = 127;

// What each keeps and costs stands in codec.h.
std::unique_ptr<const Codec> make_natural();
std::unique_ptr<const Codec> make_qsgd(std::string name, unsigned steps);
std::unique_ptr<const Codec> make_sign();

}  // namespace shoal::compress
