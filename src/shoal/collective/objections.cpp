#include "shoal/collective/objections.h"

#include <algorithm>
#include <limits>

#include "shoal/collective/averager.h"

namespace shoal::collective {
namespace {

constexpr double kAnything = std::numeric_limits<double>::infinity();
/// A median of fewer claims says little.
constexpr std::size_t kClaimsForMedian = 3;

/// The element in the middle; of two the larger. Not of an empty vector.
double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

/// Cuts known claims of one direction to a multiple of their median.
void cut_to_median(std::vector<SplitMember>& lines, double SplitMember::* way) {
    std::vector<double> known;
    for (const SplitMember& line : lines)
        if (line.*way > 0) known.push_back(line.*way);
    if (known.size() < kClaimsForMedian) return;
    const double most = kClaimOverMedian * median(std::move(known));
    for (SplitMember& line : lines) line.*way = std::min(line.*way, most);
}

}  // namespace

std::vector<SplitMember> allowed_lines(std::span<const SplitMember> claims,
                                       std::span<const std::uint64_t> numbers,
                                       std::span<const std::vector<Objection>> objections) {
    std::vector<SplitMember> lines(claims.begin(), claims.end());
    cut_to_median(lines, &SplitMember::upload);
    cut_to_median(lines, &SplitMember::download);
    lines = with_known_limits(lines);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        std::vector<double> up, down;
        for (std::size_t k = 0; k < objections.size(); ++k) {
            if (k == i) continue;
            Objection allowed{numbers[i], kAnything, kAnything};
            for (const Objection& objection : objections[k])
                if (objection.member == numbers[i]) allowed = objection;
            up.push_back(allowed.upload);
            down.push_back(allowed.download);
        }
        if (up.empty()) continue;
        lines[i].upload = std::min(lines[i].upload, median(std::move(up)));
        lines[i].download = std::min(lines[i].download, median(std::move(down)));
    }
    return lines;
}

void ObjectionBook::round_ended(std::span<const Seen> others, double seconds, double promised) {
    if (promised <= 0 || seconds < kShortRound) return;
    const auto worst = std::max_element(others.begin(), others.end(),
                                        [](const Seen& a, const Seen& b) { return a.waited < b.waited; });
    const bool slow = seconds >= kSlow * promised && worst != others.end();
    if (!slow || worst->waited < kWaited * seconds) return relieve(std::nullopt);
    relieve(worst->member);
    object(*worst, seconds);
}

void ObjectionBook::relieve(std::optional<std::uint64_t> except) {
    std::vector<Entry> kept;
    for (Entry& entry : entries_) {
        if (entry.allowed.member != except) {
            entry.allowed.upload = std::min(kRelief * entry.allowed.upload, kMaximumBandwidth);
            entry.allowed.download = std::min(kRelief * entry.allowed.download, kMaximumBandwidth);
        }
        const bool cuts =
            entry.allowed.upload < entry.upload_used || entry.allowed.download < entry.download_used;
        if (cuts) kept.push_back(entry);
    }
    entries_ = std::move(kept);
}

void ObjectionBook::object(const Seen& seen, double seconds) {
    Entry entry;
    const auto carried = [seconds](double bytes) {
        return std::max(kMargin * bytes / seconds, kMinimumBandwidth);
    };
    entry.allowed = {seen.member, carried(seen.uploaded), carried(seen.downloaded)};
    entry.upload_used = seen.upload_used;
    entry.download_used = seen.download_used;
    if (entry.allowed.upload >= seen.upload_used && entry.allowed.download >= seen.download_used) return;
    for (Entry& known : entries_) {
        if (known.allowed.member != seen.member) continue;
        // What the first objection was made against still stands.
        known.allowed = entry.allowed;
        known.upload_used = std::max(known.upload_used, entry.upload_used);
        known.download_used = std::max(known.download_used, entry.download_used);
        return;
    }
    entries_.push_back(entry);
}

std::vector<Objection> ObjectionBook::objections() const {
    std::vector<Objection> all;
    for (const Entry& entry : entries_) all.push_back(entry.allowed);
    const auto stricter = [](const Objection& a, const Objection& b) {
        return std::min(a.upload, a.download) < std::min(b.upload, b.download);
    };
    std::stable_sort(all.begin(), all.end(), stricter);
    if (all.size() > kMaximumObjections) all.resize(kMaximumObjections);
    return all;
}

}  // namespace shoal::collective
