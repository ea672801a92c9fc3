#include "shoal/collective/swarm_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace shoal::collective {

namespace {

using Doubted = std::function<bool(const PeerId&)>;

/// Fewer others than these move nobody who trains.
constexpr std::size_t kCompany = 2;

bool trains(const Progress& peer) {
    return peer.training && peer.role != Role::auxiliary;
}

/// Ascending PeerId.
std::vector<const Progress*> voters_of(std::span<const Progress> live, const Doubted& doubted) {
    std::vector<const Progress*> all, trainers;
    for (const Progress& peer : live) {
        if (peer.role == Role::auxiliary || doubted(peer.peer)) continue;
        all.push_back(&peer);
        if (peer.training) trainers.push_back(&peer);
    }
    return trainers.empty() ? all : trainers;
}

struct Camp {
    std::size_t size = 0;
    PeerId lowest;
};

/// Who holds which state of this step.
std::map<Fingerprint, Camp> camps_at(Step step, std::span<const Progress* const> voters) {
    std::map<Fingerprint, Camp> camps;
    for (const Progress* peer : voters) {
        if (!peer->training || peer->step != step) continue;
        Camp& camp = camps[peer->digest];
        if (camp.size++ == 0) camp.lowest = peer->peer;
    }
    return camps;
}

bool is_larger(const Camp& a, const Camp& b) {
    return a.size != b.size ? a.size > b.size : a.size > 0 && a.lowest < b.lowest;
}

std::pair<Fingerprint, Camp> largest(const std::map<Fingerprint, Camp>& camps) {
    std::pair<Fingerprint, Camp> best;
    for (const auto& [digest, camp] : camps) {
        if (is_larger(camp, best.second)) best = {digest, camp};
    }
    return best;
}

/// One look at the swarm by one peer.
class Judgement {
  public:
    Judgement(std::span<const Progress> live, const Progress& own, std::span<const PeerId> companions,
              const Doubted& doubted)
        : own_(own), companions_(companions), voters_(voters_of(live, doubted)) {
        for (const Progress* peer : voters_) {
            if (std::binary_search(companions.begin(), companions.end(), peer->peer))
                known_companions_.push_back(peer);
        }
    }

    std::size_t voters() const { return voters_.size(); }

    /// An auxiliary peer follows the others: its own step is worth nothing.
    Step step(Step& crowd) const {
        std::vector<std::int64_t> steps;
        for (const Progress* peer : voters_) steps.push_back(value(peer->step));
        if (steps.empty()) return own_.step;
        std::sort(steps.begin(), steps.end(), std::greater<>());
        crowd = static_cast<Step>(steps[steps.size() / 2]);
        const bool half_is_company = steps.size() % 2 == 0 && steps.size() / 2 >= kCompany;
        std::int64_t step = half_is_company ? steps[steps.size() / 2 - 1] : value(crowd);
        if (own_.role != Role::auxiliary) step = std::max(step, value(own_.step));
        for (const Progress* peer : known_companions_) {
            const Step reached = peer->step;
            if (value(reached) > step &&
                have_quorum([reached](const Progress& p) { return p.step >= reached; }))
                step = value(reached);
        }
        return static_cast<Step>(step);
    }

    /// The state of most at this step; for a peer that trains there its own, as long as it may keep it.
    Fingerprint digest(Step step) const {
        const auto camps = camps_at(step, voters_);
        const auto [theirs, camp] = largest(camps);
        if (!trains(own_) || own_.step != step || theirs == own_.digest) return theirs;
        const bool is_most = 2 * camp.size >= voters_.size() && camp.size >= kCompany;
        const StateClaim claim{step, theirs};
        const bool by_companions = have_quorum(
            [&claim](const Progress& p) { return p.step == claim.step && p.digest == claim.digest; });
        return is_most || by_companions ? theirs : own_.digest;
    }

    /// Asked when neither step nor digest is another than our own.
    void look_for_rivals(SwarmView& view) const {
        if (!trains(own_)) return;
        const Camp ours = camps_at(own_.step, voters_)[own_.digest];
        std::set<Step> steps;
        for (const Progress* peer : voters_)
            if (contradicts(*peer)) steps.insert(peer->step);
        Camp best;
        for (const Step step : steps) {  // ascending: of equal camps the furthest
            for (const auto& [digest, camp] : camps_at(step, voters_)) {
                if (step == own_.step && (digest == own_.digest || !is_larger(camp, ours))) continue;
                const StateClaim claim{step, digest};
                const bool is_further = !view.contradiction || view.contradiction->step < step;
                if (is_further ? camp.size < best.size : !is_larger(camp, best)) continue;
                best = camp;
                view.contradiction = claim;
            }
        }
        const auto against = static_cast<std::size_t>(std::count_if(
            voters_.begin(), voters_.end(), [this](const Progress* peer) { return contradicts(*peer); }));
        const bool is_alone = 2 * against >= voters_.size() ||
                              have_quorum([this](const Progress& peer) { return contradicts(peer); }, 1);
        if (is_alone) view.rival = view.contradiction;
    }

