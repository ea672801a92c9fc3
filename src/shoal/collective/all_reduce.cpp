#include "shoal/collective/all_reduce.h"

#include <algorithm>
#include <shoal/proto/collective.pb.h>

#include "shoal/base/error.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {
namespace {

/// Chunks of a share that are on their way at most: what a contributor sends ahead of the results that have
/// come back, and so what an owner takes ahead of the slowest. A fast contributor that sent all it has would
/// fill the owner's line while the owner waits for slow ones.
constexpr std::size_t kWindow = 8;

/// A window begins with so many elements, at least a chunk, and grows by a chunk with each result: all
/// contributors begin at the same moment, and on a slow line what they send at once is lost.
constexpr std::size_t kFirstElements = 8192;

/// No share is sent further ahead of the others than this part of it: all contributors send in about the same
/// order, so that chunks become complete one after the other, and their results go out evenly.
constexpr double kLead = 0.05;
constexpr int kLeadPatience = 8;  ///< of a stall_timeout, for each chunk

/// Of the own line: headers, acknowledgements and other traffic need the rest.
constexpr double kPartOfLine = 0.94;

/// The control bytes of a message without payload: a sign of life.
constexpr std::uint8_t kAlive[] = {1};

std::vector<PeerId> peers_of_waits(const RoundPlan& plan) {
    std::vector<PeerId> peers;
    for (int kind = 0; kind < 2; ++kind)
        for (const Join& member : plan.members) peers.push_back(member.peer);
    return peers;
}

Bytes make_hello(const RoundPlan& plan) {
    proto::ReduceHello hello;
    hello.set_round(plan.id.data(), plan.id.size());
    return net::to_control(hello);
}

}  // namespace

AllReduce::AllReduce(net::Network& network, Clock& clock, AllReduceSettings settings, const RoundPlan& plan,
                     std::span<const float> contribution, std::span<float> result, AllReduceEvents events)
    : network_(network),
      clock_(clock),
      settings_(std::move(settings)),
      plan_(plan),
      codec_(*plan.codec),
      contribution_(contribution),
      result_(result),
      events_(std::move(events)),
      exact_(plan.codec->is_exact()),
      reducer_(plan, contribution, result, kWindow),
      watch_(2 * plan.members.size(), settings_.stall_timeout, peers_of_waits(plan)),
      pacer_(clock, settings_.paced ? kPartOfLine * plan.members[plan.self].upload : 0),
      room_(network.executor()),
      sendable_(network.executor()),
      results_(network.executor()),
      sent_(plan.members.size(), 1),
      written_(plan.members.size(), 0),
      fingerprints_(plan.members.size()),
      blamed_(plan.members.size(), false),
      waited_(plan.members.size(), 0),
      tasks_(network.executor()) {}

void AllReduce::start() {
    for (std::size_t member = 0; member < plan_.members.size(); ++member) {
        if (reducer_.is_sender(member) && reducer_.chunks() > 0)
            watch_.begin(contribution_wait(member), clock_.now());
        if (member == plan_.self || !plan_.contributes(plan_.self) || plan_.shares[member].empty()) continue;
        if (plan_.sends(plan_.self)) sent_[member] = 0;
        spawn(member, exchange(member));
    }
    tasks_.spawn(watch());
    after_reducing(reducer_.advance());
}

void AllReduce::accept(std::size_t member, net::StreamPointer stream) {
    const bool fits = receives(member) && reducer_.chunks() > 0 && streams_accepted_.insert(member).second;
    if (!fits || stopped_) {
        stream->reset("no such stream belongs to this round");
        return;
    }
    spawn(member, serve(member, std::move(stream)));
}

awaitable<void> AllReduce::stop(std::string reason) {
    stopped_ = true;
    for (const net::StreamPointer& stream : std::exchange(streams_, {})) stream->reset(reason);
    tasks_.cancel();
    co_await tasks_.settle();
}

