#include "shoal/net/dialer.h"

#include <asio/redirect_error.hpp>
#include <openssl/rand.h>
#include <utility>

#include "shoal/base/error.h"
#include "shoal/net/lane_table.h"

namespace shoal::net {
namespace {

constexpr Duration kHeadStart =
    std::chrono::milliseconds(250);  // of an attempt before the next one (RFC 8305)
constexpr std::size_t kMaximumAddresses = 16;

struct Failure {
    Failure(std::string where, ErrorKind k, std::string text)
        : address(std::move(where)), kind(k), cause(std::move(text)) {}
    std::string address;
    ErrorKind kind;
    std::string cause;
};

/// What the attempts share.
struct Race {
    Race(std::shared_ptr<LinkContext> c, Clock& k, std::optional<PeerId> e, Duration t,
         const asio::any_io_executor& executor)
        : context(std::move(c)), clock(k), expected(e), timeout(t), changed(executor), attempts(executor) {}
    const std::shared_ptr<LinkContext> context;
    Clock& clock;
    const std::optional<PeerId> expected;
    const Duration timeout;
    std::optional<Link> winner;
    std::vector<Failure> failures;
    bool own_address = false;             ///< one of them is our own
    std::optional<CopiedKey> copied_key;  ///< one of them has our key, but is another process
    std::size_t running = 0;
    Signal changed;
    TaskGroup attempts;
};

std::uint64_t random_link() {
    std::uint64_t value = 0;
    if (RAND_bytes(reinterpret_cast<unsigned char*>(&value), sizeof value) != 1)
        throw Error(ErrorKind::system, "OpenSSL could not draw random bytes");
    return value;
}

std::string in_words(const std::error_code& code) {
    if (code == asio::error::connection_refused) return "connection refused: nothing listens there";
    if (code == asio::error::host_not_found || code == asio::error::host_not_found_try_again)
        return "no such host name";
    return code.message();
}

awaitable<std::vector<tcp::endpoint>> resolve(Endpoint endpoint) {
    std::error_code code;
    const asio::ip::address literal = asio::ip::make_address(endpoint.host, code);
    std::vector<tcp::endpoint> found;
    if (!code) {
        found.emplace_back(literal, endpoint.port);
        co_return found;
    }
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    tcp::resolver resolver(executor);
    const auto results = co_await resolver.async_resolve(endpoint.host, std::to_string(endpoint.port),
                                                         asio::redirect_error(asio::use_awaitable, code));
    if (code) throw Error(ErrorKind::unreachable, in_words(code));
    for (const auto& result : results) found.push_back(result.endpoint());
    co_return found;
}

awaitable<tcp::socket> connect_to(tcp::endpoint endpoint) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    tcp::socket socket(executor);
    std::error_code code;
    co_await socket.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, code));
    if (code == asio::error::operation_aborted)
        throw Error(ErrorKind::cancelled, "the dialling was cancelled");
    if (code) throw Error(ErrorKind::unreachable, in_words(code));
    co_return socket;
}

awaitable<void> add_lane(std::shared_ptr<LinkContext> context, tcp::endpoint endpoint, LaneNumber number,
                         std::vector<std::optional<Link>>& lanes) {
    const Link& first = *lanes.front();
    tcp::socket socket = co_await connect_to(endpoint);
    Link lane = co_await link_as_dialler(context, std::move(socket), first.peer, number);
    if (lane.agreement.theirs.instance != first.agreement.theirs.instance)
        throw Error(ErrorKind::refused, "has started anew meanwhile");
    lanes[number.lane].emplace(std::move(lane));
}

/// One link of several connections (StripedPipe).
awaitable<Link> link_by_lanes(std::shared_ptr<LinkContext> context, tcp::socket socket,
                              tcp::endpoint endpoint, std::optional<PeerId> expected) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    LaneNumber number(random_link(), 0, context->far_lanes);
    std::vector<std::optional<Link>> lanes(number.lanes);
    Link first = co_await link_as_dialler(context, std::move(socket), expected, number);
    lanes.front().emplace(std::move(first));
    TaskGroup others(executor);
    while (++number.lane < number.lanes) others.spawn(add_lane(context, endpoint, number, lanes));
    co_await others.join();
    std::vector<Link> all;
    for (std::optional<Link>& lane : lanes) all.push_back(std::move(*lane));
    co_return join_lanes(executor, std::move(all));
}

