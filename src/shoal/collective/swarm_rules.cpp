#include "shoal/collective/swarm_rules.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace shoal::collective {

namespace {

bool trains(const Progress& peer) {
    return peer.training && peer.role != Role::auxiliary;
}

/// Steps of the voters, highest first.
std::vector<std::int64_t> voted_steps(std::span<const Progress> live,
                                      const std::function<bool(const PeerId&)>& doubted) {
    const auto may_vote = [&](const Progress& peer) {
        return peer.role != Role::auxiliary && !doubted(peer.peer);
    };
    const auto votes_as_trainer = [&](const Progress& peer) { return peer.training && may_vote(peer); };
    const bool somebody_trains = std::any_of(live.begin(), live.end(), votes_as_trainer);
    std::vector<std::int64_t> steps;
    for (const Progress& peer : live) {
        if (somebody_trains ? votes_as_trainer(peer) : may_vote(peer)) steps.push_back(value(peer.step));
    }
    std::sort(steps.begin(), steps.end(), std::greater<>());
    return steps;
}

/// The digest that most training peers at the step name; ties go to the one that the lowest PeerId names.
Fingerprint agreed_digest(std::span<const Progress> live, Step step,
                          const std::function<bool(const PeerId&)>& doubted) {
    const auto counts = [&](const Progress& peer) {
        return trains(peer) && peer.step == step && !doubted(peer.peer);
    };
    std::map<Fingerprint, std::size_t> count;
    for (const Progress& peer : live) {
        if (counts(peer)) ++count[peer.digest];
    }
    Fingerprint best;
    std::size_t most = 0;
    for (const Progress& peer : live) {  // ascending PeerId, so the first of equals is the lowest
        if (!counts(peer) || count[peer.digest] <= most) continue;
        most = count[peer.digest];
        best = peer.digest;
    }
    return best;
}

}  // namespace

bool is_quorum(std::span<const PeerId> members, const std::function<bool(const PeerId&)>& present) {
    if (members.empty()) return true;
    const auto there = static_cast<std::size_t>(std::count_if(members.begin(), members.end(), present));
    if (there * 2 != members.size()) return there * 2 > members.size();
    return present(*std::min_element(members.begin(), members.end()));
}

SwarmView judge_swarm(std::span<const Progress> live, const Progress& own, Samples target_batch_size,
                      std::int64_t plausible_lead, const std::function<bool(const PeerId&)>& doubted) {
    SwarmView view;
    view.peers = live.size();
    std::int64_t step = value(own.step);
    const std::vector<std::int64_t> steps = voted_steps(live, doubted);
    if (!steps.empty()) {
        const std::size_t voters = steps.size();
        view.crowd = static_cast<Step>(steps[voters / 2]);
        const bool half_is_company = voters % 2 == 0 && voters >= 4;
        step = std::max(step, half_is_company ? steps[voters / 2 - 1] : steps[voters / 2]);
    }
    const std::int64_t believable = step + plausible_lead;
    for (const Progress& peer : live) {
        const std::int64_t claim = value(peer.step);
        if (peer.role != Role::auxiliary && claim <= believable && !doubted(peer.peer))
            step = std::max(step, claim);
    }
    view.step = static_cast<Step>(step);

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
    view.digest = agreed_digest(live, view.step, doubted);
    return view;
}

bool judge_batch_full(const SwarmView& view, std::span<const Progress> live, const PeerId& self,
                      Samples target_batch_size) {
    if (value(view.samples) >= value(target_batch_size)) return true;
    std::size_t others = 0, waiting = 0;
    for (const Progress& peer : live) {
        if (peer.peer == self || !trains(peer) || peer.step != view.step) continue;
        ++others;
        waiting += peer.waiting ? 1 : 0;
    }
    return waiting * 2 > others;
}

// An honest peer may be faster than its own average says (a machine that others used until now), and its
// records may bunch up on the way: hence the factor and the second.
Samples plausible_samples(const Progress& claim, double seconds_at_step, Samples target_batch_size) {
    const auto claimed = static_cast<double>(value(claim.samples));
    double limit = static_cast<double>(value(target_batch_size));
    if (std::isfinite(seconds_at_step)) {
        constexpr double kFaster = 4.0, kBunching = 1.0;
        limit = std::min(limit, kFaster * claim.samples_per_second *
                                    (seconds_at_step + claim.micro_batch_seconds + kBunching));
    }
    return static_cast<Samples>(static_cast<std::int64_t>(std::min(claimed, std::ceil(limit))));
}

}  // namespace shoal::collective
