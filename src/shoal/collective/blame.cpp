#include "shoal/collective/blame.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

namespace shoal::collective {
namespace {

using Pair = std::pair<std::size_t, std::size_t>;

std::string cause_of(std::size_t member, const std::vector<Observation>& observations,
                     const RoundPlan& plan) {
    for (const Observation& observation : observations)
        for (const Blame& blame : observation.blames)
            if (blame.member == member)
                return "peer " + plan.members[member].peer.short_name() + ": " + blame.cause;
    return "peer " + plan.members[member].peer.short_name() + " could not reach several others";
}

}  // namespace

Culprits find_culprits(const std::vector<Observation>& observations, const std::vector<bool>& silent,
                       std::size_t proposer, const RoundPlan& plan) {
    std::set<Pair> links;  // of complaints, without direction
    std::vector<std::size_t> blamed(observations.size(), 0);
    std::set<std::size_t> lost;
    std::string cause;
    for (std::size_t from = 0; from < observations.size(); ++from)
        for (const Blame& blame : observations[from].blames) {
            if (blame.member == from) {  // it says so itself
                lost.insert(from);
                if (cause.empty()) cause = cause_of(from, observations, plan);
                continue;
            }
            ++blamed[blame.member];
            links.insert(std::minmax(from, blame.member));
        }
    // Whoever is silent explains every complaint about it, and takes nobody with it.
    for (std::size_t member = 0; member < blamed.size(); ++member) {
        if (!silent[member] || blamed[member] == 0) continue;
        lost.insert(member);
        if (cause.empty()) cause = cause_of(member, observations, plan);
    }
    const auto drop_links_of = [&links](std::size_t member) {
        std::erase_if(links,
                      [member](const Pair& link) { return link.first == member || link.second == member; });
    };
    for (const std::size_t member : lost) drop_links_of(member);
    while (!links.empty()) {
        const auto weight = [&](std::size_t member) {
            const auto degree = std::count_if(links.begin(), links.end(), [member](const Pair& link) {
                return link.first == member || link.second == member;
            });
            // The proposer decides on what others have told it, and they may die before they tell: its own
            // word alone, of few others, is more likely true of them.
            const bool credible = member != proposer || blamed[member] > 0 ||
                                  2 * static_cast<std::size_t>(degree) > observations.size() - 1;
            return std::tuple(credible ? degree : 0, blamed[member], member != proposer, member);
        };
        std::size_t worst = 0;
        for (std::size_t member = 1; member < observations.size(); ++member)
            if (weight(member) > weight(worst)) worst = member;
        lost.insert(worst);
        if (cause.empty()) cause = cause_of(worst, observations, plan);
        drop_links_of(worst);
    }
    Culprits culprits;
    culprits.lost.assign(lost.begin(), lost.end());
    culprits.cause = cause.empty() ? "the leader of the round was lost" : cause;
    return culprits;
}

std::vector<Blame> compare_digests(const std::vector<Observation>& observations, const RoundPlan& plan) {
    std::vector<Blame> blames;
    for (std::size_t owner = 0; owner < plan.members.size(); ++owner) {
        const Fingerprint& truth = observations[owner].digests[owner];
        std::vector<std::size_t> different;
        std::size_t holders = 0;
        for (std::size_t member = 0; member < plan.members.size(); ++member) {
            if (member == owner || !plan.contributes(member)) continue;
            ++holders;
            if (observations[member].digests[owner] != truth) different.push_back(member);
        }
        if (2 * different.size() > holders) {
            blames.push_back({owner, "sent different results than it holds"});
        } else {
            for (const std::size_t member : different)
                blames.push_back({member, "holds different results than the others"});
        }
    }
    return blames;
}

}  // namespace shoal::collective
