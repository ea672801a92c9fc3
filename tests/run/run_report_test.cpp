// Reports of runs from handmade records: the sums, the sessions, and whatever else may lie in a folder.
#include "shoal/run/run_report.h"

#include "run/temporary_folder.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "shoal/base/error.h"

namespace shoal::run {
namespace {

const std::string kAlice = "aaaaaaaa" + std::string(56, '0'), kBob = "bbbbbbbb" + std::string(56, '0');

std::string started(double time, const std::string& name, const std::string& peer) {
    return fmt::format(
               R"({{"time":{},"event":"started","run":"r","name":"{}","peer":"{}","role":"full","port":1}})",
               time, name, peer) +
           "\n";
}

std::string event(double time, const std::string& name) {
    return fmt::format(R"({{"time":{},"event":"{}"}})", time, name) + "\n";
}

std::string batch(double time, int samples) {
    return fmt::format(R"({{"time":{},"event":"micro_batch","micro_batches":2,"samples":{},"dropped":0}})",
                       time, samples) +
           "\n";
}

/// Alice gave 30 samples and Bob 10, Carol 60.
std::string round(double time, int step, const std::string& outcome = "averaged",
                  const std::string& cause = "") {
    return fmt::format(R"({{"time":{},"event":"round","step":{},"outcome":"{}","cause":"{}",)"
                       R"("members":[{{"peer":"aaaaaaaa","role":"full","weight":30.0}},)"
                       R"({{"peer":"bbbbbbbb","role":"full","weight":10.0}},)"
                       R"({{"peer":"cccccccc","role":"client","weight":60.0}}],)"
                       R"("bytes_sent":1000,"bytes_received":2000}})",
                       time, step, outcome, cause) +
           "\n";
}

std::string step(double time, int step, const std::string& loss) {
    return fmt::format(R"({{"time":{},"event":"step","step":{},"swarm_loss":{}}})", time, step, loss) + "\n";
}

const Participant& named(const RunReport& report, const std::string& name) {
    for (const Participant& part : report.participants)
        if (part.name == name) return part;
    throw Error(ErrorKind::bad_input, "the report has no " + name);
}

class RunReports : public testing::Test {
  protected:
    void write(const std::string& peer, const std::string& text, const std::string& file = "metrics.jsonl") {
        std::filesystem::create_directories(folder_ / peer);
        write_whole(folder_ / peer / file, text);
    }
    RunReport read() { return read_run_report({folder_.path()}); }
    TemporaryFolder folder_;
};

TEST_F(RunReports, AddUpWhatEachDidAndCountASharedRoundOnce) {
    write("a", event(999, "model") + started(1000, "alice", kAlice) + batch(1001, 20) + batch(1002, 14) +
                   round(1003, 0) + step(1003, 1, "5.5") + round(1004, 1) + step(1005, 2, "4.5") +
                   event(1600, "held_out") + event(2199, "stopped"));
    write("deep/er/b",
          started(1000, "bob", kBob) +
              R"({"time":1001,"event":"synchronised","step":0,"bytes":500,"donors":["aaaaaaaa","cccccccc"]})"
              "\n" +
              round(1003, 0) + step(1004, 1, "5.5") + round(1004, 1, "failed", "peer cccccccc was lost") +
              R"({"time":1005,"event":"trouble","kind":"timed_out","text":"x"})"
              "\n");
    const RunReport report = read();
    EXPECT_TRUE(report.warnings.empty()) << report.warnings.front();
    ASSERT_EQ(report.participants.size(), 3U);
    EXPECT_EQ(report.participants[0].name, "cccccccc");  // contributed most, though it left no folder
    EXPECT_FALSE(report.participants[0].has_records);
    EXPECT_EQ(report.participants[0].counted_samples, 120);
    EXPECT_EQ(report.participants[0].bytes_sent, 250);
    const Participant& alice = named(report, "alice");
    EXPECT_EQ(alice.micro_batches, 4);
    EXPECT_EQ(alice.samples, 34);
    EXPECT_EQ(alice.counted_samples, 60);
    EXPECT_EQ(alice.bytes_sent, 2250);
    EXPECT_EQ(alice.bytes_received, 4000);
    EXPECT_EQ(alice.steps.size(), 2U);
    ASSERT_EQ(alice.sessions.size(), 1U);
    EXPECT_TRUE(alice.sessions[0].stopped);
    EXPECT_EQ(alice.online(), 1200);
    const Participant& bob = named(report, "bob");
    EXPECT_EQ(bob.bytes_received, 4500);
    EXPECT_EQ(bob.failures, (std::map<std::string, std::int64_t>{{"peer_lost", 1}, {"timed_out", 1}}));
    EXPECT_FALSE(bob.sessions.at(0).stopped);
    EXPECT_EQ(report.counted_samples(), 200);
    EXPECT_EQ(report.seconds(), 1200);
    EXPECT_EQ(report.steps.at(1).time, 1003);
    EXPECT_EQ(report.steps.at(2).loss, 4.5);
    const std::vector<std::pair<double, int>> over_time = {{0, 1}, {1, 2}, {6, 1}, {1200, 0}};
    EXPECT_EQ(report.peers_over_time(), over_time);
}

TEST_F(RunReports, PartSessionsWhereAPeerWasAway) {
    write("a", started(100, "alice", kAlice) + batch(110, 1) + event(120, "stopped") +
                   R"({"time":121,"event":"peer","peer":"bbbbbbbb","state":"left"})"
                   "\n" +
                   event(500, "model") + started(501, "alice", kAlice) + batch(510, 1) +  // killed here
                   started(520, "alice", kAlice) + batch(530, 1) + batch(530 + kAwaySeconds, 1) +
                   batch(530.5 + 2 * kAwaySeconds, 1));
    const RunReport report = read();
    ASSERT_EQ(report.participants.size(), 1U);
    const std::vector<Session>& sessions = report.participants[0].sessions;
    ASSERT_EQ(sessions.size(), 4U);
    const std::vector<std::pair<double, double>> expected = {
        {100, 120},
        {500, 510},
        {520, 530 + kAwaySeconds},
        {530.5 + 2 * kAwaySeconds, 530.5 + 2 * kAwaySeconds}};
    for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(sessions[i].start, expected[i].first) << i;
        EXPECT_EQ(sessions[i].end, expected[i].second) << i;
        EXPECT_EQ(sessions[i].stopped, i == 0) << i;
    }
    EXPECT_EQ(report.participants[0].samples, 5);
}

TEST_F(RunReports, SkipDamagedLinesWithFileAndLineAndCountTheRest) {
    const std::string huge(kMaximumRecordBytes + 5, 'x');
    write("a", started(100, "alice", kAlice) + batch(101, 1) + "{\"time\":10\n" + batch(102, 2) + "[1,2]\n" +
                   huge + "\n" + batch(103, 4) +
                   R"({"time":104,"event":"micro_batch","micro_batches":1,"samples":-8,"dropped":0})"
                   "\n" +
                   R"({"time":1e300,"event":"stopped"})"
                   "\n" +
                   event(105, "some_other_program") +
                   R"({"time":106,"event":"round","step":1,"outcome":"averaged","cause":"","members":[7],)"
                   R"("bytes_sent":1,"bytes_received":1})"
                   "\n" +
                   std::string("\xff\x00\n", 3) + batch(107, 8) + R"({"time":108,"event":"micro_ba)");
    const RunReport report = read();
    EXPECT_EQ(report.participants.at(0).samples, 15);
    EXPECT_EQ(report.participants.at(0).bytes_sent, 0);
    EXPECT_EQ(report.participants.at(0).online(), 7);
    const std::string file = (folder_ / "a").string() + "/metrics.jsonl";
    ASSERT_EQ(report.warnings.size(), 6U);
    for (std::size_t i = 0; const int line : {3, 5, 6, 8, 9}) {
        const std::string begin = fmt::format("{}:{}: ", file, line);
        EXPECT_EQ(report.warnings[i].substr(0, begin.size()), begin) << report.warnings[i];
        ++i;
    }
    EXPECT_EQ(report.warnings[5], file + ": 4 more lines like these; skipped");
}

TEST_F(RunReports, SayThatTheLastLineIsHalfWritten) {
    write("a", started(100, "alice", kAlice) + batch(101, 3) + R"({"time":102,"ev)");
    const RunReport report = read();
    ASSERT_EQ(report.warnings.size(), 1U);
    EXPECT_NE(report.warnings[0].find("metrics.jsonl:3: the last line is half-written"), std::string::npos);
    EXPECT_EQ(report.participants.at(0).samples, 3);
}

TEST_F(RunReports, TakeALineOfTheGreatestLengthAndNoLongerOne) {
    const std::string begin = started(100, "alice", kAlice);
    const std::string fits = R"({"time":101,"event":"stopped","x":")";
    const auto line = [&](std::size_t size) {
        return fits + std::string(size - fits.size() - 2, 'x') + "\"}\n";
    };
    write("a", begin + line(kMaximumRecordBytes));
    EXPECT_TRUE(read().participants.at(0).sessions.at(0).stopped);
    write("a", begin + line(kMaximumRecordBytes + 1));
    const RunReport report = read();
    EXPECT_FALSE(report.participants.at(0).sessions.at(0).stopped);
    EXPECT_EQ(report.warnings.size(), 1U);
}

