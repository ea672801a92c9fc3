// A run file is read completely or refused with every problem in its place.
#include "shoal/run/definition.h"

#include "run/temporary_folder.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "shoal/base/error.h"
#include "shoal/base/hash.h"
#include "shoal/run/node.h"
#include "shoal/run/schema.h"

namespace shoal::run {
namespace {

/// A file that trains, to be spoilt by tests.
std::string good_file() {
    return R"([run]
name = "albert-demo"
target_batch_size = 512
steps = 300

[model]
kind = "albert"
size = "tiny"

[data]
kind = "text"
path = "handbook.txt"
vocabulary = "handbook.model"

[schedule]
learning_rate = 2e-3
warmup_steps = 20
)";
}

std::string problems_of(const std::string& toml, const std::vector<Override>& overrides = {},
                        Purpose purpose = Purpose::training) {
    try {
        parse_definition(toml, "run.toml", overrides, purpose);
    } catch (const Error& error) {
        EXPECT_TRUE(error.kind() == ErrorKind::bad_input || error.kind() == ErrorKind::invalid_argument);
        return error.what();
    }
    return "no problem";
}

std::string replaced(std::string text, const std::string& old, const std::string& with) {
    const std::size_t place = text.find(old);
    EXPECT_NE(place, std::string::npos) << old;
    return text.replace(place, old.size(), with);
}

Override flag(const std::string& key, const std::string& value) {
    Override result;
    result.key = key;
    result.value = value;
    result.origin = "--set " + key + "=" + value;
    return result;
}

TEST(RunDefinition, ReadsValuesAndKeepsDefaultsForTheRest) {
    const RunDefinition d = parse_definition(good_file(), "folder/run.toml", {}, Purpose::training);
    EXPECT_EQ(d.run.name, "albert-demo");
    EXPECT_EQ(d.run.target_batch_size, 512);
    EXPECT_DOUBLE_EQ(d.schedule.learning_rate, 2e-3);
    EXPECT_EQ(d.schedule_steps(), 300);
    EXPECT_EQ(d.optimizer.name, "lamb");
    EXPECT_EQ(d.peer_folder(), "shoal-albert-demo");
    EXPECT_EQ(d.checkpoint_folder(), "shoal-albert-demo/checkpoints");
    EXPECT_EQ(d.key_file(), "shoal-albert-demo/key.pem");
}

TEST(RunDefinition, TakesRelativePathsFromTheFilesFolderAndThoseOfFlagsFromTheWorkingFolder) {
    const RunDefinition d = parse_definition(good_file(), "some/folder/run.toml",
                                             {flag("data.vocabulary", "mine.model")}, Purpose::training);
    EXPECT_EQ(d.data.path, "some/folder/handbook.txt");
    EXPECT_EQ(d.data.vocabulary, "mine.model");
}

TEST(RunDefinition, HowLongOneWaitsForOthersReachesTheTrainingSettings) {
    const TemporaryFolder folder;
    std::ofstream(folder / "words.model") << "a vocabulary, of which only the hash is asked";
    const std::vector<Override> flags = {
        flag("averaging.alone_after", "1.5"), flag("averaging.lost_quorum_timeout", "77"),
        flag("network.listen_host", "127.0.0.1"), flag("peer.folder", folder / "peer"),
        flag("data.vocabulary", folder / "words.model")};
    const RunDefinition d = parse_definition(good_file(), "run.toml", flags, Purpose::averaging);
    NodeOptions options;
    options.purpose = Purpose::averaging;
    const Node node(d, options);
    EXPECT_EQ(node.training_settings().alone_after, from_seconds(1.5));
    EXPECT_EQ(node.training_settings().lost_quorum_timeout, from_seconds(77));
    for (const char* key : {"averaging.alone_after", "averaging.lost_quorum_timeout"})
        for (const char* value : {"0", "86401"})
            EXPECT_NE(problems_of(good_file(), {flag(key, value)}).find(key), std::string::npos) << value;
}

TEST(RunDefinition, GroupsLeaveRoomForThoseThatComeOutLarger) {
    const auto problems = [](const char* group_size, const char* maximum_group) {
        return problems_of(good_file(), {flag("averaging.group_size", group_size),
                                         flag("averaging.maximum_group", maximum_group)});
    };
    EXPECT_EQ(problems("21", "64"), "no problem");
    EXPECT_NE(problems("22", "64").find("averaging.group_size"), std::string::npos);
    EXPECT_EQ(problems("4", "12"), "no problem");
    EXPECT_NE(problems("4", "11").find("more than a third of maximum_group"), std::string::npos);
}

TEST(RunDefinition, GroupsDoNotGoTogetherWithErrorFeedback) {
    const auto problems = [](const char* error_feedback) {
        return problems_of(good_file(), {flag("averaging.group_size", "4"),
                                         flag("averaging.error_feedback", error_feedback)});
    };
    EXPECT_EQ(problems("auto"), "no problem");
    EXPECT_EQ(problems("off"), "no problem");
    EXPECT_NE(problems("on").find("does not go together with error_feedback"), std::string::npos);
    EXPECT_NE(problems("sometimes").find("averaging.error_feedback"), std::string::npos);
}

TEST(RunDefinition, AWholeNumberIsFineWhereANumberIsAsked) {
    const RunDefinition d =
        parse_definition(replaced(good_file(), "2e-3", "1"), "run.toml", {}, Purpose::training);
    EXPECT_DOUBLE_EQ(d.schedule.learning_rate, 1.0);
}

TEST(RunDefinition, AModelFileMayBeGivenInOneLine) {
    const RunDefinition d = parse_definition(
        "model = \"my_model.pt\"\n[run]\nname = \"x\"\n[data]\nkind = \"tokens\"\npath = \"t\"\n",
        "a/run.toml", {}, Purpose::training);
    EXPECT_EQ(d.model.kind, "torchscript");
    EXPECT_EQ(d.model.file, "a/my_model.pt");
}

TEST(RunDefinition, LaterFlagsWinOverEarlierOnesAndOverTheFile) {
    const RunDefinition d = parse_definition(
        good_file(), "run.toml",
        {flag("run.steps", "5"), flag("run.steps", "30"), flag("network.bootstrap", "a:1, [::1]:2"),
         flag("optimizer.betas", "0.5,0.75"), flag("network.client_mode", "true"), flag("peer.load", "0.5")},
        Purpose::training);
    EXPECT_EQ(d.run.steps, 30);
    EXPECT_EQ(d.network.bootstrap, (std::vector<std::string>{"a:1", "[::1]:2"}));
    EXPECT_EQ(d.optimizer.betas[1], 0.75);
    EXPECT_TRUE(d.network.client_mode);
    EXPECT_EQ(d.peer.load, 0.5);
}

struct BadFile {
    std::string sentence, old, with, expected;
};

class BadRunFile : public testing::TestWithParam<BadFile> {};

TEST_P(BadRunFile, IsRefusedWithItsPlace) {
    const BadFile& bad = GetParam();
    EXPECT_EQ(problems_of(replaced(good_file(), bad.old, bad.with)), bad.expected);
}

INSTANTIATE_TEST_SUITE_P(
    Problems, BadRunFile,
    testing::Values(
        BadFile{"UnknownKey", "target_batch_size", "target_batchsize",
                "run.toml:3:1: unknown key 'target_batchsize' in [run] (did you mean 'target_batch_size'?)"},
        BadFile{"KeyOfAnotherSection", "steps = 300", "learning_rate = 1",
                "run.toml:4:1: unknown key 'learning_rate' in [run] (it belongs in [schedule])"},
        BadFile{"UnknownSection", "[schedule]", "[shedule]",
                "run.toml:15:2: unknown section [shedule] (did you mean [schedule]?)"},
        BadFile{"KeyOutsideSections", "[run]", "seed = 1\n[run]",
                "run.toml:1:1: unknown key 'seed' outside any section (it belongs in [run])"},
        BadFile{"TextForNumber", "= 512", "= \"512\"",
                "run.toml:3:21: [run] target_batch_size must be a whole number, not a text"},
        BadFile{"FractionForWholeNumber", "= 512", "= 512.5",
                "run.toml:3:21: [run] target_batch_size must be a whole number, not a number"},
        BadFile{"NumberForText", "\"albert-demo\"", "7",
                "run.toml:2:8: [run] name must be a text in quotes, not a whole number"},
        BadFile{"ListOfWrongThings", "[data]", "[network]\nbootstrap = [1]\n[data]",
                "run.toml:11:13: [network] bootstrap must be a list of texts, not a list"},
        BadFile{"Zero", "= 512", "= 0", "run.toml:3:21: [run] target_batch_size must be at least 1, not 0"},
        BadFile{"Negative", "= 300", "= -1", "run.toml:4:9: [run] steps must be at least 1, not -1"},
        BadFile{"NotFinite", "2e-3", "nan",
                "run.toml:16:17: [schedule] learning_rate must be a finite number, not nan"},
        BadFile{"BadWord", "\"tiny\"", "\"tyny\"",
                "run.toml:8:8: [model] size must be one of tiny, small, base, large, not \"tyny\" (did you "
                "mean tiny?)"},
        BadFile{"BadName", "albert-demo", "albert/demo",
                "run.toml:2:8: [run] name may have letters, digits, '-', '_' and '.' only, not \"/\""},
        BadFile{"BadAddress", "[data]", "[network]\nbootstrap = [\"nowhere\"]\n[data]",
                "run.toml:11:13: [network] bootstrap \"nowhere\" is no address of the form host:port"},
        BadFile{
            "SeveralBadAddresses", "[data]", "[network]\nbootstrap = [\"nowhere\", \"a:1\", \"b:0\"]\n[data]",
            "run.toml:11:13: [network] bootstrap \"nowhere\" is no address of the form host:port; \"b:0\" "
            "is no address of the form host:port"},
        BadFile{"LossyStateCodec", "[schedule]", "[averaging]\nstate_codec = \"fp16\"\n[schedule]",
                "run.toml:16:15: [averaging] state_codec must be one of fp32, not \"fp16\""},
        BadFile{
            "UnknownSmallCodec", "[schedule]", "[averaging]\nsmall_codec = \"fp61\"\n[schedule]",
            "run.toml:16:15: [averaging] small_codec must be one of fp32, fp16, bf16, blockwise8, uniform8, "
            "quantile8, blockwise4, not \"fp61\" (did you mean fp16?)"},
        BadFile{"NothingIsSmall", "[schedule]", "[averaging]\nsmall_below = 1\n[schedule]",
                "run.toml:16:15: [averaging] small_below must be at least 2, not 1"},
        BadFile{"HeadsThatDoNotDivideThePreset", "size = \"tiny\"", "heads = 5",
                "run.toml:8:9: [model] hidden_size 128 cannot be divided among 5 heads"},
        BadFile{"FiltersOfAnAlbert", "size = \"tiny\"", "filters = 16",
                "run.toml:8:11: [model] filters is for kind convnet, resnet and swav, not albert"},
        BadFile{"SectionAsValue", "[run]\nname", "peer = 3\n[run]\nname",
                "run.toml:1:8: 'peer' must be a section [peer], not a whole number"},
        BadFile{"WarmupBeyondEnd", "warmup_steps = 20", "warmup_steps = 301",
                "run.toml:17:16: [schedule] warmup_steps 301 is beyond the end of the schedule, step 300"},
        BadFile{"LocalStepsBeyondTheBatch", "[data]", "[local_updates]\nbatch_size = 513\n[data]",
                "run.toml:11:14: [local_updates] batch_size 513 is larger than [run] target_batch_size 512: "
                "nobody "
                "would take a step of its own"},
        BadFile{"LocalUpdatesWithDelayedAveraging", "[data]",
                "[averaging]\ndelayed = true\n[local_updates]\nbatch_size = 256\n[data]",
                "run.toml:11:11: [averaging] delayed = true does not go together with [local_updates]: a "
                "peer cannot "
                "move on from parameters that are being averaged"},
        BadFile{"MissingVocabulary", "vocabulary = \"handbook.model\"\n", "",
                "run.toml:11:8: [data] vocabulary is missing: kind text needs a SentencePiece model"},
        BadFile{"MissingName", "name = \"albert-demo\"", "",
                "run.toml: [run] name is missing: it names the swarm"},
        BadFile{"WrongDataForModel", "kind = \"text\"", "kind = \"images\"",
                "run.toml:11:8: [data] kind must be text for [model] kind albert, not images"},
        BadFile{"ClientWithoutBootstrap", "[data]", "[network]\nclient_mode = true\n[data]",
                "run.toml:11:15: [network] client_mode = true accepts no connection, so it needs [network] "
                "bootstrap"},
        BadFile{"MicroBatchTooLarge", "[data]", "[data]\nmicro_batch_size = 513",
                "run.toml:11:20: [data] micro_batch_size 513 is larger than [run] target_batch_size 512"}),
    [](const auto& parameter) { return parameter.param.sentence; });

/// A file that trains a ConvNet, with one more line in [model], which is the third.
std::string convnet_with(const std::string& line) {
    return "[model]\nkind = \"convnet\"\n" + line +
           "\n[run]\nname = \"x\"\n[data]\nkind = \"fashion-mnist\"\n";
}

TEST(RunDefinition, FiltersThatAConvNetCannotHaveAreRefusedWithTheirPlace) {
    for (const std::string filters : {"20", "65536", "4104", "-8", "7"})
        EXPECT_EQ(problems_of(convnet_with("filters = " + filters)),
                  "run.toml:3:11: [model] filters must be a multiple of 8 up to 4096, not " + filters);
    for (const char* filters : {"0", "8", "4096"})
        EXPECT_EQ(problems_of(convnet_with(std::string("filters = ") + filters)), "no problem");
}

TEST(RunDefinition, WhatBelongsToAnotherKindOfModelIsRefusedUnlessItIsTheDefault) {
    EXPECT_EQ(problems_of(convnet_with("heads = 5")),
              "run.toml:3:9: [model] heads is for kind albert, not convnet");
    EXPECT_EQ(problems_of(convnet_with("heads = 0")), "no problem");
    const std::string script =
        replaced(convnet_with("file = \"m.pt\"\nsize = \"small\""), "convnet", "torchscript");
    EXPECT_EQ(problems_of(script),
              "run.toml:4:8: [model] size is for kind albert, convnet, resnet and swav, not torchscript");
}

/// A file that trains SwAV, with one more line in [swav], which is the fourth.
std::string swav_with(const std::string& line, const std::string& optimizer = "larc") {
    return "[model]\nkind = \"swav\"\n[swav]\n" + line + "\n[optimizer]\nname = \"" + optimizer +
           "\"\n[run]\nname = \"x\"\n[data]\nkind = \"fashion-mnist\"\n";
}

TEST(RunDefinition, SwavHasAllItsSettings) {
    const RunDefinition d =
        parse_definition(swav_with("small_scale = [0.2, 0.5]\nprototypes = 64\nqueue = 512"), "run.toml",
                         {flag("model.depths", "3, 4,6,3"), flag("schedule.warmup_steps", "5"),
                          flag("schedule.start_learning_rate", "0.3")},
                         Purpose::training);
    EXPECT_EQ(d.swav.small_scale, (std::array<double, 2>{0.2, 0.5}));
    EXPECT_EQ(d.swav.prototypes, 64);
    EXPECT_EQ(d.swav.queue, 512);
    EXPECT_EQ(d.swav.epsilon, 0.03);
    EXPECT_EQ(d.model.depths, (std::vector<double>{3, 4, 6, 3}));
    EXPECT_EQ(d.schedule.start_learning_rate, 0.3);
    const net::AgreedSettings agreed = agreed_settings(d);
    const auto is_agreed = [&](const std::string& name) {
        return std::any_of(agreed.begin(), agreed.end(), [&](const auto& one) { return one.first == name; });
    };
    for (const char* name : {"swav.small_scale", "swav.frozen_steps", "model.depths", "optimizer.trust"})
        EXPECT_TRUE(is_agreed(name)) << name;
}

TEST(RunDefinition, SwavSettingsThatMakeNoSenseAreRefused) {
    EXPECT_EQ(problems_of(swav_with("")), "no problem");
    for (const char* line :
         {"small_scale = [0.5, 0.2]", "small_scale = [0.0, 0.2]", "large_scale = [0.5]",
          "large_scale = [0.5, 1.1]", "temperature = 0.0009", "epsilon = 11.0", "sinkhorn_iterations = 0",
          "small_crops = 65", "flip = 1.1", "colour = -0.1", "blur_sigma = [0.0, 101.0]", "queue = -1",
          "frozen_steps = -1", "large_crop = 7", "small_crop = 4097", "prototypes = 1048577"})
        EXPECT_EQ(problems_of(swav_with(line)).substr(0, 10), "run.toml:4") << line;
    for (const char* line :
         {"small_scale = [0.2, 0.2]", "large_scale = [1.0, 1.0]", "temperature = 0.001", "epsilon = 10.0",
          "small_crops = 64", "small_crops = 0", "large_crop = 8", "small_crop = 0", "flip = 1.0",
          "blur_sigma = [0.0, 100.0]", "prototypes = 1048576"})
        EXPECT_EQ(problems_of(swav_with(line)), "no problem") << line;
    for (const char* depths : {"0", "101", "1.5", "1,1,1,1,1,1,1,1,1"})
        EXPECT_NE(problems_of(swav_with(""), {flag("model.depths", depths)}).find("[model] depths"),
                  std::string::npos)
            << depths;
    EXPECT_EQ(problems_of(swav_with(""), {flag("model.depths", "100,1,1,1,1,1,1,1")}), "no problem");
    EXPECT_NE(problems_of(swav_with(""), {flag("model.block", "round")}).find("basic, bottleneck"),
              std::string::npos);
}

TEST(RunDefinition, WhatDoesNotGoWithSwavIsRefused) {
    const auto refused = [](const std::string& file, const std::vector<Override>& flags,
                            const std::string& words) {
        EXPECT_NE(problems_of(file, flags).find(words), std::string::npos) << problems_of(file, flags);
    };
    refused(swav_with(""), {flag("data.kind", "text")}, "must be images, fashion-mnist or image-folder");
    refused(swav_with(""), {flag("data.micro_batch_size", "1")}, "at least 2 for [model] kind swav");
    EXPECT_EQ(problems_of(swav_with(""), {flag("data.micro_batch_size", "2")}), "no problem");
    refused(swav_with(""), {flag("optimizer.nesterov", "true")}, "for sgd, not larc");
    refused(swav_with(""), {flag("schedule.start_learning_rate", "0.1")}, "without warmup_steps");
    refused(swav_with(""), {flag("data.kind", "image-folder")}, "[data] path is missing");
    refused(convnet_with("") + "[swav]\nqueue = 5\n", {}, "[swav] queue is for kind swav, not convnet");
}

TEST(RunDefinition, EachProblemCanBeHadAlone) {
    try {
        parse_definition(convnet_with("filters = 20\nsteps = 1"), "run.toml", {}, Purpose::training);
        FAIL();
    } catch (const DefinitionError& error) {
        ASSERT_EQ(error.problems().size(), 2U);
        EXPECT_EQ(error.problems()[1], "run.toml:4:1: unknown key 'steps' in [model] (it belongs in [run])");
    }
}

TEST(RunDefinition, SyntaxErrorsHaveAPlaceToo) {
    EXPECT_EQ(problems_of("[run]\nname = albert\n").substr(0, 36), "run.toml:2:8: this is not TOML: Erro");
}

TEST(RunDefinition, TellsAllProblemsAtOnceInTheOrderOfTheFileAndThenTheFlags) {
    const std::string file = "[run]\nname = 1\nstepps = 2\n[schedule]\nlearning_rate = -1\n";
    EXPECT_EQ(problems_of(file, {flag("run.sed", "1")}),
              "4 problems in run.toml:\n"
              "  run.toml:2:8: [run] name must be a text in quotes, not a whole number\n"
              "  run.toml:3:1: unknown key 'stepps' in [run] (did you mean 'steps'?)\n"
              "  run.toml:5:17: [schedule] learning_rate must be greater than 0, not -1\n"
              "  --set run.sed=1: unknown key 'sed' in [run] (did you mean 'seed'?)");
}

TEST(RunDefinition, NamesTheFlagThatIsWrong) {
    EXPECT_EQ(problems_of(good_file(), {flag("run.steps", "many")}),
              "--set run.steps=many: [run] steps must be a whole number, not 'many'");
    EXPECT_EQ(problems_of(good_file(), {flag("network.listen_port", "65536")}),
              "--set network.listen_port=65536: [network] listen_port must be at most 65535, not 65536");
    EXPECT_EQ(problems_of(good_file(), {flag("run.steps", "99999999999999999999")}),
              "--set run.steps=99999999999999999999: [run] steps must be a whole number, not "
              "'99999999999999999999'");
    EXPECT_THROW(parse_override("run.steps"), Error);
    EXPECT_THROW(parse_override("steps=1"), Error);
    EXPECT_THROW(parse_override(".steps=1"), Error);
    EXPECT_THROW(parse_override("run.=1"), Error);
    EXPECT_EQ(parse_override("peer.name=a=b.c").value, "a=b.c");
}

TEST(RunDefinition, AMissingFileIsBadInputThatNamesIt) {
    try {
        load_definition("no/such/run.toml", {}, Purpose::training);
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::bad_input);
        EXPECT_NE(std::string(error.what()).find("no/such/run.toml"), std::string::npos);
    }
}

