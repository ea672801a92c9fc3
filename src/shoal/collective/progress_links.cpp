#include "shoal/collective/progress_links.h"

#include <algorithm>

namespace shoal::collective {

using namespace std::chrono_literals;

ProgressLinks::ProgressLinks(net::Network& network, Clock& clock, std::string service, Log log)
    : network_(network),
      clock_(clock),
      service_(std::move(service)),
      log_(std::move(log)),
      changed_(network.executor()),
      tasks_(network.executor()) {}

void ProgressLinks::start() {
    auto observer = [weak = weak_from_this()](const PeerId& peer, bool connected, const std::string&) {
        if (const auto self = weak.lock()) self->on_connection(peer, connected);
    };
    observing_ = network_.observe(std::move(observer));
    for (const net::ConnectionInfo& connection : network_.connections()) begin(connection.peer);
}

void ProgressLinks::on_connection(const PeerId& peer, bool connected) {
    const auto link = links_.find(peer);
    if (link != links_.end()) {
        ++link->second.connection;
        changed_.notify();
    } else if (connected) {
        begin(peer);
    }
}

void ProgressLinks::begin(const PeerId& peer) {
    if (ended_ || goodbye_ || peer == network_.self() || links_.contains(peer)) return;
    links_.emplace(peer, Link());
    tasks_.spawn(keep(shared_from_this(), peer));
}

void ProgressLinks::want(const PeerId& peer) {
    if (!links_.contains(peer)) {
        if (links_.size() >= kMaximumWanted) return;
        begin(peer);
    }
    const auto link = links_.find(peer);
    if (link != links_.end()) link->second.wanted = true;
}

void ProgressLinks::no_longer_want(const PeerId& peer) {
    const auto link = links_.find(peer);
    if (link != links_.end()) link->second.wanted = false;
}

void ProgressLinks::say(Bytes words) {
    words_ = std::move(words);
    repeat();
}

void ProgressLinks::repeat() {
    ++version_;
    changed_.notify();
}

awaitable<void> ProgressLinks::until_connection_changes(PeerId peer, std::uint64_t connection) {
    while (!goodbye_ && links_.at(peer).connection == connection) co_await changed_.wait();
}

awaitable<void> ProgressLinks::until_all_ended() {
    while (!links_.empty()) co_await changed_.wait();
}

// Ends when the peer is neither wanted nor connected. A peer that cannot be reached, or does not know the
// service (a node of the directory only), is tried again later and later, and at once when it connects anew.
awaitable<void> ProgressLinks::keep([[maybe_unused]] std::shared_ptr<ProgressLinks> self, PeerId peer) {
    constexpr Duration kFirstPause = 250ms, kLongestPause = 30s;
    Duration pause = kFirstPause;
    try {
        while (!goodbye_ && (links_.at(peer).wanted || network_.is_connected(peer))) {
            const std::uint64_t connection = links_.at(peer).connection;
            const bool talked = co_await talk(peer);
            if (goodbye_) break;
            const bool fresh = links_.at(peer).connection != connection;
            if (talked || fresh) pause = kFirstPause;
            if (fresh && network_.is_connected(peer)) continue;
            awaitable<void> news = until_connection_changes(peer, links_.at(peer).connection);
            co_await detail::ends_in_time(clock_, clock_.now() + pause, std::move(news));
            pause = std::min<Duration>(pause * 2, kLongestPause);
            if (pause == kLongestPause) links_.at(peer).wanted = false;  // until there is a new record of it
        }
    } catch (...) {
        links_.erase(peer);
        changed_.notify();
        throw;
    }
    links_.erase(peer);
    changed_.notify();
}

/// Talks until the stream or its connection breaks, or the last words are said. Returns true if something was
/// said after the peer had had the time to refuse.
awaitable<bool> ProgressLinks::talk(PeerId peer) {
    bool talked = false;
    try {
        awaitable<net::StreamPointer> opening = network_.open(peer, service_);
        const TimePoint deadline = clock_.now() + 10s;
        const net::StreamPointer stream =
            co_await with_deadline(clock_, deadline, std::move(opening), "opening a stream for progress");
        const std::uint64_t opened_at = links_.at(peer).connection;
        std::uint64_t said = 0;
        for (;;) {
            while (said == version_ && links_.at(peer).connection == opened_at) co_await changed_.wait();
            if (links_.at(peer).connection != opened_at) co_return talked;
            talked = said != 0;
            said = version_;
            const Bytes words = words_;
            co_await stream->write(words, ByteView());
            if (goodbye_) {
                stream->finish();
                co_return talked;
            }
        }
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        log_.debug("progress does not reach " + peer.short_name() + ": " + error.what());
    }
    co_return talked;
}

awaitable<void> ProgressLinks::say_goodbye(Bytes words, TimePoint deadline) {
    goodbye_ = true;
    say(std::move(words));
    awaitable<void> ended = until_all_ended();
    co_await detail::ends_in_time(clock_, deadline, std::move(ended));
    cancel();
}

void ProgressLinks::cancel() {
    ended_ = true;
    observing_.reset();
    tasks_.cancel();
}

}  // namespace shoal::collective
