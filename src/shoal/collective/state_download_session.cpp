// What a download does with one donor.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "shoal/collective/state_download.h"

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kRequestsAhead =
    2;  ///< of one donor: the next chunk is on its way while one is checked
constexpr std::size_t kMostOfOneChunk = 2;  ///< donors that are asked for the same chunk at the end
constexpr Duration kPreparing = 150s;       ///< a donor that says "preparing" for longer is given up
constexpr Duration kStayEvery = 10s;        ///< a third of a donor's patience with a receiver
/// An idle donor takes over what another owes if that one would need so many times as long.
constexpr double kMuchSlower = 3;

bool all_finite(ByteView bytes) {
    for (std::size_t at = 0; at + sizeof(float) <= bytes.size(); at += sizeof(float)) {
        float number = 0;
        std::memcpy(&number, bytes.data() + at, sizeof number);
        if (!std::isfinite(number)) return false;
    }
    return true;
}

}  // namespace

awaitable<void> StateDownload::request(net::Stream& stream, StateRequest::What what, std::uint64_t number) {
    StateRequest message;
    message.what = what;
    message.number = number;
    const Bytes control = encode_state_request(message);
    sessions_.at(stream.peer()).last_request = clock_.now();
    awaitable<void> writing = stream.write(control, ByteView());
    const TimePoint deadline = clock_.now() + kOfferPatience;
    co_await with_deadline(clock_, deadline, std::move(writing), "asking for state");
}

/// A donor lets those go that say nothing for long.
awaitable<void> StateDownload::stay(net::Stream& stream) {
    if (clock_.now() - sessions_.at(stream.peer()).last_request < kStayEvery) co_return;
    co_await request(stream, StateRequest::What::stay, 0);
}

awaitable<void> StateDownload::until_changed(net::Stream& stream) {
    co_await changed_.wait();
    co_await stay(stream);
}

/// Has no deadline: the watch ends it.
awaitable<StateAnswer> StateDownload::next_answer(net::Stream& stream, Bytes& payload) {
    watch_.asked(stream.peer(), clock_.now());
    std::optional<net::Message> message = co_await stream.read();
    if (!message) throw Error(ErrorKind::connection_lost, "ended the session early");
    watch_.moved(stream.peer(), message->payload.size(), clock_.now());
    StateAnswer answer = decode_state_answer(*message, stream.peer(), settings_.maximum_state_bytes);
    if (answer.what == StateAnswer::What::refusal) {
        const ErrorKind kind = answer.refusal.starts_with(kBusy) ? ErrorKind::timed_out : ErrorKind::refused;
        throw Error(kind, answer.refusal);
    }
    payload = std::move(message->payload);
    co_return answer;
}

awaitable<void> StateDownload::session(PeerId donor) {
    awaitable<net::StreamPointer> opening = network_.open(donor, settings_.run + "/state");
    const TimePoint open_until = clock_.now() + kOfferPatience;
    const net::StreamPointer stream =
        co_await with_deadline(clock_, open_until, std::move(opening), "connecting for state");
    co_await request(*stream, StateRequest::What::begin, static_cast<std::uint64_t>(value(minimum_step_)));

    const TimePoint prepared_until = clock_.now() + kPreparing;
    Bytes payload;
    StateAnswer answer;
    do {
        answer = co_await next_answer(*stream, payload);
    } while (answer.what == StateAnswer::What::preparing && clock_.now() < prepared_until);
    watch_.rests(donor, clock_.now());
    if (answer.what != StateAnswer::What::offer)
        throw Error(ErrorKind::protocol_violation, "did not offer a state");
    if (answer.offer.step < minimum_step_)
        throw Error(ErrorKind::refused, "has step " + std::to_string(value(answer.offer.step)) + ", not " +
                                            std::to_string(value(minimum_step_)));
    Session& own = sessions_.at(donor);
    own.offer = answer.offer;
    own.stage = Stage::offered;
    if (!first_offer_) first_offer_ = clock_.now();
    wake();

    while (!root_) co_await until_changed(*stream);
    if (own.offer.root != *root_)
        throw Error(ErrorKind::refused,
                    "offered another state (step " + std::to_string(value(own.offer.step)) + ") than most");
    while (!may_fetch(donor)) co_await until_changed(*stream);
    own.stage = Stage::fetching;
    watch_.activate(donor);
    while (!manifest_) {
        if (manifest_is_on_its_way()) {
            co_await until_changed(*stream);
        } else {
            own.sends_manifest = true;
            co_await fetch_manifest(*stream);
            own.sends_manifest = false;
        }
    }
    co_await fetch_chunks(*stream);
}

