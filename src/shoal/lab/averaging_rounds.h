// The rounds that `shoal lab averaging` times: the same coroutine in a process with real connections and in
// the simulator.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shoal/base/random.h"
#include "shoal/collective/averager.h"

namespace shoal::lab {

/// One peer of a set-up.
struct AveragingPeer {
    double megabits = 0;           ///< per second, of its line, both ways
    bool client_mode = false;      ///< accepts no connections, and so reduces nothing
    bool only_takes_part = false;  ///< reduces nothing, though it could: another one is the parameter server
    bool auxiliary = false;        ///< contributes nothing
    double claim = 0;              ///< what it says of its line, bytes per second; 0: what it measures

    collective::Role role() const {
        if (auxiliary) return collective::Role::auxiliary;
        return client_mode || only_takes_part ? collective::Role::client : collective::Role::full;
    }
};

/// What all peers of a set-up do.
struct AveragingTask {
    std::vector<AveragingPeer> peers;
    std::size_t elements = 0;  ///< floats
    int rounds = 1;
    std::string codec = "fp16";
};

/// Seconds that one peer's round took.
struct RoundTimes {
    double whole = 0;  ///< from 'everybody ready' to 'this peer has the agreed average'
    double match = 0, reduce = 0, vote = 0;
};

/// Of each round, the times of the peer that took longest for it. @param by_peer  as many rounds of each
std::vector<RoundTimes> slowest_peers(const std::vector<std::vector<RoundTimes>>& by_peer);

/// The key of a peer: the same in every experiment, and that of the same number in every sim::World.
KeyPair averaging_key(std::size_t rank);

std::shared_ptr<collective::Averager> make_lab_averager(net::Network& network, Clock& clock, Random random,
                                                        const AveragingTask& task, std::size_t rank);

/// Takes part in task.rounds rounds. Before each, all meet in a tiny one, so that they begin together.
/// Throws Error(system) if a round does not end with the average of all, Error(corrupted) if the average is
/// wrong. @param told  of each round, when it has ended
awaitable<void> take_part_in_rounds(net::Network& network, Clock& clock, collective::Averager& averager,
                                    AveragingTask task, std::size_t rank,
                                    std::function<void(const RoundTimes&)> told);

}  // namespace shoal::lab
