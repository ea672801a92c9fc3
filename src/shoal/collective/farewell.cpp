#include "shoal/collective/farewell.h"

#include <utility>

#include "shoal/base/error.h"

namespace shoal::collective {

namespace {

constexpr Duration kPatience = std::chrono::seconds(10);  // with a peer that does not listen, or says nothing

}  // namespace

Farewell::Farewell(net::Network& network, Clock& clock, const std::string& run, Log log)
    : network_(network),
      clock_(clock),
      service_(run + "/groups"),
      log_(std::move(log)),
      tasks_(network.executor()) {}

void Farewell::start(Hear hear) {
    hear_ = std::move(hear);
    network_.serve(service_, [weak = weak_from_this()](net::StreamPointer stream) {
        return listen(weak, std::move(stream));
    });
}

void Farewell::end() {
    network_.serve(service_, {});
    hear_ = {};
    tasks_.cancel();
}

bool Farewell::tell(const PeerId& peer, Step left, const Bytes& words) {
    late_[peer] = left;
    const bool connected = network_.is_connected(peer);
    if (connected) tasks_.spawn(try_to_tell(shared_from_this(), peer, words));
    return connected;
}

void Farewell::tell_again(Step step, const Bytes& words) {
    constexpr std::int64_t kSteps = 6;
    const std::int64_t oldest = value(step) - kSteps;
    std::erase_if(late_, [oldest](const auto& one) { return value(one.second) < oldest; });
    for (const auto& [peer, left] : late_)
        if (network_.is_connected(peer)) tasks_.spawn(try_to_tell(shared_from_this(), peer, words));
}

awaitable<void> Farewell::try_to_tell(std::shared_ptr<Farewell> self, PeerId peer, Bytes words) {
    try {
        awaitable<void> telling = write(self, peer, std::move(words));
        co_await with_deadline(self->clock_, self->clock_.now() + kPatience, std::move(telling),
                               "telling that this peer has gone on");
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        self->log_.debug(error.what());
    }
}

awaitable<void> Farewell::write(std::shared_ptr<Farewell> self, PeerId peer, Bytes words) {
    std::string service = self->service_;
    const net::StreamPointer stream = co_await self->network_.open(peer, std::move(service));
    co_await stream->write(words, ByteView());
    stream->finish();
}

awaitable<void> Farewell::listen(std::weak_ptr<Farewell> weak, net::StreamPointer stream) {
    const auto self = weak.lock();
    if (!self) co_return;
    const TimePoint deadline = self->clock_.now() + kPatience;
    const std::optional<net::Message> message =
        co_await with_deadline(self->clock_, deadline, stream->read(), "waiting for a farewell");
    if (!message || !self->hear_) co_return;
    const PeerId peer = stream->peer();
    if (!self->network_.is_connected(peer)) co_return;  // forget() has been called, and will not be again
    if (!self->paces_[peer].may_look(self->clock_.now())) co_return;
    const ProgressRecord words = decode_progress(message->control, peer);
    const auto late = self->late_.find(peer);
    if (late != self->late_.end() && words.progress.step > late->second) self->late_.erase(late);
    self->hear_(words);
}

}  // namespace shoal::collective
