#include <algorithm>
#include <fmt/format.h>

#include "shoal/lab/all_reduce_contestants.h"
#include "shoal/lab/bench_all_reduce.h"
#include "shoal/lab/median.h"

namespace shoal::lab {

int bench_round(const BenchRoundOptions& options) {
    const AllReduceJob job{options.peers, std::max<std::size_t>(1, options.bytes / sizeof(float)), "fp32",
                           (options.result.quick ? 20 : options.rounds) + 1};
    const auto rounds = run_our_all_reduce(job, true, true);
    const auto median_of = [&](double RoundFigures::* column) {
        std::vector<double> values;
        for (const RoundFigures& round : rounds) values.push_back(round.*column);
        return median(values);
    };
    std::vector<double> overhead;
    for (const RoundFigures& round : rounds) overhead.push_back(round.seconds - round.exchange_seconds);
    const double whole = median_of(&RoundFigures::seconds), match = median_of(&RoundFigures::match_seconds),
                 reduce = median_of(&RoundFigures::reduce_seconds),
                 vote = median_of(&RoundFigures::vote_seconds),
                 pure = median_of(&RoundFigures::exchange_seconds);
    std::sort(overhead.begin(), overhead.end());
    const double p95 = overhead[overhead.size() * 95 / 100];
    fmt::print(
        "round of {} kB among {} processes on loopback, median over {} rounds, slowest process of each:\n",
        options.bytes / 1000, job.peers, rounds.size());
    fmt::print(
        "  whole round {:.1f} ms = match {:.1f} + reduce {:.1f} + vote {:.1f}; bare exchange of the same "
        "bytes {:.1f} ms\n",
        whole * 1e3, match * 1e3, reduce * 1e3, vote * 1e3, pure * 1e3);
    fmt::print("  overhead {:.1f} ms (95 % of the rounds: {:.1f} ms)\n", median(overhead) * 1e3, p95 * 1e3);
    run::Result result("bench round", options.result);
    result.json().update({{"peers", job.peers},
                          {"bytes", options.bytes},
                          {"whole_seconds", whole},
                          {"match_seconds", match},
                          {"reduce_seconds", reduce},
                          {"vote_seconds", vote},
                          {"exchange_seconds", pure},
                          {"overhead_seconds", median(overhead)},
                          {"overhead_p95_seconds", p95}});
    result.demand_at_most("overhead of a round on loopback", median(overhead) * 1e3, 100, "ms");
    return result.finish();
}

}  // namespace shoal::lab
