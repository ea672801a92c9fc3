// Metrics: one JSON object a line, and a page that Prometheus reads.
#include "shoal/run/metrics.h"

#include "run/temporary_folder.h"

#include <cmath>
#include <gtest/gtest.h>
#include <httplib.h>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "shoal/base/error.h"
#include "shoal/run/prometheus.h"

namespace shoal::run {
namespace {

std::vector<nlohmann::json> lines_of(const std::filesystem::path& file) {
    std::vector<nlohmann::json> lines;
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
}

collective::Verdict averaged_by_two() {
    collective::Verdict verdict;
    verdict.outcome = collective::Verdict::Outcome::averaged;
    verdict.contributors.resize(2);
    verdict.contributors[0].weight = 8;
    verdict.report.reduce_seconds = 0.25;
    verdict.report.bytes_sent = 100;
    verdict.report.bytes_received = 200;
    return verdict;
}

TEST(Metrics, EveryEventIsALineOfJson) {
    const TemporaryFolder folder;
    RealClock clock;
    {
        Metrics metrics(folder / "metrics.jsonl", clock, Log());
        metrics.on_micro_batch({.samples = Samples{8}, .loss = 2.5, .seconds = 0.5}, {});
        metrics.on_round(Step{4}, averaged_by_two());
        metrics.on_step(Step{5}, 2.5, std::nan(""), 1.0, {});
        metrics.on_held_out_loss(Step{5}, 2.25);
        collective::DownloadReport download;
        download.bytes = 77;
        download.donors.emplace_back();
        metrics.on_synchronised(Step{5}, download);
        metrics.on_trouble(ErrorKind::timed_out, "text with \"quotes\",\na newline and bad \xff bytes");
        metrics.note("started", {{"name", "alice"}});
    }
    const auto lines = lines_of(folder / "metrics.jsonl");
    ASSERT_EQ(lines.size(), 7U);
    for (const auto& line : lines) EXPECT_GT(line.at("time").get<double>(), 1.6e9);
    EXPECT_EQ(lines[0].at("event"), "micro_batch");
    EXPECT_EQ(lines[0].at("samples"), 8);
    EXPECT_EQ(lines[1].at("outcome"), "averaged");
    EXPECT_EQ(lines[1].at("members").size(), 2U);
    EXPECT_TRUE(lines[2].at("swarm_loss").is_null());
    EXPECT_EQ(lines[3].at("loss"), 2.25);
    EXPECT_EQ(lines[4].at("donors").size(), 1U);
    EXPECT_EQ(lines[5].at("kind"), "timed_out");
    EXPECT_EQ(lines[6].at("name"), "alice");
}

TEST(Metrics, EveryCounterIsThereFromTheStartAtZero) {
    RealClock clock;
    const Metrics metrics("", clock, Log());
    std::istringstream page(metrics.table().text());
    std::map<std::string, std::vector<std::string>> samples;
    std::set<std::string> counters;
    for (std::string line; std::getline(page, line);) {
        if (line.starts_with("# TYPE ") && line.ends_with(" counter"))
            counters.insert(line.substr(7, line.size() - 7 - std::string(" counter").size()));
        else if (!line.starts_with("#"))
            samples[line.substr(0, line.find_first_of("{ "))].push_back(line.substr(line.rfind(' ') + 1));
        EXPECT_EQ(line.find("cut off"), std::string::npos) << "labels have no blanks: " << line;
    }
    EXPECT_GT(counters.size(), 4U);
    for (const std::string& counter : counters) {
        EXPECT_FALSE(samples[counter].empty()) << counter;
        for (const std::string& sample : samples[counter]) EXPECT_EQ(sample, "0") << counter;
    }
}

TEST(Metrics, AStepSaysHowManySamplesItsBatchHad) {
    const TemporaryFolder folder;
    RealClock clock;
    {
        Metrics metrics(folder / "metrics.jsonl", clock, Log());
        metrics.on_round(Step{4}, averaged_by_two());
        metrics.on_step(Step{5}, 2.5, 2.5, 1.0, {});
        metrics.note("started", {{"port", std::int64_t{7}}});
    }
    const auto lines = lines_of(folder / "metrics.jsonl");
    EXPECT_EQ(lines[1].at("samples"), 8);
    EXPECT_EQ(lines[2].at("port"), 7) << "a number, no text";
}

TEST(Metrics, AFileIsContinuedNotOverwritten) {
    const TemporaryFolder folder;
    RealClock clock;
    for (int i = 0; i < 2; ++i) Metrics(folder / "m", clock, Log()).note("started", {});
    EXPECT_EQ(lines_of(folder / "m").size(), 2U);
    EXPECT_THROW(Metrics(folder / "no/such/folder/m", clock, Log()), Error);
}

TEST(Metrics, CountersAddUpAndGaugesShowTheLastValue) {
    RealClock clock;
    Metrics metrics({}, clock, Log());
    metrics.on_micro_batch({.samples = Samples{8}, .loss = 2.5, .seconds = 0.5}, {});
    metrics.on_micro_batch({.samples = Samples{4}, .loss = 2.5, .seconds = 0.5}, {});
    metrics.on_round(Step{4}, averaged_by_two());
    metrics.on_round(Step{5}, averaged_by_two());
    metrics.on_trouble(ErrorKind::refused, "no");
    const MetricsTable& table = metrics.table();
    EXPECT_EQ(table.get("shoal_samples_total"), 12);
    EXPECT_EQ(table.get("shoal_rounds_total", {{"outcome", "averaged"}}), 2);
    EXPECT_EQ(table.get("shoal_round_bytes_total", {{"direction", "down"}}), 400);
    EXPECT_EQ(table.get("shoal_round_seconds", {{"phase", "reduce"}}), 0.25);
    EXPECT_EQ(table.get("shoal_group_members"), 2);
    EXPECT_EQ(table.get("shoal_failures_total", {{"cause", "refused"}}), 1);
}

/// A clock whose time the test sets.
class SetClock final : public Clock {
  public:
    TimePoint now() const override { return now_; }
    WallTime wall_now() const override { return WallTime(); }
    awaitable<void> sleep_until(TimePoint) override { co_return; }
    std::shared_ptr<void> notify_at(TimePoint, Signal&) override { return nullptr; }
    void advance(Duration by) { now_ = now_ + by; }

