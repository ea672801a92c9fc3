#include "shoal/lab/volunteers.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <thread>

#include "shoal/base/error.h"
#include "shoal/lab/live_view.h"
#include "shoal/lab/replica_swarm.h"
#include "shoal/lab/volunteer_sessions.h"
#include "shoal/run/progress_line.h"
#include "shoal/run/run_report.h"

namespace shoal::lab {
namespace {

/// Of the time that the steps take if half of the volunteers are there. So each comes once or twice, and
/// some three times or more.
constexpr double kVisit = 0.25, kAway = 0.2, kLatestFirst = 0.4;
constexpr double kVisitsDrawnFor = 10;  // of that time: a busy machine takes longer
constexpr double kHalf = 0.5;           // of the volunteers are there at a time, about
constexpr double kPaperHours = 4;       // that a session lasted in the mean
constexpr double kMicroBatchSeconds = 0.5;
constexpr double kLossTolerance = 0.05;              // of the fall: what chance leaves between two runs
constexpr double kEndLimit = 60, kStandstill = 300;  // seconds
constexpr double kMegabits = 1000;                   // of each line: not what is measured here
constexpr auto kLook = std::chrono::milliseconds(100);

std::int64_t micro_batch(double speed) {
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(speed * kMicroBatchSeconds));
}

/// A visit whose time has come.
struct Going {
    Visit visit;
    double until = 0;  ///< seconds since 1970
};

class Volunteers {
  public:
    explicit Volunteers(const VolunteersOptions& options)
        : options_(options),
          people_(volunteers_of(options.organisers, options.volunteers)),
          prices_(parsed(options.prices)),
          lines_(std::vector<ShapedLine>(people_.size() + 1, {kMegabits * 1e6, kMegabits * 1e6})),
          swarm_(settings("swarm", few_organisers(options)), lines_),
          fast_(settings("fast", {people_.size()}), lines_) {
        Random random(options.seed);
        visits_ = draw_visits(people_,
                              {.seconds = kVisitsDrawnFor * expected_seconds(),
                               .mean_visit = kVisit * expected_seconds(),
                               .mean_away = kAway * expected_seconds(),
                               .latest_first = kLatestFirst * expected_seconds()},
                              random);
    }

    int run() {
        const double visit = kVisit * expected_seconds();
        fmt::print(
            "{} volunteers and {} peers of the organisers, {} steps of {} samples: about {} if half of the "
            "volunteers are there; beside them one machine as fast as {:g} mean volunteers: about {}\n"
            "scale: visits of {:.0f} s in the mean stand for sessions of {:g} h; computing is slept, {} to "
            "{:g} "
            "samples/s for each\n",
            options_.volunteers, options_.organisers, options_.steps, target(),
            human_time(expected_seconds()), options_.fast,
            human_time(static_cast<double>(options_.steps * target()) / (options_.fast * kMeanSpeed)), visit,
            kPaperHours, slowest(), fastest());
        std::fflush(stdout);
        const double speed = options_.fast * kMeanSpeed;
        fast_.start(people_.size(), {.name = "fast", .speed = speed, .micro_batch = micro_batch(speed)});
        while (!(swarm_done_ && fast_.all_ended())) look();
        line_.clear();
        return report();
    }

  private:
    static std::vector<std::size_t> few_organisers(const VolunteersOptions& options) {
        std::vector<std::size_t> machines;
        for (int i = 0; i < std::min(options.organisers, 4); ++i)
            machines.push_back(static_cast<std::size_t>(i));
        return machines;
    }

    static std::vector<run::Price> parsed(const std::vector<std::string>& texts) {
        std::vector<run::Price> prices;
        for (const std::string& text : texts) prices.push_back(run::parse_price(text));
        return prices;
    }

    double expected_seconds() const { return static_cast<double>(options_.steps) * options_.step_seconds; }

    std::int64_t target() const {
        double speed = 0;
        for (const Volunteer& one : people_) speed += one.organiser ? one.speed : kHalf * one.speed;
        return std::max<std::int64_t>(1, static_cast<std::int64_t>(speed * options_.step_seconds));
    }

    double slowest() const { return std::min_element(people_.begin(), people_.end(), by_speed)->speed; }
    double fastest() const { return std::max_element(people_.begin(), people_.end(), by_speed)->speed; }
    static bool by_speed(const Volunteer& a, const Volunteer& b) { return a.speed < b.speed; }

