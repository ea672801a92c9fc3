// `shoal bench codec`: how fast each codec encodes, decodes and adds on one core, beside memcpy and libtorch.
#pragma once

#include <cstddef>

#include "shoal/run/result.h"

namespace shoal::lab {

struct BenchCodecOptions {
    run::ResultOptions result;
    std::size_t bytes = std::size_t{64} << 20;  ///< of the fp32 vector
    int turns = 15;                             ///< each turn runs everything once
};

/// Measures on this thread, in its CPU time, so that other work on the machine counts little. Each operation
/// runs right after a memcpy of the same vector in every turn; the shares of memcpy's rate are medians over
/// turns, and so are the rates, in bytes of floats a second. Where libtorch has operations for the same
/// job, they run in the same turns, on one thread and, where they can, into tensors that exist already; the
/// ratio is a median over turns. The demands are those of the codecs that runs use most: fp16, bf16 and
/// blockwise8 do each of their operations at 60 % of memcpy's rate; and Top-k encodes in the time of four
/// memcpys. Returns the exit code.
int bench_codec(const BenchCodecOptions& options);

}  // namespace shoal::lab
