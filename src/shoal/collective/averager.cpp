#include "shoal/collective/averager.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/collective/group_matching.h"
#include "shoal/collective/line_meter.h"
#include "shoal/collective/lineage.h"
#include "shoal/collective/objections.h"
#include "shoal/collective/round_book.h"

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

/// Beyond a gigabit per second processors limit a round as a rule, and what a probe finds is chance. Peers on
/// such lines count as equal unless they are told apart.
constexpr double kFastestMeasured = 125e6;

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
          format_(settings_.codec, settings_.small_codec, settings_.small_below),
          limits_(settings_),
          lobby_(std::make_shared<Lobby>(network.executor(), clock, limits_, settings_.join_timeout,
                                         4 * settings_.maximum_group)),
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
        if (doubtful_ && doubtful_->vote->plan().step != request.step) doubtful_.reset();
        try {
            if (doubtful_)
                verdict = co_await run_round(request, doubtful_);
            else
                verdict = co_await match_and_run(request);
        } catch (...) {
            failure = std::current_exception();
        }
        averaging_ = false;
        if (verdict) count_failures(request.step, *verdict);
        leave_match(request.step, verdict && verdict->outcome == Verdict::Outcome::averaged);
        if (failure) std::rethrow_exception(failure);
        co_return std::move(*verdict);
    }

    bool in_doubt() const override { return doubtful_ != nullptr; }
    void forget_doubt() override { doubtful_.reset(); }

    double upload() const override { return claim(settings_.upload, meter_.upload()); }
    double download() const override { return claim(settings_.download, meter_.download()); }
    void observe_line(double upload, double download) override { meter_.observe(upload, download); }

  private:
    std::string match_service() const { return settings_.run + "/match"; }
    std::string reduce_service() const { return settings_.run + "/reduce"; }
    std::string vote_service() const { return settings_.run + "/vote"; }

    static double claim(double given, double measured);
    void check(const RoundRequest& request) const;
    awaitable<Verdict> match_and_run(RoundRequest& request);
    awaitable<Verdict> run_alone(const RoundRequest& request, const MatchOutcome& outcome);
    RoundPointer begin_round(const RoundRequest& request, RoundPlan plan);
    awaitable<Verdict> run_round(const RoundRequest& request, RoundPointer round);
    Verdict end_round(const RoundRequest& request, const RoundPointer& round, TimePoint began,
                      const std::optional<VoteValue>& value, bool left);
    awaitable<void> repeat_busy();
    awaitable<void> watch_lines(RoundPointer round);
    void judge_lines(const Round& round, double seconds);
    static awaitable<void> release(Round& round, TaskGroup& busy, std::string reason);
    void enter_round(const RoundPlan& plan);
    void leave_match(Step step, bool over);
    void count_failures(Step step, const Verdict& verdict);
    std::vector<PeerId> barred(Step step) const;
    bool joins_are_proven(const Round& round) const;
    Verdict to_verdict(const Round& round, const std::optional<VoteValue>& value) const;

    net::Network& network_;
    Clock& clock_;
    Random random_;
    const AveragerSettings settings_;
    const Log log_;
    const compress::VectorFormat format_;
    const JoinLimits limits_;
    const std::shared_ptr<Lobby> lobby_;
    const std::shared_ptr<RoundBook> book_;
    LineMeter meter_;
    ObjectionBook objections_;
    RoundPointer doubtful_;  ///< the last round, if this peer is in doubt
    TimePoint reduced_at_;   ///< when the results of the newest round were complete
    bool averaging_ = false;
    Step failures_of_{};                   ///< the step that the failures belong to
    std::map<PeerId, unsigned> failures_;  ///< rounds of it that a peer has failed
};

void ButterflyAverager::count_failures(Step step, const Verdict& verdict) {
    if (failures_of_ != step) failures_.clear();
    failures_of_ = step;
    if (verdict.outcome != Verdict::Outcome::failed) return;
    for (const PeerId& peer : verdict.lost) ++failures_[peer];
}

