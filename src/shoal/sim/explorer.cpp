#include "shoal/sim/explorer.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>

#include "shoal/sim/invariants.h"

namespace shoal::sim {

using namespace std::chrono_literals;
using collective::Role;

namespace {

class Explorer {
  public:
    Explorer(std::uint64_t seed, const ExplorerSettings& settings)
        : seed_(seed),
          settings_(settings),
          random_(seed * 7919 + 1),
          swarm_(seed, swarm_settings()),
          founders_(4 + random_.below(6)),
          invariants_(swarm_, founders_, log_),
          goodbyes_(swarm_.world.executor()) {
        for (std::size_t i = 0; i < founders_; ++i) add(any_peer(i < 2));
    }

    /// A node must not outlive the simulation that its timers belong to.
    ~Explorer() { victim_.reset(); }

    Exploration run() {
        std::vector<std::string> own;
        try {
            if (!swarm_.run_until([this] { return swarm_.lowest_step() >= 3; }, 60s)) {
                own.push_back("not everybody trains after a minute without faults");
            } else {
                rage();
                if (!recovers())
                    own.push_back(
                        fmt::format("not everybody has gone on, together, {} s after the last fault",
                                    seconds(settings_.recovery)));
            }
        } catch (const std::exception& error) {
            own.push_back(std::string("the simulation failed: ") + error.what());
        }
        return result(std::move(own));
    }

  private:
    struct Kind {
        const char* name;
        unsigned share;  ///< of all faults
        void (Explorer::*happen)();
    };
    static const std::vector<Kind>& kinds() {
        static const std::vector<Kind> all{
            {"crash", 2, &Explorer::crash},         {"freeze", 4, &Explorer::freeze},
            {"thaw", 2, &Explorer::thaw},           {"split", 4, &Explorer::split},
            {"heal", 2, &Explorer::heal},           {"join", 2, &Explorer::join},
            {"leave", 2, &Explorer::leave},         {"cut", 2, &Explorer::cut},
            {"slow line", 2, &Explorer::slow_line}, {"clock jump", 1, &Explorer::clock_jump}};
        return all;
    }

    SwarmSettings swarm_settings() {
        SwarmSettings settings;
        settings.target_batch_size = 96 + static_cast<std::int64_t>(random_.below(160));
        settings.last_step = 1'000'000;
        settings.lost_quorum_timeout = settings_.lost_quorum_timeout;
        return settings;
    }

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

    void rage() {
        swarm_.settings.alone_after = 1h;  // who joins later knows that there is a swarm
        const TimePoint end = swarm_.now() + settings_.fault_time;
        unsigned shares = 0;
        for (const Kind& kind : kinds()) shares += kind.share;
        while (swarm_.now() < end) {
            swarm_.world.simulation().run_for(from_seconds(random_.uniform() * random_.uniform() * 2));
            std::uint64_t drawn = random_.below(shares);
            auto kind = kinds().begin();
            while (drawn >= kind->share) drawn -= (kind++)->share;
            victim_ = swarm_.nodes[random_.below(swarm_.nodes.size())];
            (this->*kind->happen)();
        }
        end_all_faults();
    }

    void end_all_faults() {
        *raging_ = false;
        log_.note(swarm_.now(), "all faults end");
        swarm_.world.internet().heal();
        for (const NodePointer& node : swarm_.nodes) {
            if (node->crashed) continue;
            if (swarm_.is_frozen(node)) swarm_.world.internet().thaw(node->peer.id);
            const HostSettings& line = node->options.host;
            swarm_.world.internet().set_rates(node->peer.id, line.upload_rate, line.download_rate);
        }
    }

    /// All that are left take three more steps, and the last of them with the same state.
    bool recovers() {
        const std::int64_t before = swarm_.highest_step();
        return swarm_.run_until(
            [this, before] {
                const std::int64_t lowest = swarm_.lowest_step();
                return lowest > before + 2 && states_at(static_cast<Step>(lowest)).size() <= 1;
            },
            settings_.recovery);
    }

