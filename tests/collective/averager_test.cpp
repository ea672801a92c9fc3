#include "shoal/collective/averager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "averager_harness.h"
#include "shoal/collective/round_plan.h"
#include "shoal/compress/codec.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void expect_averaged(AveragerSwarm& swarm, const std::vector<std::size_t>& members, double tolerance = 1e-6) {
    std::vector<PeerId> ids;
    for (const std::size_t i : members) ids.push_back(swarm[i].id);
    std::sort(ids.begin(), ids.end());
    const std::vector<float>* first = nullptr;
    for (const std::size_t i : members) {
        AveragerSwarm::Peer& peer = swarm[i];
        ASSERT_TRUE(peer.verdict) << "peer " << i << ": " << (peer.error ? describe(peer.error) : "no verdict");
        ASSERT_EQ(peer.verdict->outcome, Verdict::Outcome::averaged) << "peer " << i << ": " << peer.verdict->cause;
        std::vector<PeerId> contributors;
        for (const Contributor& c : peer.verdict->contributors) contributors.push_back(c.peer);
        ASSERT_EQ(contributors, ids);
        EXPECT_EQ(peer.verdict->digest, swarm[members[0]].verdict->digest);
        if (peer.role == Role::auxiliary) continue;
        if (first == nullptr) {
            first = &peer.result;
            const std::vector<double> reference = swarm.reference(peer.verdict->contributors);
            for (std::size_t k = 0; k < reference.size(); ++k)
                ASSERT_NEAR(peer.result[k], reference[k], tolerance * std::max(1.0, std::fabs(reference[k]))) << k;
        }
        EXPECT_TRUE(same_bits(peer.result, *first)) << "peer " << i;
    }
}

std::vector<std::size_t> all_of(const AveragerSwarm& swarm) {
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < swarm.size(); ++i) all.push_back(i);
    return all;
}

TEST(Averager, four_peers_average_by_weight) {
    AveragerSwarm swarm(1);
    for (const double weight : {1.0, 2.0, 3.5, 0.25}) swarm.add(Role::full, weight);
    swarm.start_all();
    ASSERT_TRUE(swarm.finish());
    expect_averaged(swarm, all_of(swarm));
}

}  // namespace
}  // namespace shoal::collective