/// A task may begin only after stop() has cancelled all: what it spawns then would never be cancelled.
void AllReduce::spawn(std::size_t member, awaitable<void> task) {
    if (!stopped_) tasks_.spawn(guarded(member, std::move(task)));
}

/// Keeps failures out of the task group: one broken stream must not end the others before the vote.
awaitable<void> AllReduce::guarded(std::size_t member, awaitable<void> task) {
    try {
        co_await std::move(task);
    } catch (...) {
        const std::exception_ptr error = std::current_exception();
        if (stopped_ || is_cancellation(error)) co_return;
        // The blame says already whom it is about.
        const std::string prefix = "peer " + plan_.members[member].peer.short_name() + ": ";
        std::string cause = describe(error);
        if (cause.starts_with(prefix)) cause.erase(0, prefix.size());
        sent_[member] = 1;
        sendable_.notify();
        fail(Blame{member, cause});
    }
}

// ---- contributor
// -------------------------------------------------------------------------------------------------------

awaitable<void> AllReduce::exchange(std::size_t owner) {
    watch_.begin(result_wait(owner), clock_.now());
    std::string service = settings_.service;
    net::StreamPointer stream = co_await network_.open(plan_.members[owner].peer, std::move(service));
    if (stopped_) {
        stream->reset("the round has ended");
        co_return;
    }
    streams_.insert(stream);
    const Bytes hello = make_hello(plan_);
    co_await stream->write(hello, ByteView());
    spawn(owner, send_contribution(owner, stream));
    co_await receive_results(owner, stream);
}

bool AllReduce::is_ahead(std::size_t owner, std::size_t index) const {
    const double done = static_cast<double>(index) / static_cast<double>(plan_.chunks_of(owner));
    return done > *std::min_element(sent_.begin(), sent_.end()) + kLead;
}

/// The first chunk that may not be sent yet.
std::size_t AllReduce::window(std::size_t owner) const {
    const std::size_t results = fingerprints_[owner].size();
    const std::size_t first = std::max<std::size_t>(1, kFirstElements / plan_.chunk_elements);
    return results + std::min(first + results, kWindow);
}

/// Until results have come back for what was sent before. The other shares are only waited for a little: an
/// owner that takes nothing must not make this member look like one that sends nothing.
awaitable<void> AllReduce::until_may_send(std::size_t owner, std::size_t index) {
    if (!settings_.paced) co_return;
    while (index >= window(owner)) co_await sendable_.wait();
    const TimePoint deadline = clock_.now() + settings_.stall_timeout / kLeadPatience;
    while (is_ahead(owner, index) && clock_.now() < deadline) {
        awaitable<void> change = sendable_.wait();
        co_await detail::ends_in_time(clock_, deadline, std::move(change));
    }
}

awaitable<void> AllReduce::send_contribution(std::size_t owner, net::StreamPointer stream) {
    const std::size_t chunks = plan_.sends(plan_.self) ? plan_.chunks_of(owner) : 0;
    Bytes encoded;
    for (std::size_t index = 0; index < chunks; ++index) {
        const Share range = plan_.chunk(owner, index);
        const std::span<const float> values = contribution_.subspan(range.begin, range.size());
        ByteView payload = as_bytes(values);
        if (!exact_) {
            encoded.resize(codec_.encoded_size(range.begin, values.size()));
            codec_.encode(range.begin, values, encoded);
            payload = encoded;
        }
        co_await until_may_send(owner, index);
        co_await pacer_.take(payload.size());
        co_await stream->write(ByteView(), payload);
        bytes_sent_ += payload.size();
        sent_[owner] = static_cast<double>(index + 1) / static_cast<double>(chunks);
        sendable_.notify();
        if (index == 0 && events_.phase) events_.phase(Phase::send);
    }
    stream->finish();
}