    /// What those that are left hold, or held, after this step.
    std::set<Fingerprint> states_at(Step step) const {
        std::set<Fingerprint> states;
        for (const NodePointer& node : swarm_.nodes) {
            if (node->crashed || node->options.role == Role::auxiliary) continue;
            const auto taken = node->seen->steps.find(step);
            if (taken != node->seen->steps.end()) states.insert(taken->second.digest);
        }
        return states;
    }

    Exploration result(std::vector<std::string> violations) {
        const std::vector<std::string> broken = invariants_.violations();
        violations.insert(violations.end(), broken.begin(), broken.end());
        Exploration exploration;
        exploration.seed = seed_;
        exploration.violations = std::move(violations);
        exploration.log = log_.text() + state_of_all();
        exploration.faults = faults_;
        exploration.peers = swarm_.nodes.size();
        exploration.steps = swarm_.highest_step();
        exploration.rounds_averaged = invariants_.rounds_averaged();
        exploration.rounds_failed = invariants_.rounds_failed();
        exploration.comparisons = invariants_.comparisons();
        exploration.one_history_checked = !invariants_.may_have_two_histories();
        exploration.virtual_seconds = seconds(swarm_.now().since_start);
        return exploration;
    }

    std::string state_of_all() const {
        std::string text;
        for (std::size_t i = 0; i < swarm_.nodes.size(); ++i) {
            const Node& node = *swarm_.nodes[i];
            text += fmt::format("node {} {} {}{} step {}\n", i, node.peer.id.short_name(),
                                to_string(node.options.role), node.crashed ? " gone" : "",
                                value(node.trainer->step()));
            for (const auto& [kind, trouble] : node.seen->troubles) text += "    " + trouble + "\n";
        }
        return text;
    }

    // --- the faults; each may find that it cannot happen now ---

    /// Full peers that hold the swarm's state.
    std::size_t running_peers() {
        return static_cast<std::size_t>(
            std::count_if(swarm_.nodes.begin(), swarm_.nodes.end(), [this](const NodePointer& node) {
                return swarm_.runs(node) && node->options.role == Role::full &&
                       value(node->trainer->step()) > 0;
            }));
    }
    bool may_stop() { return running_peers() > settings_.fewest_running && swarm_.runs(victim_); }

    void crash() {
        if (!may_stop()) return;
        now_or_soon("crash", [this](const NodePointer& node) { swarm_.crash(node); });
    }

    void freeze() {
        if (!may_stop()) return;
        now_or_soon("freeze",
                    [this](const NodePointer& node) { swarm_.world.internet().freeze(node->peer.id); });
    }

    void thaw() {
        if (!swarm_.is_frozen(victim_)) return;
        happened("thaw", victim_);
        swarm_.world.internet().thaw(victim_->peer.id);
    }

    void split() {
        const std::uint64_t parts = 2 + random_.below(2);
        std::vector<std::vector<PeerId>> groups(parts);
        for (const NodePointer& node : swarm_.nodes) groups[random_.below(parts)].push_back(node->peer.id);
        now_or_soon("split", [this, groups](const NodePointer&) {
            groups_ = groups;
            swarm_.world.internet().partition(groups);
            for (std::size_t i = 0; i < groups.size(); ++i)
                log_.note(swarm_.now(), fmt::format("part {}: {}", i, members(groups[i])));
        });
    }

    void heal() {
        happened("heal", nullptr);
        groups_.clear();
        swarm_.world.internet().heal();
    }

    /// A newcomer, or somebody who was gone, on the side of somebody who trains.
    void join() {
        if (running_peers() >= settings_.most_running) return;
        std::vector<NodePointer> hosts;
        for (const NodePointer& node : swarm_.nodes)
            if (swarm_.runs(node) && value(node->trainer->step()) > 0) hosts.push_back(node);
        if (hosts.empty()) return;
        const PeerId host = hosts[random_.below(hosts.size())]->peer.id;
        const NodePointer newcomer = come();
        happened("join", newcomer);
        if (groups_.empty()) return;
        for (std::vector<PeerId>& group : groups_) {
            std::erase(group, newcomer->peer.id);
            if (std::find(group.begin(), group.end(), host) != group.end())
                group.push_back(newcomer->peer.id);
        }
        swarm_.world.internet().partition(groups_);
    }