awaitable<Link> connect_and_link(std::shared_ptr<LinkContext> context, tcp::endpoint endpoint,
                                 std::optional<PeerId> expected) {
    tcp::socket socket = co_await connect_to(endpoint);
    const bool is_far = context->far_lanes > 1 && round_trip_of(socket) >= context->far_round_trip;
    if (is_far) {
        try {
            co_return co_await link_by_lanes(context, std::move(socket), endpoint, expected);
        } catch (const Error& error) {
            // One connection may be all that something in between allows; a refusal stays one.
            if (error.kind() != ErrorKind::unreachable && error.kind() != ErrorKind::connection_lost) throw;
        }
        socket = co_await connect_to(endpoint);
    }
    try {
        co_return co_await link_as_dialler(std::move(context), std::move(socket), expected, LaneNumber());
    } catch (const Error& error) {
        // What breaks before the link stands is no lost connection but an unsuitable address.
        if (error.kind() != ErrorKind::connection_lost) throw;
        throw Error(ErrorKind::unreachable,
                    std::string(error.what()) + " during the handshake; is it a Shoal peer?");
    }
}

awaitable<void> attempt(Race& race, tcp::endpoint endpoint) {
    Endpoint shown;
    shown.host = endpoint.address().to_string();
    shown.port = endpoint.port();
    try {
        awaitable<Link> linking = connect_and_link(race.context, endpoint, race.expected);
        Link link =
            co_await with_deadline(race.clock, race.clock.now() + race.timeout, std::move(linking), "");
        if (!race.winner) race.winner.emplace(std::move(link));
    } catch (const OwnAddress& error) {
        race.own_address = true;
        race.failures.emplace_back(shown.to_string(), error.kind(), error.what());
    } catch (const CopiedKey& error) {
        race.copied_key.emplace(error);
        race.failures.emplace_back(shown.to_string(), error.kind(), error.what());
    } catch (const Error& error) {
        std::string cause = error.what();
        if (error.kind() == ErrorKind::timed_out)
            cause = "no answer within " + std::to_string(race.timeout / std::chrono::milliseconds(1)) + " ms";
        race.failures.emplace_back(shown.to_string(), error.kind(), std::move(cause));
    } catch (const std::exception& error) {
        race.failures.emplace_back(shown.to_string(), ErrorKind::unreachable, error.what());
    }
    --race.running;
    race.changed.notify();
}

/// Waits until an attempt has ended or the head start of the last one is over.
awaitable<void> wait_for_change(Race& race, std::size_t failures_before) {
    while (!race.winner && race.running > 0 && race.failures.size() == failures_before)
        co_await race.changed.wait();
}

awaitable<void> run_race(Race& race, std::vector<tcp::endpoint> endpoints) {
    for (const tcp::endpoint& endpoint : endpoints) {
        const std::size_t failures = race.failures.size();
        ++race.running;
        race.attempts.spawn(attempt(race, endpoint));
        try {
            awaitable<void> waiting = wait_for_change(race, failures);
            co_await with_deadline(race.clock, race.clock.now() + kHeadStart, std::move(waiting), "");
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::timed_out) throw;
        }
        if (race.winner) break;
    }
    while (!race.winner && race.running > 0) co_await race.changed.wait();
    race.attempts.cancel();
}

[[noreturn]] void throw_all(const std::vector<Failure>& failures) {
    std::string text;
    ErrorKind kind = failures.empty() ? ErrorKind::unreachable : failures.front().kind;
    if (kind == ErrorKind::protocol_violation) kind = ErrorKind::refused;
    for (const Failure& failure : failures) {
        const bool refused =
            failure.kind == ErrorKind::refused || failure.kind == ErrorKind::protocol_violation;
        if ((refused ? ErrorKind::refused : failure.kind) != kind) kind = ErrorKind::unreachable;
        text += (text.empty() ? "" : "; ") + failure.address + ": " + failure.cause;
    }
    if (kind != ErrorKind::refused && kind != ErrorKind::timed_out) kind = ErrorKind::unreachable;
    throw Error(kind, text);
}

}  // namespace

awaitable<Link> dial_first(std::shared_ptr<LinkContext> context, Clock& clock,
                           std::vector<Endpoint> endpoints, std::optional<PeerId> expected,
                           Duration timeout) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    Race race(std::move(context), clock, expected, timeout, executor);
    std::vector<tcp::endpoint> targets;
    for (const Endpoint& endpoint : endpoints) {
        if (targets.size() >= kMaximumAddresses) break;
        try {
            awaitable<std::vector<tcp::endpoint>> resolving = resolve(endpoint);
            const auto found = co_await with_deadline(clock, clock.now() + timeout, std::move(resolving),
                                                      "looking up its name");
            targets.insert(targets.end(), found.begin(), found.end());
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            race.failures.emplace_back(endpoint.to_string(), error.kind(), error.what());
        }
    }
    if (targets.size() > kMaximumAddresses) targets.resize(kMaximumAddresses);
    // The attempts use `race`; settle() waits for all of them, also if this coroutine is cancelled.
    race.attempts.spawn(run_race(race, std::move(targets)));
    co_await race.attempts.settle();
    if (!race.winner && race.copied_key && !expected) throw CopiedKey(*race.copied_key);
    if (!race.winner && race.own_address && !expected) throw OwnAddress();
    if (!race.winner) throw_all(race.failures);
    co_return std::move(*race.winner);
}

}  // namespace shoal::net
