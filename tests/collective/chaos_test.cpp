// Swarms of all kinds of peers under random faults: no two peers ever take a step with different results, and
// when the faults are over all go on together. A seed fixes everything, so one that fails is a test to keep.
#include "training_support.h"

#include <gtest/gtest.h>

namespace shoal::collective {
namespace {

using namespace testing_support;

constexpr Duration kFaultTime = 12s;   ///< less than ...
constexpr Duration kLostQuorum = 20s;  ///< ... this, so that nobody goes on without a quorum meanwhile
constexpr Duration kRecovery = 90s;    ///< that, and what it takes to load a state
constexpr std::size_t kFewest = 2, kMost = 12;  ///< peers that run

class Chaos {
  public:
    explicit Chaos(std::uint64_t seed)
        : random_(seed * 7919 + 1),
          swarm_(seed, 96 + static_cast<std::int64_t>(random_.below(160)), 1'000'000) {
        swarm_.lost_quorum_timeout = kLostQuorum;
        const std::size_t peers = 4 + random_.below(6);
        for (std::size_t i = 0; i < peers; ++i) swarm_.add(any_peer(i < 2));
        founders_ = peers;
    }

    /// Everybody trains.
    bool starts() {
        return swarm_.run_until([this] { return lowest_step() >= 3; }, 60s);
    }

    void rage() {
        // Who joins later knows that there is a swarm.
        swarm_.alone_after = 1h;
        const TimePoint end = now() + kFaultTime;
        while (now() < end) {
            swarm_.world.simulation().run_for(from_seconds(random_.uniform() * random_.uniform() * 2));
            fault();
        }
        *raging_ = false;
        swarm_.world.internet().heal();
        for (const NodePointer& node : swarm_.nodes)
            if (is_frozen(node)) swarm_.world.internet().thaw(node->peer.id);
    }

    /// All that are left take one more step together.
    bool recovers() {
        const std::int64_t before = swarm_.highest_step();
        return swarm_.run_until([this, before] { return lowest_step() > before + 2; }, kRecovery);
    }

    /// A swarm that lost its quorum may have become two, and newcomers that hear only of each other begin a
    /// run of their own.
    bool may_have_two_histories() const {
        for (std::size_t i = founders_; i < swarm_.nodes.size(); ++i)
            for (const auto& [step, digest] : swarm_.nodes[i]->seen->history)
                if (step == Step{1}) return true;
        for (const NodePointer& node : swarm_.nodes)
            for (const auto& [kind, text] : node->seen->troubles)
                if (text.find("going on without") != std::string::npos) return true;
        return false;
    }

    /// @return  steps that two nodes or more have taken, so that their results were compared.
    int expect_one_history() {
        std::set<Step> compared;
        std::map<Step, std::pair<Fingerprint, std::size_t>> first;
        for (std::size_t i = 0; i < swarm_.nodes.size(); ++i) {
            EXPECT_EQ(swarm_.nodes[i]->failure, "");
            for (const auto& [step, digest] : swarm_.nodes[i]->seen->history) {
                const auto [found, is_new] = first.try_emplace(step, digest, i);
                if (!is_new && found->second.second != i) compared.insert(step);
                if (is_new || found->second.first == digest) continue;
                ADD_FAILURE() << "step " << value(step) << " has two results, of node " << i << " and "
                              << found->second.second << '\n'
                              << story();
                return static_cast<int>(compared.size());
            }
        }
        return static_cast<int>(compared.size());
    }

    std::string story() const {
        std::string text = story_;
        for (std::size_t i = 0; i < swarm_.nodes.size(); ++i) {
            const Node& node = *swarm_.nodes[i];
            text += "node " + std::to_string(i) + " " + node.peer.id.short_name() + " " +
                    std::string(to_string(node.options.role)) + (node.crashed ? " crashed" : "") + " step " +
                    std::to_string(value(node.trainer->step())) + "\n";
            for (const auto& [kind, trouble] : node.seen->troubles) text += "    " + trouble + "\n";
        }
        return text;
    }