TEST_F(RunReports, RefuseFoldersWithoutAnyRecord) {
    EXPECT_THROW(read(), Error);
    write("a", "no record\n");
    EXPECT_THROW(read(), Error);
    EXPECT_THROW(read_run_report({folder_ / "missing"}), Error);
    write("b", started(1, "bob", kBob));
    EXPECT_EQ(read_run_report({folder_ / "missing", folder_.path()}).warnings.size(), 2U);
}

TEST_F(RunReports, ReadTheOlderFileFirstAndFindTheNameThatItLost) {
    write("a", batch(100, 1) + batch(101, 2), "metrics.old.jsonl");
    write("a", batch(102, 4) + started(110, "alice", kAlice) + batch(111, 8));
    const RunReport report = read();
    ASSERT_EQ(report.participants.size(), 1U);
    EXPECT_EQ(report.participants[0].name, "alice");
    EXPECT_EQ(report.participants[0].samples, 15);
    EXPECT_EQ(report.participants[0].sessions.size(), 2U);
}

TEST_F(RunReports, CountACopiedFolderOnceAndAFolderThatIsNamedTwiceOnce) {
    const std::string text = started(100, "alice", kAlice) + batch(101, 1);
    write("a", text + batch(102, 2));
    write("copy", text);
    const RunReport report = read_run_report({folder_.path(), folder_ / "a"});
    EXPECT_EQ(report.participants.at(0).samples, 3);
    EXPECT_EQ(report.participants.size(), 1U);
}

