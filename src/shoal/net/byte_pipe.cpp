#include "shoal/net/byte_pipe.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <functional>

namespace shoal::net {

OutgoingBatch::OutgoingBatch() : headers_(kMaximumParts * kHeaderSpace) {
    parts_.reserve(kMaximumParts + 1);
}

void OutgoingBatch::begin(Bytes& owned) {
    owned_.clear();
    owned_.swap(owned);
    headers_used_ = 0;
    parts_.clear();
    detached_.clear();
    next_ = 0;
    bytes_ = 0;
    add_view(owned_);
}

void OutgoingBatch::add_header(ByteView header) {
    assert(headers_used_ + header.size() <= headers_.size);
    std::uint8_t* place = headers_.data.get() + headers_used_;
    std::memcpy(place, header.data(), header.size());
    headers_used_ += header.size();
    add_view(ByteView(place, header.size()));
}

void OutgoingBatch::add_view(ByteView view) {
    if (view.empty()) return;
    parts_.emplace_back(view.data(), view.size());
    bytes_ += view.size();
}

void OutgoingBatch::consume(std::size_t count) {
    assert(count <= bytes_);
    bytes_ -= count;
    while (count > 0) {
        asio::const_buffer& part = parts_[next_];
        const std::size_t taken = std::min(count, part.size());
        part += taken;
        count -= taken;
        if (part.size() == 0) ++next_;
    }
}

void OutgoingBatch::detach(ByteView region) {
    const std::less_equal<const void*> not_after;
    for (std::size_t i = next_; i < parts_.size(); ++i) {
        const auto* start = static_cast<const std::uint8_t*>(parts_[i].data());
        const bool inside = !region.empty() && not_after(region.data(), start) &&
                            not_after(start + parts_[i].size(), region.data() + region.size());
        if (!inside) continue;
        detached_.emplace_back(start, start + parts_[i].size());
        parts_[i] = asio::const_buffer(detached_.back().data(), detached_.back().size());
    }
}

}  // namespace shoal::net
