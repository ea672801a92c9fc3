#include "shoal/sim/scenario_run.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <set>

#include "shoal/base/error.h"
#include "shoal/sim/invariants.h"
#include "shoal/sim/scenario_summary.h"

namespace shoal::sim {

using What = ScenarioEvent::What;

namespace {

constexpr double kChunkBytes = 256 * 1024;       ///< of the payload that a message carries
constexpr std::uint64_t kEventsShown = 100'000;  ///< between two reports of progress, some tenths of a second

double payload_scale(const Scenario& scenario) {
    return scenario.payload_bytes / (4.0 * static_cast<double>(scenario.parameters));
}

InternetSettings internet_of(const Scenario& scenario) {
    InternetSettings internet;
    internet.segment_bytes = scenario.segment_bytes;
    internet.maximum_jitter = from_seconds(scenario.jitter);
    internet.payload_scale = payload_scale(scenario);
    for (const std::vector<double>& row : scenario.region_latency) {
        internet.region_latency.emplace_back();
        for (const double latency : row) internet.region_latency.back().push_back(from_seconds(latency));
    }
    return internet;
}

DirectorySettings directory_of(const Scenario& scenario) {
    DirectorySettings directory;
    directory.minimum_delay = std::chrono::milliseconds(1);
    directory.maximum_delay = std::max(directory.minimum_delay, from_seconds(scenario.directory_delay));
    directory.push_loss = scenario.directory_loss;
    return directory;
}

SwarmSettings swarm_of(const Scenario& scenario) {
    SwarmSettings settings;
    settings.target_batch_size = scenario.target_batch_size;
    settings.last_step = scenario.steps > 0 ? scenario.steps : 1'000'000'000;
    settings.parameters = scenario.parameters;
    settings.delayed = scenario.delayed;
    settings.adaptive_quorum = scenario.adaptive_quorum;
    settings.choose_roles = scenario.choose_roles;
    settings.group_size = static_cast<std::size_t>(scenario.group_size);
    settings.spread = scenario.parameter_spread;
    const double elements = kChunkBytes / payload_scale(scenario) / 4;
    settings.chunk_elements =
        static_cast<std::size_t>(std::clamp(elements, 1.0, static_cast<double>(scenario.parameters)));
    settings.state_chunk_bytes = std::max<std::size_t>(64, 4 * settings.chunk_elements);
    return settings;
}

class ScenarioRun {
  public:
    ScenarioRun(const Scenario& scenario, std::uint64_t seed)
        : scenario_(scenario),
          seed_(seed),
          random_(seed ^ 0x5ca1ab1eU),
          swarm_(seed, swarm_of(scenario), internet_of(scenario), directory_of(scenario)),
          invariants_(swarm_, static_cast<std::size_t>(scenario.peer_count()), log_),
          goodbyes_(swarm_.world.executor()) {
        for (std::size_t g = 0; g < scenario.peers.size(); ++g) plan_joins(g);
        for (const ScenarioEvent& event : scenario.events) plan(event, event.at);
    }

    /// A node must not outlive the simulation that its timers belong to; and what is still planned must not
    /// happen while the swarm ends.
    ~ScenarioRun() {
        ended_ = true;
        members_.clear();
    }

    ScenarioResult run(const ScenarioProgress& progress) {
        constexpr int kSlices = 400;
        const Duration slice = from_seconds(scenario_.duration / kSlices);
        const auto show = [this, &progress] {
            const std::int64_t step = *swarm_.newest_step;
            const double by_steps =
                scenario_.steps > 0 ? static_cast<double>(step) / static_cast<double>(scenario_.steps) : 0;
            const double now = seconds(swarm_.now().since_start);
            if (progress) progress(std::max(by_steps, now / scenario_.duration), now, step);
        };
        // Of a large swarm a slice takes minutes.
        std::uint64_t events = 0;
        const auto reached = [this, &show, &events] {
            if (++events % kEventsShown == 0) show();
            return scenario_.steps > 0 && *swarm_.newest_step >= scenario_.steps;
        };
        for (int i = 0; i < kSlices && !reached(); ++i) {
            const TimePoint until = swarm_.now() + slice;
            if (!swarm_.run_until(reached, slice)) swarm_.world.simulation().run_until(until);
            show();
        }
        training_seconds_ = seconds(swarm_.now().since_start);
        // In groups all are done within a round; only who has just come back takes longer.
        const bool in_groups = scenario_.group_size > 0;
        if (reached()) swarm_.finishes(in_groups ? std::chrono::seconds(3) : std::chrono::minutes(1));
        return summarise();
    }