/// Somebody sends it. If that one is silent for long, another may try.
bool StateDownload::manifest_is_on_its_way() const {
    return std::any_of(sessions_.begin(), sessions_.end(), [this](const auto& s) {
        return s.second.stage == Stage::fetching && s.second.sends_manifest &&
               watch_.silence(s.first, clock_.now()) < settings_.stall_timeout;
    });
}

awaitable<void> StateDownload::fetch_manifest(net::Stream& stream) {
    co_await request(stream, StateRequest::What::manifest, 0);
    Bytes payload;
    StateAnswer answer = co_await next_answer(stream, payload);
    if (answer.what != StateAnswer::What::manifest)
        throw Error(ErrorKind::protocol_violation, "did not send the manifest of its state");
    StateManifest manifest = std::move(answer.manifest);
    const std::size_t chunks = manifest.chunks();
    std::vector<Digest> leaves;
    while (leaves.size() < chunks) {
        answer = co_await next_answer(stream, payload);
        if (answer.what != StateAnswer::What::digests ||
            answer.digests.size() != std::min(kDigestsOfMessage, chunks - leaves.size()))
            throw Error(ErrorKind::protocol_violation, "did not send the digests of its state");
        leaves.insert(leaves.end(), answer.digests.begin(), answer.digests.end());
    }
    watch_.rests(stream.peer(), clock_.now());
    if (manifest.root(leaves) != *root_)
        throw Error(ErrorKind::corrupted, "sent a manifest that does not match the root that it offered");
    if (manifest.step < minimum_step_)
        throw Error(ErrorKind::corrupted, "offered another step than that of its state");
    if (manifest_) co_return;  // another donor was faster
    state_ = empty_state(manifest);
    leaves_ = std::move(leaves);
    for (std::size_t index = 0; index < chunks; ++index) missing_.push_back(index);
    remaining_ = chunks;
    watch_.set_most_owed(kRequestsAhead * manifest.chunk_bytes);
    manifest_ = std::move(manifest);
    wake();
}

std::optional<std::size_t> StateDownload::next_chunk(const PeerId& donor) {
    std::optional<std::size_t> index;
    if (!missing_.empty()) {
        index = missing_.front();
        missing_.pop_front();
    } else {
        index = chunk_of_a_slow_one(donor);
    }
    if (index) under_way_[*index].insert(donor);
    return index;
}

std::optional<std::size_t> StateDownload::chunk_of_a_slow_one(const PeerId& donor) const {
    for (const auto& [index, owners] : under_way_) {
        if (owners.size() >= kMostOfOneChunk || owners.contains(donor)) continue;
        if (is_slow(*owners.begin(), index, donor)) return index;
    }
    return std::nullopt;
}

/// What a donor has to deliver until this chunk is complete, which it was asked for.
std::size_t StateDownload::bytes_until(const PeerId& donor, std::size_t index) const {
    const Session& session = sessions_.at(donor);
    std::size_t bytes = 0;
    for (const std::size_t asked : session.asked) {
        bytes += manifest_->size_of_chunk(asked);
        if (asked == index) break;
    }
    return bytes - std::min(bytes, session.arriving.size());
}

