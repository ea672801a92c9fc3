#include "shoal/collective/averager.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <shoal/proto/collective.pb.h>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/collective/all_reduce.h"
#include "shoal/collective/group_matching.h"
#include "shoal/collective/lobby.h"
#include "shoal/collective/round_vote.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {

std::string_view to_string(Role role) {
    switch (role) {
        case Role::full:
            return "full";
        case Role::client:
            return "client";
        case Role::auxiliary:
            return "auxiliary";
    }
    return "unknown";
}

std::string_view to_string(Verdict::Outcome outcome) {
    switch (outcome) {
        case Verdict::Outcome::averaged:
            return "averaged";
        case Verdict::Outcome::failed:
            return "failed";
        case Verdict::Outcome::cut_off:
            return "cut off";
    }
    return "unknown";
}

namespace {

/// Rounds whose verdict is remembered for members that ask late.
constexpr std::size_t kRememberedRounds = 16;

/// Streams that wait for their round to begin here.
constexpr std::size_t kMaximumWaitingStreams = 1024;

/// One round at this member. The data plane exists only while average() runs.
struct Round {
    std::shared_ptr<RoundVote> vote;
    std::unique_ptr<AllReduce> reduce;
};
using RoundPointer = std::shared_ptr<Round>;

/// What the handlers of the network share with the averager. It outlives the averager as long as one of them
/// runs.
class RoundBook : public std::enable_shared_from_this<RoundBook> {
  public:
    RoundBook(const asio::any_io_executor& executor, Clock& clock, Duration patience,
              std::shared_ptr<Lobby> lobby)
        : clock_(clock), patience_(patience), lobby_(std::move(lobby)), changed_(executor) {}

    void add(RoundPointer round) {
        rounds_.push_back(std::move(round));
        if (rounds_.size() > kRememberedRounds) {
            rounds_.front()->vote->close();
            rounds_.pop_front();
        }
        changed_.notify();
    }

    void close() {
        closed_ = true;
        for (const RoundPointer& round : rounds_) round->vote->close();
        rounds_.clear();
        changed_.notify();
    }

    /// Serves RUN/reduce: finds the round that the first message names and hands the stream over.
    static awaitable<void> serve_reduce(std::shared_ptr<RoundBook> self, net::StreamPointer stream) {
        const net::Message message = co_await first_message(self, stream);
        const auto hello = net::parse_control<proto::ReduceHello>(message, stream->peer());
        const RoundId id = to_round_id(hello.round());
        const RoundPointer round = co_await find(self, id);
        const std::size_t member = member_of(*round, stream->peer());
        if (!round->reduce) throw Error(ErrorKind::refused, "this round has ended");
        round->reduce->accept(member, std::move(stream));
    }

    /// Serves RUN/vote, likewise.
    static awaitable<void> serve_vote(std::shared_ptr<RoundBook> self, net::StreamPointer stream) {
        const net::Message message = co_await first_message(self, stream);
        const auto named = net::parse_control<proto::RoundMessage>(message, stream->peer());
        const RoundId id = to_round_id(named.round());
        if (named.has_begin() && !self->known(id))
            self->lobby_->offer_begin(named.begin().SerializeAsString());
        const RoundPointer round = co_await find(self, id);
        const std::size_t member = member_of(*round, stream->peer());
        const RoundMessage first = decode_round_message(message.control, round->vote->plan().members.size());
        round->vote->accept(member, std::move(stream), first);
    }

  private:
    static awaitable<net::Message> first_message(std::shared_ptr<RoundBook> self, net::StreamPointer stream) {
        if (self->waiting_ >= kMaximumWaitingStreams)
            throw Error(ErrorKind::refused, "too many streams wait here");
        const TimePoint deadline = self->clock_.now() + self->patience_;
        std::optional<net::Message> message =
            co_await with_deadline(self->clock_, deadline, stream->read(), "waiting for the name of a round");
        if (!message)
            throw Error(ErrorKind::protocol_violation, "named no round", stream->peer().short_name());
        co_return std::move(*message);
    }

