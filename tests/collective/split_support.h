// Groups to split work among, for tests.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "shoal/base/random.h"
#include "shoal/collective/work_split.h"

namespace shoal::collective {

inline SplitMember full_member(double upload, double download) {
    SplitMember member;
    member.upload = upload;
    member.download = download;
    return member;
}

inline SplitMember client_member(double bandwidth) {
    SplitMember member = full_member(bandwidth, bandwidth);
    member.reduces = false;
    return member;
}

inline SplitMember auxiliary_member(double bandwidth) {
    SplitMember member = full_member(bandwidth, bandwidth);
    member.sends = member.receives = false;
    return member;
}

inline void add_members(std::vector<SplitMember>& group, std::size_t number, const SplitMember& member) {
    group.insert(group.end(), number, member);
}

/// Any roles, limits that differ up and down, some of them 0 where the member needs none or infinite; at
/// least one sender, one receiver and one reducer. Limits are uniform times `scale`, plus 1e-6.
inline std::vector<SplitMember> random_group(Random& random, std::size_t members, double scale) {
    std::vector<SplitMember> group(members);
    const auto limit = [&] {
        if (random.below(20) == 0) return std::numeric_limits<double>::infinity();
        return random.uniform() * scale + 1e-6;
    };
    for (SplitMember& member : group) {
        member.sends = random.below(4) != 0;
        member.receives = random.below(4) != 0;
        member.reduces = random.below(4) != 0;
    }
    group[random.below(members)].sends = true;
    group[random.below(members)].receives = true;
    group[0].reduces = true;
    for (SplitMember& member : group) {
        member.upload = limit();
        member.download = limit();
        if (!member.sends && !member.reduces && random.below(2) == 0) member.upload = 0;
        if (!member.receives && !member.reduces && random.below(2) == 0) member.download = 0;
        // A reducer that can send nothing, or receive nothing, can reduce nothing; the others must be able
        // to.
        if (!member.sends && !member.receives && &member != &group[0] && random.below(4) == 0)
            (random.below(2) == 0 ? member.upload : member.download) = 0;
    }
    return group;
}

inline double random_scale(Random& random) {
    return std::pow(10.0, -9 + 14 * random.uniform());
}

}  // namespace shoal::collective
