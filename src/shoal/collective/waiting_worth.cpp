#include "shoal/collective/waiting_worth.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace shoal::collective {

double worthwhile_wait(std::span<const LatePeer> late, double ready_samples_per_second,
                       double batch_seconds) {
    std::vector<LatePeer> in_order(late.begin(), late.end());
    std::sort(in_order.begin(), in_order.end(),
              [](const LatePeer& a, const LatePeer& b) { return a.seconds < b.seconds; });
    double idle = ready_samples_per_second, before = 0, balance = 0, best = 0, wait = 0;
    for (const LatePeer& peer : in_order) {
        const double until = std::max(before, peer.seconds);
        balance -= idle * (until - before);
        balance += kLossOfTheLeftOut * peer.samples;
        // Of two equal choices the one that leaves out fewer.
        if (balance >= best && std::isfinite(until)) {
            best = balance;
            wait = until;
        }
        if (batch_seconds > 0) idle += peer.samples / batch_seconds;
        before = until;
    }
    return wait;
}

}  // namespace shoal::collective
