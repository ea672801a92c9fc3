#include "shoal/collective/donor_watch.h"

#include <algorithm>

#include "shoal/collective/state_messages.h"

namespace shoal::collective {

void DonorWatch::activate(const PeerId& donor) {
    donors_[donor].active = true;
}

void DonorWatch::asked(const PeerId& donor, TimePoint now) {
    Donor& d = donors_[donor];
    if (d.owes) return;
    d.owes = true;
    d.moved = d.busy_since = now;
    d.all_at_move = all_bytes_;
}

void DonorWatch::moved(const PeerId& donor, std::size_t bytes, TimePoint now) {
    Donor& d = donors_[donor];
    d.moved = now;
    d.bytes += bytes;
    all_bytes_ += bytes;
    d.all_at_move = all_bytes_;
    if (d.active) last_piece_ = now;
}

void DonorWatch::rests(const PeerId& donor, TimePoint now) {
    Donor& d = donors_[donor];
    d.busy = busy(d, now);
    d.owes = false;
}

void DonorWatch::remove(const PeerId& donor) {
    donors_.erase(donor);
}

Duration DonorWatch::silence(const PeerId& donor, TimePoint now) const {
    const auto found = donors_.find(donor);
    if (found == donors_.end() || !found->second.owes) return Duration(0);
    return now - found->second.moved;
}

bool DonorWatch::is_overtaken(const PeerId& donor) const {
    const auto found = donors_.find(donor);
    if (found == donors_.end() || !found->second.owes || most_owed_ == 0) return false;
    return all_bytes_ - found->second.all_at_move > most_under_way();
}

bool DonorWatch::is_to_be_given_up(const PeerId& donor, TimePoint now) const {
    const auto found = donors_.find(donor);
    if (found == donors_.end() || !found->second.owes) return false;
    const Donor& d = found->second;
    const Duration silent = now - d.moved;
    if (!d.active) return silent >= kOfferPatience;
    const std::uint64_t others = all_bytes_ - d.all_at_move;
    if (most_owed_ > 0 && others > 2 * most_under_way() && silent >= stall_timeout_) return true;
    return std::min(silent, quiet(now)) >= longest_silence();
}

Duration DonorWatch::longest_silence() const {
    const double bytes = static_cast<double>(kPieceBytes * std::max<std::size_t>(1, active()));
    return stall_timeout_ + from_seconds(bytes / kSlowestLine);
}

Duration DonorWatch::quiet(TimePoint now) const {
    std::optional<TimePoint> since;
    for (const auto& [peer, donor] : donors_) {
        if (!donor.active || !donor.owes) continue;
        since = since ? std::min(*since, donor.busy_since) : donor.busy_since;
    }
    if (!since) return Duration(0);
    return now - (last_piece_ ? std::max(*since, *last_piece_) : *since);
}

std::optional<Duration> DonorWatch::time_for(const PeerId& donor, std::size_t bytes, TimePoint now) const {
    const auto found = donors_.find(donor);
    if (found == donors_.end() || found->second.bytes == 0) return std::nullopt;
    const Donor& d = found->second;
    return from_seconds(seconds(busy(d, now)) * static_cast<double>(bytes) / static_cast<double>(d.bytes));
}

std::optional<Duration> DonorWatch::usual_time_for(std::size_t bytes, TimePoint now) const {
    double time = 0, delivered = 0;
    for (const auto& [peer, donor] : donors_) {
        time += seconds(busy(donor, now));
        delivered += static_cast<double>(donor.bytes);
    }
    if (delivered == 0) return std::nullopt;
    return from_seconds(time * static_cast<double>(bytes) / delivered);
}

Duration DonorWatch::busy(const Donor& donor, TimePoint now) const {
    return donor.busy + (donor.owes ? now - donor.busy_since : Duration(0));
}

std::size_t DonorWatch::active() const {
    return static_cast<std::size_t>(
        std::count_if(donors_.begin(), donors_.end(), [](const auto& d) { return d.second.active; }));
}

}  // namespace shoal::collective
