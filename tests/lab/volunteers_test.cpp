// `shoal lab volunteers`: who comes when, and a small run whose report has every session.
#include "lab/namespaces.h"
#include "run/program.h"
#include "run/temporary_folder.h"

#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>

#include "shoal/lab/volunteer_sessions.h"

namespace shoal::lab {
namespace {

using run::Program;
using run::program_folder;
using run::TemporaryFolder;

TEST(Volunteers, AreAsFastInTheMeanAsThePeersOfTheOrganisers) {
    const auto all = volunteers_of(10, 30);
    ASSERT_EQ(all.size(), 40U);
    std::map<double, int> speeds;
    double sum = 0;
    for (const Volunteer& one : all) {
        if (one.organiser)
            EXPECT_EQ(one.speed, kMeanSpeed);
        else
            ++speeds[one.speed], sum += one.speed;
    }
    EXPECT_DOUBLE_EQ(sum / 30, kMeanSpeed);
    EXPECT_EQ(speeds.size(), 6U);
    EXPECT_EQ(speeds.begin()->first, kMeanSpeed / 4);
    EXPECT_EQ(speeds.rbegin()->first, kMeanSpeed * 2);
    EXPECT_EQ(all.front().name, "organiser-01");
    EXPECT_EQ(all.back().name, "volunteer-30");
}

TEST(Volunteers, ComeAndGoWithoutMeetingThemselves) {
    const auto all = volunteers_of(2, 50);
    const VisitPlan plan{.seconds = 1000, .mean_visit = 100, .mean_away = 60, .latest_first = 400};
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        Random random(seed);
        const auto visits = draw_visits(all, plan, random);
        std::map<std::size_t, std::vector<Visit>> of;
        double before = 0;
        std::size_t kills = 0, ends = 0;
        for (const Visit& visit : visits) {
            EXPECT_GE(visit.from, before);  // sorted
            before = visit.from;
            of[visit.who].push_back(visit);
            if (all[visit.who].organiser) continue;
            ++ends, kills += visit.goodbye ? 0 : 1;
        }
        ASSERT_EQ(of.size(), all.size());  // everybody comes
        for (const auto& [who, own] : of) {
            if (all[who].organiser) {
                ASSERT_EQ(own.size(), 1U);
                EXPECT_EQ(own[0].from, 0);
                EXPECT_EQ(own[0].to, plan.seconds);
                continue;
            }
            EXPECT_LT(own.front().from, plan.latest_first);
            for (std::size_t i = 0; i < own.size(); ++i) {
                EXPECT_GE(own[i].to - own[i].from, plan.mean_visit / 4 - 1e-9);
                EXPECT_LE(own[i].to - own[i].from, plan.mean_visit * 3 + 1e-9);
                if (i > 0) {
                    EXPECT_GE(own[i].from - own[i - 1].to, plan.mean_away / 4 - 1e-9);
                }
            }
        }
        EXPECT_GT(kills, ends / 8);
        EXPECT_LT(kills, ends / 2);
    }
}

TEST(Volunteers, StayForAMomentAtLeastHoweverShortTheRun) {
    const auto all = volunteers_of(1, 6);
    const VisitPlan plan{.seconds = 60, .mean_visit = 1, .mean_away = 0.1, .latest_first = 1000};
    Random random(1);
    std::map<std::size_t, double> left;
    for (const Visit& visit : draw_visits(all, plan, random)) {
        if (all[visit.who].organiser) continue;
        EXPECT_LT(visit.from, plan.seconds);
        EXPECT_GE(visit.to - visit.from, kShortest - 1e-9);
        if (left.count(visit.who) > 0) {
            EXPECT_GE(visit.from - left[visit.who], kShortest - 1e-9);
        }
        left[visit.who] = visit.to;
    }
    EXPECT_EQ(left.size(), 6U);
}

TEST(Volunteers, AreAllInTheReportWithEverySession) {
    if (!may_make_namespaces()) return;
    const TemporaryFolder folder;
    Program lab(program_folder() / "shoal",
                {"lab", "volunteers", "--quick", "--json", folder / "result.json", "--plot",
                 folder / "result.png", "--folder", folder / "peers", "--price", "organiser-*=3600"},
                folder.path());
    ASSERT_EQ(lab.wait(std::chrono::seconds(500)), 0) << lab.output() << lab.errors();
    std::ifstream file(folder / "result.json");
    const nlohmann::json result = nlohmann::json::parse(file);
    const nlohmann::json& report = result.at("report");
    EXPECT_EQ(report.at("sessions"), result.at("sessions_started"));
    EXPECT_EQ(report.at("steps").at("last"), 20);
    EXPECT_EQ(report.at("against").at("steps").at("last"), 20);
    EXPECT_EQ(report.at("last_common_step").at("step"), 20);
    // A dollar for each second that one of the organisers' peers was there.
    double seconds = 0;
    for (const nlohmann::json& one : report.at("participants"))
        if (one.at("name").get<std::string>().starts_with("organiser"))
            seconds += one.at("online_seconds").get<double>();
    EXPECT_GT(seconds, 0);
    EXPECT_NEAR(report.at("dollars").get<double>(), seconds, 0.01);
    expect_met(result, {"parameters", "session", "all steps"}, 3);
    EXPECT_NE(lab.output().find("time to step 20"), std::string::npos) << lab.output();
    EXPECT_GT(std::filesystem::file_size(folder / "result.png"), 1000U);
}

}  // namespace
}  // namespace shoal::lab
