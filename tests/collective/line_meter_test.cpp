#include "shoal/collective/line_meter.h"

#include "averager_harness.h"

#include <gtest/gtest.h>
#include <limits>

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

/// Feeds a direction: for each interval of 50 ms, so many bytes.
class Line {
  public:
    void round(const std::vector<std::uint64_t>& bytes) {
        estimate.begin(now_);
        for (const std::uint64_t some : bytes) estimate.add(now_ = now_ + 50ms, some);
        estimate.end();
    }
    LineEstimate estimate;

  private:
    TimePoint now_{};
};

TEST(LineMeter, takes_the_fastest_stretch_of_a_round_and_not_its_average) {
    Line line;
    std::vector<std::uint64_t> bytes(100, 1000);
    for (int i = 40; i < 48; ++i) bytes[static_cast<std::size_t>(i)] = 500'000;
    line.round(bytes);
    EXPECT_NEAR(line.estimate.rate(), 1e7, 1e4);
}

TEST(LineMeter, a_buffer_that_fills_at_once_is_no_fast_line) {
    Line line;
    std::vector<std::uint64_t> bytes(100, 100'000);
    bytes[0] = 200'000;
    line.round(bytes);
    EXPECT_LE(line.estimate.rate(), 2e6 * 1.25);
}

TEST(LineMeter, what_is_too_short_or_too_small_tells_nothing) {
    const auto stretch = static_cast<std::size_t>(LineEstimate::kStretch / 50ms);
    Line line;
    line.round(std::vector<std::uint64_t>(stretch - 1, 10'000'000));
    EXPECT_EQ(line.estimate.rate(), 0);
    line.round(std::vector<std::uint64_t>(stretch, LineEstimate::kStretchBytes / stretch - 1));
    EXPECT_EQ(line.estimate.rate(), 0);
    line.round(std::vector<std::uint64_t>(stretch, LineEstimate::kStretchBytes / stretch));
    EXPECT_NEAR(line.estimate.rate(), static_cast<double>(LineEstimate::kStretchBytes) / 0.2, 1);
}

TEST(LineMeter, rises_faster_than_it_falls) {
    LineEstimate line;
    line.observe(100);
    EXPECT_EQ(line.rate(), 100);
    line.observe(200);
    EXPECT_EQ(line.rate(), 150);
    line.observe(100);
    EXPECT_EQ(line.rate(), 140);
    for (const double nonsense :
         {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
        line.observe(nonsense);
    EXPECT_EQ(line.rate(), 140);
}

TEST(LineMeter, counts_all_connections_together_and_new_ones_from_their_start) {
    LineMeter meter;
    std::vector<net::ConnectionInfo> connections(2);
    connections[0].peer = test_peer(1);
    connections[1].peer = test_peer(2);
    connections[0].bytes_delivered = 1'000'000'000;  // long before the round
    TimePoint now{};
    meter.begin(now, connections);
    for (int i = 0; i < 20; ++i) {
        connections[0].bytes_delivered += 100'000;
        connections[1].bytes_delivered += 200'000;
        connections[1].bytes_received += 50'000;
        if (i == 10) {  // dialled anew
            connections[1].bytes_delivered = 200'000;
            connections[1].bytes_received = 50'000;
        }
        now = now + 50ms;
        meter.sample(now, connections);
    }
    meter.end();
    EXPECT_NEAR(meter.upload(), 6e6, 1);
    EXPECT_NEAR(meter.download(), 1e6, 1);
}

TEST(LineMeter, tells_two_connections_with_the_same_peer_apart) {
    LineMeter meter;
    std::vector<net::ConnectionInfo> connections(2);
    for (auto& connection : connections) connection.peer = test_peer(1);
    connections[0].dialled_by_us = true;
    connections[0].bytes_delivered = connections[0].bytes_received = 1'000'000'000;  // before the round
    TimePoint now{};
    meter.begin(now, connections);
    for (int i = 0; i < 20; ++i) {
        connections[0].bytes_delivered += 100'000;
        connections[1].bytes_received += 50'000;
        now = now + 50ms;
        const bool is_closed = i >= 15;  // the first
        meter.sample(now, std::span(connections).subspan(is_closed ? 1 : 0));
    }
    meter.end();
    EXPECT_NEAR(meter.upload(), 2e6, 1);
    EXPECT_NEAR(meter.download(), 1e6, 1);
}

}  // namespace
}  // namespace shoal::collective
