// ALBERT (Lan et al. 2019): a BERT encoder whose layers share one set of weights, with a factorised
// embedding, pre-trained on masked tokens (MLM) and sentence order (SOP). The loss of a sample is the mean
// cross-entropy over its masked tokens plus the cross-entropy of its order. Parameter names are those of
// Hugging Face's AlbertForPreTraining, so its from_pretrained takes our safetensors (hidden_act 'gelu_new').
//
//   size    embedding  hidden  layers  heads  feed-forward   parameters with a vocabulary of 30000
//   tiny           64     128       2      4           512    2.2 M
//   small         128     256       6      4          1024    4.8 M
//   base          128     768      12     12          3072   11.7 M
//   large         128    1024      24     16          4096   17.7 M
#pragma once

#include "shoal/nn/model.h"

namespace shoal::nn {

/// Takes masked text. Throws Error(invalid_argument) for sizes that make no sense.
std::unique_ptr<Model> make_albert(const ModelSettings& settings);

}  // namespace shoal::nn