awaitable<void> AllReduce::receive_results(std::size_t owner, net::StreamPointer stream) {
    const std::size_t chunks = plan_.chunks_of(owner);
    fingerprints_[owner].reserve(chunks);
    for (std::size_t index = 0; index < chunks;) {
        watch_.begin(result_wait(owner), clock_.now());
        std::optional<net::Message> message = co_await stream->read();
        while (message && message->payload.empty()) {
            watch_.excuse(result_wait(owner), clock_.now());
            message = co_await stream->read();
        }
        if (!message) throw Error(ErrorKind::connection_lost, "ended its results early");
        watch_.end(result_wait(owner), clock_.now());
        bytes_received_ += message->payload.size();
        take_result(owner, index, message->payload);
        ++index;
    }
    check_complete();
}

void AllReduce::take_result(std::size_t owner, std::size_t index, ByteView encoded) {
    const Share range = plan_.chunk(owner, index);
    const std::span<float> values = result_.subspan(range.begin, range.size());
    codec_.decode(range.begin, encoded, values);
    if (!all_finite(values)) throw Error(ErrorKind::protocol_violation, "sent results that are not finite");
    fingerprints_[owner].push_back(fingerprint(encoded));
    sendable_.notify();
}

// ---- owner
// -------------------------------------------------------------------------------------------------------------

awaitable<void> AllReduce::serve(std::size_t member, net::StreamPointer stream) {
    streams_.insert(stream);
    spawn(member, write_results(member, stream));
    co_await read_contribution(member, stream);
}

awaitable<void> AllReduce::read_contribution(std::size_t member, net::StreamPointer stream) {
    const std::size_t chunks = reducer_.is_sender(member) ? reducer_.chunks() : 0;
    for (std::size_t index = 0; index < chunks && !broken_; ++index) {
        if (!reducer_.has_room(index)) watch_.end(contribution_wait(member), clock_.now());
        while (!reducer_.has_room(index)) co_await room_.wait();
        watch_.begin(contribution_wait(member), clock_.now());
        std::optional<net::Message> message = co_await stream->read();
        if (!message) throw Error(ErrorKind::connection_lost, "ended its contribution early");
        watch_.end(contribution_wait(member), clock_.now());
        bytes_received_ += message->payload.size();
        after_reducing(reducer_.add(member, std::move(message->payload)));
        if (index == 0 && events_.phase) events_.phase(Phase::reduce);
    }
    // What comes now is the end of the stream, or nonsense.
    const std::optional<net::Message> rest = co_await stream->read();
    if (rest && !broken_) throw Error(ErrorKind::protocol_violation, "sent more than its contribution");
}

awaitable<void> AllReduce::write_results(std::size_t member, net::StreamPointer stream) {
    TimePoint last = clock_.now();
    while (written_[member] < reducer_.chunks()) {
        if (written_[member] == reducer_.completed()) {
            co_await results_.wait();
            const bool due = clock_.now() - last > settings_.stall_timeout / 3;
            if (written_[member] < reducer_.completed() || !due || broken_) continue;
            co_await stream->write(ByteView(kAlive), ByteView());
            last = clock_.now();
            continue;
        }
        const ByteView payload = reducer_.result(written_[member]);
        co_await pacer_.take(payload.size());
        co_await stream->write(ByteView(), payload);
        last = clock_.now();
        bytes_sent_ += payload.size();
        result_written(member);
    }
    stream->finish();
}

void AllReduce::result_written(std::size_t member) {
    ++written_[member];
    std::size_t least = reducer_.completed();
    for (std::size_t i = 0; i < written_.size(); ++i)
        if (receives(i)) least = std::min(least, written_[i]);
    reducer_.release_until(least);
    after_reducing(reducer_.advance());
    room_.notify();
}

void AllReduce::after_reducing(const std::optional<Blame>& blame) {
    if (broken_) return;
    if (blame) {
        broken_ = true;
        fail(*blame);
        return;
    }
    const bool nobody_receives = [this] {
        for (std::size_t i = 0; i < written_.size(); ++i)
            if (receives(i)) return false;
        return true;
    }();
    if (nobody_receives) {
        while (!reducer_.finished()) {
            reducer_.release_until(reducer_.completed());
            if (auto own = reducer_.advance()) return after_reducing(own);
        }
    }
    results_.notify();
    check_complete();
}

