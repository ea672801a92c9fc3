// Sums and prices of a report, and how it is shown.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <fnmatch.h>

#include "shoal/base/error.h"
#include "shoal/run/run_report.h"

namespace shoal::run {
namespace {

using nlohmann::ordered_json;

std::string bytes_text(double bytes) {
    const char* const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    std::size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < std::size(units)) bytes /= 1000, ++unit;
    return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, units[unit]);
}

std::string time_text(double seconds) {
    if (seconds < 60) return fmt::format("{:.1f} s", seconds);
    const auto minutes = static_cast<std::int64_t>(seconds / 60);
    if (minutes < 60) return fmt::format("{} min {:02} s", minutes, static_cast<std::int64_t>(seconds) % 60);
    if (minutes < 48 * 60) return fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
    return fmt::format("{} d {} h", minutes / (24 * 60), minutes / 60 % 24);
}

std::string loss_text(double loss) {
    return std::isfinite(loss) ? fmt::format("{:.4f}", loss) : "-";
}

/// Null in JSON and a dash in tables where there is nothing to divide by.
double ratio(double part, double whole) {
    return whole > 0 ? part / whole : std::numeric_limits<double>::quiet_NaN();
}

ordered_json finite(double number) {
    return std::isfinite(number) ? ordered_json(number) : ordered_json(nullptr);
}

std::string number_text(double number, const char* unit = "") {
    return std::isfinite(number) ? fmt::format("{:.1f}{}", number, unit) : "-";
}

double first_record(const RunReport& report) {
    double first = std::numeric_limits<double>::infinity();
    for (const Participant& part : report.participants)
        for (const Session& session : part.sessions) first = std::min(first, session.start);
    return first;
}

double bytes_a_step(const Participant& part) {
    return ratio(part.bytes_sent + part.bytes_received, static_cast<double>(part.steps.size()));
}

std::int64_t sessions_of(const RunReport& report) {
    std::int64_t count = 0;
    for (const Participant& part : report.participants)
        count += static_cast<std::int64_t>(part.sessions.size());
    return count;
}

int most_at_once(const RunReport& report) {
    int most = 0;
    for (const auto& [time, count] : report.peers_over_time()) most = std::max(most, count);
    return most;
}

std::int64_t unpriced(const RunReport& report) {
    return std::count_if(report.participants.begin(), report.participants.end(),
                         [](const Participant& part) { return part.has_records && !part.priced; });
}

std::int64_t with_records(const RunReport& report) {
    return std::count_if(report.participants.begin(), report.participants.end(),
                         [](const Participant& part) { return part.has_records; });
}

bool has_price(const RunReport& report) {
    return report.traffic_priced || unpriced(report) < with_records(report);
}

std::string cost_text(const RunReport& report) {
    return has_price(report) ? fmt::format("${:.2f}", report.cost()) : "not priced";
}

/// A step that both runs took: the last one. Negative: there is none.
std::int64_t last_common_step(const RunReport& report, const RunReport& against) {
    for (auto step = report.steps.rbegin(); step != report.steps.rend(); ++step)
        if (against.steps.contains(step->first)) return step->first;
    return -1;
}

struct Row {
    std::string what, figure;
};

std::vector<Row> rows_of(const RunReport& report, std::int64_t common) {
    const double seconds = report.seconds();
    std::string first = "-", last = "-", loss = "-";
    if (!report.steps.empty()) {
        first = std::to_string(report.steps.begin()->first);
        last = std::to_string(report.steps.rbegin()->first);
        loss = loss_text(report.steps.begin()->second.loss) + " -> " +
               loss_text(report.steps.rbegin()->second.loss);
    }
    std::vector<Row> rows = {
        {"participants, sessions", fmt::format("{}, {}", report.participants.size(), sessions_of(report))},
        {"time, first to last record", time_text(seconds)},
        {"time online, all together", time_text(report.online())},
        {"online at once: mean, most",
         fmt::format("{}, {}", number_text(ratio(report.online(), seconds)), most_at_once(report))},
        {"steps: first, last, recorded", fmt::format("{}, {}, {}", first, last, report.steps.size())},
        {"loss: first -> last", loss},
        {"steps an hour", number_text(ratio(3600 * static_cast<double>(report.steps.size()), seconds))},
        {"samples behind the steps", fmt::format("{:.0f}", report.counted_samples())},
        {"samples/s behind the steps", number_text(ratio(report.counted_samples(), seconds))},
        {"sent, all together", bytes_text(report.bytes_sent())},
        {"cost", cost_text(report)}};
    if (common >= 0) {
        const StepOfRun& step = report.steps.at(common);
        rows.push_back({fmt::format("time to step {}", common), time_text(step.time - first_record(report))});
        rows.push_back({fmt::format("loss at step {}", common), loss_text(step.loss)});
    }
    return rows;
}

