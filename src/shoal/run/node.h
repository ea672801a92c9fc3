// One peer process: everything that seed, status and train have in common, put together from a run
// definition.
//
// A Node owns the one protocol thread's io_context, the peer's folder and key, the network, the directory,
// the bootstrap dialler, the metrics, and (where the purpose asks for them) progress tracker and averager. It
// starts them, runs the caller's work, and takes them down again in order, also on SIGINT and SIGTERM: the
// peer says goodbye, so that nobody waits for it.
#pragma once

#include <asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shoal/base/clock.h"
#include "shoal/base/identity.h"
#include "shoal/base/log.h"
#include "shoal/collective/averager.h"
#include "shoal/collective/progress.h"
#include "shoal/collective/training_peer.h"
#include "shoal/dht/directory.h"
#include "shoal/net/tcp_network.h"
#include "shoal/run/bootstrap.h"
#include "shoal/run/definition.h"
#include "shoal/run/membership.h"
#include "shoal/run/metrics.h"

namespace shoal::run {

struct NodeOptions {
    /// training and averaging: takes part in the run, and ends if the run refuses it (membership.h). meeting:
    /// takes part in nothing.
    Purpose purpose = Purpose::meeting;
    /// Of the purpose `meeting`: a meeting point of this one run, which compares settings as its members do.
    /// Else it connects to everybody and shares no settings.
    bool of_one_run = false;
    /// status and doctor: a key of its own for this one time, no folder, no metrics, nothing announced.
    bool observer = false;
    collective::PhaseProbe probe;  ///< for fault tests
    Log log;
};

class Node {
  public:
    /// Locks the folder, reads or makes the key, listens on the port, and opens the directory's UDP port; so
    /// the errors of these come before anything costly is done: Error(bad_input | system | invalid_argument).
    Node(RunDefinition definition, NodeOptions options);
    ~Node();
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    /// Runs the protocol thread on the calling thread until `work` has ended and everything is taken down.
    /// The work is cancelled by SIGINT and SIGTERM (a second signal ends the process's loop at once); it may
    /// assume that all parts below are started. Call once.
    /// Returns true if the work ended by itself, false after a signal; throws what the work threw.
    bool run(std::function<awaitable<void>(Node&)> work);

    /// Asks the work to end, as a signal would. From any thread.
    void request_stop();

    const RunDefinition& definition() const;
    const PeerId& id() const;
    const KeyPair& key() const;
    /// peer.name, or the PeerId's short name.
    const std::string& name() const;
    collective::Role role() const;
    /// TCP, and UDP of the directory; 0 in client mode.
    std::uint16_t port() const;
    std::uint16_t metrics_port() const;  ///< 0 without a page
    Log log() const;

    asio::any_io_executor executor();
    Clock& clock();
    net::Network& network();
    dht::Directory& directory();
    Bootstrap& bootstrap();
    Metrics& metrics();
    /// Throws Error(invalid_argument) if the definition names no run.
    collective::ProgressTracker& progress();
    /// Throws Error(invalid_argument) for the purpose `meeting`.
    collective::Averager& averager();
    /// Whether the run takes this peer. Throws Error(invalid_argument) for the purpose `meeting`.
    Membership& membership();

    /// The run's settings in the form that collective wants.
    collective::TrainingSettings training_settings() const;
    collective::StateTransferSettings transfer_settings() const;
    const net::AgreedSettings& agreed() const;

  private:
    struct Parts;
    awaitable<void> live(std::function<awaitable<void>(Node&)> work);
    awaitable<void> start();
    awaitable<void> meet();
    awaitable<void> take_part(std::function<awaitable<void>(Node&)> work);
    awaitable<void> work_to_end(std::function<awaitable<void>(Node&)> work);
    awaitable<void> stop();
    awaitable<void> feed_metrics();
    awaitable<void> probe_line();
    std::unique_ptr<Parts> parts_;
};

/// Where this machine can be dialled at `port`, best first: the addresses of its interfaces, and loopback
/// only if there is nothing else or it is all that is listened on.
std::vector<net::Endpoint> local_endpoints(const std::string& listen_host, std::uint16_t port);

}  // namespace shoal::run
