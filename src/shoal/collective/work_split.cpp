#include "shoal/collective/work_split.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "shoal/base/error.h"

namespace shoal::collective {
namespace {

/// Members that count as equally fast when no bandwidth is known.
constexpr double kUnknownLimit = 1.0;

/// A share smaller than this part of the largest is given up, as long as all that are given up are together
/// no more than that part of the vector.
constexpr double kSmallShare = 1.0 / 16, kSmallTogether = 1.0 / 32;

struct Crowd {
    double senders = 0, receivers = 0;
};

Crowd count(std::span<const SplitMember> members) {
    Crowd crowd;
    for (const SplitMember& member : members) {
        crowd.senders += member.sends ? 1 : 0;
        crowd.receivers += member.receives ? 1 : 0;
    }
    return crowd;
}

/// What a member moves one way in a round, in vector lengths: fixed + slope * its share.
struct Load {
    double fixed = 0, slope = 0;
    double at(double share) const { return fixed + slope * share; }
};

Load upload_of(const SplitMember& member, const Crowd& crowd) {
    const double sends = member.sends ? 1 : 0, receives = member.receives ? 1 : 0;
    return {sends, crowd.receivers - receives - sends};
}

Load download_of(const SplitMember& member, const Crowd& crowd) {
    const double sends = member.sends ? 1 : 0, receives = member.receives ? 1 : 0;
    return {receives, crowd.senders - sends - receives};
}

/// The shares that a member can bear in a round of a given length; none where lower > upper.
struct Bounds {
    double lower = 0, upper = 0;
};

/// Time * limit, where no time is nothing and no limit is no limit.
double budget_of(double seconds, double limit) {
    if (limit == 0) return 0;
    return std::isinf(limit) ? limit : seconds * limit;
}

void tighten(Bounds& bounds, const Load& load, double budget) {
    if (load.slope > 0) {
        bounds.upper = std::min(bounds.upper, (budget - load.fixed) / load.slope);
    } else if (load.slope < 0) {  // a single sender or receiver: what it reduces itself need not travel
        bounds.lower = std::max(bounds.lower, (load.fixed - budget) / -load.slope);
    } else if (load.fixed > budget) {
        bounds.upper = -1;
    }
}

/// The bounds of all members within a round of some length, and their sums.
class Intervals {
  public:
    explicit Intervals(std::span<const SplitMember> members)
        : members_(members), crowd_(count(members)), bounds_(members.size()) {}

    /// True if the shares of a round of this length can add up to 1.
    bool fit(double seconds) {
        ++passes_;
        double lower = 0, upper = 0;
        for (std::size_t i = 0; i < members_.size(); ++i) {
            const SplitMember& member = members_[i];
            Bounds bounds{0, member.reduces ? 1.0 : 0.0};
            tighten(bounds, upload_of(member, crowd_), budget_of(seconds, member.upload));
            tighten(bounds, download_of(member, crowd_), budget_of(seconds, member.download));
            if (bounds.lower > bounds.upper) return false;
            lower += bounds.lower;
            upper += bounds.upper;
            bounds_[i] = bounds;
        }
        return lower <= 1 && upper >= 1;
    }

    const std::vector<Bounds>& bounds() const { return bounds_; }
    std::size_t passes() const { return passes_; }

  private:
    const std::span<const SplitMember> members_;
    const Crowd crowd_;
    std::vector<Bounds> bounds_;
    std::size_t passes_ = 0;
};

void check_limits(std::span<const SplitMember> members) {
    for (const SplitMember& member : members)
        if (!(member.upload >= 0) || !(member.download >= 0))
            throw Error(ErrorKind::invalid_argument, "a bandwidth must be a number of at least 0");
}

double fastest(std::span<const SplitMember> members) {
    double limit = 0;
    for (const SplitMember& member : members)
        for (const double one : {member.upload, member.download})
            if (std::isfinite(one)) limit = std::max(limit, one);
    return limit == 0 ? kUnknownLimit : limit;
}

/// The shortest length that fits, to the last bit.
double shortest(Intervals& intervals, double guess) {
    if (intervals.fit(0)) return 0;
    if (!intervals.fit(std::numeric_limits<double>::max()))
        throw Error(ErrorKind::invalid_argument, "a member of the group can send or receive nothing");
    double high = guess;
    while (intervals.fit(high)) high /= 2;
    while (!intervals.fit(high)) high *= 2;
    double low = high / 2;
    for (;;) {
        const double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high) return high;
        (intervals.fit(middle) ? high : low) = middle;
    }
}

/// In proportion to the upper bounds, each kept within its bounds, with a sum of 1.
std::vector<double> share_out(const std::vector<Bounds>& bounds) {
    std::vector<double> fractions(bounds.size());
    const auto fill = [&](double scale) {
        double sum = 0;
        for (std::size_t i = 0; i < bounds.size(); ++i)
            sum += fractions[i] = std::max(bounds[i].lower, bounds[i].upper * scale);
        return sum;
    };
    double upper = 0;
    for (const Bounds& b : bounds) upper += b.upper;
    double low = 0, high = 1 / upper;
    // Lower bounds, which are rare, leave less for the others.
    if (fill(high) > 1)
        for (double middle = high / 2; middle > low && middle < high; middle = low + (high - low) / 2)
            (fill(middle) > 1 ? high : low) = middle;
    const double sum = fill(high);
    for (double& fraction : fractions) fraction /= sum;  // the last bits
    return fractions;
}

/// Gives up the smallest shares. Whoever can bear only so little has a line that is full of its own vector,
/// and all wait for that: each result that it has to send to all others in between costs more than its share
/// is worth.
void give_up_small_shares(std::vector<double>& fractions) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < fractions.size(); ++i) order.push_back(i);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return fractions[a] < fractions[b]; });
    const double small = kSmallShare * fractions[order.back()];
    double together = 0;
    for (const std::size_t i : order) {
        together += fractions[i];
        if (fractions[i] >= small || together > kSmallTogether) break;
        fractions[i] = 0;
    }
}

