#include "shoal/lab/bench_dht.h"

#include <algorithm>
#include <asio/io_context.hpp>
#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/base/random.h"
#include "shoal/dht/opendht_directory.h"

namespace shoal::lab {

namespace {

using namespace std::chrono_literals;

constexpr Duration kPatience = 20s;  ///< an operation that takes longer has failed

/// Latencies of one kind of operation, and how many were tried.
struct Series {
    std::string name;
    std::vector<double> milliseconds = {};
    int tried = 0;

    void add(Duration duration) { milliseconds.push_back(seconds(duration) * 1e3); }
    double quantile(double share) {
        if (milliseconds.empty()) return std::nan("");
        std::sort(milliseconds.begin(), milliseconds.end());
        return milliseconds[std::min(
            milliseconds.size() - 1,
            static_cast<std::size_t>(share * static_cast<double>(milliseconds.size())))];
    }
    double success() const { return tried == 0 ? 0 : static_cast<double>(milliseconds.size()) / tried; }
};

class DhtBench {
  public:
    DhtBench(asio::io_context& context, const BenchDhtOptions& options)
        : context_(context), options_(options), random_(1) {}

    awaitable<void> run() {
        const TimePoint start = clock_.now();
        for (int i = 0; i < options_.nodes; ++i) nodes_.push_back(make_node());
        for (const auto& node : nodes_) co_await until_connected(*node);
        connect_seconds_ = seconds(clock_.now() - start);
        const auto operations = options_.result.quick ? options_.operations / 4 : options_.operations;
        co_await measure(whole_, operations);
        const auto dead = static_cast<std::size_t>(options_.killed * options_.nodes + 0.5);
        for (std::size_t i = 0; i < dead; ++i) {
            const std::size_t victim = 1 + random_.below(nodes_.size() - 1);
            nodes_[victim]->shut_down();
            nodes_.erase(nodes_.begin() + static_cast<std::ptrdiff_t>(victim));
        }
        co_await measure(damaged_, operations);
        for (const auto& node : nodes_) node->shut_down();
    }

    int report();

  private:
    struct Phase {
        Series publish{"publish"}, read{"read"}, push{"push to a watcher"};
    };

    std::shared_ptr<dht::OpenDhtDirectory> make_node() {
        dht::OpenDhtSettings settings;
        settings.run = "bench";
        settings.listen_host = "127.0.0.1";
        settings.limit_rate = false;
        settings.operation_timeout = kPatience;
        if (!nodes_.empty()) settings.bootstrap = {net::Endpoint{"127.0.0.1", nodes_[0]->port()}};
        return dht::make_opendht_directory(context_.get_executor(), clock_,
                                           std::make_shared<KeyPair>(KeyPair::generate()), settings, Log());
    }

    awaitable<void> until_connected(dht::OpenDhtDirectory& node) {
        const TimePoint deadline = clock_.now() + 30s;
        while (node.status().nodes == 0) {
            if (clock_.now() > deadline)
                throw Error(ErrorKind::timed_out, "a directory node met nobody within 30 s");
            co_await clock_.sleep_for(5ms);
        }
    }

    dht::OpenDhtDirectory& random_node() { return *nodes_[random_.below(nodes_.size())]; }

    awaitable<void> measure(Phase& phase, int operations) {
        for (int i = 0; i < operations; ++i) {
            const std::string key = fmt::format("bench/{}", next_key_++);
            auto& writer = random_node();
            auto& reader = random_node();
            Signal arrived(context_.get_executor());
            bool pushed = false;
            const auto token = random_node().watch(key, [&](const dht::Record&) {
                pushed = true;
                arrived.notify();
            });
            co_await publish(phase, writer, key);
            const TimePoint published = clock_.now();
            co_await read(phase, reader, key);
            ++phase.push.tried;
            try {
                while (!pushed)
                    co_await with_deadline(clock_, published + kPatience, arrived.wait(), "the push");
                phase.push.add(clock_.now() - published);
            } catch (const Error&) {
                // Counted as tried and not as arrived.
            }
            fmt::print("\r\033[2K{} nodes: {}/{}", nodes_.size(), i + 1, operations);
            std::fflush(stdout);
        }
        fmt::print("\r\033[2K");
    }

    awaitable<void> publish(Phase& phase, dht::OpenDhtDirectory& node, const std::string& key) {
        ++phase.publish.tried;
        const TimePoint start = clock_.now();
        try {
            co_await node.publish(key, "", Bytes(64, 7), 60s);
            phase.publish.add(clock_.now() - start);
        } catch (const Error&) {
            // Counted as tried and not as done.
        }
    }

    awaitable<void> read(Phase& phase, dht::OpenDhtDirectory& node, const std::string& key) {
        ++phase.read.tried;
        const TimePoint start = clock_.now();
        try {
            const auto records = co_await node.read(key);
            if (!records.empty()) phase.read.add(clock_.now() - start);
        } catch (const Error&) {
            // Counted as tried and not as done.
        }
    }

    asio::io_context& context_;
    BenchDhtOptions options_;
    RealClock clock_;
    Random random_;
    std::vector<std::shared_ptr<dht::OpenDhtDirectory>> nodes_;
    Phase whole_, damaged_;
    double connect_seconds_ = 0;
    int next_key_ = 0;
};

int DhtBench::report() {
    Result result("bench dht", options_.result);
    result.json().update({{"nodes", options_.nodes},
                          {"killed_share", options_.killed},
                          {"connect_seconds", connect_seconds_}});
    fmt::print("{} directory nodes on loopback, connected within {:.2f} s\n", options_.nodes,
               connect_seconds_);
    double worst_success = 1;
    for (auto* phase : {&whole_, &damaged_}) {
        fmt::print("{}:\n", phase == &whole_
                                ? "all nodes alive"
                                : fmt::format("{:.0f} % of the nodes killed", options_.killed * 100));
        for (auto* series : {&phase->publish, &phase->read, &phase->push}) {
            fmt::print("  {:<18} p50 {:7.2f} ms  p95 {:7.2f} ms  success {:.1f} %\n", series->name,
                       series->quantile(0.5), series->quantile(0.95), series->success() * 100);
            result.json()[phase == &whole_ ? "alive" : "killed"][series->name] = {
                {"p50_ms", series->quantile(0.5)},
                {"p95_ms", series->quantile(0.95)},
                {"success", series->success()},
                {"tried", series->tried}};
            worst_success = std::min(worst_success, series->success());
        }
    }
    result.demand_at_least("success of every kind of operation, also with nodes killed", worst_success * 100,
                           100, "%");
    result.demand_at_most("publish p50, all nodes alive", whole_.publish.quantile(0.5), 14.87, "ms");
    result.demand_at_most("read p50, all nodes alive", whole_.read.quantile(0.5), 6.64, "ms");
    return result.finish();
}

}  // namespace

int bench_dht(const BenchDhtOptions& options) {
    asio::io_context context(1);
    DhtBench bench(context, options);
    std::exception_ptr failure;
    asio::co_spawn(context, bench.run(), [&](std::exception_ptr error) {
        failure = std::move(error);
        context.stop();
    });
    context.run();
    if (failure) std::rethrow_exception(failure);
    return bench.report();
}

}  // namespace shoal::lab