std::vector<PeerId> ButterflyAverager::barred(Step step) const {
    std::vector<PeerId> peers;
    if (failures_of_ != step) return peers;
    for (const auto& [peer, failures] : failures_)
        if (failures >= kFailuresOfOneStep) peers.push_back(peer);
    return peers;
}

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
    if (request.state_tail > 0 && request.state_tail >= request.contribution.size())
        refuse("a vector must not be all state");
    if (request.state_counts && request.state_tail == 0) refuse("no state cannot count");
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
    if (wanted.elements > 0)
        wanted.pieces = format_.pieces(request.tensors, wanted.elements, request.state_tail);
    wanted.state_elements = request.state_tail;
    wanted.state_counts = request.state_counts;
    wanted.upload = upload();
    wanted.download = download();
    wanted.objections = objections_.objections();
    wanted.expected = request.expected;
    wanted.excluded = request.excluded;
    wanted.barred = barred(request.step);
    wanted.may_take_part = request.may_take_part;
    wanted.lineage = request.lineage;
    wanted.needs_quorum = request.needs_quorum;
    wanted.is_over = request.is_over;
    GroupMatching matching(network_, clock_, settings_, format_, *lobby_, random_, std::move(wanted), log_);
    MatchOutcome outcome = co_await matching.run();
    const double match_seconds = seconds_between(start, clock_.now());
    Verdict verdict;
    if (outcome.alone) {
        verdict = co_await run_alone(request, outcome);
    } else if (outcome.plan) {
        const RoundPointer round = begin_round(request, std::move(*outcome.plan));
        verdict = co_await run_round(request, round);
    } else {
        verdict.outcome = outcome.cut_off ? Verdict::Outcome::cut_off : Verdict::Outcome::failed;
        verdict.cause = outcome.cause;
        verdict.attempt = outcome.attempt;
        verdict.swarm_step = outcome.swarm_step;
    }
    verdict.report.match_seconds = match_seconds;
    co_return verdict;
}

