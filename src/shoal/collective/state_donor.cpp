#include <algorithm>
#include <list>
#include <set>

#include "shoal/base/async.h"
#include "shoal/collective/donor_limits.h"
#include "shoal/collective/state_messages.h"
#include "shoal/collective/state_transfer.h"

namespace shoal::collective {

using namespace std::chrono_literals;

void check_transfer_settings(const StateTransferSettings& settings) {
    if (settings.codec != "fp32") {
        throw Error(ErrorKind::invalid_argument, "state cannot travel as '" + settings.codec +
                                                     "': only fp32 leaves all peers with the same bits");
    }
    if (settings.chunk_bytes < kMinimumChunkBytes || settings.chunk_bytes > kMaximumChunkBytes ||
        settings.chunk_bytes % sizeof(float) != 0) {
        throw Error(ErrorKind::invalid_argument,
                    "a chunk of state must have " + std::to_string(kMinimumChunkBytes) + " to " +
                        std::to_string(kMaximumChunkBytes) + " bytes, a multiple of 4");
    }
}

namespace {

constexpr std::size_t kMaximumSnapshots = 4;    ///< in memory at once; sessions of others end
constexpr Duration kFirstRequest = 10s;         ///< whoever opens a session has something to ask for
constexpr Duration kIdleSession = 30s;          ///< a receiver that says nothing this long has gone
constexpr Duration kLongestPreparation = 120s;  ///< a micro-batch has to end first, and the copy be made
constexpr Duration kKeepSnapshot = 10s;         ///< after the last session: newcomers often come together

struct Snapshot {
    StatePointer state;
    StateManifest manifest;
    std::vector<Digest> leaves;
    Digest root;
};
using SnapshotPointer = std::shared_ptr<const Snapshot>;

/// True if it may well have a state a moment later: nothing against the donor.
bool is_for_now(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const Error& error) {
        return error.kind() == ErrorKind::timed_out;
    } catch (...) {
        return false;
    }
}

/// One stream, and when it ends at the latest.
struct Session : std::enable_shared_from_this<Session> {
    net::StreamPointer stream;
    SessionPlaces::PlacePointer place;
    TimePoint ends;
    SnapshotPointer snapshot;  ///< that was offered, unless it had to make room
    std::vector<bool> sent;    ///< chunks
    std::string refusal;       ///< with which it ends
};

class DonorCore : public std::enable_shared_from_this<DonorCore> {
  public:
    DonorCore(net::Network& network, Clock& clock, StateTransferSettings settings, StateProvider provide,
              StepTeller own_step, Log log)
        : network_(network),
          clock_(clock),
          settings_(std::move(settings)),
          provide_(std::move(provide)),
          own_step_(std::move(own_step)),
          log_(std::move(log)),
          changed_(network.executor()),
          tasks_(network.executor()) {}

    void start() {
        auto weak = weak_from_this();
        network_.serve(settings_.run + "/state",
                       [weak](net::StreamPointer stream) { return answer(weak, stream); });
    }

    void end() {
        ended_ = true;
        network_.serve(settings_.run + "/state", {});
        tasks_.cancel();
        changed_.notify();
    }

  private:
    static awaitable<void> answer(std::weak_ptr<DonorCore> weak, net::StreamPointer stream) {
        const auto self = weak.lock();
        if (!self || self->ended_) co_return;
        const auto session = std::make_shared<Session>();
        session->stream = std::move(stream);
        const auto work = std::make_shared<TaskGroup>(self->network_.executor());
        std::function<void()> end = [running = std::weak_ptr<TaskGroup>(work)] {
            if (const auto group = running.lock()) group->cancel();
        };
        session->place =
            self->places_.take(session->stream->peer(), self->clock_.now(), std::move(end), session->refusal);
        if (session->place) {
            work->spawn(serve_session(self, session));
            std::exception_ptr failure;
            try {
                co_await work->join();
            } catch (...) {
                failure = std::current_exception();
            }
            self->session_ended(*session);
            if (failure) std::rethrow_exception(failure);
        }
        if (!session->refusal.empty()) co_await self->refuse(*session);
    }

    void session_ended(Session& session) {
        session.snapshot.reset();
        places_.give_back(session.place, clock_.now());
        last_end_ = clock_.now();
        if (places_.taken() > 0 || ended_ || drops_) return;
        drops_ = true;
        tasks_.spawn(drop_snapshot(shared_from_this()));
    }

