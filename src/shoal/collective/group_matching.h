// Finding the group of one round: who leads, who is in, when it begins.
//
// Candidates for the lead are this peer and all expected and joining peers that are no clients, ordered by
// leader_rank (those that the last round lost come last). Each peer believes in the first candidate that is
// not ruled out: the others join it (and stay joined until it begins), it waits for them. A candidate is
// ruled out when it cannot be reached, refuses, or is past this step; and it is passed over as long as it is
// late (not ready by the time that its own reports promise, or silent). A join to one that is late stays
// open: when it wakes up, everybody returns to it. What a peer hears from one that it joins can teach it a
// better candidate (redirect), a later attempt (raise), or that a round runs already (busy).
//
// Peers are known (expected at some time of this search, or members of the last round) or strangers, who may
// be anybody, in any number. Strangers may join and lead, but hold a search once only, however many they are;
// they move no attempt, and their word that this step is over counts nothing.
//
// The leader begins when all expected peers have joined, or the missing ones are lost, or have had their time
// and answered nothing else when asked. That last question is a join, too: it finds out whether they are
// together somewhere else. The order of candidates is total, so nobody waits in a circle. A group must hold
// a quorum of the members of the last round (lineage.h): the smaller side of a split network does not go on
// by itself. Where nobody was a member of one (a run begins), it must be a quorum (majority, or half with the
// lowest PeerId) of all expected peers, excluded ones too.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/collective/lobby.h"

namespace shoal::collective {

/// How matching ended: with a plan, or with a reason why there is none.
struct MatchOutcome {
    std::optional<RoundPlan> plan;
    bool alone = false;              ///< the plan has this peer only
    bool cut_off = false;            ///< without a plan: most others are out of reach, or past this step
    RoundId id{};                    ///< of the round
    std::string cause;               ///< without a plan
    unsigned attempt = 0;            ///< the one that it ended at
    std::optional<Step> swarm_step;  ///< cut off: to which the others have gone on
};

struct MatchRequest {
    Step step{};
    unsigned attempt = 0;
    double weight = 0;
    std::size_t elements = 0;
    compress::Pieces pieces;         ///< of the vector
    std::size_t state_elements = 0;  ///< at its end (RoundRequest::state_tail)
    bool state_counts = false;
    double upload = 0, download = 0;  ///< claims: bytes per second, 0 if unknown
    std::vector<Objection> objections;
    std::function<std::vector<ExpectedPeer>()> expected;
    std::vector<PeerId> excluded;
    /// Two rounds of this step have failed because of them: they are left out where the others are enough.
    std::vector<PeerId> barred;
    std::function<bool(const PeerId&)> may_take_part;
    std::function<Lineage()> lineage;
    bool needs_quorum = true;
    std::function<bool()> is_over;
};

/// By how much known peers that are no more than half of all known can move the attempt beyond the one that a
/// search began at. More move it anywhere; strangers do not move it.
inline constexpr unsigned kRaiseByFew = 8;

/// How often one candidate can name a better one in one search.
inline constexpr unsigned kRedirectsOfOnePeer = 16;

/// For how many join_timeouts in one attempt a candidate is believed that does not begin, or that says that
/// it is in a round; beyond the time that the expected peers promise. No progress record promises more than
/// 60 s, which are 12 of the usual 5 s; a round on slow lines may take longer.
inline constexpr int kLongestHold = 12, kLongestBusy = 120;

/// Likewise of all strangers together, in one search; where nobody is known, they are believed as long as
/// those would be. An honest stranger becomes known as soon as its record arrives.
inline constexpr int kLongestHoldOfStrangers = 1;

/// As many strangers are thought of as candidates in one search.
inline constexpr std::size_t kMostStrangers = 256;

class GroupMatching {
  public:
    /// Everything referred to outlives the object.
    GroupMatching(net::Network& network, Clock& clock, const AveragerSettings& settings,
                  const compress::VectorFormat& format, Lobby& lobby, Random& random, MatchRequest request,
                  Log log);
    GroupMatching(const GroupMatching&) = delete;
    GroupMatching& operator=(const GroupMatching&) = delete;

    awaitable<MatchOutcome> run();

  private:
    enum class Answer { none, hold, busy };
    struct Candidate {
        // What this peer has been told, since it asked.
        bool asked = false;
        Answer answer = Answer::none;
        bool ready = false;  // with hold
        TimePoint asked_at, heard_at;
        std::optional<TimePoint> first_asked;  // in this attempt
        unsigned redirects = 0;
        Duration wait{0};       // with hold: how long it means to wait
        std::string ruled_out;  // why; empty: it is not
        TimePoint ruled_out_at;
        std::optional<TimePoint> probed_at;  // first missed by us as the leader, since asked
        net::StreamPointer stream;           // of the join
        unsigned retries = 0;                // after broken connections
        unsigned generation = 0;             // of the question; answers to older ones are ignored
    };
    using Candidates = std::map<PeerId, Candidate>;