/// Whether `owner` holds up a chunk that `donor` would bring much sooner. While nobody delivers anything,
/// nothing is known but that.
bool StateDownload::is_slow(const PeerId& owner, std::size_t index, const PeerId& donor) const {
    if (watch_.is_overtaken(owner)) return true;
    const TimePoint now = clock_.now();
    std::size_t size = manifest_->size_of_chunk(index);
    for (const std::size_t asked : sessions_.at(donor).asked) size += manifest_->size_of_chunk(asked);
    std::optional<Duration> ours = watch_.time_for(donor, size, now);
    if (!ours) ours = watch_.usual_time_for(size, now);
    if (!ours) return watch_.quiet(now) >= settings_.stall_timeout;
    const Duration bearable = from_seconds(kMuchSlower * seconds(*ours));
    const std::optional<Duration> theirs = watch_.time_for(owner, bytes_until(owner, index), now);
    return (theirs && *theirs > bearable) || watch_.quiet(now) > bearable;
}

void StateDownload::give_back(const PeerId& donor) {
    for (auto chunk = under_way_.begin(); chunk != under_way_.end();) {
        chunk->second.erase(donor);
        if (chunk->second.empty()) {
            missing_.push_front(chunk->first);
            chunk = under_way_.erase(chunk);
        } else {
            ++chunk;
        }
    }
}

awaitable<void> StateDownload::fetch_chunks(net::Stream& stream) {
    Session& own = sessions_.at(stream.peer());
    Bytes payload;
    while (!complete() && damage_.empty()) {
        while (own.asked.size() < kRequestsAhead) {
            const std::optional<std::size_t> index = next_chunk(stream.peer());
            if (!index) break;
            own.asked.push_back(*index);
            co_await request(stream, StateRequest::What::chunk, *index);
        }
        if (own.asked.empty()) {
            // Others owe the rest; there will be work here if one of them fails, or is slow.
            watch_.rests(stream.peer(), clock_.now());
            co_await until_changed(stream);
            continue;
        }
        const StateAnswer answer = co_await next_answer(stream, payload);
        accept_piece(stream.peer(), answer, payload);
        co_await stay(stream);
    }
}

/// A piece must be what is due exactly, so that nothing else can be sent for long.
void StateDownload::accept_piece(const PeerId& donor, const StateAnswer& answer, ByteView bytes) {
    Session& own = sessions_.at(donor);
    const std::size_t index = own.asked.front();
    const bool fits = own.arriving.empty() ? answer.what == StateAnswer::What::chunk && answer.chunk == index
                                           : answer.what == StateAnswer::What::piece;
    if (!fits) throw Error(ErrorKind::protocol_violation, "sent another chunk than it was asked for");
    const std::size_t size = manifest_->size_of_chunk(index);
    if (bytes.size() != std::min(kPieceBytes, size - own.arriving.size()))
        throw Error(ErrorKind::corrupted, "sent a damaged chunk (" + std::to_string(index) + ")");
    own.arriving.insert(own.arriving.end(), bytes.begin(), bytes.end());
    if (own.arriving.size() < size) return;
    own.asked.pop_front();
    const Bytes chunk = std::exchange(own.arriving, Bytes());
    accept_chunk(donor, index, chunk);
}

void StateDownload::accept_chunk(const PeerId& donor, std::size_t index, ByteView bytes) {
    if (merkle_leaf(bytes) != leaves_[index])
        throw Error(ErrorKind::corrupted, "sent a damaged chunk (" + std::to_string(index) + ")");
    if (under_way_.erase(index) == 0) return;  // another donor was faster
    if (!all_finite(bytes)) {
        damage_ = "the state on which the donors agree holds numbers that are not finite";
        wake();
        return;
    }
    copy_in(*state_, index * manifest_->chunk_bytes, bytes);
    ++sessions_.at(donor).delivered;
    bytes_done_ += bytes.size();
    --remaining_;
    if (progress_) progress_(bytes_done_, manifest_->total_bytes());
    if (remaining_ == 0) wake();
}

}  // namespace shoal::collective
