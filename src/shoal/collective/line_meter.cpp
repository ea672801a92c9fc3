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
    std::map<ConnectionKey, Total> now;
    for (const net::ConnectionInfo& info : connections) {
        const Total total{info.bytes_delivered, info.bytes_received};
        ConnectionKey key(info.peer, info.dialled_by_us, info.remote_address);
        const auto before = last_.find(key);
        Total base = before == last_.end() ? Total() : before->second;
        if (total.sent < base.sent || total.received < base.received) base = Total();
        sum.sent += total.sent - base.sent;
        sum.received += total.received - base.received;
        now.emplace(std::move(key), total);
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
