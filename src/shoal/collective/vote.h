// The vote on the outcome of a round: single-decree Paxos as a state machine without any input or output.
//
// All members of a round are acceptors and learners; any of them may propose. A quorum is a majority, or
// exactly half of the members with the first one (the lowest PeerId) among them: any two quorums have a
// member in common. Ballots are ordered by number, then by member; number 0 belongs to the leader alone, who
// may propose in it without asking first, because nobody can have accepted anything earlier. Every higher
// ballot begins with the question what was accepted before (prepare), and must propose the value of the
// highest ballot that a quorum reports, if there is one.
//
//   proposer:  idle -> preparing (number > 0) -> accepting -> decided
//   acceptor:  promised ballot only rises; accepted ballot <= promised ballot
//
// Messages may be lost, doubled and reordered; no two members ever learn different values. Source: Lamport,
// "Paxos Made Simple"; the half with the lowest PeerId is ours. Members are known by their index in the
// round.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shoal/base/hash.h"

namespace shoal::collective {

/// What is decided: the round is 'averaged', and all hold results of this digest; or it 'failed'.
struct VoteValue {
    bool averaged = false;
    std::string cause;                ///< of a failure
    std::vector<std::uint32_t> lost;  ///< members named as its cause, ascending
    Fingerprint digest;
    bool operator==(const VoteValue&) const = default;
};

struct Ballot {
    std::uint32_t number = 0;
    std::uint32_t member = 0;
    auto operator<=>(const Ballot&) const = default;
};

struct VoteMessage {
    enum class Kind : std::uint8_t { alive, prepare, promise, refuse, accept, accepted, decided, query };
    Kind kind = Kind::alive;
    Ballot ballot;
    std::optional<Ballot> accepted_ballot;  ///< of a promise
    std::optional<VoteValue> value;         ///< of a promise with accepted_ballot, of accept and decided
};

/// A message and whom it is for.
struct VoteOutgoing {
    std::uint32_t to = 0;
    VoteMessage message;
};

class VoteMachine {
  public:
    /// @param leader  may use ballot 0.
    VoteMachine(std::uint32_t members, std::uint32_t self, std::uint32_t leader);

    /// Begins (or begins anew with a higher ballot) to propose. The value that gets decided may be another
    /// one. Ignored once decided.
    std::vector<VoteOutgoing> propose(VoteValue value);

    /// Sends the messages of the phase under way again, to those who have not answered.
    std::vector<VoteOutgoing> repeat() const;

    /// One message of another member. What no correct member sends is ignored.
    std::vector<VoteOutgoing> receive(std::uint32_t from, const VoteMessage& message);

    const std::optional<VoteValue>& decision() const { return decision_; }
    bool proposing() const { return phase_ != Phase::idle && !decision_; }
    /// True if another proposer's higher ballot has overtaken ours: propose() again to go on.
    bool overtaken() const { return overtaken_; }
    /// True if these members (by index) form a quorum.
    static bool is_quorum(const std::vector<bool>& members);

  private:
    enum class Phase { idle, preparing, accepting };

    VoteMessage answer_prepare(Ballot ballot);
    VoteMessage answer_accept(Ballot ballot, const VoteValue& value);
    std::vector<VoteOutgoing> take_promise(std::uint32_t from, const VoteMessage& message);
    std::vector<VoteOutgoing> take_accepted(std::uint32_t from, Ballot ballot);
    std::vector<VoteOutgoing> begin_accepting();
    std::vector<VoteOutgoing> to_others(const VoteMessage& message,
                                        const std::vector<bool>* except = nullptr) const;
    VoteMessage phase_message() const;

    const std::uint32_t members_, self_, leader_;

    // Acceptor. Invariant: accepted_ballot_ <= promised_.
    std::optional<Ballot> promised_;
    std::optional<Ballot> accepted_ballot_;
    std::optional<VoteValue> accepted_value_;

    // Proposer. Invariant: what was sent in an accept of ballot_ never changes (value_ is fixed while
    // accepting).
    Phase phase_ = Phase::idle;
    bool used_first_ballot_ = false;
    bool overtaken_ = false;
    std::uint32_t highest_number_seen_ = 0;
    Ballot ballot_;
    VoteValue value_;
    std::optional<Ballot> best_promise_;  // highest accepted ballot among the promises; value_ is its value
    std::vector<bool> answered_;          // who promised, or accepted, in the phase under way
    std::vector<bool> refused_;           // who refused the ballot

    // Learner.
    std::optional<VoteValue> decision_;
};

}  // namespace shoal::collective
