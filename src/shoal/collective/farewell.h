// How a peer that has left a group tells those who may wait for it there, over the connections that it has to
// them: stream RUN/groups, one progress record each. Of what it hears only matters that the sender has gone
// on; all else is said in the directory, for all.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/collective/progress_record.h"
#include "shoal/collective/record_pace.h"

namespace shoal::collective {

class Farewell : public std::enable_shared_from_this<Farewell> {
  public:
    using Hear = std::function<void(const ProgressRecord&)>;

    Farewell(net::Network& network, Clock& clock, const std::string& run, Log log);

    /// Hears what others say from now on, until end().
    void start(Hear hear);
    void end();
    /// Tells a peer that waits at a step which we have left, beside all else; whether it hears shows in what
    /// it does. Returns false if it is not connected.
    bool tell(const PeerId& peer, Step left, const Bytes& words);
    /// We have gone on again: tells those that were left behind some steps ago, so that they come to where we
    /// are by then, and not step by step.
    void tell_again(Step step, const Bytes& words);
    /// A connection is gone.
    void forget(const PeerId& peer) { paces_.erase(peer); }

  private:
    static awaitable<void> try_to_tell(std::shared_ptr<Farewell> self, PeerId peer, Bytes words);
    static awaitable<void> write(std::shared_ptr<Farewell> self, PeerId peer, Bytes words);
    static awaitable<void> listen(std::weak_ptr<Farewell> weak, net::StreamPointer stream);

    net::Network& network_;
    Clock& clock_;
    std::string service_;
    Log log_;
    Hear hear_;
    std::map<PeerId, RecordPace> paces_;  ///< of connected peers
    std::map<PeerId, Step> late_;         ///< whom we have told, and where it was
    TaskGroup tasks_;
};

}  // namespace shoal::collective
