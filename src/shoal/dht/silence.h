// Who does not answer any more. Internal to dht/.
//
// OpenDHT waits a second for an answer before it asks again, and gives a node up after about eight; an
// operation that meets a dead node waits as long. So we ask again sooner, and after three questions without
// an answer we tell OpenDHT that the address cannot be reached, until it is heard from again. Whoever has
// answered before is asked for a sign of life now and then, so that who was only away for a while comes back.
//
// A state machine without a clock of its own: the caller hands in the time, and looks in regularly.
#pragma once

#include <map>
#include <opendht/sockaddr.h>
#include <set>
#include <vector>

#include "shoal/base/bytes.h"
#include "shoal/base/clock.h"

namespace shoal::dht {

class Silence {
  public:
    using Address = ::dht::SockAddr;

    /// A request leaves for an address. It is kept, to be sent again.
    void asked(const Address& address, ByteView request, TimePoint now);
    /// Anything at all has come from the address.
    void heard_from(const Address& address, TimePoint now);
    /// The system says that nobody listens there (ICMP). Believed only while we wait for an answer.
    void refused_by(const Address& address, TimePoint now);
    bool is_silent(const Address& address) const;

    struct Actions {
        std::vector<std::pair<Address, Bytes>> send_again;
        std::vector<Address> ping;     ///< are they back?
        Duration look_again_after{0};  ///< 0: not before the next asked()
    };
    /// What is due now.
    Actions look(TimePoint now);

    static constexpr Duration kTick = std::chrono::milliseconds(50);  ///< first look after asked()
    static constexpr Duration kPingTick = std::chrono::milliseconds(500);
    /// How long after one question comes the next: twice as long as answers take, within these bounds.
    static constexpr Duration kLeastPatience = std::chrono::milliseconds(250);
    static constexpr Duration kMostPatience = std::chrono::milliseconds(1500);
    static constexpr int kQuestions = 3;
    static constexpr Duration kFirstPing = std::chrono::seconds(2);
    static constexpr Duration kLastPing = std::chrono::seconds(60);
    static constexpr Duration kForget = std::chrono::minutes(10);
    static constexpr std::size_t kMaximumAddresses = 4096;

  private:
    struct Waiting {
        Bytes request;  ///< the last one
        int questions = 1;
        bool silent = false;
        bool has_answered = false;  ///< at some time: others are not pinged, whoever named them to us
        TimePoint since;
        TimePoint next;
        Duration pause = kFirstPing;
    };
    void act(const Address& address, Waiting& waiting, Actions& actions, TimePoint now);
    void fall_silent(Waiting& waiting, TimePoint now);
    Duration patience() const;

    Duration answer_time_{0};  // smoothed, of all addresses
    std::map<Address, Waiting> addresses_;
    std::set<Address> have_answered_;
};

}  // namespace shoal::dht