    NodePointer come() {
        if (!victim_->crashed || !swarm_.world.internet().is_crashed(victim_->peer.id))
            return add(any_peer(false));
        const NodePointer node = swarm_.restart(victim_, any_peer(false));
        invariants_.watch(swarm_.nodes.size() - 1);
        return node;
    }

    NodePointer add(const NodeOptions& options) {
        const NodePointer node = swarm_.add(options);
        invariants_.watch(swarm_.nodes.size() - 1);
        return node;
    }

    void leave() {
        if (!may_stop()) return;
        happened("leave", victim_);
        const NodePointer node = victim_;
        goodbyes_.spawn(swarm_.leave(node));
        swarm_.run_until([&] { return !swarm_.runs(node); }, 3s);  // it may meet another fault meanwhile
        if (!node->crashed) swarm_.crash(node);
    }

    void cut() {
        const NodePointer other = swarm_.nodes[random_.below(swarm_.nodes.size())];
        if (victim_ == other || victim_->crashed || other->crashed) return;
        happened("cut", victim_);
        swarm_.world.internet().cut(victim_->peer.id, other->peer.id);
    }

    void slow_line() {
        if (victim_->crashed) return;
        happened("slow line", victim_);
        const double up = 10e3 + 40e3 * random_.uniform(), down = 10e3 + 40e3 * random_.uniform();
        const bool again_fast = random_.below(3) == 0;
        const HostSettings& line = victim_->options.host;
        swarm_.world.internet().set_rates(victim_->peer.id, again_fast ? line.upload_rate : up,
                                          again_fast ? line.download_rate : down);
    }

    void clock_jump() {
        happened("clock jump", victim_);
        victim_->peer.clock->set_skew(from_seconds(7200 * random_.uniform() - 3600));
    }

    /// At once, or after some messages of the peer: in the middle of something.
    void now_or_soon(const char* what, std::function<void(const NodePointer&)> action) {
        // The network keeps what never happens for as long as it lives, and the node holds its network: hence
        // weak.
        const auto act = [this, raging = raging_, weak = std::weak_ptr(victim_), what, action] {
            const NodePointer node = weak.lock();
            if (!node || !*raging || !swarm_.runs(node) || running_peers() <= settings_.fewest_running)
                return;
            happened(what, node);
            action(node);
        };
        if (random_.below(3) == 0) return act();
        swarm_.world.internet().after_messages(victim_->peer.id, 1 + random_.below(60), act);
    }

    void happened(const std::string& what, const NodePointer& node) {
        ++faults_[what];
        log_.note(swarm_.now(), node ? name(node) + ": " + what : what);
    }

    std::string name(const NodePointer& node) const {
        const auto at = std::find(swarm_.nodes.begin(), swarm_.nodes.end(), node);
        return fmt::format("node {}", at - swarm_.nodes.begin());
    }
    std::string members(const std::vector<PeerId>& group) const {
        std::string text;
        for (std::size_t i = 0; i < swarm_.nodes.size(); ++i)
            if (std::find(group.begin(), group.end(), swarm_.nodes[i]->peer.id) != group.end())
                text += fmt::format("{}{}", text.empty() ? "" : " ", i);
        return text;
    }

    std::uint64_t seed_;
    ExplorerSettings settings_;
    Random random_;
    EventLog log_;
    std::map<std::string, int> faults_;
    std::vector<std::vector<PeerId>> groups_;  ///< of the partition; empty: none
    std::shared_ptr<bool> raging_ = std::make_shared<bool>(true);
    NodePointer victim_;
    Swarm swarm_;
    std::size_t founders_;
    Invariants invariants_;
    TaskGroup goodbyes_;
};

}  // namespace

Exploration explore(std::uint64_t seed, const ExplorerSettings& settings) {
    return Explorer(seed, settings).run();
}

}  // namespace shoal::sim
