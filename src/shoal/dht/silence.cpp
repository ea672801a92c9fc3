#include "shoal/dht/silence.h"

#include <algorithm>

namespace shoal::dht {

void Silence::asked(const Address& address, ByteView request, TimePoint now) {
    const auto known = addresses_.find(address);
    if (known == addresses_.end() && addresses_.size() >= kMaximumAddresses) return;  // OpenDHT's way, then
    Waiting& waiting = known == addresses_.end() ? addresses_[address] : known->second;
    if (waiting.silent) return;
    waiting.request.assign(request.begin(), request.end());
    if (known != addresses_.end()) return;
    waiting.has_answered = have_answered_.contains(address);
    waiting.since = now;
    waiting.next = now + patience();
}

void Silence::heard_from(const Address& address, TimePoint now) {
    const auto known = addresses_.find(address);
    if (known == addresses_.end()) return;
    // An answer that comes late says that answers take long here; one that comes after minutes says nothing.
    const Duration taken = now - known->second.since;
    if (taken <= kQuestions * kMostPatience) answer_time_ += (taken - answer_time_) / 8;
    if (have_answered_.size() >= kMaximumAddresses) have_answered_.clear();
    have_answered_.insert(address);
    addresses_.erase(known);
}

Duration Silence::patience() const {
    return std::clamp(2 * answer_time_, kLeastPatience, kMostPatience);
}

void Silence::refused_by(const Address& address, TimePoint now) {
    const auto known = addresses_.find(address);
    if (known != addresses_.end() && !known->second.silent) fall_silent(known->second, now);
}

bool Silence::is_silent(const Address& address) const {
    const auto known = addresses_.find(address);
    return known != addresses_.end() && known->second.silent;
}

void Silence::fall_silent(Waiting& waiting, TimePoint now) {
    waiting.silent = true;
    waiting.request = {};
    waiting.next = now + waiting.pause;
}

Silence::Actions Silence::look(TimePoint now) {
    Actions actions;
    std::erase_if(addresses_, [now](const auto& entry) { return entry.second.since + kForget <= now; });
    for (auto& [address, waiting] : addresses_) {
        if (waiting.next <= now) act(address, waiting, actions, now);
        if (!waiting.silent)
            actions.look_again_after = kTick;
        else if (actions.look_again_after == Duration(0))
            actions.look_again_after = kPingTick;
    }
    return actions;
}

void Silence::act(const Address& address, Waiting& waiting, Actions& actions, TimePoint now) {
    if (waiting.silent) {
        if (waiting.has_answered) actions.ping.push_back(address);
        waiting.pause = std::min(2 * waiting.pause, kLastPing);
        waiting.next = now + waiting.pause;
    } else if (waiting.questions < kQuestions) {
        actions.send_again.emplace_back(address, waiting.request);
        ++waiting.questions;
        // Counted from now: should we have been asleep ourselves, the others get their time to answer.
        waiting.next = now + patience();
    } else {
        fall_silent(waiting, now);
    }
}

}  // namespace shoal::dht