std::string participants_table(const RunReport& report) {
    const double counted = report.counted_samples();
    std::string text =
        fmt::format("{:<20} {:<9} {:>8} {:>12} {:>8} {:>10} {:>10} {:>6} {:>9} {:>9} {:>9} {:>8}\n", "name",
                    "role", "sessions", "online", "batches", "samples", "counted", "share", "sent",
                    "received", "a step", "failures");
    for (const Participant& part : report.participants) {
        const double share = 100 * ratio(part.counted_samples, counted);
        text += fmt::format("{:<20} {:<9} ", part.name, part.role);
        std::int64_t failures = 0;
        for (const auto& [cause, count] : part.failures) failures += count;
        if (part.has_records) {
            text += fmt::format("{:>8} {:>12} {:>8.0f} {:>10.0f} {:>10.0f} {:>6} {:>9} {:>9} {:>9} {:>8}\n",
                                part.sessions.size(), time_text(part.online()), part.micro_batches,
                                part.samples, part.counted_samples, number_text(share, "%"),
                                bytes_text(part.bytes_sent), bytes_text(part.bytes_received),
                                part.steps.empty() ? "-" : bytes_text(bytes_a_step(part)), failures);
        } else {
            text += fmt::format("{:>40} {:>11.0f} {:>6}\n", "no records of its own", part.counted_samples,
                                number_text(share, "%"));
        }
    }
    return text;
}

std::string failures_text(const RunReport& report) {
    std::string text;
    for (const Participant& part : report.participants) {
        const auto silent = std::count_if(part.sessions.begin(), part.sessions.end(),
                                          [](const Session& session) { return !session.stopped; });
        std::string causes;
        for (const auto& [cause, count] : part.failures) causes += fmt::format(" {} {},", cause, count);
        if (silent > 0) causes += fmt::format(" sessions without goodbye {},", silent);
        if (causes.empty()) continue;
        causes.pop_back();
        text += fmt::format("  {:<20}{}\n", part.name, causes);
    }
    return text.empty() ? text : "\nfailures by cause\n" + text;
}

std::string pricing_text(const RunReport& report, const char* whose) {
    if (!has_price(report))
        return fmt::format(
            "{}nothing was priced: --price 'NAME_PATTERN=DOLLARS_PER_HOUR' and --traffic-price do\n", whose);
    const std::int64_t without = unpriced(report);
    if (without == 0) return {};
    return fmt::format("{}{} of {} participants match no --price: their time cost nothing here\n", whose,
                       without, with_records(report));
}

ordered_json json_of(const Participant& part, double counted) {
    ordered_json one;
    one["name"] = part.name;
    one["peer"] = part.peer;
    one["role"] = part.role;
    one["has_records"] = part.has_records;
    one["sessions"] = ordered_json::array();
    for (const Session& session : part.sessions)
        one["sessions"].push_back(
            {{"start", session.start}, {"end", session.end}, {"goodbye", session.stopped}});
    one["online_seconds"] = part.online();
    one["micro_batches"] = part.micro_batches;
    one["dropped"] = part.dropped;
    one["samples"] = part.samples;
    one["counted_samples"] = part.counted_samples;
    one["share"] = finite(ratio(part.counted_samples, counted));
    one["steps"] = part.steps.size();
    one["bytes_sent"] = part.bytes_sent;
    one["bytes_received"] = part.bytes_received;
    one["bytes_a_step"] = finite(bytes_a_step(part));
    one["failures"] = part.failures;
    one["priced"] = part.priced;
    one["dollars_per_hour"] = part.dollars_per_hour;
    return one;
}

ordered_json json_of(const RunReport& report) {
    ordered_json whole;
    const double seconds = report.seconds(), counted = report.counted_samples();
    whole["runs"] = report.runs;
    whole["seconds"] = seconds;
    whole["online_seconds"] = report.online();
    whole["sessions"] = sessions_of(report);
    whole["peers"] = {{"mean", finite(ratio(report.online(), seconds))}, {"most", most_at_once(report)}};
    whole["steps"] = {{"recorded", report.steps.size()}};
    if (!report.steps.empty()) {
        whole["steps"]["first"] = report.steps.begin()->first;
        whole["steps"]["last"] = report.steps.rbegin()->first;
        whole["loss"] = {{"first", finite(report.steps.begin()->second.loss)},
                         {"last", finite(report.steps.rbegin()->second.loss)}};
    }
    whole["steps_per_hour"] = finite(ratio(3600 * static_cast<double>(report.steps.size()), seconds));
    whole["counted_samples"] = counted;
    whole["samples_per_second"] = finite(ratio(counted, seconds));
    whole["bytes_sent"] = report.bytes_sent();
    whole["dollars"] = has_price(report) ? ordered_json(report.cost()) : ordered_json(nullptr);
    whole["dollars_per_gigabyte"] = report.dollars_per_gigabyte;
    whole["participants"] = ordered_json::array();
    for (const Participant& part : report.participants)
        whole["participants"].push_back(json_of(part, counted));
    whole["peers_over_time"] = report.peers_over_time();
    whole["warnings"] = report.warnings;
    return whole;
}

}  // namespace

double Participant::online() const {
    double sum = 0;
    for (const Session& session : sessions) sum += session.end - session.start;
    return sum;
}