TEST(RunDefinition, AMeetingPointNeedsNoFileAtAll) {
    const RunDefinition d = definition_from({flag("network.listen_port", "31337")}, Purpose::meeting);
    EXPECT_EQ(d.network.listen_port, 31337);
    EXPECT_THROW(definition_from({}, Purpose::averaging), Error);
}

TEST(RunDefinition, TheTemplateIsAValidFileThatSetsEveryDefault) {
    std::string text = definition_template();
    const RunDefinition from_comments = parse_definition(text, "t", {}, Purpose::meeting);
    EXPECT_EQ(from_comments.run.name, "my-run");
    // With every key uncommented the definition stays the same.
    std::string uncommented;
    std::size_t keys = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = text.find('\n', at);
        std::string line = text.substr(at, end - at);
        const bool key = line.starts_with("# ") && line.find(" = ") != std::string::npos;
        uncommented += (key ? line.substr(2) : line) + "\n";
        keys += key ? 1 : 0;
        at = end + 1;
    }
    EXPECT_EQ(keys + 3, fields().size()) << "name, learning rate and warm-up are to be chosen";
    const RunDefinition all = parse_definition(uncommented, "t", {}, Purpose::meeting);
    for (const Field& field : fields()) EXPECT_EQ(field.get(all), field.get(from_comments)) << field.name();
}