  private:
    struct Member {
        NodePointer node;
        std::size_t group;
        TimePoint since, until = TimePoint::never();
    };

    Timeline& timeline() { return *swarm_.world.simulation().timeline(); }

    void plan_joins(std::size_t index) {
        const PeerGroup& group = scenario_.peers[index];
        for (std::int64_t i = 0; i < group.count; ++i) {
            const double at = group.joins_at + group.joins_within * random_.uniform();
            timeline().after(from_seconds(at), [this, index] { join(index, nullptr); });
        }
    }

    void plan(const ScenarioEvent& event, double at) {
        if (at > scenario_.duration) return;
        timeline().at(TimePoint{from_seconds(at)}, [this, event, at] {
            happen(event);
            if (event.every > 0 && at + event.every <= event.until) plan(event, at + event.every);
        });
    }

    NodeOptions options_of(const PeerGroup& group) const {
        NodeOptions options;
        options.role = group.role;
        options.samples = group.micro_batch;
        options.time = from_seconds(static_cast<double>(group.micro_batch) / group.samples_per_second);
        options.time_jitter = group.time_jitter;
        options.host.upload_rate = group.upload;
        options.host.download_rate = group.download;
        options.host.latency = group.latency;
        const auto region = std::find(scenario_.regions.begin(), scenario_.regions.end(), group.region);
        if (region != scenario_.regions.end())
            options.host.region = static_cast<std::size_t>(region - scenario_.regions.begin());
        // A small vector stands for the payload, so a line has to look as much slower. Equal claims make
        // equal shares; these are so low that no round takes longer than they promise, and nobody objects.
        const double scale = payload_scale(scenario_);
        options.upload_bandwidth = scenario_.load_balancing ? group.upload / scale : 1;
        options.download_bandwidth = scenario_.load_balancing ? group.download / scale : 1;
        return options;
    }

    void join(std::size_t index, const NodePointer& former) {
        if (ended_) return;
        const PeerGroup& group = scenario_.peers[index];
        if (former && !swarm_.world.internet().is_crashed(former->peer.id)) return;  // it is back already
        const NodePointer node =
            former ? swarm_.restart(former, options_of(group)) : swarm_.add(options_of(group));
        invariants_.watch(swarm_.nodes.size() - 1);
        members_.push_back({node, index, swarm_.now()});
        note_running();
        log_.note(swarm_.now(), fmt::format("node {} joins ({})", swarm_.nodes.size() - 1, group.name));
        if (partition_) separate();
        if (group.median_session > 0) {
            const Duration session = from_seconds(group.median_session * std::exp(random_.normal()));
            const bool says_goodbye = random_.uniform() >= group.crashes;
            timeline().after(session, [this, weak = std::weak_ptr(node), says_goodbye] {
                if (const NodePointer leaver = weak.lock()) end_session(leaver, says_goodbye);
            });
        }
    }

    Member& member_of(const NodePointer& node) {
        return *std::find_if(members_.begin(), members_.end(),
                             [&node](const Member& member) { return member.node == node; });
    }

    void end_session(const NodePointer& node, bool says_goodbye) {
        if (ended_ || node->crashed) return;
        const std::size_t index = member_of(node).group;
        if (says_goodbye) {
            ++faults_["leave"];
            log_.note(swarm_.now(), name(node) + " leaves");
            goodbyes_.spawn(swarm_.leave(node));
            mark_gone(node);
        } else {
            crash(node);
        }
        const double median = scenario_.peers[index].median_absence;
        if (median > 0)
            timeline().after(from_seconds(median * std::exp(random_.normal())),
                             [this, index, node] { join(index, node); });
    }

    void crash(const NodePointer& node) {
        ++faults_["crash"];
        log_.note(swarm_.now(), name(node) + " crashes");
        swarm_.crash(node);
        mark_gone(node);
    }

    void mark_gone(const NodePointer& node) {
        member_of(node).until = swarm_.now();
        note_running();
    }

    void note_running() {
        const auto now = static_cast<std::size_t>(
            std::count_if(members_.begin(), members_.end(),
                          [](const Member& member) { return member.until == TimePoint::never(); }));
        running_.emplace_back(seconds(swarm_.now().since_start), now);
    }

    std::string name(const NodePointer& node) const {
        const auto at = std::find(swarm_.nodes.begin(), swarm_.nodes.end(), node);
        return fmt::format("node {}", at - swarm_.nodes.begin());
    }

