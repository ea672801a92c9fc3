#pragma once
#include <ATen/ops/add.h>
#include <torch/torch.h>  // refused

#include "shoal/low/low.h"