    /// A member may hear of a round from others before the leader's Begin has arrived: wait for it.
    static awaitable<RoundPointer> find(std::shared_ptr<RoundBook> self, RoundId id) {
        const TimePoint deadline = self->clock_.now() + self->patience_;
        ++self->waiting_;
        const auto leave = [&self](void*) { --self->waiting_; };
        const std::unique_ptr<void, decltype(leave)> waiting(self.get(), leave);
        for (;;) {
            const std::uint64_t seen = self->changed_.count();
            if (const RoundPointer round = self->known(id)) co_return round;
            if (self->closed_ || self->clock_.now() >= deadline)
                throw Error(ErrorKind::refused, "this round is unknown here");
            co_await Changes::wait(self->changed_, self->clock_, seen, deadline);
        }
    }

    RoundPointer known(const RoundId& id) const {
        for (const RoundPointer& round : rounds_)
            if (round->vote->plan().id == id) return round;
        return nullptr;
    }

    static std::size_t member_of(const Round& round, const PeerId& peer) {
        const std::optional<std::size_t> member = round.vote->plan().index_of(peer);
        if (!member || *member == round.vote->plan().self)
            throw Error(ErrorKind::refused, "only members may speak in a round");
        return *member;
    }

    Clock& clock_;
    const Duration patience_;
    const std::shared_ptr<Lobby> lobby_;
    Changes changed_;
    std::deque<RoundPointer> rounds_;
    std::size_t waiting_ = 0;
    bool closed_ = false;
};

double seconds_between(TimePoint from, TimePoint to) {
    return seconds(to - from);
}

class ButterflyAverager final : public Averager {
  public:
    ButterflyAverager(net::Network& network, Clock& clock, Random random, AveragerSettings settings, Log log)
        : network_(network),
          clock_(clock),
          random_(random),
          settings_(std::move(settings)),
          log_(std::move(log)),
          codec_(compress::make_codec(settings_.codec)),
          lobby_(std::make_shared<Lobby>(network.executor(), clock, JoinLimits(settings_),
                                         settings_.join_timeout, 4 * settings_.maximum_group)),
          book_(std::make_shared<RoundBook>(network.executor(), clock, settings_.join_timeout, lobby_)) {
        // Plain lambdas that start static coroutines: what the handlers use travels in their parameters.
        const auto lobby = lobby_;
        const auto book = book_;
        network_.serve(match_service(),
                       [lobby](net::StreamPointer s) { return Lobby::serve(lobby, std::move(s)); });
        network_.serve(reduce_service(),
                       [book](net::StreamPointer s) { return RoundBook::serve_reduce(book, std::move(s)); });
        network_.serve(vote_service(),
                       [book](net::StreamPointer s) { return RoundBook::serve_vote(book, std::move(s)); });
    }

    ~ButterflyAverager() override {
        network_.serve(match_service(), {});
        network_.serve(reduce_service(), {});
        network_.serve(vote_service(), {});
        lobby_->close();
        book_->close();
    }

    awaitable<Verdict> average(RoundRequest request) override {
        check(request);
        if (averaging_) throw Error(ErrorKind::invalid_argument, "an averager runs one round at a time");
        averaging_ = true;
        std::optional<Verdict> verdict;
        std::exception_ptr failure;
        try {
            verdict = co_await match_and_run(request);
        } catch (...) {
            failure = std::current_exception();
        }
        averaging_ = false;
        leave_match(request.step, verdict && verdict->outcome == Verdict::Outcome::averaged);
        if (failure) std::rethrow_exception(failure);
        co_return std::move(*verdict);
    }

  private:
    std::string match_service() const { return settings_.run + "/match"; }
    std::string reduce_service() const { return settings_.run + "/reduce"; }
    std::string vote_service() const { return settings_.run + "/vote"; }

    void check(const RoundRequest& request) const;
    awaitable<Verdict> match_and_run(RoundRequest& request);
    awaitable<Verdict> run_alone(const RoundRequest& request, unsigned attempt);
    awaitable<Verdict> run_round(const RoundRequest& request, RoundPlan plan);
    awaitable<void> repeat_busy();
    void enter_round(const RoundPlan& plan);
    void leave_match(Step step, bool over);
    Verdict to_verdict(const RoundPlan& plan, const std::optional<VoteValue>& value,
                       const Round& round) const;