    // One look at everything that is known; says until when to wait if nothing happens.
    std::optional<MatchOutcome> look(TimePoint& wake_at);
    std::optional<MatchOutcome> lead(TimePoint& wake_at);
    std::optional<MatchOutcome> follow(const PeerId& leader, TimePoint& wake_at);
    std::optional<MatchOutcome> wait_for_a_leader(TimePoint& wake_at);
    std::vector<Lobby::GuestPointer> choose(const std::vector<Lobby::GuestPointer>& members, bool& quorum);
    std::optional<MatchOutcome> begin(const std::vector<Lobby::GuestPointer>& members);
    MatchOutcome fail(const std::string& cause, bool cut_off) const;
    MatchOutcome left_behind(const std::string& cause) const;
    bool is_quorum(const std::vector<Lobby::GuestPointer>& members) const;
    std::string missing_peers() const;
    void try_again(TimePoint& wake_at);

    void refresh_expected();
    void refresh_lineage();
    void take_up_attempt(unsigned attempt);
    void take_up_attempts_of_others();
    bool may_take_part(const PeerId& peer) const {
        return !request_.may_take_part || request_.may_take_part(peer);
    }
    bool is_known(const PeerId& peer) const { return known_.contains(peer); }
    Candidate* find_candidate(const PeerId& peer);
    TimePoint end_of_patience(const PeerId& peer, const Candidate& candidate) const;
    void learn_candidates_from_guests();
    std::optional<PeerId> best_candidate() const;
    bool is_late(const PeerId& peer, const Candidate& candidate, TimePoint now, TimePoint& wake_at) const;
    bool can_lead(Role role) const { return role != Role::client; }
    std::vector<Lobby::GuestPointer> fitting_guests();
    std::vector<Lobby::GuestPointer> without_barred(std::vector<Lobby::GuestPointer> members) const;
    bool waits_for(const ExpectedPeer& expected, TimePoint& wake_at);
    TimePoint longest_ready_by() const;
    void set_status(MatchStatus::Kind kind, const PeerId& leader = PeerId());

    void ask(const PeerId& peer);
    void stop_asking(const PeerId& peer);
    awaitable<void> question(PeerId peer, unsigned generation);
    awaitable<void> converse(PeerId peer, unsigned generation);
    Bytes make_request() const;
    void take_reply(const PeerId& peer, const net::Message& message);
    void take_begin(const std::string& begin, Signatures signatures);
    void take_offered_begins();
    bool could_be_ours(const std::string& begin) const;
    void take_redirect(const PeerId& from, const std::string& bytes);
    void rule_out(const PeerId& peer, const std::string& why);
    bool comes_before(const PeerId& a, const PeerId& b) const;
    const Digest& rank(const PeerId& peer) const;

    net::Network& network_;
    Clock& clock_;
    const AveragerSettings& settings_;
    const compress::VectorFormat& format_;
    Lobby& lobby_;
    Random& random_;
    const MatchRequest request_;
    const Log log_;
    const JoinLimits limits_;
    const PeerId self_;
    const std::uint64_t nonce_;

    unsigned attempt_;
    Join own_;
    std::vector<ExpectedPeer> expected_;  // without self and excluded ones
    std::vector<PeerId> welcome_;         // expected ones that are excluded
    // All that were expected in this search, and the members of the last round. Others are strangers.
    std::set<PeerId> known_;
    std::map<PeerId, unsigned> attempts_;       // the highest that each known peer has named
    std::optional<TimePoint> strangers_asked_;  // the first of them
    std::size_t strangers_ = 0;                 // among the candidates
    Candidates candidates_;                     // without self
    std::map<PeerId, TimePoint> lost_;          // connections that broke meanwhile, and when
    std::map<PeerId, Step> past_;               // who say that this step is over, and where they are
    std::set<PeerId> unheeded_;                 // who passed on a Begin that was none
    std::optional<MatchOutcome> outcome_;       // set by a Begin from a leader
    mutable unsigned ranks_of_ = 0;             // the attempt that the remembered ranks are of
    mutable std::unordered_map<PeerId, Digest> ranks_;
    TimePoint started_;
    TaskGroup tasks_;
};

}  // namespace shoal::collective
