// A live run, seen from outside: collects what its peers say of themselves, and shows it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "shoal/collective/progress.h"
#include "shoal/run/node.h"

namespace shoal::run {

struct SwarmReport {
    std::string run;
    WallTime time{};
    collective::SwarmView view;               ///< its speed without the silent ones
    std::vector<collective::Progress> peers;  ///< without the observer; by name, then PeerId
    /// Seconds for which a peer has said nothing, of those that should have long ago: dead, frozen, or cut
    /// off. Their records live on for half a minute.
    std::map<PeerId, double> silent;
    /// The run averages in groups: these are a sample of some view.peers peers, as its census holds it; its
    /// states are not compared, and it may be half a minute old.
    bool is_sample = false;
};

/// How long a peer that trains may say nothing before it counts as silent: it reports after each
/// micro-batch, and before and after each round.
double silence_allowed(const collective::Progress& peer);

/// A table for a terminal: one line a peer, and a headline.
std::string to_table(const SwarmReport& report);

/// {"run", "time", "step", "samples", "samples_per_second", "peers": [...]}; numbers that are not finite, or
/// that a peer does not have (the loss of an auxiliary one, the speed of a silent one), are null.
std::string to_json(const SwarmReport& report);

/// Watches a run over an observer's node.
class SwarmObserver {
  public:
    /// @param node  an observer; must outlive this object. @param run  empty: that of the first peer that
    /// names one.
    SwarmObserver(Node& node, std::string run);
    ~SwarmObserver();

    /// Waits for a bootstrap peer, learns the run's name if need be, and listens until the peers have spoken.
    /// Throws Error(unreachable) naming each bootstrap address with its cause, or saying that nobody of the
    /// run speaks.
    awaitable<void> start(Duration patience);

    SwarmReport report();

    awaitable<void> stop();

  private:
    /// When a peer's newest words came.
    struct Heard {
        WallTime said{};    ///< by its own clock
        TimePoint at;       ///< by ours
        bool anew = false;  ///< they are not the first that we have of it: `at` tells how old they are
    };
    void listen();
    double silence(const collective::Progress& peer) const;
    awaitable<void> until_heard_anew();
    awaitable<void> find_run(TimePoint deadline);
    awaitable<bool> is_served_here(TimePoint deadline);
    awaitable<void> until_complete(TimePoint deadline);
    std::shared_ptr<collective::ProgressTracker> listen_to(std::size_t group_size);
    void add_sample(SwarmReport& result) const;

    Node& node_;
    std::string run_;
    std::shared_ptr<collective::ProgressTracker> tracker_;
    std::shared_ptr<collective::ProgressTracker>
        census_;  ///< of a run in groups; none once it is known to be none
    std::map<PeerId, Heard> heard_;
};

}  // namespace shoal::run