  private:
    TimePoint now_{};
};

TEST(Metrics, MicroBatchesAreSummedUpToALineASecond) {
    const TemporaryFolder folder;
    SetClock clock;
    {
        Metrics metrics(folder / "m", clock, Log());
        for (const double loss : {1.0, 2.0, 4.0}) {
            metrics.on_micro_batch({.samples = Samples{8}, .loss = loss, .seconds = 0.25}, {});
            clock.advance(std::chrono::milliseconds(400));
        }
        metrics.on_micro_batch({.loss = std::nan(""), .seconds = 0.25, .dropped = true}, {});  // after 1.2 s
        metrics.on_micro_batch({.samples = Samples{8}, .loss = 8, .seconds = 0.25}, {});
        metrics.on_step(Step{1}, 2.5, 2.5, 1.0, {});
        metrics.on_micro_batch({.samples = Samples{8}, .loss = 16, .seconds = 0.25}, {});
    }
    const auto lines = lines_of(folder / "m");
    ASSERT_EQ(lines.size(), 5U);
    EXPECT_EQ(lines[0].at("samples"), 8) << "the first is told at once";
    EXPECT_EQ(lines[1].at("samples"), 16);
    EXPECT_EQ(lines[1].at("micro_batches"), 3);
    EXPECT_EQ(lines[1].at("dropped"), 1);
    EXPECT_EQ(lines[1].at("loss"), 3) << "the mean of those that count";
    EXPECT_EQ(lines[1].at("seconds"), 0.75);
    EXPECT_EQ(lines[2].at("loss"), 8) << "a step's micro-batches come before it";
    EXPECT_EQ(lines[3].at("event"), "step");
    EXPECT_EQ(lines[4].at("loss"), 16) << "nothing is lost at the end";
}

TEST(Metrics, AFileThatIsFullBecomesTheOlderOneAndThereAreNeverMoreThanTwo) {
    const TemporaryFolder folder;
    RealClock clock;
    {
        Metrics metrics(folder / "metrics.jsonl", clock, Log(), 1000);
        for (int i = 0; i < 100; ++i) metrics.note("started", {{"number", std::to_string(i)}});
    }
    const auto newest = lines_of(folder / "metrics.jsonl"), older = lines_of(folder / "metrics.old.jsonl");
    EXPECT_LE(std::filesystem::file_size(folder / "metrics.jsonl"), 1000U);
    EXPECT_LE(std::filesystem::file_size(folder / "metrics.old.jsonl"), 1000U);
    EXPECT_EQ(newest.back().at("number"), "99");
    EXPECT_EQ(std::stoi(older.back().at("number").get<std::string>()) + 1,
              std::stoi(newest.front().at("number").get<std::string>()));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 2);
}

TEST(Metrics, TroubleThatRepeatsItselfIsCountedButWrittenOnceUntilTheNextStep) {
    const TemporaryFolder folder;
    RealClock clock;
    Metrics metrics(folder / "m", clock, Log());
    for (int i = 0; i < 10; ++i) metrics.on_trouble(ErrorKind::bad_input, "dropped");
    metrics.on_step(Step{1}, 1, 1, 1, {});
    metrics.on_trouble(ErrorKind::bad_input, "dropped");
    EXPECT_EQ(lines_of(folder / "m").size(), 3U);
    EXPECT_EQ(metrics.table().get("shoal_failures_total", {{"cause", "bad_input"}}), 11);
}

TEST(Metrics, FailedAndCutOffRoundsAreCountedByCauseAndEveryCauseIsThereFromTheStart) {
    using Outcome = collective::Verdict::Outcome;
    RealClock clock;
    Metrics metrics({}, clock, Log());
    for (const char* cause : {"peer_lost", "not_finite", "different_results", "no_group", "cut_off"})
        EXPECT_NE(
            metrics.table().text().find("shoal_failures_total{cause=\"" + std::string(cause) + "\"} 0\n"),
            std::string::npos)
            << cause;
    const auto round = [&metrics](Outcome outcome, const std::string& cause, std::size_t members) {
        collective::Verdict verdict;
        verdict.outcome = outcome;
        verdict.cause = cause;
        verdict.contributors.resize(members);
        metrics.on_round(Step{1}, verdict);
        return std::string(cause_word(verdict));
    };
    EXPECT_EQ(round(Outcome::failed, "peer ab: its results do not arrive", 3), "peer_lost");
    EXPECT_EQ(round(Outcome::failed, "peer ab: contributed numbers that are not finite", 3), "not_finite");
    EXPECT_EQ(round(Outcome::failed, "peer ab: holds different results than the others", 3),
              "different_results");
    EXPECT_EQ(round(Outcome::failed, "nobody with samples has joined", 0), "no_group");
    EXPECT_EQ(round(Outcome::cut_off, "no majority; first trouble: numbers that are not finite", 3),
              "cut_off");
    for (const char* cause : {"peer_lost", "not_finite", "different_results", "no_group", "cut_off"})
        EXPECT_EQ(metrics.table().get("shoal_failures_total", {{"cause", cause}}), 1) << cause;
    metrics.on_round(Step{2}, averaged_by_two());
    EXPECT_EQ(metrics.table().get("shoal_failures_total", {{"cause", "peer_lost"}}), 1);
}

TEST(MetricsTable, WritesTheExpositionFormat) {
    MetricsTable table;
    table.declare("b_total", MetricsTable::Type::counter, "Counts.");
    table.declare("a", MetricsTable::Type::gauge, "Shows.");
    table.add("b_total", 1, {{"cause", "a \"quoted\\ \n one"}});
    table.add("b_total", 2, {{"cause", "a \"quoted\\ \n one"}});
    table.set("a", std::nan(""));
    EXPECT_EQ(table.text(),
              "# HELP b_total Counts.\n# TYPE b_total counter\n"
              "b_total{cause=\"a \\\"quoted\\\\ \\n one\"} 3\n"
              "# HELP a Shows.\n# TYPE a gauge\n"
              "a NaN\n");
}

TEST(MetricsServer, ServesThePageAndFreesThePort) {
    std::uint16_t port = 0;
    {
        const MetricsServer server("127.0.0.1", 0, [] { return "the page\n"; });
        port = server.port();
        httplib::Client client("127.0.0.1", port);
        const auto answer = client.Get("/metrics");
        ASSERT_TRUE(answer);
        EXPECT_EQ(answer->status, 200);
        EXPECT_EQ(answer->body, "the page\n");
        EXPECT_EQ(answer->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
        EXPECT_EQ(client.Get("/other")->status, 404);
    }
    EXPECT_NO_THROW(MetricsServer("127.0.0.1", port, [] { return ""; }));
}

TEST(MetricsServer, ATakenPortIsAnErrorThatNamesIt) {
    const MetricsServer first("127.0.0.1", 0, [] { return ""; });
    try {
        const MetricsServer second("127.0.0.1", first.port(), [] { return ""; });
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::system);
        EXPECT_NE(std::string(error.what()).find(std::to_string(first.port())), std::string::npos);
    }
}

}  // namespace
}  // namespace shoal::run
