#include "shoal/sim/simulation.h"

#include <fmt/format.h>

namespace shoal::sim {

namespace {

constexpr std::uint64_t kPrime = 0x100000001b3;

void mix(std::uint64_t& hash, std::uint64_t value) {
    for (int byte = 0; byte < 8; ++byte) hash = (hash ^ (value >> (8 * byte) & 0xff)) * kPrime;
}

/// 2025-01-01 00:00:00 UTC: any fixed day will do.
const WallTime kEpoch{std::chrono::milliseconds(1735689600000)};

}  // namespace

void Trace::note(TimePoint when, std::string_view what, std::uint64_t a, std::uint64_t b, std::uint64_t c) {
    mix(hash_, static_cast<std::uint64_t>(when.since_start.count()));
    for (const char letter : what) hash_ = (hash_ ^ static_cast<unsigned char>(letter)) * kPrime;
    mix(hash_, a);
    mix(hash_, b);
    mix(hash_, c);
    ++count_;
    if (keep_lines_)
        lines_.push_back(fmt::format("{:.6f} {} {} {} {}", seconds(when.since_start), what, a, b, c));
}

Simulation::Simulation(std::uint64_t seed)
    : timeline_(std::make_shared<Timeline>()), random_(seed), context_(1), work_(context_.get_executor()) {
    clock_ = &make_clock();
}

Simulation::~Simulation() {
    for (auto& signal : spawned_) signal.emit(asio::cancellation_type::terminal);
    context_.poll();
    timeline_->clear();  // what the events own belongs to the io_context
    context_.poll();
}

VirtualClock& Simulation::make_clock() {
    return clocks_.emplace_back(timeline_, kEpoch);
}

void Simulation::spawn(awaitable<void> task) {
    auto entry = spawned_.emplace(spawned_.end());
    auto on_end = [this, entry](const std::exception_ptr& error) {
        spawned_.erase(entry);
        if (error && !failure_ && !is_cancellation(error)) failure_ = error;
    };
    asio::co_spawn(context_, std::move(task), asio::bind_cancellation_slot(entry->slot(), std::move(on_end)));
}

void Simulation::poll() {
    context_.poll();
}

void Simulation::throw_failure() {
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Simulation::run_until(TimePoint when) {
    poll();
    throw_failure();
    while (timeline_->next() <= when && !timeline_->empty()) {
        timeline_->fire_next();
        poll();
        throw_failure();
    }
    timeline_->advance_to(when);
}

bool Simulation::run_until(const std::function<bool()>& condition, Duration limit) {
    const TimePoint last = timeline_->now() + limit;
    poll();
    throw_failure();
    while (!condition()) {
        if (timeline_->empty() || timeline_->next() > last) return false;
        timeline_->fire_next();
        poll();
        throw_failure();
    }
    return true;
}

void Simulation::run() {
    poll();
    throw_failure();
    while (!timeline_->empty()) {
        timeline_->fire_next();
        poll();
        throw_failure();
    }
}

}  // namespace shoal::sim
