// Whether the run takes this peer: who of it talks to us, and who refuses us because a setting differs.
//
// A handshake compares settings, but two peers that both meet at a plain seed hear of each other through the
// directory before they shake hands. So a peer whose run file differs would find everybody out of reach and
// begin a run of its own under the same name. Here it is noticed: dialling ends in a connection or in a
// refusal that names the setting, and the two are counted against each other. One refusal is nothing that
// could end a peer by itself: anybody may be wrong, or lie.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/collective/progress.h"
#include "shoal/net/network.h"

namespace shoal::run {

/// "the run's optimizer.name differs: ours "lamb", theirs "sgd"" if this is what an error of a handshake
/// says; else nothing.
std::optional<std::string> differing_setting(std::string_view error);

/// Thread: the network's.
class Membership {
  public:
    /// @param run  its name, for messages. The network must outlive this object.
    Membership(net::Network& network, Clock& clock, std::string run, Log log);
    ~Membership();
    Membership(const Membership&) = delete;
    Membership& operator=(const Membership&) = delete;

    /// The same network, for all who talk to members: here it is seen how their dialling ends.
    net::Network& network();

    /// Begins to judge the peers that this tracker knows. It must outlive until_refused().
    void watch(collective::ProgressTracker& progress);

    /// Ends after end(). Until this peer is established, throws Error(bad_input) that names the setting, ours
    /// and theirs, when those who refuse us outnumber those who accept us for some seconds.
    awaitable<void> until_refused();
    void end();

    /// Waits while this peer must not train: more refuse it than accept it, or others are known and none of
    /// them has been reached yet (for some seconds at most).
    awaitable<void> until_admitted();

    /// This peer has taken a step. Ten seconds later it is established: whoever refuses it then is the one
    /// that differs.
    void took_step();

    std::size_t accepting() const;
    std::size_t refusing() const;

  private:
    class Watched;
    void note(const PeerId& peer, const std::string& error);
    bool is_outnumbered() const;
    bool is_undecided() const;
    bool is_established() const;
    std::string verdict() const;
    awaitable<void> until_change(TimePoint deadline);
    void tell();

    Clock& clock_;
    std::string run_;
    Log log_;
    std::shared_ptr<Watched> network_;
    collective::ProgressTracker* progress_ = nullptr;
    std::map<PeerId, std::string> refusals_;  ///< by the last dialling
    std::optional<TimePoint> first_step_, undecided_until_;
    bool ended_ = false;
    std::shared_ptr<void> observing_;
};

}  // namespace shoal::run
