#include "shoal/lab/saddle.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

#include "shoal/base/error.h"
#include "shoal/lab/saddle_problems.h"
#include "shoal/lab/saddle_processes.h"
#include "shoal/lab/saddle_rows.h"

namespace shoal::lab {
namespace {

using variational::MethodSettings;
using variational::Waypoint;

/// What is asked of the methods on one problem.
struct Task {
    double target = 0;             ///< what traffic is counted to
    double until = 0;              ///< where methods that converge have to come
    double stall = 0;              ///< which the naive ones do not reach
    std::uint64_t iterations = 0;  ///< at most
    double fewer_bytes = 1;        ///< uplink of extragradient over that of MASHA1, at least; 0: not asked
    bool naive_fail = true;        ///< the naive methods are asked to
};

Task task_for(const std::string& problem) {
    if (problem == "game") return {1e-7, 1e-20, 1e-12, 20'000, 1.5};
    if (problem == "regression") return {1e-7, 1e-20, 1e-12, 20'000, 2};
    if (is_script(problem)) return {1e-7, 1e-10, 0, 20'000, 0, false};
    return {0.02, 0.02, 0.02, 20'000, 0};
}

class Experiment {
  public:
    explicit Experiment(const SaddleOptions& options) : options_(options), task_(task_for(options.problem)) {
        choice_.name = is_script(options.problem) ? std::filesystem::absolute(options.problem).string()
                                                  : options.problem;
        choice_.data = options.data;
        choice_.seed = options.seed;
        if (options.result.quick) shorten();
        problem_ = make_problem(choice_);
        choice_.devices = problem_->devices();
    }

    int run() {
        add_rows();
        const std::vector<SaddleOutcome> outcomes = run_rows(rows_);
        fmt::print(
            "{}\nTraffic of one device until the error is reached; each method with the best of some "
            "step sizes, from that of theory on.\n",
            problem_->name());
        print_table(rows_, outcomes);
        run::Result result("lab saddle " + options_.problem, options_.result);
        result.json()["rows"] = json_of(rows_, outcomes);
        demand(outcomes, result);
        if (options_.processes) run_processes(outcomes, result);
        if (!options_.result.plot.empty()) draw_rows(problem_->name(), rows_, outcomes, options_.result.plot);
        return result.finish();
    }

  private:
    enum class Kind { whole, converges, sparse, naive };

    /// Few unknowns in a share, of which a tenth is one, and few step sizes: there is no telling who sends
    /// less.
    void shorten() {
        if (choice_.name == "game") choice_.size = 20;
        task_.fewer_bytes = 0;
        if (choice_.name == "burglar") task_.until = 0.05;
    }

    SaddleRow& add(Kind kind, const std::string& title, const std::string& method,
                   const std::string& device_codec) {
        SaddleRow row;
        row.title = title;
        row.problem = problem_.get();
        row.settings.method = method;
        row.settings.device_codec = device_codec;
        row.rule.iterations = options_.result.quick ? task_.iterations / 4 : task_.iterations;
        row.rule.error = task_.until;
        row.target = task_.target;
        rows_.push_back(std::move(row));
        kinds_.push_back(kind);
        return rows_.back();
    }

    void add_rows() {
        const bool constrained = problem_->has_prox(), batches = problem_->components(0) > 1;
        add(Kind::whole, "extragradient", "extragradient", variational::kExact);
        add(Kind::converges, "MASHA1, Rand 30 %", "masha1", "rand_k:0.3");
        add(Kind::sparse, "MASHA1, Rand 10 %", "masha1", "rand_k:0.1");
        if (!constrained) add(Kind::converges, "MASHA2, Top 30 %", "masha2", "top_k:0.3");
        add(Kind::converges, "optimistic MASHA, Rand 30 %", "optimistic_masha", "rand_k:0.3");
        add(Kind::converges, "MASHA1, Rand 30 %, half of the devices", "masha1", "rand_k:0.3")
            .settings.participants = std::max<std::size_t>(1, problem_->devices() / 2);
        if (batches)
            add(Kind::converges, "MASHA1, Rand 30 %, a tenth of the samples", "masha1", "rand_k:0.3")
                .settings.batch = problem_->components(0) / 10;
        for (SaddleRow& row : rows_) row.step_sizes = multiples(row.settings);
        add_naive(constrained);
    }

    /// Those that are at home where devices are the same: with the step of theory, or where there is none
    /// with the best of some.
    void add_naive(bool constrained) {
        const std::size_t first = rows_.size();
        add(Kind::naive, "QGD, Rand 30 %", "qgd", "rand_k:0.3");
        add(Kind::naive, "CEG, Rand 30 %", "ceg", "rand_k:0.3");
        if (!constrained) add(Kind::naive, "error feedback, Top 30 %", "error_feedback", "top_k:0.3");
        add(Kind::naive, "local SGDA, 10 steps", "local_sgda", variational::kExact);
        for (std::size_t i = first; i < rows_.size(); ++i) {
            rows_[i].rule.iterations /= 4;
            const auto constants = problem_->constants();
            const bool guaranteed = constants && constants->monotonicity > 0;
            rows_[i].step_sizes = guaranteed ? multiples(rows_[i].settings) : some_steps();
        }
    }

    static std::vector<double> some_steps() { return {0.003, 0.01, 0.03, 0.1, 0.3, 1}; }

    /// Of the step that theory gives; where it gives none, some.
    std::vector<double> multiples(const MethodSettings& settings) const {
        if (!problem_->constants()) return some_steps();
        const double step = theory_step(*problem_, settings);
        if (options_.result.quick) return {step, 4 * step};
        return {step, 2 * step, 4 * step, 8 * step, 16 * step};
    }

    void demand(const std::vector<SaddleOutcome>& outcomes, run::Result& result) const {
        const Waypoint* whole = outcomes.front().at(task_.target);
        for (std::size_t i = 0; i < rows_.size(); ++i) {
            const double last = outcomes[i].trajectory.final_error();
            const Waypoint* there = outcomes[i].at(task_.target);
            if (kinds_[i] == Kind::naive && !task_.naive_fail) continue;
            if (kinds_[i] == Kind::naive)
                result.demand_at_least("last error of " + rows_[i].title, last, task_.stall);
            else
                result.demand_at_most("last error of " + rows_[i].title, last, task_.until);
            if (kinds_[i] != Kind::sparse || task_.fewer_bytes == 0) continue;
            const double fewer = whole && there ? static_cast<double>(whole->traffic.bytes_up) /
                                                      static_cast<double>(there->traffic.bytes_up)
                                                : 0;
            result.json()["fewer_bytes"] = fewer;
            result.demand_at_least("uplink bytes of extragradient over those of " + rows_[i].title, fewer,
                                   task_.fewer_bytes);
        }
    }

    void run_processes(const std::vector<SaddleOutcome>& outcomes, run::Result& result) const {
        std::vector<SaddleRow> rows;
        for (std::size_t i = 0; i < rows_.size(); ++i) {
            if (kinds_[i] == Kind::naive) continue;
            rows.push_back(rows_[i]);
            rows.back().step_sizes.clear();
            rows.back().settings.step_size = outcomes[i].trajectory.step_size;
            rows.back().rule.error = task_.target;
            if (options_.result.quick) rows.back().rule.iterations = 100;
        }
        compare_processes(choice_, rows, result);
    }

    const SaddleOptions options_;
    Task task_;
    ProblemChoice choice_;
    std::unique_ptr<variational::Problem> problem_;
    std::vector<SaddleRow> rows_;
    std::vector<Kind> kinds_;
};

}  // namespace

int run_saddle(const SaddleOptions& options) {
    return Experiment(options).run();
}

}  // namespace shoal::lab
