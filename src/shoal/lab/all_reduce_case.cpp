#include "shoal/lab/all_reduce_case.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <limits>
#include <thread>

#include "shoal/lab/median.h"

namespace shoal::lab {

namespace {

constexpr std::array kAveraged = {&RoundFigures::seconds,         &RoundFigures::cpu_seconds,
                                  &RoundFigures::system_seconds,  &RoundFigures::adding_seconds,
                                  &RoundFigures::copying_seconds, &RoundFigures::memory_bytes_a_second};

}  // namespace

std::string size_text(std::size_t bytes) {
    if (bytes >= 1 << 20) return fmt::format("{:.4g} MiB", static_cast<double>(bytes) / (1 << 20));
    return fmt::format("{:.4g} KiB", static_cast<double>(bytes) / (1 << 10));
}

std::string AllReduceCase::name() const {
    return fmt::format("{} peers, {}, {}", job_.peers, size_text(bytes()), job_.codec);
}

void AllReduceCase::add_turn(std::size_t contestant, const std::vector<RoundFigures>& rounds) {
    best_.resize(measured_.size(), std::numeric_limits<double>::infinity());
    RoundFigures turn;
    for (const auto column : kAveraged) {
        std::vector<double> values;
        for (const RoundFigures& round : rounds) values.push_back(round.*column);
        turn.*column = median(std::move(values));
    }
    for (const RoundFigures& round : rounds) best_[contestant] = std::min(best_[contestant], round.seconds);
    measured_[contestant].push_back(turn);
}

double AllReduceCase::median_of(std::size_t contestant, double RoundFigures::* column) const {
    std::vector<double> values;
    for (const RoundFigures& turn : measured_[contestant]) values.push_back(turn.*column);
    return median(std::move(values));
}

double AllReduceCase::best_seconds(std::size_t contestant) const {
    return best_[contestant];
}

double AllReduceCase::ratio(std::size_t contestant, std::size_t yardstick,
                            double RoundFigures::* column) const {
    std::vector<double> ratios;
    const std::size_t turns = std::min(measured_[contestant].size(), measured_[yardstick].size());
    for (std::size_t turn = 0; turn < turns; ++turn)
        ratios.push_back(measured_[contestant][turn].*column / measured_[yardstick][turn].*column);
    return median(std::move(ratios));
}

double AllReduceCase::processors() const {
    return std::min(job_.peers, static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
}

TimeShares AllReduceCase::shares(std::size_t with_tls, std::size_t without) const {
    TimeShares shares;
    shares.tls = std::max(0.0, cpu_seconds(with_tls) - cpu_seconds(without));
    shares.kernel = median_of(without, &RoundFigures::system_seconds);
    shares.copying = median_of(without, &RoundFigures::copying_seconds);
    shares.adding = median_of(without, &RoundFigures::adding_seconds);
    const double known = shares.tls + shares.kernel + shares.copying + shares.adding;
    shares.other = std::max(0.0, cpu_seconds(with_tls) - known);
    // Medians of different rounds may add up to more than there was.
    const double busy = known + shares.other;
    const double all = std::max(seconds(with_tls) * processors(), busy);
    shares.waiting = all - busy;
    for (double* share :
         {&shares.tls, &shares.kernel, &shares.copying, &shares.adding, &shares.other, &shares.waiting})
        *share /= all;
    return shares;
}

double AllReduceCase::limit_seconds(std::size_t bare_tcp, std::size_t without) const {
    const double passes = median_of(without, &RoundFigures::adding_seconds) +
                          median_of(without, &RoundFigures::copying_seconds);
    return best_seconds(bare_tcp) + passes / processors();
}

nlohmann::json to_json(const TimeShares& shares) {
    return {{"tls", shares.tls},       {"kernel", shares.kernel}, {"copying", shares.copying},
            {"adding", shares.adding}, {"other", shares.other},   {"waiting", shares.waiting}};
}

}  // namespace shoal::lab
