#include "shoal/lab/bench_dht.h"

#include <algorithm>
#include <array>
#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/base/random.h"
#include "shoal/dht/opendht_directory.h"

namespace shoal::lab {

namespace {

using namespace std::chrono_literals;

constexpr Duration kPatience = 20s;    ///< an operation that takes longer has failed
constexpr Duration kQuickPhase = 15s;  ///< with --quick a phase measures no longer

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

/// One state of the swarm: all nodes alive, some killed, some gone silent.
struct Phase {
    std::string name, title;
    Series publish{"publish"}, read{"read"}, push{"push to a watcher"};

    std::array<Series*, 3> all() { return {&publish, &read, &push}; }
};

class DhtBench {
  public:
    DhtBench(asio::io_context& context, const BenchDhtOptions& options)
        : context_(context),
          options_(options),
          random_(1),
          operations_(options.result.quick ? options.operations / 4 : options.operations) {
        const double share = options.killed * 100;
        phases_[0] = {"alive", "all nodes alive"};
        phases_[1] = {"killed", fmt::format("{:.0f} % of the nodes killed", share)};
        phases_[2] = {"silent", fmt::format("{:.0f} % of the nodes gone without a trace", share)};
    }

    awaitable<void> run() {
        start_ = clock_.now();
        co_await connect();
        co_await measure(phases_[0]);
        remove_some(false);
        co_await measure(phases_[1]);
        co_await connect();
        remove_some(true);
        co_await measure(phases_[2]);
        leave();
    }

    int report();

  private:
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

    /// A new swarm in the place of the last one.
    awaitable<void> connect() {
        leave();
        const TimePoint start = clock_.now();
        for (int i = 0; i < options_.nodes; ++i) nodes_.push_back(make_node());
        for (const auto& node : nodes_) co_await until_connected(*node);
        connect_seconds_ = std::max(connect_seconds_, seconds(clock_.now() - start));
    }

    void leave() {
        for (const auto& node : nodes_) node->shut_down();
        nodes_.clear();
        mute_.clear();
    }

