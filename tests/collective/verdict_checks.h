// What must hold of the verdicts of a swarm of averagers, whatever happened to them.
#pragma once

#include "averager_harness.h"
#include "plain_average.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <vector>

namespace shoal::collective {

inline std::vector<PeerId> names(const Verdict& verdict) {
    std::vector<PeerId> peers;
    for (const Contributor& contributor : verdict.contributors) peers.push_back(contributor.peer);
    return peers;
}

inline bool names_peer(const Verdict& verdict, const PeerId& peer) {
    const std::vector<PeerId> all = names(verdict);
    return std::find(all.begin(), all.end(), peer) != all.end();
}

inline void expect_same(const Verdict& a, const Verdict& b) {
    EXPECT_EQ(a.outcome, b.outcome) << a.cause << " / " << b.cause;
    EXPECT_EQ(a.cause, b.cause);
    EXPECT_EQ(a.lost, b.lost);
    EXPECT_EQ(a.attempt, b.attempt);
    EXPECT_EQ(names(a), names(b));
    EXPECT_EQ(a.digest, b.digest);
}

/// What the named contributors have as their average, no more and no less.
inline std::vector<float> swarm_average(AveragerSwarm& swarm, const std::vector<Contributor>& contributors,
                                        const std::string& codec) {
    std::vector<WeightedVector> contributions;
    for (const Contributor& contributor : contributors)
        contributions.push_back({contributor.weight, swarm.find(contributor.peer).contribution});
    return plain_average(contributions, codec);
}

/// The members of a round have one verdict (or are cut off); at most one round of the step is averaged, and
/// who has that verdict has the average of those that it names, bit by bit.
inline void expect_one_verdict(AveragerSwarm& swarm) {
    std::vector<Verdict> decided;
    std::optional<Verdict> averaged;
    std::vector<float> average;
    for (std::size_t i = 0; i < swarm.size(); ++i) {
        const AveragerSwarm::Peer& peer = swarm[i];
        for (const Verdict& verdict : peer.history) {
            if (verdict.outcome == Verdict::Outcome::cut_off || verdict.contributors.empty()) continue;
            for (const Verdict& other : decided)
                if (names(other) == names(verdict) && other.attempt == verdict.attempt)
                    expect_same(other, verdict);
            decided.push_back(verdict);
            if (verdict.outcome != Verdict::Outcome::averaged) continue;
            if (averaged)
                expect_same(*averaged, verdict);
            else
                average = swarm_average(swarm, verdict.contributors, "fp32");
            averaged = verdict;
            if (peer.role != Role::auxiliary) {
                EXPECT_TRUE(same_bits(peer.result, average)) << "peer " << i;
            }
        }
    }
}

}  // namespace shoal::collective
