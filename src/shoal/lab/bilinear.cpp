#include "shoal/lab/bilinear.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <tuple>

#include "shoal/lab/saddle_problems.h"
#include "shoal/lab/saddle_processes.h"
#include "shoal/lab/saddle_rows.h"
#include "shoal/variational/theory.h"

namespace shoal::lab {
namespace {

using variational::MethodSettings;
using variational::Waypoint;

constexpr double kTarget = 1e-7, kFarTarget = 1e-20, kSameTarget = 1e-12;
constexpr std::uint64_t kIterations = 12'000, kFarIterations = 20'000;
constexpr double kMashaStep1 = 0.15, kMashaStep2 = 0.25;  ///< of the figure, for MASHA1 and MASHA2
constexpr double kSameStep = 0.4;  ///< where devices are the same: the lowest eigenvalue is 0.1 then, not 0.5
constexpr double kStrong = 0.1;    ///< lambda of the instance of the bound
constexpr std::uint64_t kBoundIterations = 400, kBoundEvery = 20;

/// Without a step size: that of theory.
MethodSettings method(const std::string& name, const std::string& device_codec,
                      std::optional<double> step = std::nullopt) {
    MethodSettings settings;
    settings.method = name;
    settings.device_codec = device_codec;
    settings.step_size = step;
    return settings;
}

class Experiment {
  public:
    explicit Experiment(const BilinearOptions& options) : options_(options) {
        choice_.seed = options.seed;
        different_ = make_problem(choice_);
        ProblemChoice same = choice_;
        same.homogeneous = true;
        same_ = make_problem(same);
        ProblemChoice strong = choice_;
        strong.regularisation = kStrong;
        strong_ = make_problem(strong);
    }

    int run() {
        add_rows();
        choose_drawn();
        outcomes_ = run_rows(rows_);
        fmt::print("{}\nTraffic of one device until the error is reached.\n", different_->name());
        print_table(rows_, outcomes_);
        run::Result result("lab bilinear", options_.result);
        result.json()["rows"] = json_of(rows_, outcomes_);
        demand_iterations(result);
        demand_failures(result);
        demand_traffic(result);
        demand_bound(result);
        if (options_.processes) run_processes(result);
        if (!options_.result.plot.empty())
            draw_rows(different_->name(), rows_, outcomes_, options_.result.plot);
        return result.finish();
    }

  private:
    std::size_t add(const std::string& title, const variational::Problem& problem, MethodSettings settings,
                    double until = kTarget) {
        SaddleRow row;
        row.title = title;
        row.problem = &problem;
        row.settings = std::move(settings);
        row.rule.error = until;
        row.rule.iterations = until < kTarget ? kFarIterations : kIterations;
        row.target = kTarget;
        row.drawn = false;
        rows_.push_back(std::move(row));
        return rows_.size() - 1;
    }

    void add_rows() {
        const variational::Problem& p = *different_;
        extragradient1_ =
            add("extragradient, step 0.15", p, method("extragradient", variational::kExact, kMashaStep1));
        extragradient2_ =
            add("extragradient, step 0.25", p, method("extragradient", variational::kExact, kMashaStep2));
        masha1_ = add("MASHA1, Rand 30 %", p, method("masha1", "rand_k:0.3", kMashaStep1), kFarTarget);
        masha2_ = add("MASHA2, Top 30 %", p, method("masha2", "top_k:0.3", kMashaStep2), kFarTarget);
        sparse_ = add("MASHA1, Rand 10 %", p, method("masha1", "rand_k:0.1", kMashaStep2), kFarTarget);
        add("MASHA1, Perm-K", p, method("masha1", "perm_k", kMashaStep2));
        add("MASHA1, Rand 30 %, step of theory", p, method("masha1", "rand_k:0.3"));
        add("MASHA1, Rand 30 % both ways", p, method("masha1", "rand_k:0.3", kMashaStep1));
        rows_.back().settings.server_codec = "rand_k:0.3";
        add("MASHA2, Top 30 % both ways", p, method("masha2", "top_k:0.3", kMashaStep2));
        rows_.back().settings.server_codec = "top_k:0.3";
        add("MASHA1, Rand 30 %, 5 of 10 devices", p, method("masha1", "rand_k:0.3", kMashaStep1));
        rows_.back().settings.participants = 5;
        optimistic_ =
            add("optimistic MASHA, Rand 30 %", p, method("optimistic_masha", "rand_k:0.3", kMashaStep2));
        add_naive();
        same_extragradient_ = add("same devices: extragradient", *same_,
                                  method("extragradient", variational::kExact, kSameStep));
        same_ceg_ =
            add("same devices: CEG, Rand 30 %", *same_, method("ceg", "rand_k:0.3", kSameStep), kFarTarget);
        add("same devices: MASHA1, Rand 30 %", *same_, method("masha1", "rand_k:0.3", kSameStep));
    }

    void add_naive() {
        std::vector<double> steps = {1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.03, 0.1, 0.25, 0.4, 0.7};
        if (options_.result.quick) steps = {1e-3, 0.1};
        for (const auto& [title, name, codec] :
             {std::tuple("QGD, Rand 30 %", "qgd", "rand_k:0.3"),
              std::tuple("error feedback, Top 30 %", "error_feedback", "top_k:0.3"),
              std::tuple("CEG, Rand 30 %", "ceg", "rand_k:0.3"),
              std::tuple("local SGDA, 10 steps", "local_sgda", variational::kExact)}) {
            naive_.push_back(add(title, *different_, method(name, codec)));
            rows_.back().step_sizes = steps;
        }
        rows_.back().rule.iterations /= 10;  // each has ten steps
        naive_.pop_back();                   // local steps are compared, but nothing is demanded of them
    }

