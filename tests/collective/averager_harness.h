// A swarm of averagers on the simulated network, for tests.
#pragma once

#include "test_vector.h"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "shoal/collective/averager.h"
#include "shoal/sim/simulated_network.h"

namespace shoal::collective {

inline PeerId test_peer(std::uint64_t number) {
    const std::string text = "averager test " + std::to_string(number);
    return PeerId(sha256(as_bytes(std::string_view(text))));
}

struct SwarmSettings {
    std::string codec = "fp32", small_codec;
    std::size_t small_below = 0;
    std::vector<std::size_t> tensors;  // that the vector consists of
    std::size_t elements = 20000;
    std::size_t chunk_elements = 4096;
    sim::InternetSettings internet;
    std::function<std::vector<float>(std::size_t peer)> contribution;  // none: test_vector
    std::function<void(std::size_t peer, Phase)> probe;                // told of each phase of each peer
};

class AveragerSwarm {
  public:
    struct Peer {
        PeerId id;
        Role role = Role::full;
        double weight = 0;
        std::shared_ptr<net::Network> network;
        std::shared_ptr<Averager> averager;
        std::vector<float> contribution, result;
        std::vector<std::size_t> tensors;
        std::size_t state_tail = 0;
        bool state_counts = false;
        std::optional<Verdict> verdict;
        std::vector<Verdict> history;  // all verdicts, the last one included
        std::exception_ptr error;
        bool running = false;
        TimePoint ended;
        asio::cancellation_signal cancel;
    };

    explicit AveragerSwarm(std::uint64_t seed, SwarmSettings settings = {})
        : seed_(seed),
          settings_(std::move(settings)),
          simulation_(seed),
          internet_(simulation_, settings_.internet) {
        internet_.on_crash([this](const PeerId& id) {
            for (Peer& peer : peers_)
                if (peer.id == id && peer.running) peer.cancel.emit(asio::cancellation_type::terminal);
        });
    }

    ~AveragerSwarm() {
        for (Peer& peer : peers_)
            if (peer.running) peer.cancel.emit(asio::cancellation_type::terminal);
        simulation_.run_for(std::chrono::seconds(1));
    }

    /// Puts something between a peer and its network.
    using Between = std::function<std::shared_ptr<net::Network>(std::shared_ptr<net::Network>)>;

    Peer& add(Role role = Role::full, double weight = 1, double bandwidth = 0, sim::HostSettings host = {},
              const Between& between = {}) {
        Peer& peer = peers_.emplace_back();
        peer.id = test_peer(seed_ * 1000 + peers_.size());
        peer.role = role;
        peer.weight = role == Role::auxiliary ? 0 : weight;
        host.accept_connections = role != Role::client;
        peer.network = internet_.join(peer.id, host);
        if (between) peer.network = between(peer.network);
        AveragerSettings settings;
        settings.run = "test";
        settings.codec = settings_.codec;
        settings.small_codec = settings_.small_codec;
        settings.small_below = settings_.small_below;
        settings.role = role;
        settings.upload = settings.download = bandwidth;
        settings.chunk_elements = settings_.chunk_elements;
        if (settings_.probe)
            settings.probe = [this, index = peers_.size() - 1](Phase phase, Step) {
                settings_.probe(index, phase);
            };
        peer.averager = make_averager(*peer.network, internet_.clock(peer.id), Random(seed_ + peers_.size()),
                                      settings, log);
        if (role != Role::auxiliary) {
            peer.contribution = settings_.contribution
                                    ? settings_.contribution(peers_.size() - 1)
                                    : test_vector(settings_.elements, seed_ * 77 + peers_.size());
            peer.result.assign(settings_.elements, -1);
            peer.tensors = settings_.tensors;
        }
        return peer;
    }

