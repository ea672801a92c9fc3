// Whether a model trains, tried by the program that has libtorch.
#pragma once

#include <string>
#include <vector>

#include "shoal/run/definition.h"
#include "shoal/run/doctor.h"

namespace shoal::app {

/// Lets shoal-torch load model and data and compute one micro-batch; takes seconds. Blocks.
/// @param run_file  as load_definition() takes it, and found in order. Throws Error(system) if no process can
/// be started.
run::Finding examine_model(const std::string& run_file, const std::vector<run::Override>& overrides);

}  // namespace shoal::app