    /// Of a killed process the system says that its port is closed. Of a machine that has gone nobody says
    /// anything: here a socket that never answers takes its place.
    void remove_some(bool silently) {
        const auto dead = static_cast<std::size_t>(options_.killed * options_.nodes + 0.5);
        for (std::size_t i = 0; i < dead; ++i) {
            const std::size_t victim = 1 + random_.below(nodes_.size() - 1);
            const asio::ip::udp::endpoint where(asio::ip::address_v4::loopback(), nodes_[victim]->port());
            nodes_[victim]->shut_down();
            nodes_.erase(nodes_.begin() + static_cast<std::ptrdiff_t>(victim));
            if (silently) mute_.emplace_back(context_, where);
        }
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

    awaitable<void> measure(Phase& phase) {
        const TimePoint limit = options_.result.quick ? clock_.now() + kQuickPhase : TimePoint::never();
        for (int i = 0; i < operations_ && clock_.now() < limit; ++i) {
            show_progress(phase, i);
            // Every second time under a key that was used before: its records have their places already,
            // some of them at nodes that have gone since.
            const std::uint64_t key = i % 2 == 0 ? next_key_++ : random_.below(next_key_);
            co_await measure_one(phase, fmt::format("bench/{}", key));
        }
        fmt::print("\r\033[2K");
        done_ += operations_;
    }

    /// One publishes, another reads, and a third is told; all of them by chance.
    awaitable<void> measure_one(Phase& phase, std::string key) {
        auto& writer = random_node();
        auto& reader = random_node();
        auto arrived = std::make_shared<Arrival>(context_.get_executor());
        Bytes value(64);
        const std::uint64_t number = ++last_value_;
        std::memcpy(value.data(), &number, sizeof number);
        const auto token = random_node().watch(key, [arrived, value, this](const dht::Record& record) {
            if (record.value != value) return;
            arrived->when = clock_.now();
            arrived->changed.notify();
        });
        const TimePoint start = clock_.now();
        awaitable<void> publishing = writer.publish(key, "", value, 120s);
        const bool published = co_await succeeds(phase.publish, std::move(publishing));
        if (!published) co_return;
        awaitable<void> reading = read(reader, key, std::move(value));
        co_await succeeds(phase.read, std::move(reading));
        awaitable<void> waiting = wait_for_push(arrived);
        const bool pushed = co_await detail::ends_in_time(clock_, start + kPatience, std::move(waiting));
        ++phase.push.tried;
        if (pushed) phase.push.add(*arrived->when - start);
    }

    struct Arrival {
        explicit Arrival(const asio::any_io_executor& executor) : changed(executor) {}
        Signal changed;
        std::optional<TimePoint> when;
    };

    awaitable<void> wait_for_push(std::shared_ptr<Arrival> arrival) {
        while (!arrival->when) co_await arrival->changed.wait();
    }

    awaitable<void> read(dht::OpenDhtDirectory& node, std::string key, Bytes value) {
        const auto records = co_await node.read(std::move(key));
        for (const dht::Record& record : records)
            if (record.value == value) co_return;
        throw Error(ErrorKind::unreachable, "what was published was not found");
    }

    awaitable<bool> succeeds(Series& series, awaitable<void> operation) {
        ++series.tried;
        const TimePoint start = clock_.now();
        try {
            co_await std::move(operation);
            series.add(clock_.now() - start);
            co_return true;
        } catch (const Error&) {
            co_return false;  // counted as tried and not as done
        }
    }

    void show_progress(const Phase& phase, int done) const {
        const int all_done = done_ + done, all = operations_ * static_cast<int>(phases_.size());
        const double spent = seconds(clock_.now() - start_);
        const double left = all_done == 0 ? 0 : spent / all_done * (all - all_done);
        fmt::print("\r\033[2K{}: {}/{}, about {:.0f} s left", phase.title, done, operations_, left);
        std::fflush(stdout);
    }

    asio::io_context& context_;
    BenchDhtOptions options_;
    RealClock clock_;
    Random random_;
    const int operations_;  ///< of each kind in each phase
    std::vector<std::shared_ptr<dht::OpenDhtDirectory>> nodes_;
    std::vector<asio::ip::udp::socket> mute_;
    std::array<Phase, 3> phases_;
    TimePoint start_;
    double connect_seconds_ = 0;
    std::uint64_t next_key_ = 0;
    std::uint64_t last_value_ = 0;
    int done_ = 0;
};

int DhtBench::report() {
    run::Result result("bench dht", options_.result);
    result.json().update({{"nodes", options_.nodes},
                          {"killed_share", options_.killed},
                          {"connect_seconds", connect_seconds_}});
    fmt::print("{} directory nodes on loopback, connected within {:.2f} s\n", options_.nodes,
               connect_seconds_);
    for (Phase& phase : phases_) {
        fmt::print("{}:\n", phase.title);
        for (Series* series : phase.all()) {
            fmt::print("  {:<18} p50 {:7.2f} ms  p95 {:8.2f} ms  max {:8.2f} ms  success {}/{}\n",
                       series->name, series->quantile(0.5), series->quantile(0.95), series->quantile(1),
                       series->milliseconds.size(), series->tried);
            result.json()[phase.name][series->name] = {{"p50_ms", series->quantile(0.5)},
                                                       {"p95_ms", series->quantile(0.95)},
                                                       {"max_ms", series->quantile(1)},
                                                       {"success", series->success()},
                                                       {"tried", series->tried}};
            result.demand_at_least(fmt::format("success of {}, {}", series->name, phase.title),
                                   series->success() * 100, phase.name == "alive" ? 100 : 99, "%");
        }
    }
    result.demand_at_most("publish p50, all nodes alive", phases_[0].publish.quantile(0.5), 25, "ms");
    result.demand_at_most("read p50, all nodes alive", phases_[0].read.quantile(0.5), 10, "ms");
    for (Phase& phase : phases_)
        for (Series* series : phase.all())
            result.demand_at_most(fmt::format("longest {}, {}", series->name, phase.title),
                                  series->quantile(1), 5000, "ms");
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
