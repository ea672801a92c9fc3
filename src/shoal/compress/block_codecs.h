// The codecs that work block by block, for make_codec.
#pragma once

#include <memory>

#include "shoal/compress/codec.h"

namespace shoal::compress {

/// What each keeps and costs stands in codec.h.
std::unique_ptr<const Codec> make_blockwise8();
std::unique_ptr<const Codec> make_uniform8();
std::unique_ptr<const Codec> make_quantile8();
std::unique_ptr<const Codec> make_blockwise4();

}  // namespace shoal::compress
