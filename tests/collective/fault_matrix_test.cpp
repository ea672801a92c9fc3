// The rows of the fault matrix in simulation: latencies, lines, weights, who comes when, how a peer fails and
// at which byte are drawn from the seed.
#include "collective/fault_matrix.h"

#include "collective/sanitizer.h"
#include "collective/struck_network.h"
#include "collective/verdict_checks.h"

#include <asio/post.hpp>
#include <gtest/gtest.h>
#include <set>

namespace shoal::collective::matrix {

namespace {

using namespace std::chrono_literals;
using Outcome = Verdict::Outcome;

constexpr std::uint64_t kSeeds = kUnderAddressSanitizer ? 6 : 24;
constexpr Duration kAllHaveStarted = 300ms;

/// The same for all seeds: to draw them takes longer than a round.
const std::vector<float>& vector_of(std::size_t peer) {
    static const auto all = [] {
        std::vector<std::vector<float>> vectors;
        for (std::size_t i = 0; i < kPeers; ++i) vectors.push_back(test_vector(kElements, 500 + i));
        return vectors;
    }();
    return all[peer];
}

/// What a fault does to a peer.
enum class Way { crash, freeze, lose_connections };

class Play {
  public:
    Play(const Row& row, std::uint64_t seed)
        : faults_{row.first, row.client}, random_(seed * 104729 + 7), swarm_(seed, settings()) {
        swarm_.retry = true;
        for (std::size_t i = 0; i < kPeers; ++i) add(i);
    }

    void run() {
        start_all();
        const auto over = [this] { return started_ == kPeers && nobody_runs(); };
        ASSERT_TRUE(swarm_.simulation().run_until(over, 60s)) << "somebody waits for ever";
        for (const auto& strike : strikes_) struck_ = struck_ && (!strike || strike->struck);
        expect_verdicts();
        if (testing::Test::HasFailure()) return;
        recover();
        if (testing::Test::HasFailure()) return;
        expect_next_round();
    }

    bool struck() const { return struck_; }

  private:
    SwarmSettings settings() {
        SwarmSettings settings;
        settings.tensors = kTensors;
        settings.elements = kElements;
        settings.chunk_elements = kChunkElements;
        settings.contribution = [](std::size_t peer) { return vector_of(peer); };
        settings.internet.maximum_jitter = random_.below(2) == 0 ? 0ms : 5ms;
        settings.probe = [this](std::size_t peer, Phase phase) {
            if (phase == Phase::vote && cancelled_in_vote_.erase(peer) > 0) cancel(peer);
        };
        return settings;
    }

    void add(std::size_t index) {
        sim::HostSettings host;
        host.latency = from_seconds(0.0002 + 0.04 * random_.uniform() * random_.uniform());
        if (random_.below(3) > 0) host.upload_rate = host.download_rate = 5e6 + 50e6 * random_.uniform();
        lines_.push_back(host);
        const double weight = equal_weights_ ? 1 : static_cast<double>(1 + random_.below(32));
        swarm_.add(kRoles[index], weight, 0, host, [this, index](std::shared_ptr<net::Network> real) {
            if (index > 1) return real;
            const PeerId id = real->self();
            strikes_[index] = strike_of(index, id);
            if (!strikes_[index]) return real;
            return collective::struck(real, strikes_[index], swarm_.internet().clock(id));
        });
    }

    std::shared_ptr<Strike> strike_of(std::size_t index, PeerId id) {
        const Fault fault = faults_[index];
        const bool client = kRoles[index] == Role::client;
        if (fault == Fault::none || fault == Fault::before) return nullptr;
        auto strike = std::make_shared<Strike>();
        const bool reduces = fault == Fault::reducing || fault == Fault::slow_reducing;
        if (reduces) strike->part = client ? Part::taking : Part::reducing;
        // Four owners: a client sends and takes all, the others three quarters; each owner sends a vector.
        const double bytes = 4.0 * kElements * (!client && !reduces ? 0.75 : 1);
        strike->after = static_cast<std::uint64_t>(0.9 * random_.uniform() * bytes);
        if (fault == Fault::slow_sending || fault == Fault::slow_reducing) {
            if (random_.below(2) == 0)
                strike->pause = kPause;
            else  // the vector once, in 10 s
                strike->act = [this, id] {
                    swarm_.internet().set_rates(id, 4.0 * kElements / seconds(kPause), 0);
                };
            return strike;
        }
        if (fault == Fault::cancelled) {
            if (random_.below(2) == 0) strike->part = Part::taking;
            strike->act = [this, index] { cancel(index); };
            return strike;
        }
        const auto way = static_cast<Way>(random_.below(3));
        strike->act = [this, id, way] { fail(id, way); };
        return strike;
    }

    void fail(const PeerId& id, Way way) {
        switch (way) {
            case Way::crash:
                return swarm_.internet().crash(id);
            case Way::freeze:
                return swarm_.internet().freeze(id);
            case Way::lose_connections:
                links_broke_ = true;
                for (std::size_t i = 0; i < kPeers; ++i)
                    if (swarm_[i].id != id) swarm_.internet().cut(id, swarm_[i].id);
        }
    }

    void cancel(std::size_t index) {  // not in the middle of what it does
        asio::post(swarm_.simulation().executor(),
                   [this, index] { swarm_[index].cancel.emit(asio::cancellation_type::terminal); });
    }

    void at(Duration when, std::function<void()> action) {
        swarm_.simulation().timeline()->after(when, std::move(action));
    }

    Duration within(Duration time) { return from_seconds(seconds(time) * random_.uniform()); }