    /// Where no other may be made for long, it is kept for those who come until then.
    awaitable<void> drop_snapshot([[maybe_unused]] std::shared_ptr<DonorCore> self) {
        const auto due = [this] { return std::max(last_end_ + kKeepSnapshot, copies_.next()); };
        while (places_.taken() == 0 && due() > clock_.now()) co_await clock_.sleep_until(due());
        drops_ = false;
        if (places_.taken() == 0) newest_.reset();
    }

    awaitable<std::optional<net::Message>> next_request(Session& session) {
        awaitable<std::optional<net::Message>> reading = session.stream->read();
        const TimePoint deadline = std::min(session.ends, clock_.now() + kIdleSession);
        co_return co_await with_deadline(clock_, deadline, std::move(reading),
                                         "waiting for a request for state");
    }

    awaitable<void> send(Session& session, StateAnswer answer, Bytes payload) {
        const Bytes control = encode_state_answer(answer);
        awaitable<void> writing = session.stream->write(control, payload);
        const TimePoint deadline = std::min(session.ends, clock_.now() + kIdleSession);
        co_await with_deadline(clock_, deadline, std::move(writing), "sending state");
    }

    awaitable<void> refuse(Session& session) {
        if (refusals_ >= kMaximumRefusals) co_return;
        ++refusals_;
        std::exception_ptr failure;
        try {
            co_await tell_refusal(session);
        } catch (...) {
            failure = std::current_exception();
        }
        --refusals_;
        if (failure) std::rethrow_exception(failure);
    }

    awaitable<void> tell_refusal(Session& session) {
        session.ends = clock_.now() + kLongestRefusal;
        StateAnswer answer;
        answer.what = StateAnswer::What::refusal;
        answer.refusal = session.refusal;
        co_await send(session, std::move(answer), Bytes());
        session.stream->finish();
        // The receiver ends the session; if we returned now, the stream would be reset before it has read
        // this.
        bool more = true;
        while (more) {
            const std::optional<net::Message> ignored = co_await next_request(session);
            more = ignored.has_value();
        }
    }

    static awaitable<void> serve_session(std::shared_ptr<DonorCore> self, std::shared_ptr<Session> session) {
        co_await self->serve(*session);
    }

    /// Until the receiver ends it, or a refusal does.
    awaitable<void> serve(Session& session) {
        session.ends = clock_.now() + kFirstRequest;
        const std::optional<net::Message> first = co_await next_request(session);
        if (!first) co_return;
        const PeerId receiver = session.stream->peer();
        const StateRequest begin = decode_state_request(*first, receiver);
        if (begin.what != StateRequest::What::begin)
            throw Error(ErrorKind::protocol_violation, "did not begin its download", receiver.short_name());

        session.ends = clock_.now() + kLongestPreparation + kIdleSession;
        SnapshotPointer snapshot = co_await prepare(session, static_cast<Step>(begin.number));
        if (!snapshot) co_return;
        session.ends = clock_.now() + session_lifetime(snapshot->manifest.total_bytes());
        session.sent.resize(snapshot->leaves.size());
        StateAnswer offer;
        offer.what = StateAnswer::What::offer;
        offer.offer.step = snapshot->manifest.step;
        offer.offer.root = snapshot->root;
        offer.offer.total_bytes = snapshot->manifest.total_bytes();
        co_await send(session, std::move(offer), Bytes());
        bool first_chunk = true;
        session.snapshot = std::move(snapshot);
        served_.push_back(session.weak_from_this());
        while (!ended_) {
            const std::optional<net::Message> message = co_await next_request(session);
            if (!message) co_return;
            snapshot = session.snapshot;
            if (!snapshot) {
                session.refusal = std::string(kBusy) + ": it has newer states to serve, begin again";
                co_return;
            }
            const StateRequest request = decode_state_request(*message, receiver);
            if (request.what == StateRequest::What::manifest) {
                co_await send_manifest(session, *snapshot);
            } else if (request.what == StateRequest::What::chunk) {
                if (first_chunk && settings_.probe)
                    settings_.probe(Phase::share_state, snapshot->manifest.step);
                first_chunk = false;
                co_await send_chunk(session, *snapshot, request.number);
            } else if (request.what == StateRequest::What::begin) {
                throw Error(ErrorKind::protocol_violation, "began its download twice", receiver.short_name());
            }
            snapshot.reset();  // while it waits for a request, only the session keeps it
        }
    }

