// Hands out the sender's own line: bytes go out as evenly as it carries them, whoever in this round sends
// them.
//
// Without it the queue before the line overflows: each connection sends what its window allows, and what is
// dropped there is sent again while all who need it wait. A limit for each connection alone is no way out:
// one that has waited for others could not catch up.
//
// Thread: the protocol thread.
#pragma once

#include <cstddef>

#include "shoal/base/async.h"
#include "shoal/base/clock.h"

namespace shoal::collective {

class LinePacer {
  public:
    /// @param bytes_per_second  0: no limit
    LinePacer(Clock& clock, double bytes_per_second) : clock_(clock), rate_(bytes_per_second) {}

    /// Returns when so many bytes may go out: after all that was asked for before has had its time. Throws
    /// Error(cancelled) only; its place in time is then lost.
    awaitable<void> take(std::size_t bytes);

  private:
    Clock& clock_;
    const double rate_;
    TimePoint free_at_;  ///< when the line has carried what was asked for
};

}  // namespace shoal::collective
