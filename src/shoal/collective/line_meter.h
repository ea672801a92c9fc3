// How much a peer's own line carries, learned from the bytes that pass.
//
// A round seldom keeps a line busy: most of the time a fast peer waits for slow ones, and its average says
// nothing. But it sends and receives in bursts, at the speed of its line. So the meter looks at all
// connections together, every kInterval, and takes the fastest stretch of a round that is long and heavy
// enough not to be an accident of buffers (kStretch and kStretchBytes): no line is faster than what it
// carries for so long. Bytes count as sent when the other machine has acknowledged them
// (net::ConnectionInfo::bytes_delivered).
//
// Over rounds a faster stretch counts at once by half, a slower one by a fifth: being slower is often only a
// lack of work. A probe (observe()) counts as a round.
//
// Thread: the protocol thread.
#pragma once

#include <deque>
#include <span>
#include <string>
#include <vector>

#include "shoal/base/clock.h"
#include "shoal/net/network.h"

namespace shoal::collective {

/// One direction.
class LineEstimate {
  public:
    static constexpr double kRise = 0.5, kFall = 0.2;
    static constexpr Duration kStretch = std::chrono::milliseconds(200);
    static constexpr std::uint64_t kStretchBytes = 512 * 1024;

    /// Begins a round (or whatever moves bytes).
    void begin(TimePoint now);
    /// So many bytes have passed since the call before.
    void add(TimePoint now, std::uint64_t bytes);
    /// Ends it: its fastest stretch counts. A round too small for one changes nothing.
    void end();
    /// This rate has been seen, bytes per second.
    void observe(double rate);

    double rate() const { return rate_; }  ///< bytes per second; 0: unknown

  private:
    struct Mark {
        TimePoint at;
        std::uint64_t bytes = 0;  // of the round, until then
    };
    std::deque<Mark> marks_;
    double fastest_ = 0, rate_ = 0;
};

class LineMeter {
  public:
    static constexpr Duration kInterval = std::chrono::milliseconds(50);

    /// A round begins, and then every kInterval: what the connections have carried.
    void begin(TimePoint now, std::span<const net::ConnectionInfo> connections);
    void sample(TimePoint now, std::span<const net::ConnectionInfo> connections);
    void end();
    /// A probe has found these rates; 0: nothing.
    void observe(double upload, double download);

    double upload() const { return up_.rate(); }  ///< bytes per second; 0: unknown
    double download() const { return down_.rate(); }

  private:
    struct Total {
        std::uint64_t sent = 0, received = 0;
    };
    /// What has passed since the last call. A connection that is new, or has begun anew, counts from 0.
    Total difference(std::span<const net::ConnectionInfo> connections);

    LineEstimate up_, down_;
    /// A connection; two peers that dial each other at once have two.
    struct Seen {
        PeerId peer;
        bool dialled_by_us = false;
        std::string address;
        Total total;
    };
    std::vector<Seen> last_;
};

}  // namespace shoal::collective