    /// The peers that an event names, those of them that `wanted` takes, as many as it says.
    std::vector<NodePointer> chosen(const ScenarioEvent& event,
                                    const std::function<bool(const NodePointer&)>& wanted) {
        std::vector<NodePointer> nodes;
        for (const Member& member : members_) {
            const std::string& group = scenario_.peers[member.group].name;
            const bool named = event.peers.empty() ||
                               std::find(event.peers.begin(), event.peers.end(), group) != event.peers.end();
            const bool newest =
                std::none_of(members_.begin(), members_.end(), [&member](const Member& other) {
                    return other.node->peer.id == member.node->peer.id && other.since > member.since;
                });
            if (named && newest && wanted(member.node)) nodes.push_back(member.node);
        }
        if (event.count > 0 && static_cast<std::size_t>(event.count) < nodes.size()) {
            random_.shuffle(std::span<NodePointer>(nodes));
            nodes.resize(static_cast<std::size_t>(event.count));
        }
        return nodes;
    }

    void happen(const ScenarioEvent& event) {
        if (ended_) return;
        log_.note(swarm_.now(), fmt::format("event: {}", to_string(event.what)));
        SimulatedInternet& internet = swarm_.world.internet();
        const auto runs = [this](const NodePointer& node) { return swarm_.runs(node); };
        if (event.what == What::heal) {
            partition_.reset();
            return internet.heal();
        }
        if (event.what == What::partition) {
            partition_ = event;
            ++faults_["partition"];
            return separate();
        }
        if (event.what == What::restart) {
            for (const NodePointer& node : chosen(event, [](const auto& n) { return n->crashed; }))
                join(member_of(node).group, node);
            return;
        }
        const bool of_frozen = event.what == What::thaw;
        const auto wanted = [&](const NodePointer& node) {
            return of_frozen ? swarm_.is_frozen(node) : runs(node);
        };
        for (const NodePointer& node : chosen(event, wanted)) befall(event, node);
    }

    void befall(const ScenarioEvent& event, const NodePointer& node) {
        SimulatedInternet& internet = swarm_.world.internet();
        const HostSettings& line = node->options.host;
        if (event.what == What::crash) return crash(node);
        ++faults_[std::string(to_string(event.what))];
        log_.note(swarm_.now(), fmt::format("{}: {}", name(node), to_string(event.what)));
        if (event.what == What::freeze) internet.freeze(node->peer.id);
        if (event.what == What::thaw) internet.thaw(node->peer.id);
        const double factor = event.what == What::slow ? event.factor : 1;
        if (event.what == What::slow || event.what == What::fast)
            internet.set_rates(node->peer.id, factor * line.upload_rate, factor * line.download_rate);
    }

    /// Those that the partition names are apart from the others, newcomers among them.
    void separate() {
        std::vector<PeerId> group;
        for (const NodePointer& node : chosen(*partition_, [](const NodePointer&) { return true; }))
            group.push_back(node->peer.id);
        swarm_.world.internet().partition({group});
    }

    ScenarioResult summarise() {
        ScenarioResult result;
        result.scenario = scenario_.name;
        result.seed = seed_;
        result.virtual_seconds = seconds(swarm_.now().since_start);
        result.training_seconds = training_seconds_;
        result.running = running_;
        result.faults = faults_;
        result.violations = invariants_.violations();
        result.one_history_checked = !invariants_.may_have_two_histories();
        result.log = log_.text();
        std::vector<SummarisedPeer> peers;
        for (const Member& member : members_) {
            const TimePoint until = std::min(member.until, swarm_.now());
            peers.push_back({member.node, member.group, seconds(until - member.since),
                             swarm_.world.internet().traffic(member.node->peer.id)});
        }
        summarise_rounds(scenario_, peers, payload_scale(scenario_), result);
        for (StepSummary& step : result.steps) {
            const GroupSpread::Variance variance = swarm_.spread.of(static_cast<Step>(step.step - 1));
            step.mixed_peers = variance.peers;
            step.variance_before = variance.before;
            step.variance_after = variance.after;
            step.counted_peers = variance.counted;
            step.counted_variance = variance.counted_before;
        }
        return result;
    }

    const Scenario& scenario_;
    std::uint64_t seed_;
    Random random_;
    EventLog log_;
    std::map<std::string, std::int64_t> faults_;
    std::vector<std::pair<double, std::size_t>> running_;
    std::optional<ScenarioEvent> partition_;  ///< that is in force
    std::vector<Member> members_;
    bool ended_ = false;
    double training_seconds_ = 0;
    Swarm swarm_;
    Invariants invariants_;
    TaskGroup goodbyes_;
};

}  // namespace

ScenarioResult run_scenario(const Scenario& scenario, std::uint64_t seed, const ScenarioProgress& progress) {
    return ScenarioRun(scenario, seed).run(progress);
}

}  // namespace shoal::sim
