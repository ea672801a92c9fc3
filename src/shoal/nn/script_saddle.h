// A saddle problem, or a game of two, that a user wrote in Python and exported as TorchScript. What the file
// has, all in double precision:
//
//   devices: int                                how many devices there are
//   and one of two forms:
//   start_x, start_y: Tensor                    where the methods begin, one-dimensional
//   first(x, y, device: int) -> Tensor          what x makes small
//   second(x, y, device: int) -> Tensor         what y makes small;  for min over x, max over y of g: -g
//   or
//   start, sign: Tensor                         of one length; 1 where a coordinate makes the function small,
//   -1
//                                               where it makes it large
//   forward(z, device: int) -> Tensor           the function
//   and where they are known:
//   lipschitz, device_lipschitz, monotonicity: float      (variational/problem.h; step sizes follow from
//   them) solution: Tensor                                       x and y behind each other, or z
//
// The operator is the gradient of the two, each by its own variable, or sign times the gradient of the one.
#pragma once

#include <memory>
#include <string>

#include "shoal/variational/problem.h"

namespace shoal::nn {

/// Loads the file and evaluates each device once. Throws Error(bad_input) that says what is missing or does
/// not fit. Its name() holds the file's hash, so that processes notice when theirs differ.
std::unique_ptr<variational::Problem> load_script_saddle(const std::string& file);

}  // namespace shoal::nn
