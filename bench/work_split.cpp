// How long splitting the work of a round takes (src/shoal/collective/work_split.h, averaging_program.h), by
// number of members.
#include "shoal/collective/work_split.h"

#include <benchmark/benchmark.h>
#include <vector>

#include "shoal/base/random.h"
#include "shoal/collective/averaging_program.h"

namespace {

using shoal::collective::AveragingProgram;
using shoal::collective::Sharing;
using shoal::collective::SplitMember;

/// Unequal limits, one in eight in client mode, one in eight auxiliary.
std::vector<SplitMember> group_of(std::size_t members) {
    shoal::Random random(members);
    std::vector<SplitMember> group(members);
    for (std::size_t i = 0; i < members; ++i) {
        group[i].reduces = i % 8 != 1;
        group[i].sends = group[i].receives = i % 8 != 2;
        group[i].upload = 1e5 + 1e8 * random.uniform();
        group[i].download = 1e5 + 1e8 * random.uniform();
    }
    return group;
}

void split_shortest(benchmark::State& state) {
    const std::vector<SplitMember> group = group_of(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) benchmark::DoNotOptimize(shoal::collective::split_shortest(group));
}
BENCHMARK(split_shortest)->RangeMultiplier(4)->Range(16, 1024);

/// Four sites with fast links inside and slow ones between.
void solve_program(benchmark::State& state, Sharing sharing) {
    AveragingProgram program;
    program.sharing = sharing;
    program.members = group_of(static_cast<std::size_t>(state.range(0)));
    shoal::Random random(1);
    for (std::size_t i = 0; i < program.members.size(); ++i)
        for (std::size_t j = 0; j < program.members.size(); ++j)
            program.pair_limits.push_back((i % 4 == j % 4 ? 1e8 : 1e6) * (0.5 + random.uniform()));
    for (auto _ : state) benchmark::DoNotOptimize(solve(program));
}
BENCHMARK_CAPTURE(solve_program, alike, Sharing::alike)
    ->RangeMultiplier(2)
    ->Range(8, shoal::collective::kMaximumProgramMembers)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(solve_program, by_receiver, Sharing::by_receiver)
    ->RangeMultiplier(2)
    ->Range(8, shoal::collective::kMaximumProgramMembers)
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