    awaitable<void> send_manifest(Session& session, const Snapshot& snapshot) {
        StateAnswer manifest;
        manifest.what = StateAnswer::What::manifest;
        manifest.manifest = snapshot.manifest;
        co_await send(session, std::move(manifest), Bytes());
        for (std::size_t sent = 0; sent < snapshot.leaves.size(); sent += kDigestsOfMessage) {
            const auto first = snapshot.leaves.begin() + static_cast<std::ptrdiff_t>(sent);
            const std::size_t count = std::min(kDigestsOfMessage, snapshot.leaves.size() - sent);
            StateAnswer answer;
            answer.what = StateAnswer::What::digests;
            answer.digests.assign(first, first + static_cast<std::ptrdiff_t>(count));
            co_await send(session, std::move(answer), Bytes());
        }
    }

    awaitable<void> send_chunk(Session& session, const Snapshot& snapshot, std::uint64_t index) {
        if (index >= snapshot.leaves.size())
            throw Error(ErrorKind::protocol_violation, "asked for a chunk that does not exist",
                        session.stream->peer().short_name());
        const std::size_t begin = index * snapshot.manifest.chunk_bytes;
        const std::size_t size = snapshot.manifest.size_of_chunk(index);
        for (std::size_t sent = 0; sent < size; sent += kPieceBytes) {
            Bytes payload(std::min(kPieceBytes, size - sent));
            copy_out(*snapshot.state, begin + sent, payload);
            StateAnswer answer;
            answer.what = sent == 0 ? StateAnswer::What::chunk : StateAnswer::What::piece;
            answer.chunk = index;
            const std::size_t bytes = payload.size();
            co_await send(session, std::move(answer), std::move(payload));
            if (!session.sent[index]) SessionPlaces::earn(*session.place, bytes, clock_.now());
        }
        session.sent[index] = true;
    }

    /// A snapshot of at least `minimum`, shared with all who ask meanwhile; or nothing, and a refusal. The
    /// receiver is told twice a second that it is being made. Nothing is copied for a step that is not there.
    awaitable<SnapshotPointer> prepare(Session& session, Step minimum) {
        const TimePoint begin = clock_.now();
        int made = 0;
        while (!ended_) {
            if (newest_ && newest_->manifest.step >= minimum) co_return newest_;
            // One copy may have been under way since before the step that this receiver wants.
            const Step own = own_step_();
            const bool may_come = minimum <= next(own) && clock_.now() < begin + kNextStep;
            if (made == 2 && !failure_.empty()) {
                session.refusal =
                    failure_.starts_with(kBusy) ? failure_ : "could not copy its state: " + failure_;
                co_return nullptr;
            }
            if (made == 2 || (minimum > own && !may_come)) {
                session.refusal =
                    "has step " + std::to_string(value(own)) + ", not yet " + std::to_string(value(minimum));
                co_return nullptr;
            }
            if (clock_.now() >= begin + kLongestPreparation) {
                session.refusal = std::string(kBusy) + ": its state was not copied in time";
                co_return nullptr;
            }
            if (minimum <= own && !making_ && copies_.allows(clock_.now())) {
                copies_.begin(clock_.now());
                making_ = true;
                tasks_.spawn(make(shared_from_this()));
            }
            const std::uint64_t generation = generation_;
            awaitable<void> waiting = until_made(generation);
            const bool is_made =
                co_await detail::ends_in_time(clock_, clock_.now() + 500ms, std::move(waiting));
            StateAnswer preparing;
            if (!is_made) co_await send(session, std::move(preparing), Bytes());
            if (generation_ != generation) ++made;
        }
        session.refusal = std::string(kBusy) + ": it stops";
        co_return nullptr;
    }

    awaitable<void> until_made(std::uint64_t generation) {
        while (generation_ == generation && !ended_) co_await changed_.wait();
    }

