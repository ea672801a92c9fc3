// A tensor file is read exactly or refused; no damage is ever taken for data.
#include "shoal/run/safetensors.h"

#include "run/temporary_folder.h"

#include <cstring>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "shoal/base/error.h"

namespace shoal::run {
namespace {

std::string file_with(const std::string& header, const std::string& data) {
    std::uint64_t length = header.size();
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    return bytes + header + data;
}

/// The cause of the refusal, or "accepted".
std::string refusal(const std::string& bytes) {
    try {
        parse_safetensors(as_bytes(bytes), "x");
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::corrupted);
        const std::string text = error.what();
        const std::string start = "x is damaged, or no safetensors file: ";
        EXPECT_EQ(text.substr(0, start.size()), start);
        return text.substr(start.size());
    }
    return "accepted";
}

std::string written(const TemporaryFolder& folder) {
    const std::vector<float> matrix = {1, 2, 3, 4, 5, 6};
    const std::vector<float> scalar = {-0.5F};
    const std::vector<TensorView> views = {{.name = "layer.weight", .shape = {2, 3}, .values = matrix},
                                           {.name = "optimizer/step", .shape = {}, .values = scalar},
                                           {.name = "empty", .shape = {0, 4}, .values = {}}};
    write_safetensors(folder / "a.safetensors", views, {{"format", "pt"}});
    return read_whole(folder / "a.safetensors");
}

TEST(Safetensors, WhatIsWrittenComesBack) {
    const TemporaryFolder folder;
    written(folder);
    const TensorFile file = read_safetensors(folder / "a.safetensors");
    EXPECT_EQ(file.metadata.at("format"), "pt");
    ASSERT_NE(file.find("layer.weight"), nullptr);
    EXPECT_EQ(file.find("layer.weight")->shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(file.find("layer.weight")->values, (std::vector<float>{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(file.find("optimizer/step")->values, (std::vector<float>{-0.5F}));
    EXPECT_TRUE(file.find("empty")->values.empty());
    EXPECT_EQ(file.find("none"), nullptr);
}

TEST(Safetensors, TheDigestIsThatOfTheFileAndIsCheckedOnRequest) {
    const TemporaryFolder folder;
    const std::vector<float> values = {1, 2};
    const std::vector<TensorView> views = {{.name = "a", .shape = {2}, .values = values}};
    const Digest digest = write_safetensors(folder / "f", views, {});
    EXPECT_EQ(digest, sha256(as_bytes(read_whole(folder / "f"))));
    EXPECT_NO_THROW(read_safetensors(folder / "f", &digest));
    const Digest other;
    EXPECT_THROW(read_safetensors(folder / "f", &other), Error);
}

TEST(Safetensors, RefusesToWriteWhatDoesNotFit) {
    const TemporaryFolder folder;
    const std::vector<float> values = {1, 2};
    const auto write = [&](std::vector<TensorView> views) { write_safetensors(folder / "f", views, {}); };
    EXPECT_THROW(write({{.name = "a", .shape = {3}, .values = values}}), Error);
    EXPECT_THROW(write({{.name = "a", .shape = {-2}, .values = values}}), Error);
    EXPECT_THROW(
        write({{.name = "a", .shape = {2}, .values = values}, {.name = "a", .shape = {2}, .values = values}}),
        Error);
    EXPECT_FALSE(std::filesystem::exists(folder / "f"));
}

TEST(Safetensors, AFileOrFolderThatIsNotThereIsBadInput) {
    const TemporaryFolder folder;
    for (const auto& path : {folder / "nothing", folder.path()}) {
        try {
            read_safetensors(path);
            FAIL();
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::bad_input);
            EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos);
        }
    }
}

TEST(Safetensors, NamesWhatIsWrong) {
    const std::string four(4, '\0'), eight(8, '\0');
    const auto entry = [](const std::string& shape, const std::string& offsets) {
        return R"({"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
    };
    EXPECT_EQ(refusal(""), "it ends before its header");
    EXPECT_EQ(refusal("1234567"), "it ends before its header");
    EXPECT_EQ(refusal(std::string(8, '\xff')), "its header does not fit into it");
    EXPECT_EQ(refusal(file_with("", "")), "its header is no JSON object");
    EXPECT_EQ(refusal(file_with("[]", "")), "its header is no JSON object");
    EXPECT_EQ(refusal(file_with("{", "")), "its header is no JSON");
    EXPECT_EQ(refusal(file_with("{\"\xff\":1}", "")), "its header is no JSON");
    EXPECT_EQ(refusal(file_with(R"({"a":)" + std::string(100000, '[') + "}", "")),
              "its header is nested too deeply");
    EXPECT_EQ(refusal(file_with("{}", four)), "it has bytes beyond its last tensor");
    EXPECT_EQ(refusal(file_with(R"({"a":1})", "")), "tensor 'a' must have dtype, shape and data_offsets");
    EXPECT_EQ(refusal(file_with(R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", four)),
              "tensor 'a' is not of dtype F32");
    EXPECT_EQ(refusal(file_with(R"({"a":)" + entry("[1]", "[0,8]") + "}", four)),
              "tensor 'a' reaches beyond the end");
    EXPECT_EQ(refusal(file_with(R"({"a":)" + entry("[1]", "[4,0]") + "}", four)),
              "tensor 'a' reaches beyond the end");
    EXPECT_EQ(refusal(file_with(R"({"a":)" + entry("[2]", "[0,4]") + "}", four)),
              "the shape of tensor 'a' does not fit its bytes");
    EXPECT_EQ(refusal(file_with(R"({"a":)" + entry("[-1]", "[0,4]") + "}", four)),
              "the shape of tensor 'a' is impossible");
    EXPECT_EQ(refusal(file_with(R"({"a":)" + entry("[281474976710656,65536]", "[0,0]") + "}", "")),
              "the shape of tensor 'a' does not fit its bytes");
    EXPECT_EQ(refusal(file_with(R"({"a":)" + entry("[1]", "[0,4.0]") + "}", four)),
              "the offsets of tensor 'a' are not two numbers");
    EXPECT_EQ(refusal(file_with(R"({"a":)" + entry("[1]", "[0,4]") + R"(,"b":)" + entry("[1]", "[0,4]") + "}",
                                four)),
              "tensor 'b' overlaps another, or leaves a gap");
    EXPECT_EQ(refusal(file_with(R"({"a":)" + entry("[1]", "[4,8]") + "}", eight)),
              "tensor 'a' overlaps another, or leaves a gap");
    EXPECT_EQ(refusal(file_with(R"({"a":)" + entry("[1]", "[0,4]") + R"(,"a":)" + entry("[1]", "[0,4]") + "}",
                                four)),
              "a tensor name occurs twice");
    EXPECT_EQ(refusal(file_with(R"({"__metadata__":{"a":1}})", "")), "its metadata 'a' is no text");
    EXPECT_EQ(refusal(file_with(R"({"a":)" + entry("[1]", "[0,4]") + "}", four)), "accepted");
}

TEST(Safetensors, EveryTruncationIsRefused) {
    const TemporaryFolder folder;
    const std::string whole = written(folder);
    for (std::size_t size = 0; size < whole.size(); ++size)
        EXPECT_NE(refusal(whole.substr(0, size)), "accepted") << size;
    EXPECT_NE(refusal(whole + "x"), "accepted");
    EXPECT_EQ(refusal(whole), "accepted");
}

TEST(Safetensors, NoMutationCrashesAndNoneChangesTheNumberOfValues) {
    const TemporaryFolder folder;
    const std::string whole = written(folder);
    EXPECT_TRUE(rc::check([&] {
        std::string mutated = whole;
        const int changes = *rc::gen::inRange(1, 5);
        for (int i = 0; i < changes; ++i) {
            const std::size_t at = *rc::gen::inRange<std::size_t>(0, mutated.size());
            mutated[at] = *rc::gen::arbitrary<char>();
        }
        try {
            std::size_t values = 0;
            for (const Tensor& tensor : parse_safetensors(as_bytes(mutated), "x").tensors)
                values += tensor.values.size();
            RC_ASSERT(values == 7U);
        } catch (const Error& error) {
            RC_ASSERT(error.kind() == ErrorKind::corrupted);
        }
    }));
}

TEST(Safetensors, RandomBytesAreRefused) {
    EXPECT_TRUE(rc::check([](const std::string& noise) {
        RC_PRE(noise.size() < 10 || noise[8] != '{');
        RC_ASSERT(refusal(noise) != "accepted");
    }));
}

}  // namespace
}  // namespace shoal::run
