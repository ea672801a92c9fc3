// The doctor's judgement of a machine, and the table of a swarm.
#include "shoal/run/doctor.h"

#include "run/temporary_folder.h"

#include <cmath>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "shoal/run/folder.h"
#include "shoal/run/status.h"

namespace shoal::run {
namespace {

using Level = Finding::Level;

Machine good_machine() {
    Machine machine;
    machine.cores = 4;
    machine.memory_bytes = 8'000'000'000;
    machine.available_memory_bytes = 6'000'000'000;
    machine.open_files = 1024;
    machine.open_files_maximum = 4096;
    machine.open_blas = "openmp";
    machine.clock_synchronised = true;
    machine.free_disk_bytes = 10'000'000'000;
    machine.bbr = true;
    return machine;
}

Level level_of(const std::string& subject, const Machine& machine, const RunDefinition& definition = {}) {
    for (const Finding& one : judge_machine(machine, definition))
        if (one.subject == subject) {
            EXPECT_TRUE(one.level == Level::fine || !one.advice.empty()) << subject;
            return one.level;
        }
    ADD_FAILURE() << "nothing is said of " << subject;
    return Level::fine;
}

TEST(Doctor, FindsNothingWrongWithAGoodMachine) {
    for (const Finding& one : judge_machine(good_machine(), {}))
        EXPECT_EQ(one.level, Level::fine) << one.subject;
}

TEST(Doctor, NamesWhatIsWrongAtItsBound) {
    Machine machine = good_machine();
    machine.open_files = 1023;
    EXPECT_EQ(level_of("open files", machine), Level::wrong);
    machine = good_machine();
    machine.open_blas = "pthread";
    EXPECT_EQ(level_of("OpenBLAS", machine), Level::wrong);
    machine.open_blas = "none";
    EXPECT_EQ(level_of("OpenBLAS", machine), Level::note);
    machine = good_machine();
    machine.free_disk_bytes = 199'999'999;
    EXPECT_EQ(level_of("disk", machine), Level::wrong);
    machine = good_machine();
    machine.available_memory_bytes = 499'999'999;
    EXPECT_EQ(level_of("memory", machine), Level::wrong);
    RunDefinition greedy;
    greedy.peer.threads = 5;
    EXPECT_EQ(level_of("processor", good_machine(), greedy), Level::note);
    machine = good_machine();
    machine.clock_synchronised = false;
    EXPECT_EQ(level_of("clock", machine), Level::note);
}

TEST(Doctor, AClockIsWrongBeyondWhatTheDirectoryTolerates) {
    EXPECT_EQ(judge_clock("p", 0.5, 0.1).level, Level::fine);
    EXPECT_EQ(judge_clock("p", -4, 0.1).level, Level::note);
    EXPECT_EQ(judge_clock("p", 30, 0.0).level, Level::note);
    EXPECT_EQ(judge_clock("p", -30.5, 0.0).level, Level::wrong);
    EXPECT_EQ(judge_clock("p", 30.5, 1.0).level, Level::note) << "the difference is not certain";
}

TEST(Doctor, NamesFilesThatAreMissingOrEmpty) {
    const TemporaryFolder folder;
    RunDefinition definition;
    EXPECT_TRUE(judge_files(definition).empty());
    definition.data.path = folder.path();
    EXPECT_NE(judge_files(definition).at(0).text.find("is a folder"), std::string::npos);
    definition.data.path = folder / "text";
    definition.data.vocabulary = folder / "vocabulary";
    write_whole(folder / "text", "");
    const auto findings = judge_files(definition);
    ASSERT_EQ(findings.size(), 2U);
    EXPECT_NE(findings[0].text.find("is empty"), std::string::npos);
    EXPECT_NE(findings[1].text.find("does not exist"), std::string::npos);
    EXPECT_TRUE(something_is_wrong(findings));
    write_whole(folder / "text", "words");
    write_whole(folder / "vocabulary", "words");
    EXPECT_FALSE(something_is_wrong(judge_files(definition)));
}

TEST(Doctor, NamesTheImageFilesThatAFolderLacks) {
    const TemporaryFolder folder;
    RunDefinition definition;
    definition.data.kind = "images";
    definition.data.path = folder.path();
    for (const char* name :
         {"train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte"})
        write_whole(folder / name, "x");
    EXPECT_NE(judge_files(definition).at(0).text.find("lacks t10k-labels-idx1-ubyte"), std::string::npos);
    write_whole(folder / "t10k-labels-idx1-ubyte.gz", "x");
    EXPECT_FALSE(something_is_wrong(judge_files(definition)));
}

TEST(Doctor, AsksForAFolderOfImagesNotForIdxFiles) {
    const TemporaryFolder folder;
    RunDefinition definition;
    definition.data.kind = "image-folder";
    definition.data.path = folder.path();
    EXPECT_FALSE(something_is_wrong(judge_files(definition)));
    definition.data.path = folder / "none";
    EXPECT_NE(judge_files(definition).at(0).text.find("no folder"), std::string::npos);
}

TEST(Doctor, TellsATorchScriptFileFromAnotherByItsFirstBytes) {
    const TemporaryFolder folder;
    RunDefinition definition;
    definition.model.kind = "torchscript";
    definition.model.file = folder / "model.pt";
    EXPECT_TRUE(something_is_wrong(judge_files(definition))) << "it does not exist";
    write_whole(folder / "model.pt", "PK\x03");
    EXPECT_TRUE(something_is_wrong(judge_files(definition)));
    write_whole(folder / "model.pt", "PK\x03\x04 and more");
    EXPECT_FALSE(something_is_wrong(judge_files(definition)));
}

TEST(Doctor, SaysThatAFolderIsInUseOrNoFolderAtAllAndLeavesNoTrace) {
    const TemporaryFolder folder;
    EXPECT_EQ(judge_folder(folder / "new/peer").level, Level::fine);
    EXPECT_FALSE(std::filesystem::exists(folder / "new"));
    write_whole(folder / "file", "");
    EXPECT_EQ(judge_folder(folder / "file/peer").level, Level::wrong);
    {
        const PeerFolder used(folder / "peer");
        const Finding finding = judge_folder(folder / "peer");
        EXPECT_EQ(finding.level, Level::wrong);
        EXPECT_NE(finding.text.find("in use by process"), std::string::npos);
    }
    EXPECT_EQ(judge_folder(folder / "peer").level, Level::fine);
}

TEST(Doctor, LooksAtThisMachine) {
    const Machine machine = look_at_machine("does/not/exist/yet");
    EXPECT_GT(machine.cores, 0U);
    EXPECT_GT(machine.memory_bytes, machine.available_memory_bytes);
    EXPECT_GT(machine.open_files, 0U);
    EXPECT_GT(machine.free_disk_bytes, 0U);
}

SwarmReport two_peers() {
    SwarmReport report;
    report.run = "demo";
    report.view.step = Step{7};
    report.view.samples = Samples{40};
    report.view.digest = {.low = 1, .high = 2};
    collective::Progress good;
    good.name = "alice";
    good.step = Step{7};
    good.samples = Samples{30};
    good.training = true;
    good.digest = report.view.digest;
    good.bytes_sent = 1'500'000;
    collective::Progress other = good;
    other.name = "bob";
    other.samples = Samples{10};
    other.digest = {.low = 3, .high = 4};
    other.loss = std::nan("");
    report.peers = {good, other};
    return report;
}

TEST(SwarmStatus, ShowsSharesAndWhoDiffers) {
    const std::string table = to_table(two_peers());
    EXPECT_NE(table.find("run demo: step 7"), std::string::npos);
    EXPECT_NE(table.find("75%"), std::string::npos);
    EXPECT_NE(table.find("1.5 MB"), std::string::npos);
    EXPECT_NE(table.find("equal"), std::string::npos);
    EXPECT_NE(table.find("DIFFERS"), std::string::npos);
}

TEST(SwarmStatus, ARunInGroupsIsShownAsASample) {
    SwarmReport report = two_peers();
    report.is_sample = true;
    report.view.peers = 512;
    report.peers[1].step = Step{6};
    const std::string table = to_table(report);
    EXPECT_NE(table.find("averages in groups; about 512 peers at about step 7"), std::string::npos) << table;
    EXPECT_NE(table.find("1 behind"), std::string::npos) << table;
    EXPECT_EQ(table.find("DIFFERS"), std::string::npos) << table;
    EXPECT_EQ(nlohmann::json::parse(to_json(report)).at("sample_of"), 512);
    EXPECT_TRUE(nlohmann::json::parse(to_json(two_peers())).at("sample_of").is_null());
}

TEST(SwarmStatus, ASilentPeerShowsForHowLongAndNoSpeed) {
    SwarmReport report = two_peers();
    report.peers[0].samples_per_second = 111.5;
    report.peers[1].samples_per_second = 222.5;
    report.peers[1].peer = PeerId::from_bytes(Bytes(32, 1));
    report.silent[report.peers[1].peer] = 7.2;
    const std::string table = to_table(report);
    EXPECT_NE(table.find("2 peers (1 training)"), std::string::npos) << table;
    EXPECT_NE(table.find("silent for 7 s"), std::string::npos) << table;
    EXPECT_NE(table.find("111.5"), std::string::npos) << table;
    EXPECT_EQ(table.find("222.5"), std::string::npos) << table;
    const auto json = nlohmann::json::parse(to_json(report));
    EXPECT_TRUE(json.at("peers")[0].at("silent_seconds").is_null());
    EXPECT_EQ(json.at("peers")[1].at("silent_seconds"), 7.2);
    EXPECT_TRUE(json.at("peers")[1].at("samples_per_second").is_null());
}

TEST(SwarmStatus, APeerIsGrantedTheTimeOfItsMicroBatchesAndLongerInARound) {
    collective::Progress peer;
    peer.micro_batch_seconds = 10;
    EXPECT_EQ(silence_allowed(peer), 32);
    peer.micro_batch_seconds = 0;
    EXPECT_EQ(silence_allowed(peer), 2);
    peer.waiting = true;
    EXPECT_EQ(silence_allowed(peer), 15);
}

TEST(SwarmStatus, AnAuxiliaryPeerHasNoLossAndOnePeerIsOne) {
    SwarmReport report = two_peers();
    report.peers.resize(1);
    report.peers[0].role = collective::Role::auxiliary;
    report.peers[0].training = false;
    const std::string table = to_table(report);
    EXPECT_NE(table.find("1 peer (0 training)"), std::string::npos) << table;
    EXPECT_EQ(table.find("0.0000"), std::string::npos) << table;
    EXPECT_TRUE(nlohmann::json::parse(to_json(report)).at("peers")[0].at("loss").is_null());
}

TEST(SwarmStatus, SaysTheSameAsJson) {
    const auto json = nlohmann::json::parse(to_json(two_peers()));
    EXPECT_EQ(json.at("step"), 7);
    EXPECT_EQ(json.at("peers").size(), 2U);
    EXPECT_EQ(json.at("peers")[1].at("state"), "DIFFERS");
    EXPECT_EQ(json.at("peers")[0].at("share"), 0.75);
    EXPECT_TRUE(json.at("peers")[1].at("loss").is_null());
}

}  // namespace
}  // namespace shoal::run