    /// Peer `index` calls average() now; it expects everybody who is not excluded to be ready within
    /// `ready_within`.
    void start(std::size_t index, Step step = Step{1}, unsigned attempt = 0,
               std::vector<PeerId> excluded = {}, Duration ready_within = std::chrono::seconds(1)) {
        Peer& peer = peers_[index];
        peer.verdict.reset();
        peer.error = nullptr;
        peer.running = true;
        step_ = step;
        RoundRequest request;
        request.step = step;
        request.attempt = attempt;
        request.contribution = peer.contribution;
        request.result = peer.result;
        request.tensors = peer.tensors;
        request.weight = peer.weight;
        request.state_tail = peer.state_tail;
        request.state_counts = peer.state_counts;
        request.excluded = std::move(excluded);
        const TimePoint ready_by = simulation_.clock().now() + ready_within;
        request.expected = [this, index, ready_by] { return expected_by(index, ready_by); };
        request.may_take_part = may_take_part;
        asio::co_spawn(
            simulation_.executor(), peer.averager->average(std::move(request)),
            asio::bind_cancellation_slot(peer.cancel.slot(), [this, &peer](std::exception_ptr e, Verdict v) {
                peer.running = false;
                peer.ended = simulation_.clock().now();
                peer.error = e;
                if (e) return;
                peer.verdict = v;
                peer.history.push_back(v);
                if (!retry || v.outcome != Verdict::Outcome::failed || v.attempt >= 10) return;
                const std::size_t at = index_of(peer.id);
                if (!stopped(at)) start(at, step_, v.attempt + 1, v.lost, std::chrono::milliseconds(200));
            }));
    }

    void start_all(Step step = Step{1}, unsigned attempt = 0, std::vector<PeerId> excluded = {}) {
        for (std::size_t i = 0; i < peers_.size(); ++i)
            if (!stopped(i)) start(i, step, attempt, excluded);
    }

    /// Runs until every peer that is not stopped has its verdict. False if that takes more than `limit`.
    bool finish(Duration limit = std::chrono::seconds(60)) {
        return simulation_.run_until(
            [this] {
                for (std::size_t i = 0; i < peers_.size(); ++i)
                    if (peers_[i].running && !stopped(i)) return false;
                return true;
            },
            limit);
    }

    bool stopped(std::size_t index) const {
        return internet_.is_crashed(peers_[index].id) || internet_.is_frozen(peers_[index].id);
    }

    Peer& operator[](std::size_t index) { return peers_[index]; }
    std::size_t size() const { return peers_.size(); }
    sim::Simulation& simulation() { return simulation_; }
    sim::SimulatedInternet& internet() { return internet_; }
    TimePoint now() { return simulation_.clock().now(); }

    /// The members of these contributions, ascending PeerId, averaged in double.
    std::vector<double> reference(const std::vector<Contributor>& contributors) {
        std::vector<double> sum(settings_.elements, 0);
        double weight = 0;
        for (const Contributor& contributor : contributors) {
            if (contributor.role == Role::auxiliary) continue;
            const Peer& peer = find(contributor.peer);
            weight += contributor.weight;
            for (std::size_t i = 0; i < sum.size(); ++i)
                sum[i] += contributor.weight * static_cast<double>(peer.contribution[i]);
        }
        for (double& s : sum) s /= weight;
        return sum;
    }

    Peer& find(const PeerId& id) {
        for (Peer& peer : peers_)
            if (peer.id == id) return peer;
        throw std::logic_error("no such peer");
    }

    std::size_t index_of(const PeerId& id) const {
        for (std::size_t i = 0; i < peers_.size(); ++i)
            if (peers_[i].id == id) return i;
        throw std::logic_error("no such peer");
    }

    bool retry = false;       ///< a peer whose round failed tries again at once, as training does
    std::set<PeerId> hidden;  ///< peers that nobody expects
    std::function<bool(const PeerId&)> may_take_part;
    Log log;

  private:
    std::vector<ExpectedPeer> expected_by(std::size_t index, TimePoint ready_by) const {
        std::vector<ExpectedPeer> expected;
        for (std::size_t i = 0; i < peers_.size(); ++i) {
            if (i == index || hidden.contains(peers_[i].id)) continue;
            ExpectedPeer e;
            e.peer = peers_[i].id;
            e.role = peers_[i].role;
            e.ready_by = ready_by;
            expected.push_back(e);
        }
        return expected;
    }

    std::uint64_t seed_;
    SwarmSettings settings_;
    sim::Simulation simulation_;
    sim::SimulatedInternet internet_;
    std::deque<Peer> peers_;
    Step step_{};
};

}  // namespace shoal::collective
