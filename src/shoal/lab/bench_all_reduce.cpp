#include "shoal/lab/bench_all_reduce.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <optional>

#include "shoal/lab/all_reduce_case.h"
#include "shoal/lab/bench_codecs_on_lines.h"
#include "shoal/run/progress_line.h"

namespace shoal::lab {

namespace {

/// From here on the comparison with others is about moving and adding, and not about starting.
constexpr std::size_t kBoundedFrom = std::size_t{1} << 20;

class AllReduceBench {
  public:
    explicit AllReduceBench(const BenchAllReduceOptions& options)
        : options_(options), contestants_(all_reduce_contestants()), turns_(options.turns) {
        if (options.result.quick) turns_ = std::min(turns_, 3);
        for (const int peers : options.peers)
            for (const std::size_t bytes : options.bytes)
                for (const std::string& codec : options.codecs)
                    cases_.emplace_back(AllReduceJob{peers, std::max<std::size_t>(1, bytes / sizeof(float)),
                                                     codec, options.rounds},
                                        contestants_.size());
        for (const AllReduceCase& one : cases_) work_ += weight(one);
        work_ *= turns_;
    }

    int run() {
        fmt::print(
            "all-reduce of an fp32 vector among processes on loopback, whole rounds (match, reduce, vote), "
            "{} "
            "turns of {} rounds\n",
            turns_, options_.rounds - 1);
        if (cases_.size() > 1) print_head();
        for (AllReduceCase& one : cases_) {
            measure(one);
            line_.clear();
            if (cases_.size() > 1)
                print_row(one);
            else
                print_details(one);
            std::fflush(stdout);
        }
        return report();
    }

  private:
    static double weight(const AllReduceCase& one) {
        const double start = 4e8;  // of the processes, in bytes that would take as long
        return start + static_cast<double>(one.bytes()) * one.job().peers * one.job().rounds;
    }

    void measure(AllReduceCase& one) {
        for (int turn = 0; turn < turns_; ++turn) {
            for (std::size_t i = 0; i < contestants_.size(); ++i) {
                const double done =
                    done_ + weight(one) * static_cast<double>(i) / static_cast<double>(contestants_.size());
                line_.show(done / work_, fmt::format("{}: {}", one.name(), contestants_[i].name));
                one.add_turn(i, contestants_[i].run(one.job()));
            }
            done_ += weight(one);
        }
    }

    std::optional<std::size_t> find(const std::string& label) const {
        for (std::size_t i = 0; i < contestants_.size(); ++i)
            if (contestants_[i].label == label) return i;
        return std::nullopt;
    }
    std::size_t tls() const { return find("tls").value(); }
    std::size_t plain() const { return find("plain").value(); }
    std::size_t bare_tcp() const { return find("tcp").value(); }

    void print_head() const {
        fmt::print("{:>5} {:>9} {:<11}", "peers", "size", "codec");
        for (const Contestant& contestant : contestants_) fmt::print(" {:>8}", contestant.label + " ms");
        if (find("gloo")) fmt::print(" {:>9} {:>11}", "tls/gloo", "plain/gloo");
        if (find("mpi")) fmt::print(" {:>10}", "plain/mpi");
        fmt::print(" {:>11}  processors' time with TLS\n", "plain/limit");
    }

    void print_row(const AllReduceCase& one) const {
        fmt::print("{:>5} {:>9} {:<11}", one.job().peers, size_text(one.bytes()), one.job().codec);
        for (std::size_t i = 0; i < contestants_.size(); ++i) fmt::print(" {:>8.2f}", one.seconds(i) * 1e3);
        if (const auto gloo = find("gloo"))
            fmt::print(" {:>9.2f} {:>11.2f}", ratio(one, tls(), *gloo), ratio(one, plain(), *gloo));
        if (const auto mpi = find("mpi")) fmt::print(" {:>10.2f}", ratio(one, plain(), *mpi));
        fmt::print(" {:>11.2f}  {}\n", over_limit(one), text_of(one.shares(tls(), plain())));
    }

    void print_details(const AllReduceCase& one) const {
        fmt::print("{}:\n", one.name());
        for (std::size_t i = 0; i < contestants_.size(); ++i) {
            fmt::print("{:<28} best {:.4f} s  median {:.4f} s  CPU {:.4f} s", contestants_[i].name,
                       one.best_seconds(i), one.seconds(i), one.cpu_seconds(i));
            if (const auto gloo = find("gloo"))
                fmt::print("  {:.2f} x gloo's time, {:.2f} x its CPU", ratio(one, i, *gloo),
                           one.ratio(i, *gloo, &RoundFigures::cpu_seconds));
            fmt::print("\n");
        }
        fmt::print("the processors' time with TLS: {}\n", text_of(one.shares(tls(), plain())));
        fmt::print(
            "limit of this machine without TLS: {:.4f} s (bare TCP, and adding and copying at memory's "
            "rate); "
            "our best round takes {:.2f} x that\n",
            one.limit_seconds(bare_tcp(), plain()), over_limit(one));
    }