    net::Network& network_;
    Clock& clock_;
    Random random_;
    const AveragerSettings settings_;
    const Log log_;
    const std::unique_ptr<const compress::Codec> codec_;
    const std::shared_ptr<Lobby> lobby_;
    const std::shared_ptr<RoundBook> book_;
    bool averaging_ = false;
};

void ButterflyAverager::check(const RoundRequest& request) const {
    const auto refuse = [](const char* what) { throw Error(ErrorKind::invalid_argument, what); };
    const bool auxiliary = settings_.role == Role::auxiliary;
    if (auxiliary && (!request.contribution.empty() || !request.result.empty() || request.weight != 0))
        refuse("an auxiliary peer contributes no vector");
    if (!auxiliary && request.contribution.empty()) refuse("a vector to average must not be empty");
    if (request.contribution.size() != request.result.size())
        refuse("contribution and result differ in length");
    if (request.contribution.size() > settings_.maximum_elements)
        refuse("the vector is longer than maximum_elements");
    if (!std::isfinite(request.weight) || request.weight < 0 || request.weight > settings_.maximum_weight)
        refuse("the weight must be between 0 and maximum_weight");
    if (value(request.step) < 0) refuse("a step is at least 0");
}

awaitable<Verdict> ButterflyAverager::match_and_run(RoundRequest& request) {
    const TimePoint start = clock_.now();
    if (settings_.probe) settings_.probe(Phase::match, request.step);
    MatchRequest wanted;
    wanted.step = request.step;
    wanted.attempt = request.attempt;
    wanted.weight = request.weight;
    wanted.elements = request.contribution.size();
    wanted.expected = request.expected;
    wanted.excluded = request.excluded;
    GroupMatching matching(network_, clock_, settings_, *codec_, *lobby_, random_, std::move(wanted), log_);
    MatchOutcome outcome = co_await matching.run();
    const double match_seconds = seconds_between(start, clock_.now());
    Verdict verdict;
    if (outcome.alone) {
        verdict = co_await run_alone(request, outcome.attempt);
    } else if (outcome.plan) {
        verdict = co_await run_round(request, std::move(*outcome.plan));
    } else {
        verdict.outcome = outcome.cut_off ? Verdict::Outcome::cut_off : Verdict::Outcome::failed;
        verdict.cause = outcome.cause;
        verdict.attempt = outcome.attempt;
    }
    verdict.report.match_seconds = match_seconds;
    co_return verdict;
}

awaitable<Verdict> ButterflyAverager::run_alone(const RoundRequest& request, unsigned attempt) {
    Verdict verdict;
    verdict.attempt = attempt;
    Contributor self;
    self.peer = network_.self();
    self.role = settings_.role;
    self.weight = request.weight;
    verdict.contributors.push_back(self);
    if (!all_finite(request.contribution)) {
        verdict.cause = "peer " + self.peer.short_name() + ": contributed numbers that are not finite";
        verdict.lost.push_back(self.peer);
        co_return verdict;
    }
    // Nothing travels, so nothing is coded.
    std::copy(request.contribution.begin(), request.contribution.end(), request.result.begin());
    verdict.outcome = Verdict::Outcome::averaged;
    verdict.digest = fingerprint(as_bytes(request.contribution));
    co_return verdict;
}

awaitable<Verdict> ButterflyAverager::run_round(const RoundRequest& request, RoundPlan plan) {
    enter_round(plan);
    const TimePoint start = clock_.now();
    TimePoint reduced = start;
    const auto round = std::make_shared<Round>();
    RoundVoteSettings vote_settings;
    vote_settings.service = vote_service();
    vote_settings.stall_timeout = settings_.stall_timeout;
    round->vote = std::make_shared<RoundVote>(network_, clock_, vote_settings, std::move(plan), log_);
    AllReduceEvents events;
    const auto tell = [this, step = request.step](Phase phase) {
        if (settings_.probe) settings_.probe(phase, step);
    };
    events.phase = tell;
    events.completed = [&] {
        reduced = clock_.now();
        tell(Phase::vote);
        round->vote->report_complete(round->reduce->share_digests());
    };
    events.failed = [vote = round->vote](const Blame& blame) { vote->report_failure(blame); };
    AllReduceSettings reduce_settings;
    reduce_settings.service = reduce_service();
    reduce_settings.stall_timeout = settings_.stall_timeout;
    round->reduce =
        std::make_unique<AllReduce>(network_, clock_, reduce_settings, round->vote->plan(), *codec_,
                                    request.contribution, request.result, std::move(events));
    book_->add(round);
    TaskGroup busy(network_.executor());
    busy.spawn(repeat_busy());
    round->reduce->start();
    std::optional<VoteValue> value;
    std::exception_ptr failure;
    try {
        value = co_await round->vote->run();
    } catch (...) {
        failure = std::current_exception();
    }
    // The caller's vectors must be out of use before it goes on; the vote stays for those who ask later.
    busy.cancel();
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    const std::string reason = value ? "this round is decided" : "this peer has left the round";
    co_await round->reduce->stop(reason);
    co_await busy.settle();
    co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
    co_await asio::this_coro::throw_if_cancelled(true);
    if (failure) round->vote->leave();
    Verdict verdict;
    if (!failure) {
        verdict = to_verdict(round->vote->plan(), value, *round);
        verdict.report.reduce_seconds = seconds_between(start, reduced);
        verdict.report.vote_seconds = seconds_between(reduced, clock_.now());
    }
    round->reduce.reset();
    if (failure) std::rethrow_exception(failure);
    co_return verdict;
}

Verdict ButterflyAverager::to_verdict(const RoundPlan& plan, const std::optional<VoteValue>& value,
                                      const Round& round) const {
    Verdict verdict;
    verdict.attempt = plan.attempt;
    for (const Join& member : plan.members) {
        Contributor contributor;
        contributor.peer = member.peer;
        contributor.role = member.role;
        contributor.weight = member.weight;
        verdict.contributors.push_back(contributor);
    }
    verdict.report.bytes_sent = round.reduce->bytes_sent();
    verdict.report.bytes_received = round.reduce->bytes_received();
    verdict.outcome = Verdict::Outcome::cut_off;
    if (!value) {
        verdict.cause = round.vote->trouble();
    } else if (!value->averaged) {
        verdict.outcome = Verdict::Outcome::failed;
        verdict.cause = value->cause;
        for (const std::uint32_t member : value->lost) verdict.lost.push_back(plan.members[member].peer);
    } else {
        // Nobody correct says so of a round that this member has not completed with that digest.
        const std::vector<Fingerprint> digests = round.reduce->share_digests();
        const bool same = !plan.contributes(plan.self) || combine(digests) == value->digest;
        verdict.digest = value->digest;
        if (round.reduce->complete() && same)
            verdict.outcome = Verdict::Outcome::averaged;
        else
            verdict.cause = "the others hold results that this peer does not have";
    }
    return verdict;
}

awaitable<void> ButterflyAverager::repeat_busy() {
    for (;;) {
        co_await clock_.sleep_for(settings_.join_timeout / 3);
        lobby_->repeat_busy();
    }
}

void ButterflyAverager::enter_round(const RoundPlan& plan) {
    MatchStatus status = lobby_->status();
    status.kind = MatchStatus::Kind::busy;
    status.step = plan.step;
    status.attempt = plan.attempt;
    status.begin = plan.begin_message;
    for (const Join& member : plan.members) status.members.push_back(member.signed_bytes);
    lobby_->set_status(std::move(status));
}

void ButterflyAverager::leave_match(Step step, bool over) {
    MatchStatus status = lobby_->status();
    status.kind = MatchStatus::Kind::idle;
    status.members.clear();
    status.begin.clear();
    if (over && (!status.over_until || *status.over_until < step)) status.over_until = step;
    lobby_->set_status(std::move(status));
}

}  // namespace

std::shared_ptr<Averager> make_averager(net::Network& network, Clock& clock, Random random,
                                        AveragerSettings settings, Log log) {
    return std::make_shared<ButterflyAverager>(network, clock, random, std::move(settings), std::move(log));
}

}  // namespace shoal::collective
