// `shoal bench codec`: what it reports. How fast codecs are is for the benchmark to say.
#include "run/program.h"
#include "run/temporary_folder.h"

#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

#include "shoal/compress/codec.h"

namespace shoal::lab {
namespace {

using run::Program;
using run::program_folder;
using run::TemporaryFolder;

TEST(BenchCodec, reports_every_operation_of_every_codec_and_holds_the_common_ones_against_memcpy) {
    const TemporaryFolder folder;
    Program bench(program_folder() / "shoal",
                  {"bench", "codec", "--size", "1MiB", "--turns", "2", "--json", folder / "result.json"},
                  folder.path());
    ASSERT_EQ(bench.wait(), 0) << bench.errors();
    std::ifstream file(folder / "result.json");
    const nlohmann::json result = nlohmann::json::parse(file);
    std::set<std::string> seen;
    const std::set<std::string> compared = {"fp16",
                                            "bf16",
                                            "top_k:0.01",
                                            "rand_k:0.1",
                                            "blockwise8 encode",
                                            "blockwise8 decode",
                                            "uniform8 encode",
                                            "uniform8 decode",
                                            "sign encode",
                                            "qsgd:4 encode",
                                            "power_sgd:4 encode",
                                            "power_sgd:4 decode"};
    for (const nlohmann::json& row : result.at("codecs")) {
        const std::string codec = row.at("codec"), operation = row.at("operation");
        EXPECT_TRUE(seen.insert(codec + " " + operation).second);
        EXPECT_GT(row.at("rate").get<double>(), 0);
        EXPECT_GT(row.at("share_of_memcpy").get<double>(), 0);
        const std::size_t count = (1 << 20) / sizeof(float);
        const double encoded = static_cast<double>(compress::make_codec(codec)->encoded_size(count));
        EXPECT_NEAR(row.at("ratio").get<double>(), (1 << 20) / encoded, 1e-9);
        EXPECT_EQ(row.contains("libtorch"),
                  compared.contains(codec) || compared.contains(codec + " " + operation));
    }
    EXPECT_EQ(seen.size(), 3 * compress::codec_examples().size());
    EXPECT_EQ(result.at("demands").size(), 10U);
    for (const nlohmann::json& demand : result.at("demands")) {
        const bool top_k = demand.at("what").get<std::string>().starts_with("top_k");
        EXPECT_EQ(demand.at("at_least"), top_k ? 0.25 : 0.6);
    }
    EXPECT_GT(result.at("memcpy").get<double>(), 0);
}

}  // namespace
}  // namespace shoal::lab
