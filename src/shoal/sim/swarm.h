// A swarm of simulated training peers: the real matchmaking, all-reduce, vote, progress tracking and state
// transfer, with the work of a step replaced by a small problem (quadratic_compute.h).
//
//     sim::Swarm swarm(seed, settings);
//     swarm.add(options);
//     swarm.finishes(1min);
//
// Thread: the one of the simulation.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shoal/collective/group_compute.h"
#include "shoal/collective/training_peer.h"
#include "shoal/sim/group_spread.h"
#include "shoal/sim/quadratic_compute.h"
#include "shoal/sim/world.h"

namespace shoal::sim {

/// The run of every simulated swarm, as its protocol messages name it.
inline constexpr const char* kSimulatedRun = "simulated";

/// What one peer has seen of its training.
struct Recorder final : collective::TrainingObserver {
    explicit Recorder(Clock& of_peer) : clock(of_peer) {}

    struct StepTaken {
        TimePoint when;
        Fingerprint digest;
        double loss = 0;
    };
    struct Failure {
        TimePoint when;
        Step step{};
        collective::Verdict verdict;
    };

    Clock& clock;
    std::map<Step, StepTaken> steps;
    std::vector<std::pair<Step, Fingerprint>> history;  ///< every step, also one that it has taken twice
    std::map<Step, collective::Verdict> averaged;
    std::vector<Failure> failures;  ///< rounds that were not 'averaged'
    std::vector<std::pair<ErrorKind, std::string>> troubles;
    std::vector<std::pair<TimePoint, Step>> synchronised;
    std::optional<TimePoint> first_micro_batch;
    int held_out = 0;
    std::shared_ptr<std::int64_t> newest_step;  ///< of the whole swarm, as far as its peers took it
    /// Called after the step or the verdict has been written down.
    std::function<void(Step, const Fingerprint&)> after_step;
    std::function<void(Step, const collective::Verdict&)> after_round;
    std::function<void(const std::string&)> after_other;  ///< a trouble or a download, in words

    void on_micro_batch(const collective::MicroBatchResult&, const collective::Progress&) override;
    void on_round(Step step, const collective::Verdict& verdict) override;
    void on_step(Step step, double loss, double swarm_loss, double step_seconds,
                 const Fingerprint& digest) override;
    void on_held_out_loss(Step, double) override { ++held_out; }
    void on_synchronised(Step step, const collective::DownloadReport&) override;
    void on_trouble(ErrorKind kind, const std::string& text) override;
};

struct NodeOptions {
    collective::Role role = collective::Role::full;
    std::int64_t samples = 8;                             ///< a micro-batch
    Duration time = std::chrono::milliseconds(100);       ///< a micro-batch
    double time_jitter = 0;                               ///< each takes up to this share longer
    double upload_bandwidth = 0, download_bandwidth = 0;  ///< what it says of its line, bytes/s; 0: nothing
    std::int64_t start = 0;                               ///< step of the checkpoint it starts with
    const QuadraticCompute* from = nullptr;               ///< whose state is that checkpoint
    HostSettings host{};
    /// Puts something between the peer and its network; such a peer counts as hostile.
    std::function<std::shared_ptr<net::Network>(std::shared_ptr<net::Network>)> between = {};
};

struct Node {
    Peer peer;
    NodeOptions options;
    std::unique_ptr<QuadraticCompute> compute;            ///< none of an auxiliary peer
    std::unique_ptr<collective::GroupCompute> in_groups;  ///< around it, where the swarm averages in groups
    std::shared_ptr<collective::ProgressTracker> tracker;
    std::shared_ptr<collective::Averager> averager;
    std::unique_ptr<Recorder> seen;
    std::shared_ptr<collective::TrainingPeer> trainer;
    std::unique_ptr<TaskGroup> tasks;
    TimePoint started;
    bool finished = false, crashed = false;
    std::string failure;
};
using NodePointer = std::shared_ptr<Node>;

struct SwarmSettings {
    std::int64_t target_batch_size = 64;  ///< samples
    std::int64_t last_step = 100;
    std::size_t parameters = 100;
    std::string codec = "fp32";
    std::size_t chunk_elements = 16;      ///< of a message of the all-reduce
    std::size_t state_chunk_bytes = 128;  ///< of a message of the state transfer
    std::size_t maximum_group = 64;
    Duration alone_after = std::chrono::seconds(5), lost_quorum_timeout = std::chrono::seconds(30);
    std::int64_t evaluate_every = 0;
    bool delayed = false;
    bool adaptive_quorum = false;
    bool choose_roles = false;
    std::size_t group_size = 0;  ///< averages in groups of about so many; 0: in one
    double learning_rate = 0.1;
    double spread = 0;  ///< standard deviation of what peers start with, each with something else
};

class Swarm {
  public:
    Swarm(std::uint64_t seed, SwarmSettings settings, InternetSettings internet = {},
          DirectorySettings directory = {});
    /// Lets everybody leave what they are in.
    ~Swarm();
    Swarm(const Swarm&) = delete;
    Swarm& operator=(const Swarm&) = delete;

    /// A new peer starts to train. Peers in client mode accept no connections.
    NodePointer add(NodeOptions options = {});
    /// A peer that crashed or left comes back under its old key, with nothing but that.
    NodePointer restart(const NodePointer& old, NodeOptions options = {});
    void crash(const NodePointer& node) { world.internet().crash(node->peer.id); }
    /// Says goodbye, as `shoal train` does on Ctrl-C, and is gone. A peer that dies meanwhile is gone, too.
    awaitable<void> leave(NodePointer node);

    bool run_until(const std::function<bool()>& condition, Duration limit) {
        return world.simulation().run_until(condition, limit);
    }
    /// True when all that are alive and not frozen have finished; false when `limit` has passed.
    bool finishes(Duration limit);

    TimePoint now() { return world.simulation().clock().now(); }
    bool is_frozen(const NodePointer& node);
    /// Neither crashed nor frozen.
    bool runs(const NodePointer& node) { return !node->crashed && !is_frozen(node); }
    std::int64_t highest_step() const;
    /// Of the peers that train and have not crashed; a very large number if there is none.
    std::int64_t lowest_step() const;

    /// Read when a peer is added.
    SwarmSettings settings;
    World world;
    std::vector<NodePointer> nodes;
    std::shared_ptr<Ledger> ledger = std::make_shared<Ledger>();
    GroupSpread spread;
    /// The highest step that a peer has taken; what highest_step() finds out with more work.
    std::shared_ptr<std::int64_t> newest_step = std::make_shared<std::int64_t>(0);
    /// Misuse of a Compute, a line each.
    std::shared_ptr<std::vector<std::string>> violations = std::make_shared<std::vector<std::string>>();

  private:
    NodePointer start(Peer peer, const NodeOptions& options);
    std::unique_ptr<QuadraticCompute> make_compute(Node& node);
    std::shared_ptr<collective::TrainingPeer> make_trainer(Node& node);
};

}  // namespace shoal::sim
