// SwAV: learning from images without labels by swapped prediction (Caron et al. 2020, 'Unsupervised Learning
// of Visual Features by Contrasting Cluster Assignments').
//
//   two large and some small random views of each image (data/multi_crop.h) -> ResNet trunk (resnet.h)
//   -> projection head: linear, batch normalisation, relu, linear; brought to length 1
//   -> scores: cosines with the prototypes
//   The scores of each large view, balanced over the batch (sinkhorn.h), are what every other view of the
//   same image has to predict: cross-entropy of softmax(scores / temperature), mean over views and samples.
//
//   size    trunk             hidden  projection  prototypes
//   tiny    resnet tiny          128          32         100
//   small   resnet small         256          64         300
//   base    ResNet-18           2048         128        3000
//   large   ResNet-50           2048         128        3000   (the paper's)
//
// What differs from other models: the loss of a batch is not the mean of its samples' own, since samples are
// normalised by each other and compete for prototypes. So K peers with micro-batches do not take the very
// step of one process with the whole batch (nor does a data-parallel run without synchronised normalisation).
// Peers average gradients as ever, and hold equal parameters.
//
// A queue holds the projections of a peer's own last samples, so that assignments are balanced over more of
// them than a micro-batch has. It is used once it is full and the swarm has reached queue_from_step. It is no
// part of the model's state: it is not sent to newcomers nor written to checkpoints, and fills anew.
//
// The prototypes are normalised in the forward pass, with gradients (the authors' code normalises the
// parameters in place before each, which LARC makes much the same). They are frozen for frozen_steps of the
// swarm, by the optimizer (Parameter::frozen_steps), whatever gradients peers send.
//
// Names of parameters are those of torchvision's ResNet, and projection_head.* and prototypes.weight as in
// the authors' code.
#pragma once

#include "shoal/nn/model.h"

namespace shoal::nn {

/// Takes views; is a FeatureModel, whose features are the trunk's. Throws Error(invalid_argument) for
/// settings that make no sense.
std::unique_ptr<Model> make_swav(const ModelSettings& settings);

}  // namespace shoal::nn
