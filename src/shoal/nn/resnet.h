// ResNet for image classification, from tiny to ResNet-50 (He et al. 2015, 'Deep Residual Learning'; the
// stride of a bottleneck lies in its 3x3 convolution).
//
//   stem 'small': 3x3 convolution with stride 2; 'large': 7x7 with stride 2, then a 3x3 maximum with
//   stride 2. Stages of basic (two 3x3) or bottleneck blocks (1x1, 3x3, 1x1) with filters, 2x, 4x ...
//   filters; each but the first halves the image. Mean over the image; linear.
//
//   size    block       filters  depths         stem    features   parameters of the trunk (3 channels)
//   tiny    basic            16  1, 1, 1        small         64   77 k
//   small   basic            32  2, 2, 2        small        128   695 k
//   base    basic            64  2, 2, 2, 2     large        512   11.2 M   (ResNet-18)
//   large   bottleneck       64  3, 4, 6, 3     large       2048   23.5 M   (ResNet-50)
//
// Names of parameters are those of torchvision's ResNet. Batch normalisation keeps no running statistics
// (batch_norm.h): an image's score depends on the others of its batch, in evaluate() too, so how samples are
// cut into batches matters.
#pragma once

#include "shoal/nn/model.h"

namespace shoal::nn {

/// Takes images with classes; is a FeatureModel. Throws Error(invalid_argument) for sizes that make no sense.
std::unique_ptr<Model> make_resnet(const ModelSettings& settings);

}  // namespace shoal::nn
