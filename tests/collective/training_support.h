// What the tests of whole swarms ask of them: one history, and the trajectory of one machine.
#pragma once

#include <gtest/gtest.h>
#include <map>
#include <set>

#include "shoal/sim/swarm.h"

namespace shoal::collective::testing_support {

using namespace std::chrono_literals;
using sim::Node;
using sim::NodeOptions;
using sim::NodePointer;
using sim::Recorder;

inline NodeOptions speed(std::int64_t samples, Duration time) {
    NodeOptions options;
    options.samples = samples;
    options.time = time;
    return options;
}

class Swarm : public sim::Swarm {
  public:
    Swarm(std::uint64_t seed, std::int64_t target, std::int64_t last_step,
          sim::InternetSettings internet = {}, sim::DirectorySettings directory = {})
        : sim::Swarm(seed, settings_of(target, last_step), internet, directory) {}
    ~Swarm() { EXPECT_TRUE(violations->empty()) << violations->front(); }

    /// Every step was taken with the same bits by all who took it, and nobody failed.
    void expect_identical() {
        std::map<Step, std::set<std::pair<std::uint64_t, std::uint64_t>>> digests;
        for (const NodePointer& node : nodes) {
            if (node->options.between) continue;
            EXPECT_EQ(node->failure, "");
            for (const auto& [step, taken] : node->seen->steps)
                digests[step].insert({taken.digest.low, taken.digest.high});
        }
        for (const auto& [step, values] : digests) EXPECT_EQ(values.size(), 1U) << "step " << value(step);
    }

    /// The nodes' parameters are those of one machine that is fed the same samples.
    void expect_equal_to_one_machine(std::int64_t from = 0, const sim::QuadraticCompute* begin = nullptr) {
        const std::size_t width = settings.parameters;
        const sim::QuadraticSettings problem;
        std::vector<double> parameters(width, 0.5), momentum(width, 0.0);
        if (begin != nullptr) {
            parameters.assign(begin->parameters.begin(), begin->parameters.end());
            momentum.assign(begin->momentum.begin(), begin->momentum.end());
        }
        std::set<std::uint64_t> used, early;
        for (const NodePointer& node : nodes)
            if (node->compute) early.insert(node->compute->early.begin(), node->compute->early.end());
        std::vector<double> before = parameters;  // with them the early samples of a step were computed
        for (std::int64_t step = from; step < settings.last_step; ++step) {
            const std::vector<std::uint64_t> samples = samples_of(static_cast<Step>(step));
            ASSERT_FALSE(samples.empty()) << "nobody averaged step " << step;
            // Samples of a peer that is lost when its step is due are lost, too; then a batch may be smaller.
            if (!faults_expected) {
                EXPECT_GE(static_cast<std::int64_t>(samples.size()), settings.target_batch_size)
                    << "step " << step;
            }
            for (const std::uint64_t sample : samples)
                EXPECT_TRUE(used.insert(sample).second) << "a sample counted twice";
            const std::vector<double> now = parameters;
            for (std::size_t i = 0; i < width; ++i) {
                double gradient = 0;
                for (const std::uint64_t sample : samples)
                    gradient += (early.contains(sample) ? before[i] : now[i]) - sim::wanted(sample, i);
                momentum[i] = problem.momentum * momentum[i] + gradient / static_cast<double>(samples.size());
                parameters[i] -= problem.rate * momentum[i];
            }
            before = now;
        }
        int compared = 0;
        for (const NodePointer& node : nodes) {
            if (!node->finished || !node->compute || node->options.between) continue;
            ++compared;
            for (std::size_t i = 0; i < width; ++i)
                ASSERT_NEAR(node->compute->parameters[i], parameters[i], 1e-6);
        }
        EXPECT_GT(compared, 0);
    }

    /// Samples behind the average of a step, and a check that all members saw the same contributors.
    std::vector<std::uint64_t> samples_of(Step step) {
        std::vector<std::uint64_t> samples;
        const Verdict* first = nullptr;
        for (const NodePointer& node : nodes) {
            const auto found = node->seen->averaged.find(step);
            if (found == node->seen->averaged.end() || node->options.between) continue;
            const Verdict& verdict = found->second;
            if (first != nullptr) {
                EXPECT_EQ(verdict.digest, first->digest);
                EXPECT_EQ(verdict.contributors.size(), first->contributors.size());
                continue;
            }
            first = &verdict;
            for (const Contributor& member : verdict.contributors) {
                if (!(member.weight > 0)) continue;
                const auto contributions = ledger->find({member.peer, step});
                if (contributions == ledger->end()) {
                    ADD_FAILURE() << "a contributor that never contributed to step " << value(step);
                    continue;
                }
                const auto& of_member = contributions->second.back();
                EXPECT_EQ(static_cast<double>(of_member.size()), member.weight);
                samples.insert(samples.end(), of_member.begin(), of_member.end());
            }
        }
        return samples;
    }

    bool faults_expected = false;

  private:
    static sim::SwarmSettings settings_of(std::int64_t target, std::int64_t last_step) {
        sim::SwarmSettings settings;
        settings.target_batch_size = target;
        settings.last_step = last_step;
        return settings;
    }
};

}  // namespace shoal::collective::testing_support
