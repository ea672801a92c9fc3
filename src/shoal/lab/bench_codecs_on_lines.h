// `shoal bench allreduce --rate`: what each codec is worth on lines of a given rate.
#pragma once

#include "shoal/lab/bench_all_reduce.h"

namespace shoal::lab {

/// For each number of peers, size and codec: rounds of as many processes, each in a network namespace behind
/// a line of the given rate (shaped_lines.h), beside the time that the bytes need on such lines. Returns the
/// exit code.
int bench_codecs_on_lines(const BenchAllReduceOptions& options);

}  // namespace shoal::lab
