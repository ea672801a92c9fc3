// A peer that meets a fault in the middle of an all-reduce, at a byte that the test chooses: of its
// contribution, of the results that it sends, or of those that it takes.
#pragma once

#include "collective/wrapping_network.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "shoal/base/clock.h"

namespace shoal::collective {

enum class Part {
    sending,   ///< its contribution, to all owners together
    reducing,  ///< the results of its share, to all contributors together
    taking,    ///< the results of others
};

/// Waits for its byte, and then happens once.
struct Strike {
    Part part = Part::sending;
    std::uint64_t after = 0;    ///< payload bytes of that part that still pass
    std::function<void()> act;  ///< the fault
    Duration pause{0};          ///< from then on nothing of that part moves for so long
    std::uint64_t passed = 0;   ///< so far
    bool struck = false;
    TimePoint held_until;

    void disarm() {
        struck = true;
        held_until = TimePoint();
    }

    /// The next message of that part is about to be sent, or has been taken.
    void meet(std::size_t bytes, TimePoint now) {
        passed += bytes;
        if (struck || passed <= after) return;
        struck = true;
        held_until = now + pause;
        if (act) act();
    }
};

class StruckStream final : public net::Stream {
  public:
    StruckStream(net::StreamPointer real, bool opened, std::shared_ptr<Strike> strike, Clock& clock)
        : real_(std::move(real)), opened_(opened), strike_(std::move(strike)), clock_(clock) {}

    const PeerId& peer() const override { return real_->peer(); }
    awaitable<void> write(ByteView control, ByteView payload) override {
        if (!payload.empty() && strike_->part == (opened_ ? Part::sending : Part::reducing)) {
            strike_->meet(payload.size(), clock_.now());
            if (clock_.now() < strike_->held_until) co_await clock_.sleep_until(strike_->held_until);
        }
        co_await real_->write(control, payload);
    }
    awaitable<std::optional<net::Message>> read() override {
        std::optional<net::Message> message = co_await real_->read();
        const bool is_result = opened_ && message && !message->payload.empty();
        if (is_result && strike_->part == Part::taking) strike_->meet(message->payload.size(), clock_.now());
        co_return message;
    }
    void finish() override { real_->finish(); }
    void reset(const std::string& reason) override { real_->reset(reason); }

  private:
    net::StreamPointer real_;
    bool opened_;
    std::shared_ptr<Strike> strike_;
    Clock& clock_;
};

/// Puts the strike between a peer and its network. The clock outlives the network.
inline std::shared_ptr<net::Network> struck(std::shared_ptr<net::Network> real,
                                            std::shared_ptr<Strike> strike, Clock& clock) {
    const WrappingNetwork::Wrap wrap = [strike, &clock](net::StreamPointer stream, const std::string& service,
                                                        bool opened) -> net::StreamPointer {
        if (!service.ends_with("/reduce")) return stream;
        return std::make_shared<StruckStream>(std::move(stream), opened, strike, clock);
    };
    return std::make_shared<WrappingNetwork>(std::move(real), wrap);
}

}  // namespace shoal::collective