    ReplicaRun settings(const std::string& name, const std::vector<std::size_t>& bootstrap) const {
        return {.name = "volunteers-" + name,
                .folder = options_.folder / name,
                .target_batch_size = target(),
                .steps = options_.steps,
                .bootstrap = bootstrap,
                .arguments = {"--parameters", std::to_string(options_.parameters)}};
    }

    void look() {
        std::this_thread::sleep_for(kLook);  // it watches files that others write
        fast_.update();
        swarm_.update();
        if (!swarm_done_) come_and_go();
        const std::int64_t swarm = swarm_.step(), fast = fast_.step();
        if (swarm + fast != steps_seen_) steps_seen_ = swarm + fast, seen_at_ = wall_seconds();
        if (wall_seconds() - seen_at_ > kStandstill + 10 * options_.step_seconds)
            throw Error(ErrorKind::timed_out,
                        fmt::format("no step for {:.0f} s; the peers' logs are in {}",
                                    wall_seconds() - seen_at_, options_.folder.string()));
        say_how_far(swarm, fast);
    }

    void say_how_far(std::int64_t swarm, std::int64_t fast) {
        const std::string who =
            swarm_done_ ? "swarm, at home again" : fmt::format("swarm of {}", swarm_.present().size());
        const std::string text =
            fmt::format("{}: step {} of {}; one fast: step {}", who, swarm, options_.steps, fast);
        line_.show(static_cast<double>(std::min(swarm, fast)) / static_cast<double>(options_.steps), text);
        const std::int64_t tenth = std::max<std::int64_t>(1, options_.steps / 10);
        if (swarm / tenth == swarm_printed_ / tenth && fast / tenth == fast_printed_ / tenth) return;
        swarm_printed_ = swarm, fast_printed_ = fast;
        line_.clear();
        fmt::print("{:>8}  {}\n", human_time(wall_seconds() - begin_), text);
        std::fflush(stdout);
    }