    void start_all() {
        for (std::size_t i = 0; i < kPeers; ++i) {
            const Duration when = i == kPeers - 1 ? kAllHaveStarted : within(kAllHaveStarted);
            at(when, [this, i] {
                ++started_;
                if (!swarm_.stopped(i)) swarm_.start(i);
            });
        }
        for (std::size_t i = 0; i < 2; ++i) {
            if (faults_[i] != Fault::before) continue;
            const Way way = random_.below(2) == 0 ? Way::crash : Way::freeze;
            at(within(kAllHaveStarted - 1ms), [this, i, way] { fail(swarm_[i].id, way); });
        }
        const std::uint64_t when = faults_[1] == Fault::cancelled ? random_.below(4) : 2;
        if (when == 0) cancelled_in_vote_.insert(1);
        if (when == 1) at(within(kAllHaveStarted + 30ms), [this] { cancel(1); });
        if (when < 2) strikes_[1]->struck = true;  // instead
    }

    bool nobody_runs() {
        for (std::size_t i = 0; i < kPeers; ++i)
            if (swarm_[i].running && !swarm_.stopped(i)) return false;
        return true;
    }

    bool is_faulty(const PeerId& id) {
        for (std::size_t i = 0; i < 2; ++i)
            if (swarm_[i].id == id) return faults_[i] != Fault::none;
        return false;
    }

    void expect_verdicts() {
        expect_one_verdict(swarm_);
        for (std::size_t i = 0; i < kPeers; ++i) {
            SCOPED_TRACE("peer " + std::to_string(i));
            const AveragerSwarm::Peer& peer = swarm_[i];
            EXPECT_TRUE(same_bits(peer.contribution, vector_of(i)));
            for (const Verdict& verdict : peer.history) expect_right_cause(verdict);
            if (is_faulty(peer.id)) continue;
            ASSERT_TRUE(peer.verdict) << describe(peer.error);
            ASSERT_EQ(peer.verdict->outcome, Outcome::averaged) << peer.verdict->cause;
            for (std::size_t other = 0; other < kPeers; ++other) {
                if (!is_faulty(swarm_[other].id)) {
                    EXPECT_TRUE(names_peer(*peer.verdict, swarm_[other].id)) << other;
                }
                if (swarm_.stopped(other)) {
                    EXPECT_FALSE(names_peer(*peer.verdict, swarm_[other].id)) << other;
                }
            }
        }
    }

    void expect_right_cause(const Verdict& verdict) {
        if (verdict.outcome != Outcome::failed) return;
        ASSERT_FALSE(verdict.lost.empty()) << verdict.cause;
        bool named = false;
        for (const PeerId& peer : verdict.lost) {
            // Of a broken link one end is as good as the other, and the other may not have noticed it yet.
            EXPECT_TRUE(is_faulty(peer) || links_broke_)
                << "peer " << swarm_.index_of(peer) << ": " << verdict.cause;
            named = named || verdict.cause.find(peer.short_name()) != std::string::npos;
        }
        EXPECT_TRUE(named) << verdict.cause;
    }

    /// Who is frozen wakes up, learns how it ended, and has changed nothing by itself.
    void recover() {
        for (std::size_t i = 0; i < kPeers; ++i)
            if (swarm_.internet().is_frozen(swarm_[i].id)) swarm_.internet().thaw(swarm_[i].id);
        ASSERT_TRUE(swarm_.finish(60s)) << "who was frozen waits for ever";
        expect_one_verdict(swarm_);
        swarm_.simulation().run_for(kPause);
        for (const auto& strike : strikes_)
            if (strike) strike->disarm();
        for (std::size_t i = 0; i < kPeers; ++i)
            if (!swarm_.stopped(i))
                swarm_.internet().set_rates(swarm_[i].id, lines_[i].upload_rate, lines_[i].download_rate);
    }

    /// Of all that live, at the first attempt.
    void expect_next_round() {
        for (std::size_t i = 0; i < kPeers; ++i) swarm_[i].history.clear();
        swarm_.start_all(Step{2});
        ASSERT_TRUE(swarm_.finish(60s));
        expect_one_verdict(swarm_);
        for (std::size_t i = 0; i < kPeers; ++i) {
            if (swarm_.stopped(i)) continue;
            SCOPED_TRACE("peer " + std::to_string(i) + " in the next round");
            ASSERT_TRUE(swarm_[i].verdict);
            const Verdict& verdict = *swarm_[i].verdict;
            EXPECT_EQ(verdict.outcome, Outcome::averaged) << verdict.cause;
            EXPECT_EQ(verdict.attempt, 0U);
            for (std::size_t other = 0; other < kPeers; ++other)
                EXPECT_EQ(names_peer(verdict, swarm_[other].id), !swarm_.stopped(other)) << other;
        }
    }

    std::array<Fault, 2> faults_;
    Random random_;
    bool equal_weights_ = random_.below(2) == 0;  // as in the matrix
    std::array<std::shared_ptr<Strike>, 2> strikes_;
    std::vector<sim::HostSettings> lines_;
    std::set<std::size_t> cancelled_in_vote_;
    std::size_t started_ = 0;
    bool links_broke_ = false, struck_ = true;
    AveragerSwarm swarm_;
};

class FaultMatrix : public testing::TestWithParam<Row> {};

TEST_P(FaultMatrix, leaves_the_survivors_with_the_average_of_those_it_names_and_the_next_round_works) {
    std::size_t struck = 0;
    for (std::uint64_t seed = 1; seed <= kSeeds && !HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Play play(GetParam(), seed);
        play.run();
        struck += play.struck() ? 1 : 0;
    }
    EXPECT_GE(struck, kSeeds / 2) << "the faults hardly happened";  // one may end the round before the other
}

INSTANTIATE_TEST_SUITE_P(, FaultMatrix, testing::ValuesIn(kRows),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace shoal::collective::matrix
