// Notices members that owe bytes and move none.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "shoal/base/clock.h"
#include "shoal/net/network.h"

namespace shoal::collective {

/// Keeps, for each of a number of waits ("member 3 owes me a chunk"), since when nothing has moved. A wait is
/// over its time when nothing has come for the patience, which is the settings' time-out or four times the
/// longest gap seen on that wait, and neither its connection nor all of them together have carried bytes
/// worth the name (a large chunk on a slow line shows only there, and delays what others send). Even a
/// connection that moves does not excuse a single wait of sixty time-outs, but for the time in which others
/// filled the line: somebody dribbles.
/// Less than this a connection between two looks (a quarter of the time-out apart) is signs of life and
/// answers, not work. Work at any rate above that, however slow the line, is what delays the rest.
inline constexpr std::uint64_t kBytesThatCount = 1024;

class StallWatch {
  public:
    StallWatch(std::size_t waits, Duration stall_timeout, std::vector<PeerId> peer_of_wait);

    void begin(std::size_t wait, TimePoint now);
    /// Something has come for this wait, and nothing is owed now.
    void end(std::size_t wait, TimePoint now);
    /// A sign of life of somebody who is not to blame for the wait.
    void excuse(std::size_t wait, TimePoint now);

    /// The waits that are over their time. Call it every quarter of the time-out.
    std::vector<std::size_t> check(TimePoint now, std::span<const net::ConnectionInfo> connections);

  private:
    struct Wait {
        bool active = false;
        Duration waited{0};  // while others left the line free
        TimePoint since, moved;
        Duration longest_gap{0};
        std::uint64_t bytes = 0;  // of the connection, at the last check
    };
    Duration stall_timeout_;
    std::vector<PeerId> peers_;
    std::vector<Wait> waits_;
    std::uint64_t last_received_ = 0;
    TimePoint last_check_;
};

}  // namespace shoal::collective
