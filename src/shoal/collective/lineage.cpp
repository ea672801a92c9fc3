#include "shoal/collective/lineage.h"

#include <algorithm>
#include <map>
#include <set>

namespace shoal::collective {
namespace {

bool is_witness(const Join& join) {
    return !join.last_members.empty();
}

bool is_founder(const Join& join) {
    return !is_witness(join) && !join.newcomer && join.role != Role::auxiliary;
}

/// By the list of this witness, whose numbers are ascending.
bool is_quorum_for(const Join& witness, const std::set<std::uint64_t>& present) {
    const std::vector<std::uint64_t>& members = witness.last_members;
    const auto here = static_cast<std::size_t>(std::count_if(
        members.begin(), members.end(), [&present](std::uint64_t m) { return present.contains(m); }));
    if (2 * here != members.size()) return 2 * here > members.size();
    return present.contains(members.front());
}

/// The round that the group must come from: the leader's, or that of most witnesses.
RoundId round_of(std::span<const Join> joins) {
    if (is_witness(joins[0])) return joins[0].last_round;
    std::map<RoundId, std::size_t> named;
    RoundId best{};
    for (const Join& join : joins)
        if (is_witness(join) && ++named[join.last_round] > named[best]) best = join.last_round;
    return best;
}

}  // namespace

std::uint64_t member_number(const PeerId& peer) {
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < sizeof(number); ++i) number = number << 8U | peer.bytes()[i];
    return number;
}

void set_lineage(Join& join, const Lineage& lineage) {
    join.last_members.clear();
    for (const PeerId& member : lineage.members) join.last_members.push_back(member_number(member));
    std::sort(join.last_members.begin(), join.last_members.end());
    join.last_round = lineage.members.empty() ? RoundId{} : lineage.round;
    join.newcomer = lineage.members.empty() && lineage.newcomer;
}

bool has_witness(std::span<const Join> joins) {
    return std::any_of(joins.begin(), joins.end(), is_witness);
}

bool may_go_on(std::span<const Join> joins) {
    std::set<RoundId> rounds;
    std::set<std::uint64_t> present;
    for (const Join& join : joins) {
        if (!is_witness(join)) continue;
        rounds.insert(join.last_round);
        present.insert(member_number(join.peer));
    }
    if (rounds.empty()) return std::any_of(joins.begin(), joins.end(), is_founder);
    return rounds.size() == 1 && std::all_of(joins.begin(), joins.end(), [&present](const Join& join) {
               return !is_witness(join) || is_quorum_for(join, present);
           });
}

std::vector<bool> choose_group(std::span<const Join> joins) {
    const RoundId round = round_of(joins);
    std::vector<bool> chosen(joins.size());
    for (std::size_t i = 0; i < joins.size(); ++i)
        chosen[i] = !is_witness(joins[i]) || joins[i].last_round == round;
    for (bool changed = true; changed;) {  // whom one witness misses, another may have needed
        changed = false;
        std::set<std::uint64_t> present;
        for (std::size_t i = 0; i < joins.size(); ++i)
            if (chosen[i] && is_witness(joins[i])) present.insert(member_number(joins[i].peer));
        for (std::size_t i = 0; i < joins.size(); ++i) {
            if (!chosen[i] || !is_witness(joins[i]) || is_quorum_for(joins[i], present)) continue;
            chosen[i] = false;
            changed = true;
        }
    }
    std::vector<Join> group;
    for (std::size_t i = 0; i < joins.size(); ++i)
        if (chosen[i]) group.push_back(joins[i]);
    if (!chosen[0] || !may_go_on(group)) chosen.assign(joins.size(), false);
    return chosen;
}

}  // namespace shoal::collective
