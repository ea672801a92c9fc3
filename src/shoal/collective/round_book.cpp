#include "shoal/collective/round_book.h"

#include <algorithm>
#include <shoal/proto/collective.pb.h>

#include "shoal/base/error.h"
#include "shoal/collective/round_messages.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {
namespace {

/// Rounds whose verdict is remembered for members that ask late.
constexpr std::size_t kRememberedRounds = 16;

std::size_t member_of(const Round& round, const PeerId& peer) {
    const std::optional<std::size_t> member = round.vote->plan().index_of(peer);
    if (!member || *member == round.vote->plan().self)
        throw Error(ErrorKind::refused, "only members may speak in a round");
    return *member;
}

}  // namespace

void RoundBook::add(RoundPointer round) {
    rounds_.push_back(std::move(round));
    if (rounds_.size() > kRememberedRounds) {
        rounds_.front()->vote->close();
        rounds_.pop_front();
    }
    changed_.notify();
}

void RoundBook::close() {
    closed_ = true;
    for (const RoundPointer& round : rounds_) round->vote->close();
    rounds_.clear();
    changed_.notify();
}

awaitable<void> RoundBook::serve_reduce(std::shared_ptr<RoundBook> self, net::StreamPointer stream) {
    std::optional<Place> place(std::in_place, self, stream->peer());
    const net::Message message = co_await first_message(self, stream);
    const auto hello = net::parse_control<proto::ReduceHello>(message, stream->peer());
    const RoundId id = to_round_id(hello.round());
    const RoundPointer round = co_await find(self, id);
    place.reset();
    const std::size_t member = member_of(*round, stream->peer());
    round->spoke[member] = true;
    if (!round->reduce) throw Error(ErrorKind::refused, "this round has ended");
    round->reduce->accept(member, std::move(stream));
}

awaitable<void> RoundBook::serve_vote(std::shared_ptr<RoundBook> self, net::StreamPointer stream) {
    std::optional<Place> place(std::in_place, self, stream->peer());
    const net::Message message = co_await first_message(self, stream);
    const auto named = net::parse_control<proto::RoundMessage>(message, stream->peer());
    const RoundId id = to_round_id(named.round());
    if (named.has_begin() && !self->known(id)) self->lobby_->offer_begin(stream->peer(), named.begin());
    const RoundPointer round = co_await find(self, id);
    place.reset();
    const std::size_t member = member_of(*round, stream->peer());
    round->spoke[member] = true;
    const RoundMessage first = decode_round_message(message.control, round->vote->plan().members.size());
    round->vote->accept(member, std::move(stream), first);
}

RoundBook::Place::Place(std::shared_ptr<RoundBook> book, const PeerId& sender)
    : book_(std::move(book)), sender_(sender), is_stranger_(book_->is_stranger(sender)) {
    const auto own = book_->waiting_of_.find(sender_);
    const std::size_t of_sender = own == book_->waiting_of_.end() ? 0 : own->second;
    const bool is_full = is_stranger_ && book_->waiting_strangers_ >= kMaximumWaitingStreams;
    if (of_sender >= kMaximumWaitingStreamsOfOne || is_full)
        throw Error(ErrorKind::refused, "too many streams wait here");
    if (is_stranger_) ++book_->waiting_strangers_;
    ++book_->waiting_of_[sender_];
}

RoundBook::Place::~Place() {
    if (is_stranger_) --book_->waiting_strangers_;
    const auto own = book_->waiting_of_.find(sender_);
    if (--own->second == 0) book_->waiting_of_.erase(own);
}

bool RoundBook::is_stranger(const PeerId& peer) const {
    const auto has_it = [&peer](const RoundPointer& round) {
        return round->vote->plan().index_of(peer).has_value();
    };
    return !lobby_->knows(peer) && std::none_of(rounds_.begin(), rounds_.end(), has_it);
}

awaitable<net::Message> RoundBook::first_message(std::shared_ptr<RoundBook> self, net::StreamPointer stream) {
    const TimePoint deadline = self->clock_.now() + self->patience_;
    std::optional<net::Message> message =
        co_await with_deadline(self->clock_, deadline, stream->read(), "waiting for the name of a round");
    if (!message) throw Error(ErrorKind::protocol_violation, "named no round", stream->peer().short_name());
    co_return std::move(*message);
}

/// A member may hear of a round from others before the leader's Begin has arrived: wait for it.
awaitable<RoundPointer> RoundBook::find(std::shared_ptr<RoundBook> self, RoundId id) {
    const TimePoint deadline = self->clock_.now() + self->patience_;
    for (;;) {
        const std::uint64_t seen = self->changed_.count();
        if (const RoundPointer round = self->known(id)) co_return round;
        if (self->closed_ || self->clock_.now() >= deadline)
            throw Error(ErrorKind::refused, "this round is unknown here");
        co_await Changes::wait(self->changed_, self->clock_, seen, deadline);
    }
}

RoundPointer RoundBook::known(const RoundId& id) const {
    for (const RoundPointer& round : rounds_)
        if (round->vote->plan().id == id) return round;
    return nullptr;
}

}  // namespace shoal::collective
