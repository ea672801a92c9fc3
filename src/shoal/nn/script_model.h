// A user's own model as a TorchScript file, exported from Python by
// torch.jit.script(model).save("my_model.pt").
//
// forward(tokens: int64 [n, length]) or forward(images: float [n, channels, height, width], classes: int64
// [n]) returns the loss: one float, the mean over the batch (then it does not matter how samples are cut into
// batches). All parameters must be fp32. Initial values are those of the file, so all peers must have the
// same file. Parameters with requires_grad=False and buffers are constants. A model whose forward changes a
// buffer (running statistics of BatchNorm) is refused: such state is not shared between peers.
// examples/own_model shows how to make one.
#pragma once

#include "shoal/nn/model.h"

namespace shoal::nn {

/// Throws Error(bad_input), saying what does not fit: missing file, no TorchScript, no parameters, wrong
/// number of arguments, parameters that are not fp32, BatchNorm. What only a batch can show (a loss that is
/// not one float, a changed buffer, a failing operation) is thrown by the first evaluate() or
/// forward_backward().
std::unique_ptr<Model> load_script_model(const std::string& file, int threads);

}  // namespace shoal::nn
