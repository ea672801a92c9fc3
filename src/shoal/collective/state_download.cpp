#include "shoal/collective/state_download.h"

#include <algorithm>
#include <cmath>

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kMostAtOnce = 8;  ///< donors that deliver: enough to fill a line

}  // namespace

StateDownload::StateDownload(net::Network& network, Clock& clock, StateTransferSettings settings,
                             std::vector<PeerId> donors, Step minimum_step,
                             std::function<void(std::size_t, std::size_t)> progress, Log log)
    : network_(network),
      clock_(clock),
      settings_(std::move(settings)),
      minimum_step_(minimum_step),
      progress_(std::move(progress)),
      log_(std::move(log)),
      changed_(network.executor()),
      watch_(settings_.stall_timeout),
      tasks_(network.executor()) {
    for (const PeerId& donor : donors) {
        if (donor != network_.self()) sessions_.emplace(donor, Session());
    }
}

awaitable<StatePointer> StateDownload::run(DownloadReport& report) {
    const TimePoint begin = clock_.now();
    if (sessions_.empty())
        throw Error(ErrorKind::unreachable,
                    "nobody is known who has the state of step " + std::to_string(value(minimum_step_)));
    for (auto& [donor, session] : sessions_) {
        session.task = std::make_unique<TaskGroup>(network_.executor());
        session.task->spawn(serve(shared_from_this(), donor));
    }
    tasks_.spawn(watch(shared_from_this()));
    std::exception_ptr cancelled;
    try {
        co_await until_decided();
        co_await until_over();
    } catch (...) {
        cancelled = std::current_exception();
    }
    tasks_.cancel();
    for (auto& [donor, session] : sessions_) session.task->cancel();
    co_await tasks_.settle();
    for (auto& [donor, session] : sessions_) co_await session.task->settle();
    if (cancelled) std::rethrow_exception(cancelled);
    for (const auto& [donor, session] : sessions_) {
        if (session.pretends) report.pretenders.push_back(donor);
    }
    if (!complete() || !damage_.empty()) fail();
    report.bytes = bytes_done_;
    report.seconds = seconds(clock_.now() - begin);
    report.donors.clear();
    for (const auto& [donor, session] : sessions_) {
        if (session.delivered == 0) continue;
        report.donors.push_back(donor);
        network_.mark_useful(donor);
    }
    co_return std::move(state_);
}

bool StateDownload::all_ended() const {
    return std::all_of(sessions_.begin(), sessions_.end(),
                       [](const auto& s) { return s.second.stage == Stage::ended; });
}

void StateDownload::fail() const {
    if (!damage_.empty()) throw Error(ErrorKind::corrupted, damage_);
    std::string reasons;
    bool corrupted = false;
    for (const auto& [donor, session] : sessions_) {
        reasons += (reasons.empty() ? "" : "; ") + donor.short_name() + ": " + session.reason;
        corrupted = corrupted || session.corrupted;
    }
    throw Error(corrupted ? ErrorKind::corrupted : ErrorKind::unreachable,
                "no state of step " + std::to_string(value(minimum_step_)) + " or later could be had (" +
                    reasons + ")");
}

// Enough is known when a majority of the donors that may still answer name one root; or all have answered; or
// at least half name it and the others have had their time (they may wait for the end of a long micro-batch).
std::optional<Digest> StateDownload::decide() const {
    std::map<Digest, std::size_t> count;
    std::size_t alive = 0, pending = 0;
    for (const auto& [donor, session] : sessions_) {
        if (session.stage == Stage::ended) continue;
        ++alive;
        if (session.stage == Stage::opening) ++pending;
        if (session.stage == Stage::offered) ++count[session.offer.root];
    }
    std::optional<Digest> best;
    for (const auto& [donor, session] : sessions_) {  // ascending PeerId: the lowest decides a tie
        if (session.stage != Stage::offered) continue;
        if (!best || count[session.offer.root] > count[*best]) best = session.offer.root;
    }
    if (!best) return std::nullopt;
    const bool patience_is_over = first_offer_ && clock_.now() >= *first_offer_ + settings_.stall_timeout;
    const std::size_t votes = count[*best] * 2;
    const bool enough = pending == 0 || votes > alive || (votes == alive && patience_is_over);
    return enough ? best : std::nullopt;
}

