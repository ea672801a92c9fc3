#include "shoal/collective/state_download.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kRequestsAhead =
    2;  ///< of one donor: the next chunk is on its way while one is checked
constexpr std::size_t kMostOfOneChunk = 2;  ///< donors that are asked for the same chunk at the end
constexpr Duration kOpening = 5s;           ///< to dial a donor; others are not held up by it
constexpr Duration kPreparing = 150s;       ///< a donor that says "preparing" for longer is given up

bool all_finite(ByteView bytes) {
    for (std::size_t at = 0; at + sizeof(float) <= bytes.size(); at += sizeof(float)) {
        float number = 0;
        std::memcpy(&number, bytes.data() + at, sizeof number);
        if (!std::isfinite(number)) return false;
    }
    return true;
}

}  // namespace

StateDownload::StateDownload(net::Network& network, Clock& clock, StateTransferSettings settings,
                             std::vector<PeerId> donors, Step minimum_step,
                             std::function<void(std::size_t, std::size_t)> progress, Log log)
    : network_(network),
      clock_(clock),
      settings_(std::move(settings)),
      minimum_step_(minimum_step),
      progress_(std::move(progress)),
      log_(std::move(log)),
      changed_(network.executor()),
      tasks_(network.executor()) {
    for (const PeerId& donor : donors) {
        if (donor != network_.self()) sessions_.emplace(donor, Session());
    }
}

awaitable<StatePointer> StateDownload::run(DownloadReport& report) {
    const TimePoint begin = clock_.now();
    if (sessions_.empty())
        throw Error(ErrorKind::unreachable,
                    "nobody is known who has the state of step " + std::to_string(value(minimum_step_)));
    std::vector<PeerId> donors;
    for (const auto& [donor, session] : sessions_) donors.push_back(donor);
    for (const PeerId& donor : donors) tasks_.spawn(serve(shared_from_this(), donor));
    std::exception_ptr cancelled;
    try {
        co_await until_decided();
        co_await until_over();
    } catch (...) {
        cancelled = std::current_exception();
    }
    tasks_.cancel();
    co_await tasks_.settle();
    if (cancelled) std::rethrow_exception(cancelled);
    for (const auto& [donor, session] : sessions_) {
        if (session.pretends) report.pretenders.push_back(donor);
    }
    if (!complete() || !damage_.empty()) fail();
    report.bytes = bytes_done_;
    report.seconds = seconds(clock_.now() - begin);
    report.donors.clear();
    for (const auto& [donor, session] : sessions_) {
        if (session.delivered > 0) report.donors.push_back(donor);
    }
    co_return std::move(state_);
}

bool StateDownload::all_ended() const {
    return std::all_of(sessions_.begin(), sessions_.end(),
                       [](const auto& s) { return s.second.stage == Stage::ended; });
}

void StateDownload::fail() const {
    if (!damage_.empty()) throw Error(ErrorKind::corrupted, damage_);
    std::string reasons;
    bool corrupted = false;
    for (const auto& [donor, session] : sessions_) {
        reasons += (reasons.empty() ? "" : "; ") + donor.short_name() + ": " + session.reason;
        corrupted = corrupted || session.corrupted;
    }
    throw Error(corrupted ? ErrorKind::corrupted : ErrorKind::unreachable,
                "no state of step " + std::to_string(value(minimum_step_)) + " or later could be had (" +
                    reasons + ")");
}

// Enough is known when a majority of the donors that may still answer name one root; or all have answered; or
// at least half name it and the others have had their time (they may wait for the end of a long micro-batch).
std::optional<Digest> StateDownload::decide() const {
    std::map<Digest, std::size_t> count;
    std::size_t alive = 0, pending = 0;
    for (const auto& [donor, session] : sessions_) {
        if (session.stage == Stage::ended) continue;
        ++alive;
        if (session.stage == Stage::opening) ++pending;
        if (session.stage == Stage::offered) ++count[session.offer.root];
    }
    std::optional<Digest> best;
    for (const auto& [donor, session] : sessions_) {  // ascending PeerId: the lowest decides a tie
        if (session.stage != Stage::offered) continue;
        if (!best || count[session.offer.root] > count[*best]) best = session.offer.root;
    }
    if (!best) return std::nullopt;
    const bool patience_is_over = first_offer_ && clock_.now() >= *first_offer_ + settings_.stall_timeout;
    const std::size_t votes = count[*best] * 2;
    const bool enough = pending == 0 || votes > alive || (votes == alive && patience_is_over);
    return enough ? best : std::nullopt;
}