// ---- both
// --------------------------------------------------------------------------------------------------------------

awaitable<void> AllReduce::watch() {
    for (;;) {
        const TimePoint next = clock_.now() + settings_.stall_timeout / 4;
        co_await clock_.sleep_until(next);
        const std::vector<net::ConnectionInfo> connections = network_.connections();
        for (const std::size_t wait : watch_.check(clock_.now(), connections)) {
            const std::size_t members = plan_.members.size();
            const bool result = wait >= members;
            fail(Blame{wait % members,
                       result ? "its results do not arrive" : "its contribution does not arrive"});
        }
        results_.notify();  // signs of life may be due
        if (events_.unheard) tell_unheard();
    }
}

/// The hello may stand behind what others have sent, in the queue of a slow line; signs of life on its stream
/// can go only when it has come.
void AllReduce::tell_unheard() {
    for (std::size_t member = 0; member < plan_.members.size(); ++member)
        if (receives(member) && reducer_.chunks() > 0 && !streams_accepted_.contains(member))
            events_.unheard(member);
}

void AllReduce::owner_is_unheard(std::size_t owner) {
    if (fingerprints_[owner].empty()) watch_.excuse(result_wait(owner), clock_.now());
}

void AllReduce::note_waiting(double seconds) {
    std::vector<std::size_t> silent, owing, taking;
    std::size_t senders = 0, owners = 0, receivers = 0;
    silent = reducer_.all_waited_for();
    std::size_t least = reducer_.chunks();
    for (std::size_t i = 0; i < written_.size(); ++i)
        if (receives(i)) least = std::min(least, written_[i]);
    const bool results_wait = least < reducer_.completed();
    const bool stuck = reducer_.finished() || !reducer_.has_room(reducer_.completed());
    for (std::size_t i = 0; i < plan_.members.size(); ++i) {
        senders += reducer_.is_sender(i) ? 1 : 0;
        if (receives(i) && reducer_.chunks() > 0) {
            ++receivers;
            if (results_wait && stuck && written_[i] == least) taking.push_back(i);
        }
        if (i == plan_.self || !plan_.contributes(plan_.self) || plan_.shares[i].empty()) continue;
        ++owners;
        if (fingerprints_[i].size() < plan_.chunks_of(i)) owing.push_back(i);
    }
    share_waiting(silent, senders, seconds);
    share_waiting(owing, owners, seconds);
    share_waiting(taking, receivers, seconds);
}

void AllReduce::share_waiting(const std::vector<std::size_t>& members, std::size_t of, double seconds) {
    if (members.empty() || members.size() > std::max<std::size_t>(1, of / 2)) return;
    for (const std::size_t member : members) waited_[member] += seconds / static_cast<double>(members.size());
}

void AllReduce::fail(const Blame& blame) {
    if (blamed_[blame.member]) return;
    blamed_[blame.member] = true;
    const auto failed = events_.failed;
    failed(blame);
}

void AllReduce::check_complete() {
    if (complete_ || broken_ || !reducer_.finished()) return;
    if (plan_.contributes(plan_.self)) {
        for (std::size_t owner = 0; owner < plan_.members.size(); ++owner)
            if (owner != plan_.self && fingerprints_[owner].size() < plan_.chunks_of(owner)) return;
    }
    complete_ = true;
    const auto completed = events_.completed;
    completed();
}

std::vector<Fingerprint> AllReduce::share_digests() const {
    std::vector<Fingerprint> digests(plan_.members.size());
    for (std::size_t owner = 0; owner < digests.size(); ++owner) {
        if (owner == plan_.self)
            digests[owner] = reducer_.digest();
        else if (plan_.contributes(plan_.self))
            digests[owner] = combine(fingerprints_[owner]);
    }
    return digests;
}

}  // namespace shoal::collective