double RunReport::seconds() const {
    const double first = first_record(*this);
    double last = first;
    for (const Participant& part : participants)
        for (const Session& session : part.sessions) last = std::max(last, session.end);
    return std::isfinite(first) ? last - first : 0;
}

double RunReport::counted_samples() const {
    double sum = 0;
    for (const Participant& part : participants) sum += part.counted_samples;
    return sum;
}

double RunReport::bytes_sent() const {
    double sum = 0;
    for (const Participant& part : participants) sum += part.bytes_sent;
    return sum;
}

double RunReport::online() const {
    double sum = 0;
    for (const Participant& part : participants) sum += part.online();
    return sum;
}

double RunReport::cost() const {
    double dollars = bytes_sent() / 1e9 * dollars_per_gigabyte;
    for (const Participant& part : participants) dollars += part.online() / 3600 * part.dollars_per_hour;
    return dollars;
}

std::vector<std::pair<double, int>> RunReport::peers_over_time() const {
    const double first = first_record(*this);
    std::map<double, int> changes;
    for (const Participant& part : participants)
        for (const Session& session : part.sessions) {
            ++changes[session.start - first];
            --changes[session.end - first];
        }
    std::vector<std::pair<double, int>> counts;
    int count = 0;
    for (const auto& [time, change] : changes) counts.emplace_back(time, count += change);
    return counts;
}

Price parse_price(const std::string& text) {
    const std::size_t mark = text.rfind('=');
    Price price;
    if (mark != std::string::npos && mark > 0) {
        price.pattern = text.substr(0, mark);
        const char* const end = text.data() + text.size();
        const auto [stopped, error] = std::from_chars(text.data() + mark + 1, end, price.dollars_per_hour);
        const double dollars = price.dollars_per_hour;
        if (error == std::errc() && stopped == end && std::isfinite(dollars) && dollars >= 0) return price;
    }
    throw Error(ErrorKind::invalid_argument,
                "--price " + text + ": must have the form NAME_PATTERN=DOLLARS_PER_HOUR, like 'gpu-*=0.35'");
}

void set_prices(const std::vector<RunReport*>& reports, const std::vector<Price>& prices) {
    std::set<std::string> unused;
    for (const Price& price : prices) unused.insert(price.pattern);
    for (RunReport* report : reports)
        for (Participant& part : report->participants)
            for (const Price& price : prices) {
                if (::fnmatch(price.pattern.c_str(), part.name.c_str(), 0) != 0) continue;
                unused.erase(price.pattern);
                if (!part.priced) part.dollars_per_hour = price.dollars_per_hour;
                part.priced = true;
            }
    for (const std::string& pattern : unused)
        reports.front()->warnings.push_back("--price " + pattern + ": no participant has such a name");
}

std::string to_table(const RunReport& report, const RunReport* against) {
    std::string text = fmt::format("run {}\n\n", fmt::join(report.runs, ", "));
    text += participants_table(report) + failures_text(report) + "\n";
    const std::int64_t common = against ? last_common_step(report, *against) : -1;
    const std::vector<Row> rows = rows_of(report, common);
    if (against) text += fmt::format("{:<30} {:>22} {:>22}\n", "", "this run", "against");
    const std::vector<Row> others = against ? rows_of(*against, common) : std::vector<Row>();
    for (std::size_t i = 0; i < rows.size(); ++i) {
        text += fmt::format("{:<30} {:>22}", rows[i].what, rows[i].figure);
        text += against ? fmt::format(" {:>22}\n", others[i].figure) : "\n";
    }
    if (against && common < 0) text += "the two runs have no step in common\n";
    text += pricing_text(report, "");
    if (against && has_price(report)) text += pricing_text(*against, "against: ");
    return text;
}

ordered_json to_json(const RunReport& report, const RunReport* against) {
    ordered_json whole = json_of(report);
    if (!against) return whole;
    whole["against"] = json_of(*against);
    const std::int64_t common = last_common_step(report, *against);
    if (common < 0) return whole;
    ordered_json& both = whole["last_common_step"];
    both["step"] = common;
    for (const auto& [name, run] : {std::pair("this_run", &report), std::pair("against", against)})
        both[name] = {{"seconds", run->steps.at(common).time - first_record(*run)},
                      {"loss", finite(run->steps.at(common).loss)}};
    return whole;
}

Picture picture_of(const RunReport& report, const RunReport* against) {
    Picture picture{"Participants over time", "minutes since the first record", "online", {}, {}};
    const auto add = [&picture](const RunReport& run, const char* title) {
        Curve curve{title, {}, {}};
        double before = 0;
        for (const auto& [time, count] : run.peers_over_time()) {
            curve.x.insert(curve.x.end(), {time / 60, time / 60});
            curve.y.insert(curve.y.end(), {before, static_cast<double>(count)});
            before = count;
        }
        picture.curves.push_back(std::move(curve));
    };
    add(report, "this run");
    if (against) add(*against, "against");
    return picture;
}

}  // namespace shoal::run