awaitable<void> StateDownload::until_decided() {
    while (!root_ && !all_ended()) {
        root_ = decide();
        if (root_) break;
        const bool patience_runs = first_offer_ && clock_.now() < *first_offer_ + settings_.stall_timeout;
        awaitable<void> waiting = until_event(events_);
        if (patience_runs) {
            co_await detail::ends_in_time(clock_, *first_offer_ + settings_.stall_timeout,
                                          std::move(waiting));
        } else {
            co_await std::move(waiting);
        }
    }
    wake();
}

bool StateDownload::may_fetch(const PeerId& donor) const {
    std::size_t fetching = 0, before = 0;
    // The circle of PeerIds begins with our own.
    const auto rank = [this](const PeerId& peer) { return std::pair(peer < network_.self(), peer); };
    for (const auto& [peer, session] : sessions_) {
        if (session.stage == Stage::fetching) ++fetching;
        const bool waits = session.stage == Stage::offered && session.offer.root == *root_;
        if (waits && rank(peer) < rank(donor)) ++before;
    }
    return fetching + before < kMostAtOnce;
}

void StateDownload::wake() {
    ++events_;
    changed_.notify();
}

awaitable<void> StateDownload::until_event(std::uint64_t seen) {
    while (events_ == seen) co_await changed_.wait();
}

awaitable<void> StateDownload::until_over() {
    while (!complete() && !all_ended() && damage_.empty()) co_await changed_.wait();
}

/// Looks after the donors; whoever waits for a change is woken to look, too.
awaitable<void> StateDownload::watch([[maybe_unused]] std::shared_ptr<StateDownload> self) {
    for (;;) {
        co_await clock_.sleep_for(settings_.stall_timeout / 8);
        for (const auto& [donor, session] : sessions_) {
            if (watch_.is_to_be_given_up(donor, clock_.now())) give_up(donor);
        }
        changed_.notify();
    }
}

void StateDownload::give_up(const PeerId& donor) {
    Session& own = sessions_.at(donor);
    if (!own.given_up.empty() || own.stage == Stage::ended) return;
    own.given_up = "timed out: waiting for state, nothing came for " +
                   std::to_string(std::lround(seconds(watch_.silence(donor, clock_.now())))) + " s";
    own.task->cancel();
}

awaitable<void> StateDownload::serve([[maybe_unused]] std::shared_ptr<StateDownload> self, PeerId donor) {
    std::exception_ptr failure;
    try {
        co_await session(donor);
    } catch (...) {
        failure = std::current_exception();
    }
    note_end(donor, failure);
}

void StateDownload::note_end(const PeerId& donor, const std::exception_ptr& failure) {
    Session& own = sessions_.at(donor);
    const bool no_offer = own.stage == Stage::opening;
    own.stage = Stage::ended;
    watch_.remove(donor);
    give_back(donor);
    wake();
    if (!failure) return;
    const bool cancelled = is_cancellation(failure);
    own.reason = cancelled && !own.given_up.empty() ? own.given_up : describe(failure);
    if (cancelled && own.given_up.empty()) return;
    try {
        std::rethrow_exception(failure);
    } catch (const Error& error) {
        own.corrupted = error.kind() == ErrorKind::corrupted;
        // Once it has offered a state it may still be refused by us: another was named by more.
        const bool refuses =
            error.kind() == ErrorKind::refused || error.kind() == ErrorKind::protocol_violation;
        own.pretends = own.corrupted || (no_offer && refuses);
    } catch (...) {  // nothing against the donor
    }
    log_.info("state download goes on without " + donor.short_name() + ": " + own.reason);
}

awaitable<StatePointer> download_state(net::Network& network, Clock& clock, StateTransferSettings settings,
                                       std::vector<PeerId> donors, Step minimum_step,
                                       std::function<void(std::size_t, std::size_t)> progress,
                                       DownloadReport& report, Log log) {
    check_transfer_settings(settings);
    auto download = std::make_shared<StateDownload>(network, clock, std::move(settings), std::move(donors),
                                                    minimum_step, std::move(progress), std::move(log));
    co_return co_await download->run(report);
}

}  // namespace shoal::collective
