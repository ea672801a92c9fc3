// The network of a hostile peer: the protocol code above it is the real one, but bytes change on their way
// out.
#pragma once

#include "collective/mutation.h"
#include "collective/wrapping_network.h"

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

class MutatingNetwork final : public WrappingNetwork {
  public:
    MutatingNetwork(std::shared_ptr<net::Network> real, const Mutation& mutation, View view = {})
        : WrappingNetwork(std::move(real), wrapping(mutation), std::move(view)) {}

  private:
    static Wrap wrapping(const Mutation& mutation) {
        return [mutation](net::StreamPointer stream, const std::string& service,
                          bool opened) -> net::StreamPointer {
            return std::make_shared<MutatingStream>(std::move(stream), service, opened, mutation);
        };
    }
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
