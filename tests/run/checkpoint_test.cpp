// A checkpoint is complete or not there, damage is noticed, and nothing is overwritten.
#include "shoal/run/checkpoint.h"

#include "run/temporary_folder.h"

#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <rapidcheck.h>
#include <unistd.h>

#include "shoal/base/error.h"
#include "shoal/run/safetensors.h"
#include "shoal/run/state_digest.h"

namespace shoal::run {
namespace {

const std::vector<TensorLayout> kLayout = {{.name = "layer.weight", .shape = {2, 2}},
                                           {.name = "layer.bias", .shape = {2}}};

collective::State state_at(std::int64_t step) {
    const float x = static_cast<float>(step);
    collective::State state;
    state.step = static_cast<Step>(step);
    state.sections = {{.name = "parameters", .values = {x, 1, 2, 3, 4, 5}},
                      {.name = "optimizer/first_moment", .values = {6, 7, 8, 9, 10, x}},
                      {.name = "optimizer/scalars", .values = {0.25F}}};
    return state;
}

CheckpointInfo info_at(std::int64_t step) {
    CheckpointInfo info;
    info.step = static_cast<Step>(step);
    info.run = "test";
    info.digest = digest_of(state_at(step));
    info.seed = 7;
    info.data_position = 1234;
    info.learning_rate = 0.1;
    info.loss = std::nan("");
    info.settings = {{"run.name", "test"}, {"model.kind", "albert"}, {"run.steps", "100"}};
    return info;
}

class Checkpoints : public testing::Test {
  protected:
    CheckpointFolder open(std::int64_t keep = 3) { return {folder_.path() / "checkpoints", keep, Log()}; }
    void write(std::int64_t step, std::int64_t keep = 3) {
        open(keep).write(info_at(step), state_at(step), kLayout);
    }
    std::int64_t latest() {
        const auto found = open().latest();
        return found ? value(found->info.step) : -1;
    }
    TemporaryFolder folder_;
};

TEST_F(Checkpoints, ComeBackAsTheyWere) {
    write(12);
    const Checkpoint read = open().latest().value();
    EXPECT_EQ(read.info.run, "test");
    EXPECT_EQ(read.info.digest, info_at(12).digest);
    EXPECT_EQ(read.info.data_position, 1234U);
    EXPECT_EQ(read.info.learning_rate, 0.1);
    EXPECT_TRUE(std::isnan(read.info.loss));
    EXPECT_EQ(read.info.settings, info_at(12).settings);
    EXPECT_EQ(read.state.step, Step{12});
    ASSERT_EQ(read.state.sections.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(read.state.sections[i].name, state_at(12).sections[i].name);
        EXPECT_EQ(read.state.sections[i].values, state_at(12).sections[i].values);
    }
}

TEST_F(Checkpoints, HoldTheModelsTensorsUnderTheirNamesAndShapes) {
    write(12);
    const TensorFile file = read_safetensors(folder_.path() / "checkpoints/step-000012.safetensors");
    ASSERT_NE(file.find("layer.weight"), nullptr);
    EXPECT_EQ(file.find("layer.weight")->shape, (std::vector<std::int64_t>{2, 2}));
    EXPECT_EQ(file.find("layer.bias")->values, (std::vector<float>{4, 5}));
    EXPECT_EQ(file.find("optimizer/first_moment/layer.bias")->values, (std::vector<float>{10, 12}));
    EXPECT_EQ(file.find("optimizer/scalars")->values, (std::vector<float>{0.25F}));
}

TEST_F(Checkpoints, AreNotThereBeforeTheFirst) {
    EXPECT_EQ(latest(), -1);
    EXPECT_TRUE(open().steps().empty());
}

TEST_F(Checkpoints, OnlyTheNewestAreKept) {
    for (const std::int64_t step : {10, 20, 30, 1000000}) write(step, 2);
    EXPECT_EQ(open().steps(), (std::vector<Step>{Step{30}, Step{1000000}}));
    EXPECT_EQ(latest(), 1000000);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path() / "checkpoints"), {}), 4);
}

TEST_F(Checkpoints, OneWhoseWritingWasInterruptedDoesNotCount) {
    write(10);
    write(20);
    std::filesystem::remove(open().info_file(Step{20}));  // the tensors are written first
    EXPECT_EQ(latest(), 10);
}