awaitable<void> StateDownload::until_decided() {
    while (!root_ && !all_ended()) {
        root_ = decide();
        if (root_) break;
        const bool patience_runs = first_offer_ && clock_.now() < *first_offer_ + settings_.stall_timeout;
        awaitable<void> waiting = until_event(events_);
        if (patience_runs) {
            co_await detail::ends_in_time(clock_, *first_offer_ + settings_.stall_timeout,
                                          std::move(waiting));
        } else {
            co_await std::move(waiting);
        }
    }
    wake();
}

void StateDownload::wake() {
    ++events_;
    changed_.notify();
}

awaitable<void> StateDownload::until_event(std::uint64_t seen) {
    while (events_ == seen) co_await changed_.wait();
}

awaitable<void> StateDownload::until_over() {
    while (!complete() && !all_ended() && damage_.empty()) co_await changed_.wait();
}

awaitable<void> StateDownload::serve([[maybe_unused]] std::shared_ptr<StateDownload> self, PeerId donor) {
    Session& own = sessions_.at(donor);
    std::exception_ptr failure;
    try {
        co_await session(donor);
    } catch (const Error& error) {
        own.corrupted = error.kind() == ErrorKind::corrupted;
        // Once it has offered a state it may still be refused by us: another was named by more.
        const bool no_offer = own.stage == Stage::opening && (error.kind() == ErrorKind::refused ||
                                                              error.kind() == ErrorKind::protocol_violation);
        own.pretends = own.corrupted || no_offer;
        own.reason = error.what();
        if (error.kind() == ErrorKind::cancelled) failure = std::current_exception();
    } catch (...) {
        own.reason = describe(std::current_exception());
        failure = std::current_exception();
    }
    own.stage = Stage::ended;
    give_back(donor);
    wake();
    if (failure && !is_cancellation(failure)) std::rethrow_exception(failure);
    if (!failure && !own.reason.empty())
        log_.info("state download goes on without " + donor.short_name() + ": " + own.reason);
}

awaitable<void> StateDownload::request(net::Stream& stream, StateRequest::What what, std::uint64_t number) {
    StateRequest message;
    message.what = what;
    message.number = number;
    const Bytes control = encode_state_request(message);
    awaitable<void> writing = stream.write(control, ByteView());
    const TimePoint deadline = clock_.now() + settings_.stall_timeout;
    co_await with_deadline(clock_, deadline, std::move(writing), "asking for state");
}

awaitable<StateAnswer> StateDownload::next_answer(net::Stream& stream, Bytes& payload) {
    awaitable<std::optional<net::Message>> reading = stream.read();
    const TimePoint deadline = clock_.now() + settings_.stall_timeout;
    std::optional<net::Message> message =
        co_await with_deadline(clock_, deadline, std::move(reading), "waiting for state, nothing came");
    if (!message) throw Error(ErrorKind::connection_lost, "ended the session early");
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
    const TimePoint open_until = clock_.now() + kOpening;
    const net::StreamPointer stream =
        co_await with_deadline(clock_, open_until, std::move(opening), "connecting for state");
    co_await request(*stream, StateRequest::What::begin, static_cast<std::uint64_t>(value(minimum_step_)));

    const TimePoint prepared_until = clock_.now() + kPreparing;
    Bytes payload;
    StateAnswer answer;
    do {
        answer = co_await next_answer(*stream, payload);
    } while (answer.what == StateAnswer::What::preparing && clock_.now() < prepared_until);
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

    while (!root_) co_await changed_.wait();
    if (own.offer.root != *root_)
        throw Error(ErrorKind::refused,
                    "offered another state (step " + std::to_string(value(own.offer.step)) + ") than most");
    while (!manifest_) {
        if (fetching_manifest_) {
            co_await changed_.wait();
            continue;
        }
        fetching_manifest_ = true;
        try {
            co_await fetch_manifest(*stream);
        } catch (...) {
            fetching_manifest_ = false;
            wake();
            throw;
        }
        wake();
    }
    co_await fetch_chunks(*stream);
}