    double iterations(std::size_t row, double target = kTarget) const {
        const Waypoint* there = outcomes_[row].at(target);
        return there ? static_cast<double>(there->iteration) : std::numeric_limits<double>::infinity();
    }

    void demand_iterations(run::Result& result) const {
        result.demand_at_least("iterations of MASHA1 to 1e-7", iterations(masha1_), 3500);
        result.demand_at_most("iterations of MASHA1 to 1e-7", iterations(masha1_), 5000);
        result.demand_at_least("iterations of MASHA2 to 1e-7", iterations(masha2_), 1300);
        result.demand_at_most("iterations of MASHA2 to 1e-7", iterations(masha2_), 1900);
        result.demand_at_most("iterations of MASHA1 over those of extragradient at its step",
                              iterations(masha1_) / iterations(extragradient1_), 1.25);
        result.demand_at_most("iterations of MASHA2 over those of extragradient at its step",
                              iterations(masha2_) / iterations(extragradient2_), 1.25);
        for (const std::size_t row : {masha1_, masha2_})
            result.demand_at_most("last error of " + rows_[row].title,
                                  outcomes_[row].trajectory.final_error(), kFarTarget);
    }

    void demand_failures(run::Result& result) const {
        for (const std::size_t row : naive_)
            result.demand_at_least("best last error of " + rows_[row].title + " over all step sizes",
                                   outcomes_[row].trajectory.final_error(), 0.3);
        result.demand_at_most("iterations of CEG over those of extragradient where devices are the same",
                              iterations(same_ceg_) / iterations(same_extragradient_), 1.25);
        result.demand_at_most("last error of CEG where devices are the same",
                              outcomes_[same_ceg_].trajectory.final_error(), kSameTarget);
    }

    void demand_traffic(run::Result& result) const {
        const Waypoint *whole = outcomes_[extragradient2_].at(kTarget),
                       *sparse = outcomes_[sparse_].at(kTarget);
        const double less = whole && sparse ? static_cast<double>(whole->traffic.values_up) /
                                                  static_cast<double>(sparse->traffic.values_up)
                                            : 0;
        fmt::print("MASHA1 at 10 % sends {:.1f} x fewer values than extragradient to {:.0e}\n", less,
                   kTarget);
        result.json()["fewer_values"] = less;
        result.demand_at_least("uplink values of extragradient over those of MASHA1 at 10 %", less, 10);
    }

    /// The mean over seeds of the strongly monotone instance against 2 (1 - step mu / 2)^K.
    void demand_bound(run::Result& result) const {
        const std::uint64_t seeds = 20;
        std::vector<SaddleRow> rows;
        for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
            SaddleRow row;
            row.title = fmt::format("bound, seed {}", seed);
            row.problem = strong_.get();
            row.settings = method("masha1", "rand_k:0.3");
            row.settings.seed = seed;
            row.rule.iterations = kBoundIterations;
            row.rule.every = kBoundEvery;
            rows.push_back(std::move(row));
        }
        const std::vector<SaddleOutcome> outcomes = run_rows(rows);
        double worst = 0;
        for (std::size_t i = 1; i * kBoundEvery <= kBoundIterations; ++i) {
            double mean = 0;
            for (const SaddleOutcome& one : outcomes)
                mean += one.trajectory.way[i].error / static_cast<double>(seeds);
            const double bound =
                variational::masha1_bound(outcomes.front().trajectory.step_size, kStrong, i * kBoundEvery);
            worst = std::max(worst, mean / bound);
        }
        result.json()["mean_error_over_bound"] = worst;
        result.demand_at_most("mean error of MASHA1 over 20 seeds, over the bound of theory", worst, 1);
    }

    void run_processes(run::Result& result) const {
        std::vector<SaddleRow> rows;
        for (const std::size_t row : {extragradient2_, masha1_, masha2_, sparse_}) {
            rows.push_back(rows_[row]);
            rows.back().rule.error = kTarget;
            if (options_.result.quick) rows.back().rule.iterations = 100;
        }
        compare_processes(choice_, rows, result);
    }

    void choose_drawn() {
        for (const std::size_t row :
             {extragradient1_, extragradient2_, masha1_, masha2_, sparse_, optimistic_})
            rows_[row].drawn = true;
        for (const std::size_t row : naive_) rows_[row].drawn = true;
    }

    const BilinearOptions options_;
    ProblemChoice choice_;
    std::unique_ptr<variational::Problem> different_, same_, strong_;
    std::vector<SaddleRow> rows_;
    std::vector<SaddleOutcome> outcomes_;
    std::size_t extragradient1_ = 0, extragradient2_ = 0, masha1_ = 0, masha2_ = 0, sparse_ = 0,
                optimistic_ = 0;
    std::size_t same_ceg_ = 0, same_extragradient_ = 0;
    std::vector<std::size_t> naive_;
};

}  // namespace

int run_bilinear(const BilinearOptions& options) {
    return Experiment(options).run();
}

}  // namespace shoal::lab