awaitable<Verdict> ButterflyAverager::run_alone(const RoundRequest& request, const MatchOutcome& outcome) {
    Verdict verdict;
    verdict.attempt = outcome.attempt;
    verdict.round = outcome.id;
    Contributor self;
    self.peer = network_.self();
    self.role = settings_.role;
    self.weight = request.weight;
    self.state_counts = request.state_tail > 0;
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

/// Sets vote and data plane to work.
RoundPointer ButterflyAverager::begin_round(const RoundRequest& request, RoundPlan plan) {
    const auto round = std::make_shared<Round>();
    round->spoke.assign(plan.members.size(), false);
    RoundVoteSettings vote_settings;
    vote_settings.service = vote_service();
    vote_settings.stall_timeout = settings_.stall_timeout;
    vote_settings.unheard = [weak = std::weak_ptr(round)](std::size_t member) {  // which the vote may outlive
        const auto still = weak.lock();
        if (still && still->reduce) still->reduce->owner_is_unheard(member);
    };
    round->vote = std::make_shared<RoundVote>(network_, clock_, vote_settings, std::move(plan), log_);
    AllReduceEvents events;
    const auto tell = [this, step = request.step](Phase phase) {
        if (settings_.probe) settings_.probe(phase, step);
    };
    events.phase = tell;
    events.completed = [this, tell, &round = *round] {  // it owns the one that calls
        if (!joins_are_proven(round)) return;
        reduced_at_ = clock_.now();
        tell(Phase::vote);
        round.complete = true;
        round.share_digests = round.reduce->share_digests();
        round.vote->report_complete(round.share_digests);
    };
    events.failed = [vote = round->vote](const Blame& blame) { vote->report_failure(blame); };
    events.unheard = [vote = round->vote](std::size_t member) { vote->say_unheard(member); };
    AllReduceSettings reduce_settings;
    reduce_settings.service = reduce_service();
    reduce_settings.stall_timeout = settings_.stall_timeout;
    reduce_settings.paced = settings_.paced;
    round->reduce = std::make_unique<AllReduce>(network_, clock_, reduce_settings, round->vote->plan(),
                                                request.contribution, request.result, std::move(events));
    book_->add(round);
    round->reduce->start();
    return round;
}

/// Of members that have not spoken to this one the leader may have made up the joins. An honest leader has
/// checked them.
bool ButterflyAverager::joins_are_proven(const Round& round) const {
    const RoundPlan& plan = round.vote->plan();
    for (std::size_t i = 0; i < plan.members.size(); ++i) {
        if (plan.proven[i] || round.spoke[i] || round.reduce->has_result_of(i)) continue;
        try {
            prove_join(plan.members[i], limits_);
        } catch (const Error& error) {
            const std::string name = plan.members[i].peer.short_name();
            round.vote->report_failure(Blame{plan.leader, "named " + name + " as a member: " + error.what()});
            return false;
        }
    }
    return true;
}

/// Runs a round that has begun until it is decided, or goes on asking for the decision of one that is in
/// doubt.
awaitable<Verdict> ButterflyAverager::run_round(const RoundRequest& request, RoundPointer round) {
    const TimePoint start = clock_.now();
    if (round->reduce && !round->complete) reduced_at_ = start;
    enter_round(round->vote->plan());
    TaskGroup busy(network_.executor());
    busy.spawn(repeat_busy());
    if (round->reduce) busy.spawn(watch_lines(round));
    std::optional<VoteValue> value;
    std::exception_ptr failure;
    try {
        value = co_await round->vote->run(request.give_up);
    } catch (...) {
        failure = std::current_exception();
    }
    // The caller's vectors must be out of use before it goes on; the vote stays for those who ask later.
    busy.cancel();
    const std::string reason = value ? "this round is decided" : "this peer has left the round";
    co_await asio::this_coro::throw_if_cancelled(false);
    const bool cancelled = co_await run_to_end(release(*round, busy, reason));
    if (cancelled && !failure)
        failure = std::make_exception_ptr(Error(ErrorKind::cancelled, "the round was cancelled"));
    if (failure) round->vote->leave();
    Verdict verdict = end_round(request, round, start, value, failure != nullptr);
    verdict.report.reduce_seconds = std::max(0.0, seconds_between(start, reduced_at_));
    verdict.report.vote_seconds = seconds_between(std::max(start, reduced_at_), clock_.now());
    if (failure) std::rethrow_exception(failure);
    co_return verdict;
}

awaitable<void> ButterflyAverager::release(Round& round, TaskGroup& busy, std::string reason) {
    if (round.reduce) co_await round.reduce->stop(std::move(reason));
    co_await busy.settle();
}

/// @param left  the caller does not take the step, whatever was decided
Verdict ButterflyAverager::end_round(const RoundRequest& request, const RoundPointer& round, TimePoint began,
                                     const std::optional<VoteValue>& value, bool left) {
    Verdict verdict = to_verdict(*round, value);
    const bool resumed = !round->reduce;
    if (!resumed) {
        meter_.end();
        if (verdict.outcome == Verdict::Outcome::averaged)
            judge_lines(*round, seconds_between(began, clock_.now()));
    }
    if (verdict.outcome == Verdict::Outcome::averaged)
        for (const Contributor& member : verdict.contributors)
            if (member.peer != network_.self()) network_.mark_useful(member.peer);
    round->reduce.reset();
    const bool doubtful = left ? round->vote->may_be_averaged() : round->vote->in_doubt();
    doubtful_ = doubtful ? round : nullptr;
    if (resumed && verdict.outcome == Verdict::Outcome::averaged)
        std::copy(round->result.begin(), round->result.end(), request.result.begin());
    if (!resumed && doubtful_) round->result.assign(request.result.begin(), request.result.end());
    return verdict;
}

Verdict ButterflyAverager::to_verdict(const Round& round, const std::optional<VoteValue>& value) const {
    const RoundPlan& plan = round.vote->plan();
    Verdict verdict;
    verdict.attempt = plan.attempt;
    for (std::size_t i = 0; i < plan.members.size(); ++i) {
        const Join& member = plan.members[i];
        Contributor contributor;
        contributor.peer = member.peer;
        contributor.role = member.role;
        contributor.weight = member.weight;
        contributor.state_counts = plan.state_scales[i] > 0;
        verdict.contributors.push_back(contributor);
    }
    if (round.reduce) {
        verdict.report.bytes_sent = round.reduce->bytes_sent();
        verdict.report.bytes_received = round.reduce->bytes_received();
    }
    if (plan.promised_seconds > 0) verdict.lines = plan.lines;
    verdict.vector_bytes = plan.bytes;
    verdict.outcome = Verdict::Outcome::cut_off;
    if (!value) {
        verdict.cause = round.vote->trouble();
    } else if (!value->averaged) {
        verdict.outcome = Verdict::Outcome::failed;
        verdict.cause = value->cause;
        for (const std::uint32_t member : value->lost) verdict.lost.push_back(plan.members[member].peer);
    } else {
        // Nobody correct says so of a round that this member has not completed with that digest.
        const bool same = !plan.contributes(plan.self) || combine(round.share_digests) == value->digest;
        verdict.digest = value->digest;
        verdict.round = plan.id;
        if (round.complete && same)
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

/// Learns from what the round moves, until it ends.
awaitable<void> ButterflyAverager::watch_lines(RoundPointer round) {
    meter_.begin(clock_.now(), network_.connections());
    for (TimePoint last = clock_.now();;) {
        co_await clock_.sleep_for(LineMeter::kInterval);
        const TimePoint now = clock_.now();
        meter_.sample(now, network_.connections());
        round->reduce->note_waiting(seconds_between(last, now));
        last = now;
    }
}

/// What the other members carried, against what they claimed.
void ButterflyAverager::judge_lines(const Round& round, double seconds) {
    const RoundPlan& plan = round.vote->plan();
    std::vector<double> fractions;
    for (const Share& share : plan.shares)
        fractions.push_back(static_cast<double>(share.size()) / static_cast<double>(plan.elements));
    const std::vector<SplitLoad> loads = split_loads(fractions, plan.lines);
    std::vector<ObjectionBook::Seen> others;
    for (std::size_t i = 0; i < plan.members.size(); ++i) {
        if (i == plan.self) continue;
        ObjectionBook::Seen seen;
        seen.member = member_number(plan.members[i].peer);
        seen.upload_used = plan.lines[i].upload;
        seen.download_used = plan.lines[i].download;
        seen.uploaded = loads[i].upload * plan.bytes;
        seen.downloaded = loads[i].download * plan.bytes;
        seen.waited = round.reduce->waited()[i];
        others.push_back(seen);
    }
    objections_.round_ended(others, seconds, plan.promised_seconds);
}

double ButterflyAverager::claim(double given, double measured) {
    const double known = given > 0 ? given : std::min(measured, kFastestMeasured);
    return known > 0 ? std::clamp(known, kMinimumBandwidth, kMaximumBandwidth) : 0;
}

void ButterflyAverager::enter_round(const RoundPlan& plan) {
    MatchStatus status = lobby_->status();
    status.kind = MatchStatus::Kind::busy;
    status.step = plan.step;
    status.attempt = plan.attempt;
    status.join.clear();
    status.begin = plan.begin_message;
    for (const Join& member : plan.members) status.members.push_back(member.signed_bytes);
    lobby_->set_status(std::move(status));
}

void ButterflyAverager::leave_match(Step step, bool over) {
    MatchStatus status = lobby_->status();
    status.kind = MatchStatus::Kind::idle;
    status.join.clear();
    status.members.clear();
    status.begin.clear();
    if (over && (!status.over_until || *status.over_until < step)) status.over_until = step;
    lobby_->set_status(std::move(status));
}

}  // namespace

std::shared_ptr<Averager> make_averager(net::Network& network, Clock& clock, Random random,
                                        AveragerSettings settings, Log log) {
    if (settings.maximum_group > kLargestGroup)
        throw Error(ErrorKind::invalid_argument,
                    "a group may have " + std::to_string(kLargestGroup) + " members at most");
    return std::make_shared<ButterflyAverager>(network, clock, random, std::move(settings), std::move(log));
}

}  // namespace shoal::collective
