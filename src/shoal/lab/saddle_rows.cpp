#include "shoal/lab/saddle_rows.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <fmt/format.h>
#include <limits>
#include <mutex>
#include <thread>

#include "shoal/run/progress_line.h"
#include "shoal/variational/local_exchange.h"

namespace shoal::lab {
namespace {

using variational::Trajectory;
using variational::Waypoint;

/// One run of a row, with one step size.
struct Job {
    std::size_t row = 0;
    variational::MethodSettings settings;
    Trajectory trajectory;
};

std::vector<Job> jobs_of(const std::vector<SaddleRow>& rows) {
    std::vector<Job> jobs;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        Job job;
        job.row = row;
        job.settings = rows[row].settings;
        if (rows[row].step_sizes.empty()) jobs.push_back(job);
        for (const double step : rows[row].step_sizes) {
            job.settings.step_size = step;
            jobs.push_back(job);
        }
    }
    return jobs;
}

/// Runs the jobs on as many threads as there are processors; the first failure ends all.
class Crew {
  public:
    Crew(const std::vector<SaddleRow>& rows, std::vector<Job>& jobs) : rows_(rows), jobs_(jobs) {}

    void work() {
        std::vector<std::jthread> threads;
        const unsigned count = std::max(1U, std::thread::hardware_concurrency());
        for (unsigned i = 0; i < count; ++i) threads.emplace_back([this] { take_jobs(); });
        threads.clear();  // joins
        line_.clear();
        if (failure_) std::rethrow_exception(failure_);
    }

  private:
    void take_jobs() {
        for (std::size_t next = next_++; next < jobs_.size() && !failed_; next = next_++) {
            try {
                run(jobs_[next]);
            } catch (...) {
                const std::lock_guard lock(mutex_);
                failed_ = true;
                failure_ = std::current_exception();
            }
        }
    }

    void run(Job& job) {
        const SaddleRow& row = rows_[job.row];
        const auto told = [&](const Waypoint& now) {
            constexpr std::uint64_t kSometimes = 64;
            if (now.iteration % kSometimes != 0) return;
            const std::lock_guard lock(mutex_);
            line_.show(static_cast<double>(done_) / static_cast<double>(jobs_.size()),
                       fmt::format("{}: iteration {}, error {:.1e}", row.title, now.iteration, now.error));
        };
        job.trajectory =
            run_in_process(*row.problem, job.settings, row.rule, error_on(*row.problem), 0, told);
        const std::lock_guard lock(mutex_);
        ++done_;
    }

    const std::vector<SaddleRow>& rows_;
    std::vector<Job>& jobs_;
    std::atomic<std::size_t> next_ = 0;
    std::atomic<bool> failed_ = false;
    std::mutex mutex_;  // for what follows
    std::size_t done_ = 0;
    std::exception_ptr failure_;
    run::ProgressLine line_;
};

bool is_better(const Trajectory& one, const Trajectory& other, double target) {
    const Waypoint *first = one.first_below(target), *second = other.first_below(target);
    if (first && second) return first->iteration < second->iteration;
    if (first || second) return first != nullptr;
    if (one.diverged != other.diverged) return other.diverged;
    return one.final_error() < other.final_error();
}

std::string scaled(double number) {
    if (number < 1e4) return fmt::format("{:.0f}", number);
    if (number < 1e7) return fmt::format("{:.1f} k", number / 1e3);
    return fmt::format("{:.1f} M", number / 1e6);
}

double log_of(double error) {
    return std::log10(std::max(error, std::numeric_limits<double>::min()));
}

}  // namespace

variational::ErrorMeasure error_on(const variational::Problem& problem) {
    if (const auto solution = problem.solution()) return variational::distance_to(*solution, problem.start());
    const double at_start = problem.gap(problem.start()).value();
    return [gap = variational::gap_of_average(problem), at_start](const variational::Method& method) {
        return gap(method) / at_start;
    };
}

double theory_step(const variational::Problem& problem, const variational::MethodSettings& settings) {
    variational::LocalExchange exchange(problem.devices());
    return make_method(problem, exchange, settings)->step_size();
}

std::vector<SaddleOutcome> run_rows(const std::vector<SaddleRow>& rows) {
    std::vector<Job> jobs = jobs_of(rows);
    Crew(rows, jobs).work();
    std::vector<SaddleOutcome> outcomes(rows.size());
    std::vector<std::size_t> seen(rows.size(), 0);
    for (Job& job : jobs) {
        SaddleOutcome& outcome = outcomes[job.row];
        if (seen[job.row]++ == 0 || is_better(job.trajectory, outcome.trajectory, rows[job.row].target))
            outcome.trajectory = std::move(job.trajectory);
        outcome.tried = seen[job.row];
    }
    return outcomes;
}

