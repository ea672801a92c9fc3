#include "shoal/collective/line_meter.h"

#include <algorithm>
#include <cmath>

namespace shoal::collective {

void LineEstimate::begin(TimePoint now) {
    marks_.clear();
    marks_.push_back({now, 0});
    fastest_ = 0;
}

void LineEstimate::add(TimePoint now, std::uint64_t bytes) {
    if (marks_.empty()) begin(now);
    const Mark end{now, marks_.back().bytes + bytes};
    const auto long_enough = [&end](const Mark& start) {
        return end.at - start.at >= kStretch && end.bytes - start.bytes >= kStretchBytes;
    };
    marks_.push_back(end);
    while (marks_.size() > 2 && long_enough(marks_[1])) marks_.pop_front();
    const Mark& start = marks_.front();
    if (!long_enough(start)) return;
    fastest_ = std::max(fastest_, static_cast<double>(end.bytes - start.bytes) / seconds(end.at - start.at));
}

void LineEstimate::end() {
    observe(fastest_);
    fastest_ = 0;
    marks_.clear();
}

void LineEstimate::observe(double rate) {
    if (!std::isfinite(rate) || rate <= 0) return;
    if (rate_ == 0)
        rate_ = rate;
    else
        rate_ += (rate > rate_ ? kRise : kFall) * (rate - rate_);
}

LineMeter::Total LineMeter::difference(std::span<const net::ConnectionInfo> connections) {
    Total sum;
    std::vector<Seen> now;
    now.reserve(connections.size());
    auto expected = last_.begin();  // a network lists those that stay in the same order
    for (const net::ConnectionInfo& info : connections) {
        const auto is_it = [&info](const Seen& seen) {
            return seen.peer == info.peer && seen.dialled_by_us == info.dialled_by_us &&
                   seen.address == info.remote_address;
        };
        auto before = std::find_if(expected, last_.end(), is_it);
        if (before == last_.end()) before = std::find_if(last_.begin(), expected, is_it);
        const bool is_known = before != last_.end() && is_it(*before);
        const Total total{info.bytes_delivered, info.bytes_received};
        Total base = is_known ? before->total : Total();
        if (total.sent < base.sent || total.received < base.received) base = Total();
        sum.sent += total.sent - base.sent;
        sum.received += total.received - base.received;
        now.push_back({info.peer, info.dialled_by_us, info.remote_address, total});
        if (is_known) expected = before + 1;
    }
    last_ = std::move(now);
    return sum;
}

void LineMeter::begin(TimePoint now, std::span<const net::ConnectionInfo> connections) {
    difference(connections);
    up_.begin(now);
    down_.begin(now);
}

void LineMeter::sample(TimePoint now, std::span<const net::ConnectionInfo> connections) {
    const Total passed = difference(connections);
    up_.add(now, passed.sent);
    down_.add(now, passed.received);
}

void LineMeter::end() {
    up_.end();
    down_.end();
}

void LineMeter::observe(double upload, double download) {
    up_.observe(upload);
    down_.observe(download);
}

}  // namespace shoal::collective