TEST(RunDefinition, EveryFieldSurvivesTheWayThroughTheFile) {
    EXPECT_TRUE(rc::check([] {
        const auto& all = fields();
        const Field& field = all[*rc::gen::inRange<std::size_t>(0, all.size())];
        RunDefinition definition;
        const Value value = field.get(definition);
        const std::string text = "[" + field.section + "]\n" + field.key + " = " + to_toml(value) + "\n";
        if (!field.check(value).empty()) return;  // run.name has no default
        const RunDefinition read = parse_definition(text, "t", {}, Purpose::meeting);
        RC_ASSERT(field.get(read) == value);
    }));
}

TEST(RunDefinition, ArbitraryBytesAreRefusedOrReadButNeverCrash) {
    EXPECT_TRUE(rc::check([](const std::string& noise) {
        std::string text = good_file();
        const std::size_t at = *rc::gen::inRange<std::size_t>(0, text.size());
        text.insert(at, noise);
        try {
            parse_definition(text, "t", {}, Purpose::training);
        } catch (const Error& error) {
            RC_ASSERT(error.kind() == ErrorKind::bad_input);
        }
    }));
}

class AgreedSettingsTest : public testing::Test {
  protected:
    AgreedSettingsTest() {
        folder_ = std::filesystem::path(testing::TempDir()) /
                  ("agreed-" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
        std::filesystem::create_directories(folder_);
        std::ofstream(folder_ / "handbook.model") << "vocabulary";
    }
    ~AgreedSettingsTest() override { std::filesystem::remove_all(folder_); }

    std::string value_of(const RunDefinition& definition, const std::string& name) {
        for (const auto& [key, value] : agreed_settings(definition))
            if (key == name) return value;
        return "absent";
    }
    RunDefinition read(const std::string& text) {
        return parse_definition(text, folder_ / "run.toml", {}, Purpose::training);
    }
    std::filesystem::path folder_;
};

TEST_F(AgreedSettingsTest, HoldWhatAllPeersShareAndNothingOfTheirOwn) {
    const RunDefinition d = read(good_file());
    EXPECT_EQ(value_of(d, "run.target_batch_size"), "512");
    EXPECT_EQ(value_of(d, "schedule.learning_rate"), "0.002");
    EXPECT_EQ(value_of(d, "schedule.total_steps"), "300");
    EXPECT_EQ(value_of(d, "data.vocabulary_sha256"), sha256(as_bytes("vocabulary")).hex());
    EXPECT_EQ(value_of(d, "data.path"), "absent");
    EXPECT_EQ(value_of(d, "data.micro_batch_size"), "absent");
    EXPECT_EQ(value_of(d, "peer.name"), "absent");
    EXPECT_EQ(value_of(d, "model.heads"), "0");
    EXPECT_EQ(value_of(d, "model.filters"), "absent") << "an albert has none";
}

TEST_F(AgreedSettingsTest, AStatedHashStandsForAFileThatIsNotThereAndIsHeldAgainstOneThatIs) {
    const std::string hash(64, 'a');
    const std::string stated =
        replaced(good_file(), "[data]", "[data]\nvocabulary_sha256 = \"" + hash + "\"");
    EXPECT_THROW(agreed_settings(read(stated)), Error);
    std::filesystem::remove(folder_ / "handbook.model");
    EXPECT_EQ(value_of(read(stated), "data.vocabulary_sha256"), hash);
    EXPECT_THROW(agreed_settings(read(good_file())), Error);
}

TEST(RunDefinition, TheShippedExamplesAreValid) {
    const auto folder = std::filesystem::path(SHOAL_EXAMPLES);
    for (const char* name : {"albert.toml", "fashion_mnist.toml", "own_model.toml", "swav.toml"})
        EXPECT_NO_THROW(load_definition(folder / name, {}, Purpose::training)) << name;
    EXPECT_EQ(load_definition(folder / "own_model.toml", {}, Purpose::training).model.kind, "torchscript");
}

TEST(Nearest, FindsATypingMistakeButNoStranger) {
    EXPECT_EQ(nearest("lerning_rate", {"learning_rate", "kind"}), "learning_rate");
    EXPECT_EQ(nearest("sede", {"seed"}), "seed");
    EXPECT_EQ(nearest("banana", {"seed", "steps"}), "");
    EXPECT_EQ(nearest("", {"seed"}), "");
}

}  // namespace
}  // namespace shoal::run