  private:
    NodeOptions any_peer(bool full) {
        NodeOptions options;
        options.samples = 2 + static_cast<std::int64_t>(random_.below(15));
        options.time = 30ms + 10ms * static_cast<int>(random_.below(20));
        const std::uint64_t kind = full ? 9 : random_.below(10);
        options.role = kind < 2 ? Role::client : kind < 3 ? Role::auxiliary : Role::full;
        options.host.latency = from_seconds(0.0005 + 0.06 * random_.uniform() * random_.uniform());
        if (random_.below(2) == 0) options.host.upload_rate = 20e3 + 500e3 * random_.uniform();
        if (random_.below(2) == 0) options.host.download_rate = 20e3 + 500e3 * random_.uniform();
        return options;
    }

    TimePoint now() { return swarm_.world.simulation().clock().now(); }
    bool is_frozen(const NodePointer& node) {
        return !node->crashed && swarm_.world.internet().is_frozen(node->peer.id);
    }
    bool runs(const NodePointer& node) { return !node->crashed && !is_frozen(node); }

    std::int64_t lowest_step() const {
        std::int64_t lowest = 1'000'000'000;
        for (const NodePointer& node : swarm_.nodes)
            if (!node->crashed && node->options.role != Role::auxiliary)
                lowest = std::min(lowest, value(node->trainer->step()));
        return lowest;
    }

    /// That hold the swarm's state, and that others can reach.
    std::size_t running_peers() {
        return static_cast<std::size_t>(
            std::count_if(swarm_.nodes.begin(), swarm_.nodes.end(), [this](const auto& node) {
                return runs(node) && node->options.role == Role::full && value(node->trainer->step()) > 0;
            }));
    }

    void fault() {
        const std::size_t running = running_peers();
        const NodePointer victim = swarm_.nodes[random_.below(swarm_.nodes.size())];
        const bool may_stop = running > kFewest && runs(victim);
        switch (random_.below(10)) {
            case 0:
                if (may_stop)
                    now_or_soon(victim, "crashes", [this](const NodePointer& node) { swarm_.crash(node); });
                return;
            case 1:
            case 2:
                if (may_stop)
                    now_or_soon(victim, "freezes", [this](const NodePointer& node) {
                        swarm_.world.internet().freeze(node->peer.id);
                    });
                return;
            case 3:
                if (!is_frozen(victim)) return;
                note(victim, "thaws");
                return swarm_.world.internet().thaw(victim->peer.id);
            case 4:
            case 5:
                return split(victim);
            case 6:
                note(nullptr, "heals");
                groups_.clear();
                return swarm_.world.internet().heal();
            case 7:
                if (running < kMost) join(victim);
                return;
            case 8:
                if (may_stop) leave(victim);
                return;
            default:
                return cut(victim);
        }
    }

    /// At once, or after some messages of the peer: in the middle of something.
    void now_or_soon(const NodePointer& victim, const std::string& what,
                     std::function<void(const NodePointer&)> action) {
        // The network keeps what never happens for as long as it lives, and the node holds its network: hence
        // weak.
        const auto act = [this, raging = raging_, weak = std::weak_ptr(victim), what, action] {
            const NodePointer node = weak.lock();
            if (!node || !*raging || !runs(node) || running_peers() <= kFewest) return;
            note(node, what);
            action(node);
        };
        if (random_.below(3) == 0) return act();
        swarm_.world.internet().after_messages(victim->peer.id, 1 + random_.below(60), act);
    }

    void split(const NodePointer& victim) {
        const std::uint64_t parts = 2 + random_.below(2);
        std::vector<std::vector<PeerId>> groups(parts);
        std::string what = "splits";
        for (const NodePointer& node : swarm_.nodes) {
            const std::uint64_t part = random_.below(parts);
            groups[part].push_back(node->peer.id);
            what += " " + std::to_string(part);
        }
        now_or_soon(victim, what, [this, groups](const NodePointer&) {
            groups_ = groups;
            swarm_.world.internet().partition(groups);
        });
    }