TEST_F(Checkpoints, ADamagedNewestOneIsNamedWithTheIntactOneAndOnlyWhoAsksForItFallsBack) {
    for (const std::int64_t step : {10, 20, 30}) write(step);
    std::map<std::filesystem::path, std::string> damaged;
    for (const Step step : {Step{20}, Step{30}}) {
        std::string bytes = read_whole(open().tensor_file(step));
        bytes.back() = static_cast<char>(bytes.back() ^ 1);  // a flipped bit in a number
        write_whole(open().tensor_file(step), bytes);
        damaged[open().tensor_file(step)] = bytes;
        EXPECT_THROW(open().read(step), Error);
    }
    try {
        open().latest();
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::corrupted);
        const std::string text = error.what();
        EXPECT_NE(text.find("step-000030.safetensors is damaged"), std::string::npos) << text;
        EXPECT_NE(text.find("step-000020.safetensors is damaged"), std::string::npos) << text;
        EXPECT_NE(text.find("intact checkpoint is " + open().tensor_file(Step{10}).string()),
                  std::string::npos)
            << text;
        EXPECT_NE(text.find("checkpoints.fall_back=true"), std::string::npos) << text;
    }
    for (const auto& [file, bytes] : damaged) EXPECT_EQ(read_whole(file), bytes) << "left as it is";
    open().fall_back();
    EXPECT_EQ(latest(), 10);
    for (const auto& [file, bytes] : damaged) EXPECT_EQ(read_whole(file.string() + ".old-1"), bytes);
    write(20);
    open().fall_back();
    EXPECT_EQ(latest(), 20) << "an intact one stays";
}

TEST_F(Checkpoints, FallingBackLeavesThemWhereTheyAreIfAllAreDamaged) {
    open().fall_back();  // nothing is there
    write(10);
    write_whole(open().tensor_file(Step{10}), "damaged");
    EXPECT_THROW(open().fall_back(), Error);
    EXPECT_EQ(read_whole(open().tensor_file(Step{10})), "damaged");
}

TEST_F(Checkpoints, AreNotWrittenUnderTheStepOrDigestOfAnotherState) {
    CheckpointInfo other_step = info_at(10);
    other_step.digest = digest_of(state_at(11));
    EXPECT_THROW(open().write(other_step, state_at(11), kLayout), Error);
    CheckpointInfo other_digest = info_at(11);
    other_digest.digest = digest_of(state_at(10));
    EXPECT_THROW(open().write(other_digest, state_at(11), kLayout), Error);
    EXPECT_TRUE(open().steps().empty());
}

TEST_F(Checkpoints, OneWhoseNotedDigestIsAnotherStatesIsDamaged) {
    write(10);
    write(20);
    std::string info = read_whole(open().info_file(Step{20}));
    const std::string right = digest_of(state_at(20)).hex(), wrong = digest_of(state_at(10)).hex();
    info.replace(info.find(right), right.size(), wrong);
    write_whole(open().info_file(Step{20}), info);
    EXPECT_THROW(open().read(Step{20}), Error);
    EXPECT_THROW(latest(), Error);
}

TEST_F(Checkpoints, AFolderThatCannotBeWrittenIsRefusedBeforeAnythingIsTrained) {
    open().prepare();
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path() / "checkpoints"));
    write_whole(folder_ / "file", "");
    const CheckpointFolder impossible(folder_ / "file/checkpoints", 3, Log());
    try {
        impossible.prepare();
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::bad_input);
        EXPECT_NE(std::string(error.what()).find("checkpoints.folder"), std::string::npos);
    }
}

TEST_F(Checkpoints, IfAllAreDamagedNothingIsStartedOverThem) {
    write(10);
    write_whole(open().info_file(Step{10}), "{}");
    try {
        open().latest();
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::corrupted);
        EXPECT_NE(std::string(error.what()).find("step-000010.json"), std::string::npos) << error.what();
    }
}

TEST_F(Checkpoints, WritingAStepAgainMovesTheOldFilesAside) {
    write(10);
    write_whole(open().tensor_file(Step{10}), "damaged");
    write(10);
    EXPECT_EQ(latest(), 10);
    EXPECT_EQ(read_whole(open().tensor_file(Step{10}).string() + ".old-1"), "damaged");
    EXPECT_TRUE(std::filesystem::exists(open().info_file(Step{10}).string() + ".old-1"));
}

