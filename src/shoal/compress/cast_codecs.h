// The codecs that change each value by itself, for make_codec.
#pragma once

#include <memory>

#include "shoal/compress/codec.h"

namespace shoal::compress {

/// What each keeps and costs stands in codec.h.
std::unique_ptr<const Codec> make_fp32();
std::unique_ptr<const Codec> make_fp16();
std::unique_ptr<const Codec> make_bf16();

}  // namespace shoal::compress
