// The network of a hostile peer: the protocol code above it is the real one, but bytes change on their way
// out.
#pragma once

#include "collective/mutation.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "shoal/net/network.h"

namespace shoal::collective {

/// Changes a message before it leaves.
/// @param opened  this peer opened the stream (and does not serve it)
using Mutation = std::function<void(const std::string& service, bool opened, net::Message& message)>;

class MutatingStream final : public net::Stream {
  public:
    MutatingStream(net::StreamPointer real, std::string service, bool opened, Mutation mutation)
        : real_(std::move(real)),
          service_(std::move(service)),
          opened_(opened),
          mutation_(std::move(mutation)) {}

    const PeerId& peer() const override { return real_->peer(); }
    awaitable<void> write(ByteView control, ByteView payload) override {
        net::Message message(Bytes(control.begin(), control.end()), Bytes(payload.begin(), payload.end()));
        mutation_(service_, opened_, message);
        co_await real_->write(message.control, message.payload);
    }
    awaitable<std::optional<net::Message>> read() override { return real_->read(); }
    void finish() override { real_->finish(); }
    void reset(const std::string& reason) override { real_->reset(reason); }

  private:
    net::StreamPointer real_;
    std::string service_;
    bool opened_;
    Mutation mutation_;
};

class MutatingNetwork final : public net::Network {
  public:
    /// Changes what the peer itself sees of its connections.
    using View = std::function<void(std::vector<net::ConnectionInfo>&)>;

    MutatingNetwork(std::shared_ptr<net::Network> real, Mutation mutation, View view = {})
        : real_(std::move(real)), mutation_(std::move(mutation)), view_(std::move(view)) {}

    const PeerId& self() const override { return real_->self(); }
    asio::any_io_executor executor() const override { return real_->executor(); }
    awaitable<net::StreamPointer> open(PeerId peer, std::string service) override {
        const std::string name = service;
        net::StreamPointer stream = co_await real_->open(peer, std::move(service));
        co_return std::make_shared<MutatingStream>(std::move(stream), name, true, mutation_);
    }
    void serve(std::string service, net::StreamHandler handler, net::Audience audience) override {
        if (!handler) return real_->serve(std::move(service), {});
        const std::string name = service;
        auto mutated = [name, handler = std::move(handler), mutation = mutation_](net::StreamPointer stream) {
            return handler(std::make_shared<MutatingStream>(std::move(stream), name, false, mutation));
        };
        real_->serve(std::move(service), std::move(mutated), audience);
    }
    awaitable<PeerId> dial(net::Endpoint endpoint) override { return real_->dial(std::move(endpoint)); }
    std::vector<net::ConnectionInfo> connections() const override {
        std::vector<net::ConnectionInfo> all = real_->connections();
        if (view_) view_(all);
        return all;
    }
    bool is_connected(const PeerId& peer) const override { return real_->is_connected(peer); }
    std::shared_ptr<void> observe(Observer observer) override { return real_->observe(std::move(observer)); }
    void disconnect(const PeerId& peer, const std::string& reason) override {
        real_->disconnect(peer, reason);
    }
    void mark_useful(const PeerId& peer) override { real_->mark_useful(peer); }
    void set_resolver(net::AddressResolver resolver) override { real_->set_resolver(std::move(resolver)); }

  private:
    std::shared_ptr<net::Network> real_;
    Mutation mutation_;
    View view_;
};

/// What is done to the messages of a hostile peer.
struct Attack {
    std::string name;
    std::string service;   ///< whose messages are changed; empty: all
    std::uint64_t rarity;  ///< one message in so many
};

/// What has been done so far, and the randomness of it.
struct Damage {
    Random random{1};
    int messages = 0;
};

/// A changed number of an fp32 contribution is another contribution, which nobody can tell from the true one.
/// So there the size is wrong, or a number is not finite.
inline void spoil_contribution(Random& random, Bytes& payload) {
    if (random.below(2) == 0) {
        payload.resize(payload.size() + 1 - 2 * random.below(2));
    } else {
        const std::size_t number = random.below(payload.size() / 4) * 4;
        payload[number + 2] |= 0x80;
        payload[number + 3] |= 0x7f;
    }
}

/// Wraps a network so that its peer carries out an attack.
inline std::function<std::shared_ptr<net::Network>(std::shared_ptr<net::Network>)> attacking(
    Attack attack, std::shared_ptr<Damage> damage) {
    const Mutation mutation = [attack, damage](const std::string& service, bool opened,
                                               net::Message& message) {
        Random& random = damage->random;
        if (!attack.service.empty() && !service.ends_with(attack.service)) return;
        if (random.below(attack.rarity) != 0) return;
        ++damage->messages;
        const bool in_payload = !message.payload.empty() && (message.control.empty() || random.below(2) == 0);
        if (!in_payload && message.control.empty()) message.control.assign(1, 0);
        Bytes& bytes = in_payload ? message.payload : message.control;
        if (in_payload && opened && service.ends_with("/reduce") && bytes.size() >= 4) {
            spoil_contribution(random, bytes);
            return;
        }
        const Bytes before = bytes;
        while (bytes == before) bytes = mutated(random, before);
    };
    return [mutation](std::shared_ptr<net::Network> real) {
        return std::make_shared<MutatingNetwork>(std::move(real), mutation);
    };
}

}  // namespace shoal::collective