void print_table(const std::vector<SaddleRow>& rows, const std::vector<SaddleOutcome>& outcomes) {
    fmt::print("{:<40} {:>9} {:>8} {:>10} {:>10} {:>10} {:>9} {:>10}\n", "", "step", "error", "iterations",
               "values up", "bytes up", "down", "last error");
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const Trajectory& trajectory = outcomes[i].trajectory;
        const auto devices = static_cast<double>(rows[i].problem->devices());
        fmt::print("{:<40} {:>9.4g} {:>8.0e} ", rows[i].title, trajectory.step_size, rows[i].target);
        if (const Waypoint* there = outcomes[i].at(rows[i].target))
            fmt::print("{:>10} {:>10} {:>10} {:>9}", there->iteration,
                       scaled(static_cast<double>(there->traffic.values_up) / devices),
                       scaled(static_cast<double>(there->traffic.bytes_up) / devices),
                       scaled(static_cast<double>(there->traffic.bytes_down) / devices));
        else
            fmt::print("{:>10} {:>10} {:>10} {:>9}", trajectory.diverged ? "diverges" : "never", "", "", "");
        fmt::print(" {:>10.2g}{}\n", trajectory.final_error(),
                   outcomes[i].tried > 1 ? fmt::format("  (best of {} steps)", outcomes[i].tried) : "");
    }
    std::fflush(stdout);
}

nlohmann::json json_of(const std::vector<SaddleRow>& rows, const std::vector<SaddleOutcome>& outcomes) {
    const auto point_of = [](const Waypoint& way) -> nlohmann::json {
        return {{"iteration", way.iteration},         {"error", way.error},
                {"bytes_up", way.traffic.bytes_up},   {"bytes_down", way.traffic.bytes_down},
                {"values_up", way.traffic.values_up}, {"values_down", way.traffic.values_down},
                {"evaluations", way.evaluations}};
    };
    nlohmann::json json = nlohmann::json::array();
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const Trajectory& trajectory = outcomes[i].trajectory;
        nlohmann::json row = {{"title", rows[i].title},
                              {"problem", rows[i].problem->name()},
                              {"devices", rows[i].problem->devices()},
                              {"method", rows[i].settings.method},
                              {"device_codec", rows[i].settings.device_codec},
                              {"server_codec", rows[i].settings.server_codec},
                              {"batch", rows[i].settings.batch},
                              {"participants", rows[i].settings.participants},
                              {"seed", rows[i].settings.seed},
                              {"step_size", trajectory.step_size},
                              {"step_sizes_tried", outcomes[i].tried},
                              {"target", rows[i].target},
                              {"diverged", trajectory.diverged},
                              {"last", point_of(trajectory.way.back())}};
        const Waypoint* there = outcomes[i].at(rows[i].target);
        row["at_target"] = there ? point_of(*there) : nlohmann::json();
        json.push_back(std::move(row));
    }
    return json;
}

void draw_rows(const std::string& title, const std::vector<SaddleRow>& rows,
               const std::vector<SaddleOutcome>& outcomes, const std::filesystem::path& file) {
    constexpr std::size_t kPoints = 400;  // of a curve
    run::Picture by_iterations{title, "iterations", "log10 of the error", {}, {}};
    run::Picture by_bytes{"", "MB that a device has sent", "log10 of the error", {}, {}};
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (!rows[i].drawn) continue;
        const std::vector<Waypoint>& way = outcomes[i].trajectory.way;
        run::Curve iterations{rows[i].title, {}, {}}, bytes{rows[i].title, {}, {}};
        const std::size_t every = way.size() / kPoints + 1;
        for (std::size_t j = 0; j < way.size(); j += every) {
            iterations.x.push_back(static_cast<double>(way[j].iteration));
            bytes.x.push_back(static_cast<double>(way[j].traffic.bytes_up) /
                              static_cast<double>(rows[i].problem->devices()) / 1e6);
            for (run::Curve* curve : {&iterations, &bytes}) curve->y.push_back(log_of(way[j].error));
        }
        by_iterations.curves.push_back(std::move(iterations));
        by_bytes.curves.push_back(std::move(bytes));
    }
    run::draw(std::vector<run::Picture>{by_iterations, by_bytes}, file);
}

}  // namespace shoal::lab