/// The known limits of one direction.
struct Known {
    double sum = 0, number = 0;
    void add(double limit) {
        if (limit == 0 || std::isinf(limit)) return;
        sum += limit;
        ++number;
    }
    double mean_or(double other) const { return number > 0 ? sum / number : other; }
};

}  // namespace

std::vector<SplitMember> with_known_limits(std::span<const SplitMember> members) {
    check_limits(members);
    Known up, down;
    for (const SplitMember& member : members) {
        up.add(member.upload);
        down.add(member.download);
    }
    const double upload = up.mean_or(down.mean_or(kUnknownLimit));
    const double download = down.mean_or(up.mean_or(kUnknownLimit));
    std::vector<SplitMember> known(members.begin(), members.end());
    for (SplitMember& member : known) {
        const double none = std::numeric_limits<double>::infinity();
        if (member.upload == 0) member.upload = member.reduces ? upload : none;
        if (member.download == 0) member.download = member.reduces ? download : none;
    }
    return known;
}

WorkSplit split_shortest(std::span<const SplitMember> members) {
    check_limits(members);
    if (std::none_of(members.begin(), members.end(), [](const SplitMember& m) { return m.reduces; }))
        throw Error(ErrorKind::invalid_argument, "nobody in the group can reduce");
    Intervals intervals(members);
    WorkSplit split;
    split.seconds = shortest(intervals, 1 / fastest(members));
    intervals.fit(split.seconds);
    split.fractions = share_out(intervals.bounds());
    split.passes = intervals.passes();
    return split;
}

std::vector<double> split_fractions(std::span<const SplitMember> members) {
    return split_shortest(with_known_limits(members)).fractions;
}

std::vector<std::size_t> split_work(std::size_t elements, std::span<const SplitMember> members,
                                    std::size_t minimum_part) {
    std::vector<double> scores = split_fractions(members);
    give_up_small_shares(scores);
    const auto size = static_cast<double>(elements);
    if (*std::max_element(scores.begin(), scores.end()) * size >= static_cast<double>(minimum_part)) {
        for (double& score : scores)
            if (score * size < static_cast<double>(minimum_part)) score = 0;
    }
    // Rounded, so that last-bit noise of the bisection cannot decide who gets an element.
    double sum = 0;
    for (double& score : scores) sum += score;
    for (double& score : scores) score = std::round(score / sum * 1e9) / 1e9;
    std::vector<std::size_t> parts;
    std::size_t given = 0;
    for (const double score : scores) {
        const auto part = std::min(static_cast<std::size_t>(std::floor(score * size)), elements - given);
        parts.push_back(part);
        given += part;
    }
    // The scores may add up to a little less than 1, and of a huge vector 1e-9 is many elements: the largest
    // takes them.
    const auto largest =
        static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
    if (elements - given > members.size()) {
        parts[largest] += elements - given - members.size();
        given = elements - members.size();
    }
    for (; given < elements; ++given) {
        std::size_t best = largest;
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const auto priority = [&](std::size_t k) {
                return scores[k] / static_cast<double>(parts[k] + 1);
            };
            if (priority(i) > priority(best)) best = i;
        }
        ++parts[best];
    }
    return parts;
}

double split_cost(std::span<const double> fractions, std::span<const SplitMember> members) {
    const std::vector<SplitMember> known = with_known_limits(members);
    const std::vector<SplitLoad> loads = split_loads(fractions, members);
    double cost = 0;
    for (std::size_t i = 0; i < known.size(); ++i) {
        if (loads[i].upload > 0) cost = std::max(cost, loads[i].upload / known[i].upload);
        if (loads[i].download > 0) cost = std::max(cost, loads[i].download / known[i].download);
    }
    return cost;
}

std::vector<SplitLoad> split_loads(std::span<const double> fractions, std::span<const SplitMember> members) {
    const Crowd crowd = count(members);
    std::vector<SplitLoad> loads;
    for (std::size_t i = 0; i < members.size(); ++i)
        loads.push_back(
            {upload_of(members[i], crowd).at(fractions[i]), download_of(members[i], crowd).at(fractions[i])});
    return loads;
}

std::vector<double> equal_split(std::span<const SplitMember> members) {
    const auto reducers = static_cast<double>(
        std::count_if(members.begin(), members.end(), [](const SplitMember& m) { return m.reduces; }));
    if (reducers == 0) throw Error(ErrorKind::invalid_argument, "nobody in the group can reduce");
    std::vector<double> fractions;
    for (const SplitMember& member : members) fractions.push_back(member.reduces ? 1 / reducers : 0);
    return fractions;
}

std::vector<double> best_server_split(std::span<const SplitMember> members) {
    std::vector<double> best;
    double best_cost = 0;
    for (std::size_t server = 0; server < members.size(); ++server) {
        if (!members[server].reduces) continue;
        std::vector<double> fractions(members.size(), 0);
        fractions[server] = 1;
        const double cost = split_cost(fractions, members);
        if (!best.empty() && cost >= best_cost) continue;
        best = std::move(fractions);
        best_cost = cost;
    }
    if (best.empty()) throw Error(ErrorKind::invalid_argument, "nobody in the group can reduce");
    return best;
}

}  // namespace shoal::collective
