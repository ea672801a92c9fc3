#include "shoal/lab/averaging_rounds.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>

#include "shoal/base/error.h"

namespace shoal::lab {
namespace {

using collective::ExpectedPeer;
using collective::RoundRequest;
using collective::Verdict;

constexpr std::size_t kPattern = 1000;  ///< the vector repeats after so many elements

class Rounds {
  public:
    Rounds(net::Network& network, Clock& clock, collective::Averager& averager, const AveragingTask& task,
           std::size_t rank)
        : network_(network), clock_(clock), averager_(averager), task_(task), rank_(rank) {
        for (std::size_t i = 0; i < task_.peers.size(); ++i) ids_.push_back(averaging_key(i).peer_id());
        if (contributes()) {
            input_.resize(task_.elements);
            output_.resize(task_.elements);
            for (std::size_t i = 0; i < input_.size(); ++i) input_[i] = value_of(rank_, i);
        }
    }

    awaitable<void> meet() {
        const float one = 1;
        float result = 0;
        std::span<const float> input;
        std::span<float> output;
        if (contributes()) {
            input = std::span<const float>(&one, 1);
            output = std::span<float>(&result, 1);
        }
        co_await average(input, output);
    }

    awaitable<RoundTimes> measure() {
        const TimePoint start = clock_.now();
        const Verdict verdict = co_await average(input_, output_);
        RoundTimes times;
        times.whole = seconds(clock_.now() - start);
        times.match = verdict.report.match_seconds;
        times.reduce = verdict.report.reduce_seconds;
        times.vote = verdict.report.vote_seconds;
        check();
        co_return times;
    }

  private:
    bool contributes() const { return !task_.peers[rank_].auxiliary; }

    static float value_of(std::size_t rank, std::size_t element) {
        return static_cast<float>(rank) + static_cast<float>(element % kPattern) * 1e-3f;
    }

    std::vector<ExpectedPeer> others() const {
        std::vector<ExpectedPeer> expected;
        for (std::size_t i = 0; i < ids_.size(); ++i)
            if (i != rank_)
                expected.push_back({ids_[i], task_.peers[i].role(), clock_.now() + std::chrono::seconds(60)});
        return expected;
    }

    awaitable<Verdict> average(std::span<const float> input, std::span<float> output) {
        RoundRequest request;
        request.step = static_cast<Step>(next_step_++);
        request.contribution = input;
        request.result = output;
        request.weight = contributes() ? 1 : 0;
        request.expected = [this] { return others(); };
        Verdict verdict = co_await averager_.average(std::move(request));
        if (verdict.outcome != Verdict::Outcome::averaged || verdict.contributors.size() != ids_.size())
            throw Error(ErrorKind::system,
                        fmt::format("a round did not average all peers ({}): {}",
                                    collective::to_string(verdict.outcome), verdict.cause));
        co_return verdict;
    }

    void check() const {
        double ranks = 0, contributors = 0;
        for (std::size_t i = 0; i < task_.peers.size(); ++i) {
            if (task_.peers[i].auxiliary) continue;
            ranks += static_cast<double>(i);
            contributors += 1;
        }
        const bool casts = task_.codec == "fp32" || task_.codec == "fp16";
        const double tolerance = casts ? 0.02 : 0.2 * contributors;
        for (std::size_t i = 0; i < output_.size(); i += 977) {
            const double expected = ranks / contributors + static_cast<double>(i % kPattern) * 1e-3;
            if (!(std::abs(output_[i] - expected) <= tolerance))
                throw Error(ErrorKind::corrupted,
                            fmt::format("element {} is {}, not {}", i, output_[i], expected));
        }
    }

    net::Network& network_;
    Clock& clock_;
    collective::Averager& averager_;
    const AveragingTask& task_;
    const std::size_t rank_;
    std::vector<PeerId> ids_;
    std::vector<float> input_, output_;
    std::int64_t next_step_ = 0;
};

}  // namespace

std::vector<RoundTimes> slowest_peers(const std::vector<std::vector<RoundTimes>>& by_peer) {
    std::vector<RoundTimes> slowest;
    for (const std::vector<RoundTimes>& rounds : by_peer) {
        slowest.resize(rounds.size());
        for (std::size_t i = 0; i < rounds.size(); ++i)
            if (rounds[i].whole > slowest[i].whole) slowest[i] = rounds[i];
    }
    return slowest;
}

KeyPair averaging_key(std::size_t rank) {
    std::array<std::uint8_t, 32> seed{};
    const std::uint64_t number = rank + 1;
    for (std::size_t i = 0; i < sizeof number; ++i) seed[i] = static_cast<std::uint8_t>(number >> (8 * i));
    return KeyPair::from_seed(seed);
}

std::shared_ptr<collective::Averager> make_lab_averager(net::Network& network, Clock& clock, Random random,
                                                        const AveragingTask& task, std::size_t rank) {
    const AveragingPeer& peer = task.peers[rank];
    collective::AveragerSettings settings;
    settings.run = "lab";
    settings.codec = task.codec;
    settings.role = peer.role();
    settings.upload = settings.download = peer.claim;
    settings.paced = peer.claim > 0;
    settings.signer = std::make_shared<KeyPair>(averaging_key(rank));
    return collective::make_averager(network, clock, random, settings, Log());
}

awaitable<void> take_part_in_rounds(net::Network& network, Clock& clock, collective::Averager& averager,
                                    AveragingTask task, std::size_t rank,
                                    std::function<void(const RoundTimes&)> told) {
    Rounds rounds(network, clock, averager, task, rank);
    for (int round = 0; round < task.rounds; ++round) {
        co_await rounds.meet();
        const RoundTimes times = co_await rounds.measure();
        told(times);
    }
    co_await rounds.meet();  // nobody leaves while another still needs it
}

}  // namespace shoal::lab