  private:
    bool contradicts(const Progress& peer) const {
        return peer.peer != own_.peer && peer.training &&
               (peer.step > own_.step || (peer.step == own_.step && peer.digest != own_.digest));
    }

    bool have_quorum(const std::function<bool(const Progress&)>& holds, std::size_t least = kCompany) const {
        std::vector<PeerId> there;  // ascending
        for (const Progress* peer : known_companions_) {
            if (peer->training && holds(*peer)) there.push_back(peer->peer);
        }
        return there.size() >= least && is_quorum(companions_, [&there](const PeerId& peer) {
                   return std::binary_search(there.begin(), there.end(), peer);
               });
    }

    const Progress& own_;
    std::span<const PeerId> companions_;
    std::vector<const Progress*> voters_, known_companions_;  ///< ascending PeerId
};

}  // namespace

bool is_quorum(std::span<const PeerId> members, const std::function<bool(const PeerId&)>& present) {
    if (members.empty()) return true;
    const auto there = static_cast<std::size_t>(std::count_if(members.begin(), members.end(), present));
    if (there * 2 != members.size()) return there * 2 > members.size();
    return present(*std::min_element(members.begin(), members.end()));
}

SwarmView judge_swarm(std::span<const Progress> live, const Progress& own, Samples target_batch_size,
                      std::span<const PeerId> companions, const std::function<bool(const PeerId&)>& doubted) {
    const Judgement judgement(live, own, companions, doubted);
    SwarmView view;
    view.peers = live.size();
    view.voters = judgement.voters();
    view.step = judgement.step(view.crowd);
    view.digest = judgement.digest(view.step);
    if (view.step == own.step && view.digest == own.digest) judgement.look_for_rivals(view);

    for (const Progress& peer : live) {
        if (!trains(peer)) continue;
        ++view.training_peers;
        view.samples_per_second += peer.samples_per_second;
        if (peer.step == view.step) view.samples += peer.samples;
    }
    const auto missing = static_cast<double>(value(target_batch_size) - value(view.samples));
    if (missing > 0) {
        constexpr double kLongest = 86'400.0 * 365;
        const double needed = view.samples_per_second > 0 ? missing / view.samples_per_second : kLongest;
        view.eta = from_seconds(std::min(needed, kLongest));
    }
    return view;
}

bool judge_batch_full(const SwarmView& view, std::span<const Progress> live, const Progress& own,
                      Samples target_batch_size) {
    if (value(view.samples) >= value(target_batch_size)) return true;
    std::size_t others = 0, waiting = 0;
    for (const Progress& peer : live) {
        if (peer.peer == own.peer || !trains(peer) || peer.step != view.step) continue;
        if (own.role == Role::client && peer.role == Role::client) continue;
        ++others;
        waiting += peer.waiting ? 1 : 0;
    }
    return waiting * 2 > others;
}

// An honest peer may be faster than its own average says (a machine that others used until now), and its
// records may bunch up on the way: hence the factor and the second.
Samples plausible_samples(const Progress& claim, double computes_for, Samples target_batch_size) {
    const auto claimed = static_cast<double>(value(claim.samples));
    double limit = static_cast<double>(value(target_batch_size));
    if (std::isfinite(computes_for)) {
        constexpr double kFaster = 4.0, kBunching = 1.0;
        limit = std::min(limit, kFaster * claim.samples_per_second *
                                    (computes_for + claim.micro_batch_seconds + kBunching));
    }
    return static_cast<Samples>(static_cast<std::int64_t>(std::min(claimed, std::ceil(limit))));
}

double maximum_weight(Samples target_batch_size) {
    constexpr double kFactor = 2.0;
    return kFactor * static_cast<double>(value(target_batch_size));
}

// More generous than above: a join may overtake the record that explains it, and who is refused wrongly has
// worked for nothing.
double plausible_weight(Samples claimed, const Progress& record, double seconds_ago) {
    if (!(record.samples_per_second > 0)) return std::numeric_limits<double>::infinity();  // not known yet
    constexpr double kFaster = 8.0, kOvertaking = 2.0;
    const double since = seconds_ago + record.micro_batch_seconds + kOvertaking;
    return static_cast<double>(value(claimed)) + kFaster * record.samples_per_second * since;
}

}  // namespace shoal::collective