    /// On the side of somebody who trains.
    void join(const NodePointer& former) {
        std::vector<NodePointer> hosts;
        for (const NodePointer& node : swarm_.nodes)
            if (runs(node) && value(node->trainer->step()) > 0) hosts.push_back(node);
        if (hosts.empty()) return;
        const PeerId host = hosts[random_.below(hosts.size())]->peer.id;
        const PeerId newcomer = join_network(former)->peer.id;
        if (groups_.empty()) return;
        for (std::vector<PeerId>& group : groups_) {
            std::erase(group, newcomer);
            if (std::find(group.begin(), group.end(), host) != group.end()) group.push_back(newcomer);
        }
        swarm_.world.internet().partition(groups_);
    }

    NodePointer join_network(const NodePointer& former) {
        if (former->crashed && swarm_.world.internet().is_crashed(former->peer.id)) {
            note(former, "comes back");
            return swarm_.restart(former, any_peer(false));
        }
        note(nullptr, "somebody joins");
        return swarm_.add(any_peer(false));
    }

    void leave(const NodePointer& node) {
        note(node, "says goodbye");
        node->tasks->cancel();
        const auto said = std::make_shared<bool>(false);
        goodbyes_.spawn(say_goodbye(node->tracker, said));
        swarm_.run_until([&] { return *said || !runs(node); }, 3s);  // it may meet another fault meanwhile
        swarm_.crash(node);
    }

    static awaitable<void> say_goodbye(std::shared_ptr<ProgressTracker> tracker, std::shared_ptr<bool> said) {
        co_await tracker->stop();
        *said = true;
    }

    void cut(const NodePointer& a) {
        const NodePointer b = swarm_.nodes[random_.below(swarm_.nodes.size())];
        if (a == b || a->crashed || b->crashed) return;
        note(a, "loses a connection");
        swarm_.world.internet().cut(a->peer.id, b->peer.id);
    }

    void note(const NodePointer& node, const std::string& what) {
        const auto at = std::find(swarm_.nodes.begin(), swarm_.nodes.end(), node);
        story_ += std::to_string(seconds(now().since_start)) + " ";
        if (node) story_ += "node " + std::to_string(at - swarm_.nodes.begin()) + " ";
        story_ += what + "\n";
    }

    Random random_;
    std::vector<std::vector<PeerId>> groups_;  ///< of the partition; empty: none
    std::size_t founders_ = 0;
    std::shared_ptr<bool> raging_ = std::make_shared<bool>(true);
    std::string story_;
    Swarm swarm_;
    TaskGroup goodbyes_{swarm_.world.executor()};
};

constexpr std::uint64_t kSeeds = 30;
/// In so many of the seeds histories must be comparable: a swarm may rightly have two, but a check that looks
/// at none is none.
constexpr int kFewestCompared = 20;
/// Steps that several nodes have taken in each of them: those before the faults at the least.
constexpr int kFewestSteps = 3;

class UnderChaos : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(UnderChaos, SwarmHasOneHistoryAndRecovers) {
    Chaos chaos(GetParam());
    ASSERT_TRUE(chaos.starts());
    chaos.rage();
    const bool recovered = chaos.recovers();
    EXPECT_TRUE(recovered) << chaos.story();
    if (chaos.may_have_two_histories()) return;  // ChaosSeeds holds how often that may be
    EXPECT_GE(chaos.expect_one_history(), kFewestSteps);
}

INSTANTIATE_TEST_SUITE_P(Seeds, UnderChaos, ::testing::Range<std::uint64_t>(1, kSeeds + 1));

/// The same seeds once more, since each of the tests above may run in a process of its own.
TEST(ChaosSeeds, HaveOneHistoryToCompareInMost) {
    int compared = 0;
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        Chaos chaos(seed);
        if (!chaos.starts()) continue;
        chaos.rage();
        chaos.recovers();
        if (!chaos.may_have_two_histories() && chaos.expect_one_history() >= kFewestSteps) ++compared;
    }
    RecordProperty("compared", compared);
    EXPECT_GE(compared, kFewestCompared);
}

}  // namespace
}  // namespace shoal::collective
