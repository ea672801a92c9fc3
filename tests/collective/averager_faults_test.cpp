// Faults at every message of a round: whoever ends with a verdict has the same one, with the same bits.
#include "averager_harness.h"
#include "verdict_checks.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <memory>

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

enum class Fault { crash, freeze, cut, partition_one, partition_half };

std::string name_of(Fault fault) {
    switch (fault) {
        case Fault::crash:
            return "crash";
        case Fault::freeze:
            return "freeze";
        case Fault::cut:
            return "cut";
        case Fault::partition_one:
            return "partition_one";
        case Fault::partition_half:
            return "partition_half";
    }
    return "";
}

struct Scenario {
    Fault fault = Fault::crash;
    std::size_t victim = 0;
    std::uint64_t after = 1;  // messages of the victim
    std::uint64_t seed = 1;
};

void build(AveragerSwarm& swarm) {
    swarm.add(Role::full, 1);
    swarm.add(Role::full, 2);
    swarm.add(Role::full, 3);
    swarm.add(Role::client, 4);
    swarm.add(Role::auxiliary);
}

void inject(AveragerSwarm& swarm, const Scenario& scenario, std::shared_ptr<bool> happened) {
    const PeerId victim = swarm[scenario.victim].id;
    const PeerId other = swarm[(scenario.victim + 1) % 3].id;
    std::vector<PeerId> half{victim, other};
    swarm.internet().after_messages(victim, scenario.after,
                                    [&swarm, happened, scenario, victim, other, half] {
                                        *happened = true;
                                        switch (scenario.fault) {
                                            case Fault::crash:
                                                return swarm.internet().crash(victim);
                                            case Fault::freeze:
                                                return swarm.internet().freeze(victim);
                                            case Fault::cut:
                                                return swarm.internet().cut(victim, other);
                                            case Fault::partition_one:
                                                return swarm.internet().partition({{victim}});
                                            case Fault::partition_half:
                                                return swarm.internet().partition({half});
                                        }
                                    });
}

SwarmSettings small() {
    SwarmSettings settings;
    settings.elements = 3000;
    settings.chunk_elements = 512;
    return settings;
}

/// One round with one fault. Returns whether the fault came before the round was over.
bool play(const Scenario& scenario, std::size_t& all_well) {
    SCOPED_TRACE(name_of(scenario.fault) + " of peer " + std::to_string(scenario.victim) + " after message " +
                 std::to_string(scenario.after) + ", seed " + std::to_string(scenario.seed));
    AveragerSwarm swarm(scenario.seed, small());
    swarm.retry = true;
    build(swarm);
    const auto happened = std::make_shared<bool>(false);  // the fault may come late
    inject(swarm, scenario, happened);
    const TimePoint start = swarm.now();
    swarm.start_all();
    const bool finished = swarm.finish(60s);
    EXPECT_TRUE(finished);
    if (!*happened || !finished) return *happened;
    expect_one_verdict(swarm);
    const bool stops = scenario.fault == Fault::crash || scenario.fault == Fault::freeze;
    const bool splits = scenario.fault == Fault::partition_one || scenario.fault == Fault::partition_half;
    std::size_t cut_off = 0;
    TimePoint last = start;
    for (std::size_t i = 0; i < swarm.size(); ++i) {
        const AveragerSwarm::Peer& peer = swarm[i];
        if (swarm.stopped(i)) continue;
        if (!peer.verdict || peer.verdict->outcome == Verdict::Outcome::failed) {
            ADD_FAILURE() << "peer " << i << ": "
                          << (peer.verdict ? peer.verdict->cause : describe(peer.error));
            continue;
        }
        if (peer.verdict->outcome == Verdict::Outcome::cut_off) {
            ++cut_off;
            continue;
        }
        last = std::max(last, peer.ended);
        // Who fails for good is named, and the others average without it.
        if (stops && peer.history.size() > 1) {
            const std::vector<PeerId> members = names(*peer.verdict);
            EXPECT_EQ(std::count(members.begin(), members.end(), swarm[scenario.victim].id), 0);
            EXPECT_GE(members.size(), 3u);
        }
    }
    // Those that can talk to each other and are the majority are never cut off, and lose little time: the
    // rounds themselves take milliseconds. (Of two halves, members of a round that was just beginning may be
    // cut off on both sides. A client that hangs on a frozen leader whose word has reached only others learns
    // of it when they are done.)
    const std::size_t allowed = scenario.fault == Fault::partition_half  ? 5
                                : scenario.fault == Fault::partition_one ? 1
                                : scenario.fault == Fault::freeze        ? 1
                                                                         : 0;
    EXPECT_LE(cut_off, allowed);
    all_well += stops && cut_off == 0;
    if (!splits) {
        EXPECT_LT(seconds(last - start), 3.0);
    }
    return *happened;
}

class EveryMessage : public testing::TestWithParam<std::tuple<Fault, std::size_t>> {};

TEST_P(EveryMessage, leads_all_to_the_same_verdict) {
    Scenario scenario;
    std::tie(scenario.fault, scenario.victim) = GetParam();
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
        scenario.seed = seed;
        std::uint64_t injected = 0, all_well = 0;
        for (scenario.after = 1; play(scenario, all_well) && !HasFailure(); ++scenario.after) ++injected;
        EXPECT_GT(injected, 5u);
        if (scenario.fault == Fault::crash || scenario.fault == Fault::freeze) {
            EXPECT_GE(all_well + 3, injected);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(AveragerFaults, EveryMessage,
                         testing::Combine(testing::Values(Fault::crash, Fault::freeze, Fault::cut,
                                                          Fault::partition_one, Fault::partition_half),
                                          testing::Values(0, 1, 2, 3, 4)),
                         [](const auto& chosen) {
                             return name_of(std::get<0>(chosen.param)) + "_of_peer_" +
                                    std::to_string(std::get<1>(chosen.param));
                         });

}  // namespace
}  // namespace shoal::collective