TEST_F(RunReports, KeepHostileNamesOffTheTerminal) {
    write("a", started(100, "\\u001b[2Jx\\u009b\\n" + std::string(500, 'y'), kAlice));
    const RunReport report = read();
    EXPECT_EQ(report.participants.at(0).name.substr(0, 7), "?[2Jx??");
    EXPECT_LE(report.participants.at(0).name.size(), 64U);
    EXPECT_EQ(to_table(report).find('\x1b'), std::string::npos);
}

TEST_F(RunReports, PriceTimeByTheFirstPatternAndTrafficByWhatWasSent) {
    write("a", started(0, "alice", kAlice) + round(100, 0) + step(100, 1, "null") + event(600, "model"));
    write("b", started(0, "bob", kBob) + event(360, "stopped"));
    RunReport report = read();
    EXPECT_NE(to_table(report).find("nothing was priced"), std::string::npos);
    EXPECT_TRUE(to_json(report)["dollars"].is_null());
    set_prices({&report}, {parse_price("al*=6"), parse_price("*=60"), parse_price("carol=1")});
    report.traffic_priced = true, report.dollars_per_gigabyte = 1e6;
    EXPECT_NEAR(report.cost(), 100.0 / 3600 * 6 + 360.0 / 3600 * 60 + 1000.0 / 1e9 * 1e6, 1e-9);
    ASSERT_EQ(report.warnings.size(), 1U);
    EXPECT_NE(report.warnings[0].find("carol"), std::string::npos);
    EXPECT_EQ(to_table(report).find("nothing was priced"), std::string::npos);
}

TEST(PriceOfTheReport, IsRefusedUnlessItIsANumberOfDollars) {
    EXPECT_EQ(parse_price("a=b*=0.5").pattern, "a=b*");
    EXPECT_EQ(parse_price("x=0").dollars_per_hour, 0);
    for (const char* wrong : {"", "x", "=1", "x=", "x=-1", "x=nan", "x=inf", "x=1 ", "x=1e999"})
        EXPECT_THROW(parse_price(wrong), Error) << wrong;
}

TEST_F(RunReports, ComparesTwoRunsAtTheLastStepOfBoth) {
    write("one/a", started(100, "alice", kAlice) + step(110, 1, "3.0") + step(120, 2, "2.0"));
    write("two/b", started(500, "bob", kBob) + step(505, 1, "3.5") + step(507, 2, "2.5") + step(509, 3, "1"));
    const RunReport one = read_run_report({folder_ / "one"}), two = read_run_report({folder_ / "two"});
    const nlohmann::ordered_json both = to_json(one, &two)["last_common_step"];
    EXPECT_EQ(both["step"], 2);
    EXPECT_EQ(both["this_run"]["seconds"], 20);
    EXPECT_EQ(both["against"]["seconds"], 7);
    EXPECT_EQ(both["against"]["loss"], 2.5);
    EXPECT_NE(to_table(one, &two).find("time to step 2"), std::string::npos);
    EXPECT_EQ(picture_of(one, &two).curves.size(), 2U);
}

}  // namespace
}  // namespace shoal::run
