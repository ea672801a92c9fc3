// A small residual network for small images, with group instead of batch normalisation: nothing but the
// parameters is state.
//
//   3x3 convolution with stride 2, then three stages of residual blocks (two 3x3 convolutions each) with
//   filters, 2x and 4x filters; the second and third stage halve the image; mean over the image; linear. He
//   et al. 2015, 'Deep Residual Learning'; Wu and He 2018, 'Group Normalization'.
//
//   size    filters  blocks  parameters
//   tiny         16       1   78 k
//   small        32       2  700 k
#pragma once

#include "shoal/nn/model.h"

namespace shoal::nn {

/// Takes images. Throws Error(invalid_argument) for sizes that make no sense.
std::unique_ptr<Model> make_convnet(const ModelSettings& settings);

}  // namespace shoal::nn
