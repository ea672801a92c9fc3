// TorchScript files, and libtorch's errors in few words. Internal to this room (libtorch types).
#pragma once

#include <string>
#include <string_view>
#include <torch/script.h>

#include "shoal/base/hash.h"

namespace shoal::nn {

struct ScriptFile {
    torch::jit::Module module;
    Digest sha256;  ///< of the file
};

/// Throws Error(bad_input) if there is no such file, or it is no TorchScript. @param what  for the message:
/// "model", "problem"
ScriptFile load_script_file(const std::string& file, const std::string& what);

/// The last line that says something: libtorch puts a trace through the script's source before it.
std::string last_line(std::string_view text);

}  // namespace shoal::nn
