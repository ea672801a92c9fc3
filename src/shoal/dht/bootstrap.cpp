#include "shoal/dht/bootstrap.h"

#include <algorithm>
#include <asio/ip/udp.hpp>
#include <fmt/format.h>

#include "shoal/base/error.h"
#include "shoal/dht/operation.h"

namespace shoal::dht {

namespace {

using asio::ip::udp;

constexpr std::chrono::seconds kPingTimeout{3};
constexpr Duration kFirstPause = std::chrono::milliseconds(500);
constexpr Duration kLastPause = std::chrono::seconds(10);
constexpr Duration kPauseWhileReachable = std::chrono::seconds(30);

}  // namespace

Bootstrap::Bootstrap(asio::any_io_executor executor, Clock& clock, std::shared_ptr<OpenDhtNode> node, Log log)
    : executor_(std::move(executor)),
      clock_(clock),
      node_(std::move(node)),
      log_(std::move(log)),
      tasks_(executor_) {}

void Bootstrap::add(net::Endpoint endpoint) {
    auto status = std::make_shared<BootstrapStatus>();
    status->endpoint = std::move(endpoint);
    addresses_.push_back(status);
    tasks_.spawn(keep_trying(weak_from_this(), clock_, std::move(status)));
}

std::vector<BootstrapStatus> Bootstrap::status() const {
    std::vector<BootstrapStatus> result;
    for (const auto& address : addresses_) result.push_back(*address);
    return result;
}

void Bootstrap::stop() {
    tasks_.cancel();
}

awaitable<void> Bootstrap::keep_trying(std::weak_ptr<Bootstrap> weak, Clock& clock,
                                       std::shared_ptr<BootstrapStatus> status) {
    Duration pause = kFirstPause;
    for (;;) {
        // Held only while it is needed: who drops the directory does not have to wait for us.
        if (auto self = weak.lock(); self && !self->node_->closed()) {
            ++status->attempts;
            const std::string reason = co_await self->attempt(status->endpoint);
            self->note_attempt(*status, reason);
        } else {
            co_return;
        }
        if (status->reachable) pause = kPauseWhileReachable;
        co_await clock.sleep_for(pause);
        pause = status->reachable ? kFirstPause : std::min(2 * pause, kLastPause);
    }
}

void Bootstrap::note_attempt(BootstrapStatus& status, const std::string& reason) {
    if (node_->closed()) return;
    const std::string address = "directory: bootstrap address " + status.endpoint.to_string();
    if (reason.empty() && !status.reachable) log_.info(address + " answers");
    if (!reason.empty() && reason != status.reason) log_.warning(address + ": " + reason);
    status.reachable = reason.empty();
    status.reason = reason;
}

/// Asks the nodes behind an address for a sign of life. Returns what went wrong; empty if one has answered.
awaitable<std::string> Bootstrap::attempt(net::Endpoint endpoint) {
    std::vector<udp::endpoint> addresses;
    std::string failure;
    try {
        addresses = co_await resolve(endpoint);
    } catch (const std::system_error& error) {
        if (error.code() == asio::error::operation_aborted) throw;
        failure =
            fmt::format("the host name '{}' cannot be resolved: {}", endpoint.host, error.code().message());
    }
    for (const udp::endpoint& address : addresses) {
        if (node_->closed()) co_return "the directory has been shut down";
        const std::string text = net::Endpoint{address.address().to_string(), address.port()}.to_string();
        if (node_->socket().is_bound_to(address)) {
            failure = text + " is this peer itself";
            continue;
        }
        const bool answered = co_await answers(address);
        if (answered) co_return "";
        failure = fmt::format(
            "no answer from {} over UDP within {} s; is a peer of this run listening there, and does a "
            "firewall "
            "let UDP through?",
            text, kPingTimeout.count());
    }
    co_return failure;
}

/// OpenDHT itself gives a ping up only after 8 seconds; an answer that comes later than ours still makes the
/// node known.
awaitable<bool> Bootstrap::answers(udp::endpoint address) {
    auto ping = std::make_shared<Operation>(executor_);
    node_->ping(address, [ping](bool ok) { ping->end(ok); });
    try {
        co_await with_deadline(clock_, clock_.now() + kPingTimeout, wait_for(ping), "a ping");
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::timed_out) throw;
    }
    co_return ping->ok;
}

awaitable<std::vector<udp::endpoint>> Bootstrap::resolve(net::Endpoint endpoint) {
    std::vector<udp::endpoint> addresses;
    std::error_code error;
    const asio::ip::address address = asio::ip::make_address(endpoint.host, error);
    if (!error) {
        addresses.emplace_back(address, endpoint.port);
        co_return addresses;
    }
    udp::resolver resolver(executor_);
    const auto results =
        co_await resolver.async_resolve(endpoint.host, std::to_string(endpoint.port), asio::use_awaitable);
    for (const auto& result : results) addresses.push_back(result.endpoint());
    co_return addresses;
}

}  // namespace shoal::dht