    void come_and_go() {
        const double now = wall_seconds();
        if (swarm_.step() >= options_.steps) {
            // Who is a moment behind takes the last step, too, before it is told to go.
            if (last_step_at_ == 0) last_step_at_ = now;
            const auto here = swarm_.present();
            const bool all_there = std::all_of(here.begin(), here.end(), [this](const Replica* one) {
                return one->peer.log->step >= options_.steps || one->peer.log->steps.empty();
            });
            if (all_there || now - last_step_at_ > kEndLimit) swarm_.stop_all(Departure::goodbye);
            swarm_done_ = swarm_.all_ended();
            return;
        }
        for (Going& one : here_)
            // Not before it has begun its records: the report is to tell of every session.
            if (now > one.until && swarm_.at(one.visit.who).peer.log->started)
                swarm_.stop(one.visit.who, one.visit.goodbye ? Departure::goodbye : Departure::kill);
        std::erase_if(here_, [this](const Going& one) { return swarm_.is_free(one.visit.who); });
        // A visit whose peer has not gone yet waits, and no other is held up by it.
        for (std::size_t i = 0; i < visits_.size() && begin_ + visits_[i].from <= now;) {
            const Visit visit = visits_[i];
            if (!swarm_.is_free(visit.who)) {
                ++i;
                continue;
            }
            const Volunteer& who = people_[visit.who];
            swarm_.start(visit.who, {.name = who.name,
                                     .speed = who.speed,
                                     .micro_batch = micro_batch(who.speed),
                                     .client = options_.clients && !who.organiser,
                                     .through_peers = !who.organiser});
            here_.push_back({visit, now + visit.to - visit.from});
            visits_.erase(visits_.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }

    run::RunReport read(const ReplicaSwarm& swarm) const {
        run::RunReport report = run::read_run_report({swarm.peers_folder()});
        report.traffic_priced = true;
        report.dollars_per_gigabyte = options_.traffic_price;
        return report;
    }

    int report() {
        run::RunReport swarm = read(swarm_), fast = read(fast_);
        run::set_prices({&swarm, &fast}, prices_);
        for (const run::RunReport* one : {&swarm, &fast})
            for (const std::string& warning : one->warnings) fmt::print("warning: {}\n", warning);
        fmt::print("\n{}\n", run::to_table(swarm, &fast));
        run::Result result("lab volunteers", options_.result);
        result.json()["target_batch_size"] = target();
        result.json()["fast_samples_per_second"] = options_.fast * kMeanSpeed;
        result.json()["prices"] = options_.prices;
        for (const Volunteer& one : people_)
            result.json()["speeds"].push_back({{"name", one.name}, {"samples_per_second", one.speed}});
        result.json()["report"] = run::to_json(swarm, &fast);
        demand(result, swarm, fast);
        draw(swarm, fast);
        return result.finish();
    }

    void demand(run::Result& result, const run::RunReport& swarm, const run::RunReport& fast) const {
        std::size_t told = 0, goodbyes = 0, contributors = 0;
        for (const run::Participant& part : swarm.participants) {
            told += part.sessions.size();
            contributors += part.counted_samples > 0 ? 1 : 0;
            for (const run::Session& session : part.sessions) goodbyes += session.stopped ? 1 : 0;
        }
        const auto killed = std::count_if(swarm_.replicas().begin(), swarm_.replicas().end(),
                                          [](const Replica& one) { return one.peer.killed; });
        const std::size_t started = swarm_.replicas().size();
        double samples = 0;
        for (const auto& [step, line] : steps_of(swarm_.logs())) samples += line.samples;
        result.json().update(
            {{"sessions_started", started}, {"sessions_killed", killed}, {"samples_of_all_steps", samples}});
        result.demand("every participant is in the report, and nobody else",
                      swarm.participants.size() == people_.size() && fast.participants.size() == 1);
        result.demand("the report has every session that was started, and its end",
                      told == started && goodbyes + static_cast<std::size_t>(killed) == started);
        result.demand_at_least("participants that contributed", static_cast<double>(contributors),
                               static_cast<double>(people_.size()));
        result.demand_at_most("samples behind the steps by the report, off those by the steps' lines",
                              std::abs(swarm.counted_samples() / samples - 1), 0);
        result.demand("both took all steps",
                      swarm.steps.contains(options_.steps) && fast.steps.contains(options_.steps));
        result.demand_at_most("steps with different parameters",
                              static_cast<double>(disagreements(swarm_.logs())), 0);
        const auto steps = steps_of(swarm_.logs()), alone = steps_of(fast_.logs());
        const double fall = alone.begin()->second.swarm_loss - alone.rbegin()->second.swarm_loss;
        result.demand_at_most(
            "difference of the last losses, share of the fall",
            std::abs(steps.rbegin()->second.swarm_loss - alone.rbegin()->second.swarm_loss) / fall,
            kLossTolerance);
    }

    void draw(const run::RunReport& swarm, const run::RunReport& fast) const {
        if (options_.result.plot.empty()) return;
        run::Picture online = run::picture_of(swarm, &fast);
        online.curves[0].title = "swarm", online.curves[1].title = "one fast machine";
        run::Picture losses{"Loss", "minutes since the first record", "loss", {}, {}};
        for (const auto& [name, run] : {std::pair("swarm", &swarm), std::pair("one fast machine", &fast)}) {
            double first = run->steps.begin()->second.time;
            for (const run::Participant& part : run->participants)
                for (const run::Session& session : part.sessions) first = std::min(first, session.start);
            run::Curve curve{name, {}, {}};
            for (const auto& [step, taken] : run->steps)
                curve.x.push_back((taken.time - first) / 60), curve.y.push_back(taken.loss);
            losses.curves.push_back(std::move(curve));
        }
        run::draw({online, losses}, options_.result.plot);
    }

    VolunteersOptions options_;
    const std::vector<Volunteer> people_;  // each has the machine of its index; the fast one the last
    const std::vector<run::Price> prices_;
    ShapedLines lines_;
    std::vector<Visit> visits_;  // that have not begun
    std::vector<Going> here_;
    const double begin_ = wall_seconds();
    double last_step_at_ = 0, seen_at_ = begin_;
    std::int64_t steps_seen_ = 0, swarm_printed_ = 0, fast_printed_ = 0;
    bool swarm_done_ = false;
    run::ProgressLine line_;
    ReplicaSwarm swarm_, fast_;  // last: end first
};

}  // namespace

void make_quick(VolunteersOptions& options) {
    options.result.quick = true;
    options.volunteers = std::min(options.volunteers, 6);
    options.organisers = std::min(options.organisers, 2);
    options.steps = std::min<std::int64_t>(options.steps, 20);
    options.step_seconds = std::min(options.step_seconds, 2.0);
}

int run_volunteers(const VolunteersOptions& options) {
    return Volunteers(options).run();
}

}  // namespace shoal::lab
