// Tensor files, as a user may be given one.
#include "shoal/run/safetensors.h"

#include <cstdlib>

#include "shoal/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const auto file = shoal::run::parse_safetensors({data, size}, "input");
        std::size_t bytes = 0;
        for (const auto& tensor : file.tensors) {
            std::size_t elements = 1;
            for (const auto extent : tensor.shape) elements *= static_cast<std::size_t>(extent);
            if (elements != tensor.values.size()) std::abort();
            bytes += tensor.values.size() * sizeof(float);
        }
        if (bytes >= size) std::abort();  // more values than there were bytes
    } catch (const shoal::Error& error) {
        if (error.kind() != shoal::ErrorKind::corrupted) std::abort();
    }
    return 0;
}
