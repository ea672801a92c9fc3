#include "shoal/collective/lobby.h"

#include <algorithm>
#include <shoal/proto/collective.pb.h>

#include "shoal/base/error.h"
#include "shoal/collective/round_messages.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {
namespace {

constexpr int kMaximumTried = 64;

std::uint32_t to_milliseconds(Duration duration) {
    const auto count = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(count, 0, 1'000'000'000));
}

/// The table at the top of lobby.h.
proto::MatchReply reply_to(const Join& join, const std::vector<PeerId>& tried, const MatchStatus& status) {
    using Kind = MatchStatus::Kind;
    proto::MatchReply reply;
    const bool here = status.kind != Kind::idle;
    if (status.over_until && join.step <= *status.over_until) {
        reply.mutable_past()->set_step(value(*status.over_until));
    } else if (here && join.step < status.step) {
        reply.mutable_past()->set_step(value(status.step) - 1);
    } else if (!here || join.step > status.step ||
               (join.attempt > status.attempt && status.kind == Kind::busy)) {
        reply.mutable_hold()->set_ready(false);
    } else if (join.attempt > status.attempt) {
        reply.mutable_hold()->set_ready(true);  // this peer takes up that attempt, or waits until that falls
    } else if (status.kind == Kind::busy) {
        const auto& members = status.members;
        if (std::find(members.begin(), members.end(), join.signed_bytes) != members.end())
            reply.mutable_begin()->ParseFromString(status.begin);
        else
            reply.mutable_busy();
    } else if (join.attempt < status.attempt) {
        reply.mutable_raise()->set_attempt(status.attempt);
    } else {
        const bool better_known = status.kind == Kind::joined && status.leader != join.peer &&
                                  std::find(tried.begin(), tried.end(), status.leader) == tried.end();
        if (better_known) {
            reply.mutable_redirect()->set_leader(std::string(as_text(status.leader.bytes())));
        } else {
            reply.mutable_hold()->set_ready(true);
            reply.mutable_hold()->set_wait_milliseconds(to_milliseconds(status.wait));
        }
    }
    return reply;
}

}  // namespace

Lobby::Lobby(asio::any_io_executor executor, Clock& clock, JoinLimits limits, Duration request_timeout,
             std::size_t maximum_guests)
    : executor_(executor),
      clock_(clock),
      limits_(std::move(limits)),
      request_timeout_(request_timeout),
      maximum_guests_(maximum_guests),
      changed_(executor) {}

awaitable<void> Lobby::serve(std::shared_ptr<Lobby> self, net::StreamPointer stream) {
    GuestPointer guest = co_await self->admit(stream);
    TaskGroup tasks(self->executor_);
    tasks.spawn(write_replies(self, guest));
    self->answer(*guest);
    self->changed_.notify();
    std::exception_ptr failure;
    try {
        co_await read_until_end(guest);
    } catch (...) {
        failure = std::current_exception();
    }
    self->remove(guest);
    if (failure) std::rethrow_exception(failure);  // the writer ends with the group
    co_await tasks.settle();
}

awaitable<Lobby::GuestPointer> Lobby::admit(net::StreamPointer stream) {
    if (closed_) throw Error(ErrorKind::refused, "this peer takes part in no rounds any more");
    const TimePoint deadline = clock_.now() + request_timeout_;
    std::optional<net::Message> message =
        co_await with_deadline(clock_, deadline, stream->read(), "waiting for a join");
    if (!message) throw Error(ErrorKind::protocol_violation, "sent no join", stream->peer().short_name());
    const auto request = net::parse_control<proto::MatchRequest>(*message, stream->peer());
    auto guest = std::make_shared<Guest>(executor_);
    guest->join = check_join(request.join().SerializeAsString(), limits_);
    if (guest->join.peer != stream->peer() || request.tried_size() > kMaximumTried)
        throw Error(ErrorKind::protocol_violation, "sent an impossible join", stream->peer().short_name());
    for (const std::string& peer : request.tried())
        guest->tried.push_back(PeerId::from_bytes(as_bytes(std::string_view(peer))));
    guest->stream = stream;
    guest->joined_at = clock_.now();
    const auto place =
        std::lower_bound(guests_.begin(), guests_.end(), guest->join.peer,
                         [](const GuestPointer& g, const PeerId& id) { return g->join.peer < id; });
    if (place != guests_.end() && (*place)->join.peer == guest->join.peer) {
        (*place)->closing = true;
        (*place)->wake.notify();
        (*place)->stream->reset("replaced by a newer join");
        *place = guest;
    } else {
        if (guests_.size() >= maximum_guests_) throw Error(ErrorKind::refused, "too many peers wait here");
        guests_.insert(place, guest);
    }
    co_return guest;
}

awaitable<void> Lobby::write_replies(std::shared_ptr<Lobby> self, GuestPointer guest) {
    while (!self->closed_) {
        if (guest->outbox.empty()) {
            if (guest->closing) break;
            co_await guest->wake.wait();
            continue;
        }
        const Bytes message = std::move(guest->outbox.front());
        guest->outbox.pop_front();
        co_await guest->stream->write(message, ByteView());
    }
    guest->stream->finish();
}

awaitable<void> Lobby::read_until_end(GuestPointer guest) {
    const std::optional<net::Message> message = co_await guest->stream->read();
    if (message)
        throw Error(ErrorKind::protocol_violation, "joined twice on one stream",
                    guest->join.peer.short_name());
}

void Lobby::remove(const GuestPointer& guest) {
    guest->closing = true;
    guest->wake.notify();
    std::erase(guests_, guest);
    changed_.notify();
}

void Lobby::set_status(MatchStatus status) {
    if (status_.join != status.join) offered_begins_.clear();
    status_ = std::move(status);
    for (const GuestPointer& guest : guests_) answer(*guest);
}

void Lobby::answer(Guest& guest) {
    const proto::MatchReply answer = reply_to(guest.join, guest.tried, status_);
    const std::string bytes = answer.SerializeAsString();
    // The time left is news only together with something else.
    const bool same_hold = guest.last_reply.size() == bytes.size() && answer.has_hold() && [&guest, &answer] {
        proto::MatchReply last;
        return last.ParseFromString(guest.last_reply) && last.has_hold() &&
               last.hold().ready() == answer.hold().ready();
    }();
    if (bytes != guest.last_reply && !same_hold) reply(guest, bytes, answer.has_past() || answer.has_begin());
}

void Lobby::reply(Guest& guest, const std::string& reply, bool last) {
    if (guest.closing) return;
    guest.last_reply = reply;
    guest.outbox.emplace_back(reply.begin(), reply.end());
    guest.closing = last;
    guest.wake.notify();
}

void Lobby::offer_begin(const PeerId& from, const proto::Begin& begin) {
    if (closed_ || status_.join.empty()) return;
    bool names_us = false, names_sender = false;
    for (const proto::SignedJoin& member : begin.members()) {
        names_us = names_us || member.SerializeAsString() == status_.join;
        names_sender = names_sender || member.peer() == as_text(from.bytes());
    }
    if (!names_us || !names_sender) return;
    if (offered_begins_.size() >= maximum_guests_ && !offered_begins_.contains(from)) return;
    offered_begins_[from] = begin.SerializeAsString();
    changed_.notify();
}

std::vector<Lobby::OfferedBegin> Lobby::take_offered_begins() {
    std::vector<OfferedBegin> taken;
    for (auto& [from, begin] : offered_begins_) taken.emplace_back(from, std::move(begin));
    offered_begins_.clear();
    return taken;
}

void Lobby::begin(const std::vector<GuestPointer>& members, const std::string& begin) {
    proto::MatchReply message;
    message.mutable_begin()->ParseFromString(begin);
    const std::string bytes = message.SerializeAsString();
    for (const GuestPointer& guest : members) {
        reply(*guest, bytes, true);
        std::erase(guests_, guest);
    }
}

void Lobby::refuse(const GuestPointer& guest, const std::string& reason) {
    proto::MatchReply message;
    message.mutable_refused()->set_reason(printable(reason));
    reply(*guest, message.SerializeAsString(), true);
    std::erase(guests_, guest);
}

void Lobby::repeat_busy() {
    for (const GuestPointer& guest : guests_) {
        const proto::MatchReply answer = reply_to(guest->join, guest->tried, status_);
        if (answer.has_busy() && guest->outbox.empty()) reply(*guest, answer.SerializeAsString(), false);
    }
}

void Lobby::close() {
    closed_ = true;
    for (const GuestPointer& guest : guests_) {
        guest->closing = true;
        guest->wake.notify();
    }
}

}  // namespace shoal::collective