    static std::string text_of(const TimeShares& shares) {
        return fmt::format(
            "TLS {:.0f} %, TCP {:.0f} %, copying {:.0f} %, adding {:.0f} %, other {:.0f} %, waiting {:.0f} %",
            shares.tls * 100, shares.kernel * 100, shares.copying * 100, shares.adding * 100,
            shares.other * 100, shares.waiting * 100);
    }

    static double ratio(const AllReduceCase& one, std::size_t contestant, std::size_t yardstick) {
        return one.ratio(contestant, yardstick, &RoundFigures::seconds);
    }

    double over_limit(const AllReduceCase& one) const {
        return one.best_seconds(plain()) / one.limit_seconds(bare_tcp(), plain());
    }

    int report() {
        run::Result result("bench allreduce", options_.result);
        const auto gloo = find("gloo"), mpi = find("mpi");
        for (const AllReduceCase& one : cases_) {
            result.json()["cases"].push_back(json_of(one));
            if (one.bytes() < kBoundedFrom || one.job().codec != "fp32") continue;
            if (gloo) {
                result.demand_at_most(one.name() + ": with TLS, time over gloo's without",
                                      ratio(one, tls(), *gloo), 1.5);
                result.demand_at_most(one.name() + ": without TLS, time over gloo's",
                                      ratio(one, plain(), *gloo), 1.0);
            }
            if (mpi)
                result.demand_at_most(one.name() + ": without TLS, time over Open MPI's",
                                      ratio(one, plain(), *mpi), 1.0);
        }
        if (!gloo) result.demand("compared with gloo", false);
        if (!mpi) result.demand("compared with Open MPI", false);
        draw();
        return result.finish();
    }

    nlohmann::json json_of(const AllReduceCase& one) const {
        nlohmann::json json = {{"peers", one.job().peers},
                               {"bytes", one.bytes()},
                               {"codec", one.job().codec},
                               {"limit_seconds", one.limit_seconds(bare_tcp(), plain())},
                               {"shares", to_json(one.shares(tls(), plain()))}};
        for (std::size_t i = 0; i < contestants_.size(); ++i) {
            nlohmann::json row = {{"name", contestants_[i].name},
                                  {"best_seconds", one.best_seconds(i)},
                                  {"median_seconds", one.seconds(i)},
                                  {"cpu_seconds", one.cpu_seconds(i)}};
            if (const auto gloo = find("gloo")) {
                row["ratio_to_gloo"] = ratio(one, i, *gloo);
                row["cpu_ratio_to_gloo"] = one.ratio(i, *gloo, &RoundFigures::cpu_seconds);
            }
            json["contestants"].push_back(std::move(row));
        }
        return json;
    }

    /// Time over gloo's by size, a curve for each number of peers.
    void draw() const {
        const auto gloo = find("gloo");
        if (options_.result.plot.empty() || !gloo) return;
        std::map<std::string, run::Curve> curves;
        for (const AllReduceCase& one : cases_) {
            for (const std::size_t i : {tls(), plain()}) {
                const std::string title = fmt::format("{}, {} peers", contestants_[i].name, one.job().peers);
                run::Curve& curve = curves[title];
                curve.title = title;
                curve.x.push_back(std::log2(static_cast<double>(one.bytes()) / 1024));
                curve.y.push_back(ratio(one, i, *gloo));
            }
        }
        run::Picture picture{
            "All-reduce, time over gloo's", "size in KiB, as a power of two", "times gloo's", {}, {}};
        for (auto& [title, curve] : curves) picture.curves.push_back(std::move(curve));
        run::draw(picture, options_.result.plot);
    }

    const BenchAllReduceOptions options_;
    const std::vector<Contestant> contestants_;
    std::vector<AllReduceCase> cases_;
    int turns_;
    double work_ = 0, done_ = 0;
    run::ProgressLine line_;
};

}  // namespace

void make_sweep(BenchAllReduceOptions& options) {
    options.peers = {2, 4, 8};
    options.bytes.clear();
    for (std::size_t bytes = 1 << 10; bytes <= std::size_t{256} << 20; bytes *= 4)
        options.bytes.push_back(bytes);
    options.turns = 3;
}

int bench_all_reduce(const BenchAllReduceOptions& options) {
    if (options.megabits > 0) return bench_codecs_on_lines(options);
    return AllReduceBench(options).run();
}

}  // namespace shoal::lab
