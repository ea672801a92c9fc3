// A live run, seen from outside: collects what its peers say of themselves, and shows it.
#pragma once

#include <string>
#include <vector>

#include "shoal/collective/progress.h"
#include "shoal/run/node.h"

namespace shoal::run {

struct SwarmReport {
    std::string run;
    WallTime time{};
    collective::SwarmView view;
    std::vector<collective::Progress> peers;  ///< without the observer; by name, then PeerId
};

/// A table for a terminal: one line a peer, and a headline.
std::string to_table(const SwarmReport& report);

/// {"run", "time", "step", "samples", "samples_per_second", "peers": [...]}; numbers that are not finite are
/// null.
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

    SwarmReport report() const;

    awaitable<void> stop();

  private:
    awaitable<void> find_run(TimePoint deadline);
    awaitable<void> until_complete(TimePoint deadline);

    Node& node_;
    std::string run_;
    std::shared_ptr<collective::ProgressTracker> tracker_;
};

}  // namespace shoal::run
