#include "shoal/collective/donor_limits.h"

#include <algorithm>

#include "shoal/collective/state_messages.h"

namespace shoal::collective {

Duration session_lifetime(std::size_t state_bytes) {
    return kSpareTime + from_seconds(static_cast<double>(state_bytes) / kSlowestReceiver);
}

TimePoint CopyBudget::next() const {
    return std::max(paid_ - kCopyEvery * (kCopiesAtOnce - 1), rest_);
}

void CopyBudget::begin(TimePoint now) {
    paid_ = std::max(paid_, now) + kCopyEvery;
}

void CopyBudget::hashed(Duration took, TimePoint now) {
    rest_ = now + from_seconds((kCopyRest - 1) * seconds(took));
}

Duration SessionPlaces::idling(const Place& place, TimePoint now) {
    return place.idled + (now - place.counted);
}

Duration SessionPlaces::idling(const PeerId& receiver, TimePoint now) const {
    Duration most{0};
    const auto left = paid_off_.find(receiver);
    if (left != paid_off_.end() && left->second > now) most = left->second - now;
    for (const PlacePointer& place : places_) {
        if (place->receiver == receiver) most = std::max(most, idling(*place, now));
    }
    return most;
}

SessionPlaces::PlacePointer SessionPlaces::take(const PeerId& receiver, TimePoint now,
                                                std::function<void()> end, std::string& why_not) {
    const auto of_receiver = std::count_if(places_.begin(), places_.end(),
                                           [&](const auto& place) { return place->receiver == receiver; });
    if (static_cast<std::size_t>(of_receiver) >= kSessionsOfOnePeer) {
        why_not = std::string(kBusy) + ": serves you already";
        return nullptr;
    }
    const Duration idled = idling(receiver, now);
    if (places_.size() >= kMaximumSessions) {
        const auto most = std::max_element(
            places_.begin(), places_.end(),
            [now](const auto& a, const auto& b) { return idling(*a, now) < idling(*b, now); });
        const PlacePointer idlest = *most;
        if (idling(*idlest, now) <= std::max(kFairIdling, idled)) {
            why_not =
                std::string(kBusy) + ": serves " + std::to_string(kMaximumSessions) + " downloads already";
            return nullptr;
        }
        give_back(idlest, now);
        idlest->end();
    }
    auto place = std::make_shared<Place>();
    place->receiver = receiver;
    place->end = std::move(end);
    place->idled = idled;
    place->counted = now;
    places_.push_back(place);
    return place;
}

void SessionPlaces::earn(Place& place, std::size_t new_bytes, TimePoint now) {
    const Duration earned = from_seconds(static_cast<double>(new_bytes) / kSlowestReceiver);
    place.idled = std::max(idling(place, now) - earned, -kSpareTime);
    place.counted = now;
}

void SessionPlaces::give_back(const PlacePointer& place, TimePoint now) {
    const auto found = std::find(places_.begin(), places_.end(), place);
    if (found == places_.end()) return;
    places_.erase(found);
    remember(*place, now);
}

void SessionPlaces::remember(const Place& place, TimePoint now) {
    std::erase_if(paid_off_, [now](const auto& left) { return left.second <= now; });
    const Duration idled = idling(place, now);
    if (idled <= Duration::zero()) return;
    TimePoint& until = paid_off_[place.receiver];
    until = std::max(until, now + idled);
    if (paid_off_.size() <= kKnownIdlers) return;
    paid_off_.erase(std::min_element(paid_off_.begin(), paid_off_.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; }));
}

}  // namespace shoal::collective