awaitable<void> StateDownload::fetch_manifest(net::Stream& stream) {
    co_await request(stream, StateRequest::What::manifest, 0);
    Bytes payload;
    StateAnswer answer = co_await next_answer(stream, payload);
    if (answer.what != StateAnswer::What::manifest)
        throw Error(ErrorKind::protocol_violation, "did not send the manifest of its state");
    StateManifest manifest = std::move(answer.manifest);
    const std::size_t chunks = manifest.chunks();
    std::vector<Digest> leaves = decode_digests(payload, chunks, stream.peer());
    while (leaves.size() < chunks) {
        answer = co_await next_answer(stream, payload);
        if (answer.what != StateAnswer::What::digests || payload.empty())
            throw Error(ErrorKind::protocol_violation, "did not send all digests of its state");
        const std::vector<Digest> more = decode_digests(payload, chunks - leaves.size(), stream.peer());
        leaves.insert(leaves.end(), more.begin(), more.end());
    }
    if (manifest.root(leaves) != *root_)
        throw Error(ErrorKind::corrupted, "sent a manifest that does not match the root that it offered");
    if (manifest.step < minimum_step_)
        throw Error(ErrorKind::corrupted, "offered another step than that of its state");
    state_ = empty_state(manifest);
    leaves_ = std::move(leaves);
    for (std::size_t index = 0; index < chunks; ++index) missing_.push_back(index);
    remaining_ = chunks;
    manifest_ = std::move(manifest);
}

std::optional<std::size_t> StateDownload::next_chunk(const PeerId& donor) {
    if (!missing_.empty()) {
        const std::size_t index = missing_.front();
        missing_.pop_front();
        under_way_[index].insert(donor);
        return index;
    }
    for (auto& [index, asked] : under_way_) {
        if (asked.size() >= kMostOfOneChunk || asked.contains(donor)) continue;
        asked.insert(donor);
        return index;
    }
    return std::nullopt;
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
    std::deque<std::size_t> asked;  // answers come in the order of the requests
    while (!complete() && damage_.empty()) {
        while (asked.size() < kRequestsAhead) {
            const std::optional<std::size_t> index = next_chunk(stream.peer());
            if (!index) break;
            asked.push_back(*index);
            co_await request(stream, StateRequest::What::chunk, *index);
        }
        if (asked.empty()) {
            // Others owe the rest; there will be work here only if one of them fails.
            co_await changed_.wait();
            continue;
        }
        Bytes payload;
        const StateAnswer answer = co_await next_answer(stream, payload);
        if (answer.what != StateAnswer::What::chunk || answer.chunk != asked.front())
            throw Error(ErrorKind::protocol_violation, "sent another chunk than it was asked for");
        asked.pop_front();
        accept_chunk(stream.peer(), answer.chunk, payload);
    }
}

void StateDownload::accept_chunk(const PeerId& donor, std::uint64_t index, ByteView bytes) {
    if (bytes.size() != manifest_->size_of_chunk(index) || merkle_leaf(bytes) != leaves_[index])
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

awaitable<StatePointer> download_state(net::Network& network, Clock& clock, StateTransferSettings settings,
                                       std::vector<PeerId> donors, Step minimum_step,
                                       std::function<void(std::size_t, std::size_t)> progress,
                                       DownloadReport& report, Log log) {
    check_transfer_settings(settings);
    auto download = std::make_shared<StateDownload>(network, clock, std::move(settings), std::move(donors),
                                                    minimum_step, std::move(progress), std::move(log));
    co_return co_await download->run(report);
}

}  // namespace shoal::collective
