// Metrics: one JSON object a line, and a page that Prometheus reads.
#include "shoal/run/metrics.h"

#include "run/temporary_folder.h"

#include <cmath>
#include <gtest/gtest.h>
#include <httplib.h>
#include <nlohmann/json.hpp>

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
    EXPECT_EQ(lines[1].at("outcome"), to_string(collective::Verdict::Outcome::averaged));
    EXPECT_EQ(lines[1].at("members").size(), 2U);
    EXPECT_TRUE(lines[2].at("swarm_loss").is_null());
    EXPECT_EQ(lines[3].at("loss"), 2.25);
    EXPECT_EQ(lines[4].at("donors").size(), 1U);
    EXPECT_EQ(lines[5].at("kind"), "timed_out");
    EXPECT_EQ(lines[6].at("name"), "alice");
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