TEST_F(Checkpoints, AGoodOneStaysWhereItIsWhenTheOneThatReplacesItCannotBeWritten) {
    write(10);
    for (const auto& file : {open().tensor_file(Step{10}), open().info_file(Step{10})}) {
        // A folder stands where the temporary file should be.
        const std::filesystem::path obstacle = file.string() + "." + std::to_string(::getpid()) + ".tmp";
        std::filesystem::create_directory(obstacle);
        EXPECT_THROW(write(10), Error);
        EXPECT_EQ(latest(), 10);
        EXPECT_FALSE(std::filesystem::exists(open().info_file(Step{10}).string() + ".old-1"));
        EXPECT_FALSE(std::filesystem::exists(open().tensor_file(Step{10}).string() + ".old-1"));
        std::filesystem::remove(obstacle);
    }
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path() / "checkpoints"), {}), 2);
}

TEST_F(Checkpoints, OfStepsThatThisPeerHasGoneBackFromAreMovedAsideAndNotTakenForTheNewest) {
    write(400);
    write(500);
    write(310);  // the swarm was there, with another history
    EXPECT_EQ(latest(), 310);
    EXPECT_EQ(open().steps(), std::vector<Step>{Step{310}});
    for (const std::int64_t later : {400, 500})
        EXPECT_TRUE(
            std::filesystem::exists(open().tensor_file(static_cast<Step>(later)).string() + ".old-1"));
}

TEST_F(Checkpoints, ADamagedLaterOneNeverPushesAGoodOneOut) {
    write(10, 1);
    write(30, 1);
    write_whole(open().tensor_file(Step{30}), "damaged");
    write(20, 1);
    EXPECT_EQ(open().read(Step{20}).info.step, Step{20});
    open().fall_back();
    EXPECT_EQ(latest(), 20);
}

TEST_F(Checkpoints, AFullDiskOrForbiddenFolderIsOneErrorAndHurtsNothing) {
    write_whole(folder_ / "checkpoints", "a file where the folder should be");
    try {
        write(10);
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::system);
    }
    EXPECT_EQ(read_whole(folder_ / "checkpoints"), "a file where the folder should be");
}

TEST_F(Checkpoints, AStateThatIsNotOfThisModelIsNotWritten) {
    collective::State state = state_at(10);
    state.sections[0].values.pop_back();
    EXPECT_THROW(open().write(info_at(10), state, kLayout), Error);
    EXPECT_EQ(latest(), -1);
}

TEST_F(Checkpoints, NoDamageToEitherFileCrashesOrIsTakenForAState) {
    write(10);
    const std::string json = read_whole(open().info_file(Step{10}));
    const std::string tensors = read_whole(open().tensor_file(Step{10}));
    EXPECT_TRUE(rc::check([&] {
        const bool spoil_json = *rc::gen::arbitrary<bool>();
        std::string mutated = spoil_json ? json : tensors;
        const std::size_t at = *rc::gen::inRange<std::size_t>(0, mutated.size());
        const char byte = *rc::gen::arbitrary<char>();
        if (*rc::gen::arbitrary<bool>())
            mutated.resize(at);
        else
            mutated[at] = byte;
        write_whole(spoil_json ? open().info_file(Step{10}) : open().tensor_file(Step{10}), mutated);
        try {
            const Checkpoint read = open().read(Step{10});
            // Only a change of the JSON's own texts can pass; the numbers of the model never change.
            RC_ASSERT(spoil_json || mutated == tensors);
            for (std::size_t i = 0; i < read.state.sections.size(); ++i)
                RC_ASSERT(read.state.sections[i].values == state_at(10).sections[i].values);
        } catch (const Error& error) {
            RC_ASSERT(error.kind() == ErrorKind::corrupted);
        }
        write_whole(open().info_file(Step{10}), json);
        write_whole(open().tensor_file(Step{10}), tensors);
    }));
}

TEST_F(Checkpoints, OfAnotherModelAreRefusedByNameOfTheSetting) {
    net::AgreedSettings settings = info_at(1).settings;
    settings[2].second = "200";  // more steps are fine
    EXPECT_NO_THROW(check_fits(info_at(1), settings));
    settings[1].second = "convnet";
    try {
        check_fits(info_at(1), settings);
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::bad_input);
        EXPECT_NE(std::string(error.what()).find("model.kind = albert"), std::string::npos);
    }
}

}  // namespace
}  // namespace shoal::run