    /// Copies and hashes the state once.
    awaitable<void> make([[maybe_unused]] std::shared_ptr<DonorCore> self) {
        try {
            StatePointer state = co_await provide_();
            if (!state) throw Error(ErrorKind::refused, "it has none");
            auto snapshot = std::make_shared<Snapshot>();
            snapshot->manifest = manifest_of(*state, settings_.chunk_bytes);
            snapshot->state = std::move(state);
            const TimePoint begin = clock_.now();
            co_await hash(*snapshot);
            copies_.hashed(clock_.now() - begin, clock_.now());
            failure_.clear();
            newest_ = std::move(snapshot);
            drop_snapshots_of_idlers();
        } catch (...) {
            failure_ = describe(std::current_exception());
            if (is_for_now(std::current_exception())) failure_ = std::string(kBusy) + ": " + failure_;
            if (is_cancellation(std::current_exception())) throw;
        }
        making_ = false;
        ++generation_;
        changed_.notify();
    }

    /// Sessions that still hold one beyond kMaximumSnapshots, the newest included, lose it: not those that
    /// take what they came for, or receivers on slow lines never came to an end while strangers want copies.
    void drop_snapshots_of_idlers() {
        std::vector<std::shared_ptr<Session>> holders;
        std::erase_if(served_, [](const auto& weak) { return weak.expired(); });
        for (auto weak = served_.rbegin(); weak != served_.rend(); ++weak) {  // the newest sessions first
            const std::shared_ptr<Session> session = weak->lock();
            if (session->snapshot) holders.push_back(session);
        }
        const TimePoint now = clock_.now();
        std::stable_sort(holders.begin(), holders.end(), [now](const auto& a, const auto& b) {
            return SessionPlaces::idling(*a->place, now) < SessionPlaces::idling(*b->place, now);
        });
        std::set<SnapshotPointer> kept{newest_};
        for (const std::shared_ptr<Session>& session : holders) {
            if (kept.contains(session->snapshot)) continue;
            if (kept.size() < kMaximumSnapshots)
                kept.insert(session->snapshot);
            else
                session->snapshot.reset();
        }
    }

    awaitable<void> hash(Snapshot& snapshot) {
        constexpr std::size_t kAtOnce = 8;  // chunks; then others on this thread have their turn
        const std::size_t chunks = snapshot.manifest.chunks();
        Bytes chunk;
        for (std::size_t index = 0; index < chunks; ++index) {
            chunk.resize(snapshot.manifest.size_of_chunk(index));
            copy_out(*snapshot.state, index * snapshot.manifest.chunk_bytes, chunk);
            snapshot.leaves.push_back(merkle_leaf(chunk));
            if (index % kAtOnce == kAtOnce - 1) co_await asio::post(network_.executor(), asio::use_awaitable);
        }
        snapshot.root = snapshot.manifest.root(snapshot.leaves);
    }

    net::Network& network_;
    Clock& clock_;
    StateTransferSettings settings_;
    StateProvider provide_;
    StepTeller own_step_;
    Log log_;
    SnapshotPointer newest_;        ///< what new sessions get; running sessions hold their own
    bool making_ = false;           ///< exactly while a make() runs
    std::uint64_t generation_ = 0;  ///< counts ended make()s
    std::string failure_;           ///< of the last make(), if it failed
    CopyBudget copies_;
    SessionPlaces places_;
    std::size_t refusals_ = 0;                  ///< under way
    std::list<std::weak_ptr<Session>> served_;  ///< in the order of their offers
    TimePoint last_end_;                        ///< of a session
    bool drops_ = false;                        ///< exactly while a drop_snapshot() runs
    bool ended_ = false;
    Signal changed_;
    TaskGroup tasks_;
};

class DonorHandle final : public StateDonor {
  public:
    explicit DonorHandle(std::shared_ptr<DonorCore> core) : core_(std::move(core)) {}
    ~DonorHandle() override { core_->end(); }

  private:
    std::shared_ptr<DonorCore> core_;
};

}  // namespace

std::shared_ptr<StateDonor> make_state_donor(net::Network& network, Clock& clock,
                                             StateTransferSettings settings, StateProvider provide,
                                             StepTeller own_step, Log log) {
    check_transfer_settings(settings);
    auto core = std::make_shared<DonorCore>(network, clock, std::move(settings), std::move(provide),
                                            std::move(own_step), std::move(log));
    core->start();
    return std::make_shared<DonorHandle>(std::move(core));
}

}  // namespace shoal::collective
